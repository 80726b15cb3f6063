"""One of several processes that want the same compile at once: ``racer CACHE MODEL OUT``.

Prints each line of progress; its compiler prints ``building`` and waits for a line on stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from compile.cache.local import LocalCache
from compile.cache.through import Caches, compile_through
from compile.request import CompiledArtifact, CompileRequest
from tests.compile.cache.world import HERE, Compiler, make_request


def _say(line: str) -> None:
    print(line, flush=True)


def _build(request: CompileRequest) -> CompiledArtifact:
    _say("building")
    sys.stdin.readline()
    return Compiler()(request)


if __name__ == "__main__":
    cache, model, out = map(Path, sys.argv[1:])
    compiled = compile_through(Caches(LocalCache(cache)), make_request(model, out), HERE, _build, report=_say)
    _say(f"digest {compiled.digest} cached {compiled.cached}")
