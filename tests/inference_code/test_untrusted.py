"""Nothing of an artifact reaches a loader before all of it is trusted, byte for byte.

Each case runs in a process whose loaders announce themselves to an audit hook, which cannot be
removed or forgotten: what it has not heard has not happened.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.inference_code.running import environment
from tests.kit.handmade import World

_FLIPS = 1000
_WATCHED = """
import json, random, sys
from pathlib import Path
import safetensors, tokenizers, torch
heard, opened = [], []
def hook(event, arguments):
    if event.startswith("loader."):
        heard.append(event)
    elif event == "open":
        opened.append(str(arguments[0]))
sys.addaudithook(hook)
def announced(module, name):
    real = getattr(module, name)
    def call(*args, **kwargs):
        sys.audit("loader." + name)
        return real(*args, **kwargs)
    setattr(module, name, call)
announced(torch.jit, "load")
announced(torch, "load")
announced(torch._C, "import_ir_module")
announced(torch._C, "import_ir_module_from_buffer")
announced(safetensors, "safe_open")
from artifact.errors import TraceshipError
from inference_code.load import load
from inference_code.selfcheck import costs, selfcheck
root = Path(sys.argv[1])
def attempt(digest=None):
    try:
        model = load(root, digest=digest)
    except TraceshipError as error:
        return error.id
    selfcheck(model, model)
    return "trusted"
"""


def test_an_intact_artifact_opens_each_file_once_and_loads_each_graph_once(copied: World) -> None:
    """The positive case: the hook hears the loaders, and no file is opened a second time."""
    found = _watched(
        copied.root,
        "outcome = attempt()\n"
        "names = [p.name for p in root.rglob('*') if p.is_file()]\n"
        "counts = {name: sum(o.rsplit('/', 1)[-1] == name for o in opened) for name in names}\n"
        "print(json.dumps([outcome, heard.count('loader.load'), heard.count('loader.safe_open'), counts]))",
    )

    outcome, graphs, weights, counts = found
    assert (outcome, graphs, weights) == ("trusted", 3, 1)
    assert len(counts) == 10
    assert set(counts.values()) == {1}


def test_a_flipped_byte_anywhere_never_reaches_a_loader(copied: World) -> None:
    """A thousand offsets over every file, by size but each file at least ten times."""
    found = _watched(
        copied.root,
        "chance = random.Random(11)\n"
        "paths = sorted(p for p in root.rglob('*') if p.is_file())\n"
        "sizes = [p.stat().st_size for p in paths]\n"
        f"picked = paths * 10 + chance.choices(paths, sizes, k={_FLIPS} - 10 * len(paths))\n"
        "outcomes = {}\n"
        "for path in picked:\n"
        "    offset = chance.randrange(path.stat().st_size)\n"
        "    with path.open('r+b', buffering=0) as file:\n"
        "        file.seek(offset); byte = file.read(1)[0]\n"
        "        file.seek(offset); file.write(bytes([byte ^ (1 << chance.randrange(8))]))\n"
        "        outcome = attempt()\n"
        "        file.seek(offset); file.write(bytes([byte]))\n"
        "    outcomes[outcome] = outcomes.get(outcome, 0) + 1\n"
        "before = list(heard)\n"
        "print(json.dumps([outcomes, before, attempt(), len(paths)]))",
    )

    outcomes, heard, afterwards, files = found
    assert sum(outcomes.values()) == _FLIPS
    assert files == 10
    assert set(outcomes) <= {"artifact-changed", "unknown-schema"}
    assert heard == []
    assert afterwards == "trusted"


def test_no_other_change_reaches_a_loader(copied: World) -> None:
    """Missing, surplus, renamed, linked, special, and whole artifacts that are not the one asked for."""
    found = _watched(
        copied.root,
        "import os, shutil\n"
        "graph, kept = root / 'graphs/b1_s8.pt', root.parent / 'kept'\n"
        "def missing(): pass\n"
        "def surplus(): shutil.copy(kept, graph); (root / 'code.py').touch()\n"
        "def renamed(): shutil.copy(kept, root / 'graphs/b9_s9.pt')\n"
        "def linked(): graph.symlink_to(kept)\n"
        "def piped(): os.mkfifo(graph)\n"
        "def swapped(): shutil.copy(root / 'graphs/b1_s16.pt', graph)\n"
        "graph.rename(kept)\n"
        "outcomes = {}\n"
        "for change in (missing, surplus, renamed, linked, piped, swapped):\n"
        "    change()\n"
        "    outcomes[change.__name__] = attempt()\n"
        "    for made in (graph, root / 'code.py', root / 'graphs/b9_s9.pt'): made.unlink(missing_ok=True)\n"
        "kept.rename(graph)\n"
        "outcomes['other'] = attempt('0' * 64)\n"
        "before = list(heard)\n"
        "print(json.dumps([outcomes, before, attempt()]))",
    )

    outcomes, heard, afterwards = found
    assert outcomes.pop("other") == "another-artifact"
    assert len(outcomes) == 6
    assert set(outcomes.values()) == {"artifact-changed"}
    assert heard == []
    assert afterwards == "trusted"


def test_what_is_loaded_was_verified_even_if_the_file_is_swapped_in_between(copied: World) -> None:
    """The loader sees the held bytes: between check and use the files are overwritten in place."""
    found = _watched(
        copied.root,
        "from inference_code import load as module\n"
        "real = module.load_graphs\n"
        "def overwriting(manifest, take):\n"
        "    for path in [*root.glob('graphs/*'), root / 'weights.safetensors', root / 'golden.json']:\n"
        "        path.write_bytes(b'evil' * 1000)\n"
        "    return real(manifest, take)\n"
        "model = load(root, loader=overwriting)\n"
        "selfcheck(model, model)\n"
        "print(json.dumps([len(costs(model, model)), attempt()]))",
    )

    assert found == [3, "artifact-changed"]


def _watched(root: Path, program: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", _WATCHED + program, str(root)],
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
