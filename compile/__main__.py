"""``python -m compile``: the one way in, on a laptop and in the Inf1 container.

Progress goes to stderr; with ``--json`` stdout is one JSON object. Errors are three lines on
stderr (one JSON object with ``--json``); exit codes are those of ``artifact/errors.py``, but for a job of
AWS Batch that ran out of memory (``batch/attempts.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_args

from artifact.errors import TraceshipError, UsageError
from artifact.manifest import Casting, Pooling, Target, Tier, Waiver
from compile.batch.attempts import KILLED_FOR_MEMORY, noted, too_little
from compile.children import tied_to_runner
from compile.durable import no_room
from compile.exchange import brought, brought_parts, settled
from compile.pipeline import compile_model, compile_part
from compile.request import CompileRequest, CompilerOptions, Work, parse_shape
from compile.result import result_data
from compile.tasks import TASKS


class BadArguments(UsageError):
    """The command line itself is wrong."""

    id = "bad-arguments"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the arguments cannot be understood", why=why, fix="see `python -m compile --help`"
        )


class Unexpected(TraceshipError):
    """An error that nobody foresaw."""

    id = "compile-unexpected"

    def __init__(self, *, error: BaseException) -> None:
        super().__init__(
            what="the compile failed in a way that it does not know",
            why=f"{type(error).__name__}: {error}"[:300],
            fix="see that the model loads in transformers; `--debug` shows where it failed",
        )


class _Parser(argparse.ArgumentParser):
    """argparse, with our errors in place of its own exit."""

    def error(self, message: str) -> NoReturn:
        raise BadArguments(why=message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one compile; return the process's exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    signal.signal(signal.SIGTERM, _interrupt)
    if not tied_to_runner():
        return 130
    try:
        if words[:1] and words[0] in _JOBS:
            _JOBS[words[0]](words[1:])
            return 0
        options = _parser(with_help=True).parse_args(words)
        with noted(options.out, options.remember, os.environ):
            told = _run(options)
    except TraceshipError as error:
        return _failed(error, error, as_json=as_json)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    except Exception as error:
        # Whatever was not foreseen is still told in one object, which is all that a runner reads.
        if "--debug" in words:
            traceback.print_exc()
        known = no_room(error, place="the artifact") or Unexpected(error=error)
        return _failed(error, known, as_json=as_json)
    print(json.dumps(told.data, ensure_ascii=False) if as_json else told.text)
    return 0


def parse(words: Sequence[str]) -> CompileRequest:
    """Turn a command line with places on this machine into a request.

    Raises:
        BadArguments, BadBucket: see there.
    """
    options = _parser().parse_args(words)
    samples = None if options.samples is None else Path(options.samples)
    parts = None if options.parts is None else Path(options.parts).absolute()
    return _request(options, out=Path(options.out).absolute(), samples=samples, parts=parts)


def option_names() -> frozenset[str]:
    """Every option, without the dashes in front."""
    spellings = (name for action in _parser()._actions for name in action.option_strings)
    return frozenset(name[2:] for name in spellings if name.startswith("--"))


@dataclass(frozen=True)
class _Told:
    """What is printed: one object for programs, lines for people."""

    data: dict[str, Any]
    text: str


def _run(options: argparse.Namespace) -> _Told:
    """Compile, or trace one bucket, to a place in S3 if one was given."""
    with settled(options.out) as places, brought(options.samples) as samples:
        if options.only is not None:
            shape = parse_shape(options.only)
            compile_part(_request(options, out=places.out, samples=samples), shape, _progress)
            place = places.deliver_part()
            return _Told({"part": place}, place)
        with brought_parts(options.parts, tuple(map(parse_shape, options.bucket))) as parts:
            request = _request(options, out=places.out, samples=samples, parts=parts)
            compiled = compile_model(request, _progress)
        place = places.deliver(result_data(compiled))
        return _Told({**result_data(compiled), "path": place}, f"{place}\n{compiled.digest}")


def _request(
    options: argparse.Namespace, *, out: Path, samples: Path | None, parts: Path | None = None
) -> CompileRequest:
    return CompileRequest(
        model=options.model,
        task=options.task,
        target=options.target,
        shapes=tuple(parse_shape(text) for text in options.bucket),
        out=out,
        revision=options.revision,
        pooling=options.pooling,
        normalize=options.normalize,
        tier=options.tier,
        truncate=options.truncate,
        choices=options.choices,
        max_target_length=options.max_target_length,
        num_beams=options.num_beams,
        samples=samples,
        waivers=tuple(_waiver(text) for text in options.waive),
        compiler=CompilerOptions(
            arguments=tuple(options.compiler_arg),
            casting=options.casting,
            fast_relayout=options.fast_relayout,
            optimization=options.optimization,
            pipeline_cores=options.pipeline_cores,
            dynamic_batch=options.dynamic_batch,
            timeout_seconds=options.compiler_timeout,
            min_coverage=options.min_coverage,
            max_partitions=options.max_partitions,
            allowed_fallback=tuple(options.allow_fallback),
            minimum_segment_size=options.minimum_segment_size,
            single_fusion_ratio=options.single_fusion_ratio,
            separate_weights=options.separate_weights,
        ),
        identity=options.identity,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
        debug=options.debug,
        work=Work(
            jobs=options.jobs,
            repro=None if options.repro is None else Path(options.repro).absolute(),
            repro_weights=options.repro_weights,
            parts=parts,
        ),
    )


def _parser(*, with_help: bool = False) -> _Parser:
    """``with_help``: for a person who types; elsewhere `--help` would end well and compile nothing."""
    parser = _Parser(
        prog="python -m compile",
        description="Trace, prove and package a transformers model.",
        add_help=with_help,
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="a folder, hub:ORG/NAME, s3://BUCKET/PREFIX, or pypi:DISTRIBUTION of an installed package",
    )
    add("--task", required=True, help=", ".join(sorted(TASKS)))
    add("--target", required=True, choices=get_args(Target))
    add("--bucket", required=True, action="append", metavar="BxL", help="static shape, such as 8x128; repeat")
    add("--out", required=True, help="the artifact's folder, here or s3://BUCKET/PREFIX")
    add("--revision", help="commit, branch or tag on the Hub; else recorded in the manifest")
    add("--pooling", choices=get_args(Pooling), default="none", help="feature-extraction: one vector a text")
    add("--normalize", action="store_true", help="with --pooling: L2-normalise the vector")
    add("--tier", choices=get_args(Tier), help="1e-5, 1e-3, 1e-2; by target and casting unless given")
    add("--truncate", action="store_true", help="let the server cut texts longer than the largest bucket")
    add("--choices", type=int, default=4, metavar="N", help="multiple-choice: candidates in a row")
    add("--max-target-length", type=int, metavar="N", help="translation: tokens, the start included")
    add("--num-beams", type=int, metavar="N", help="translation: 1 is greedy; the checkpoint's unless given")
    add("--samples", metavar="FILE", help="your own examples, here or s3://BUCKET/KEY")
    add("--waive", action="append", default=[], metavar="GATE=REASON", help="accept a failed gate; recorded")
    _add_compiler_options(parser)
    _add_work_options(parser)
    add("--identity", help="record this as the source's id (a mounted copy of a packaged model)")
    add("--allow-pickle", action="store_true", help="read tensors out of a pickle checkpoint")
    add("--trust-remote-code", action="store_true", help="run the checkpoint's own code; recorded")
    add("--json", action="store_true", help="one JSON object on stdout")
    add("--debug", action="store_true", help="show the whole log of a bucket that failed")
    return parser


def _add_compiler_options(parser: _Parser) -> None:
    add = parser.add_argument_group("inf1 target").add_argument
    defaults = CompilerOptions()
    add("--casting", choices=get_args(Casting), default=defaults.casting, help="what is rounded, to what")
    add("--fast-relayout", action="store_true", help="transpose on the matrix engine: faster, rounds")
    add("--optimization", type=int, choices=(2,), help="neuron-cc's -O; its own unless given")
    add("--pipeline-cores", type=int, default=1, metavar="N", help="NeuronCores for one copy")
    add("--dynamic-batch", action="store_true", help="graphs take any number of rows")
    add("--separate-weights", action="store_true", help="keep weights out of the compiled graph")
    add("--compiler-arg", action="append", default=[], metavar="ARG", help="an argument of neuron-cc")
    add("--compiler-timeout", type=int, default=3600, metavar="S", help="seconds for each bucket")
    add("--min-coverage", type=_finite, default=90.0, metavar="P", help="least %% of operators on the device")
    add("--max-partitions", type=int, metavar="N", help="most subgraphs that the compiler may make")
    add("--allow-fallback", action="append", default=[], metavar="OP", help="only these run on the CPU")
    add("--minimum-segment-size", type=int, metavar="N", help="smallest subgraph to compile")
    add("--single-fusion-ratio", type=_finite, metavar="R", help="when to fuse into one subgraph")


def _add_work_options(parser: _Parser) -> None:
    add = parser.add_argument_group("how it works").add_argument
    add("--jobs", type=int, metavar="N", help="buckets at once; as cores and memory allow unless given")
    add("--repro", metavar="DIR", help="where a bucket that fails leaves its reproduction")
    add("--repro-weights", action="store_true", help="with --repro: put the model's weights in")
    add("--remember", metavar="S3", help="in a job: where the memory that sufficed is noted")
    either = parser.add_mutually_exclusive_group().add_argument
    either("--only", metavar="BxL", help="trace this bucket only; --out gets a part, not an artifact")
    either("--parts", metavar="PLACE", help="take the traced buckets PLACE/BxL, here or in S3, do not trace")


def _intake(words: Sequence[str]) -> None:
    from compile.batch.intake import main as intake

    intake(words, _progress)


def _reverify(words: Sequence[str]) -> None:
    from compile.places import s3_client
    from compile.publish.reverify import main as reverify

    reverify(words, s3_client(), _progress)


_JOBS = {"intake": _intake, "reverify": _reverify}
"""What else a job of the image can do: it can only be given arguments (infra/compile_stack.py)."""


def _finite(text: str) -> float:
    """A number that others can be compared with; argparse tells of the ValueError."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _waiver(text: str) -> Waiver:
    gate, separator, reason = text.partition("=")
    if not separator:
        raise BadArguments(why=f"--waive {text} is not GATE=REASON")
    return Waiver(gate=gate, reason=reason)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let SIGTERM end the children and the partial folder as Ctrl-C does."""
    raise KeyboardInterrupt


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _failed(error: Exception, known: TraceshipError, *, as_json: bool) -> int:
    """Tell what happened, in our words; return the exit code, which in a job can ask for more memory."""
    rung = too_little(error, os.environ)
    if rung is not None:
        _progress(str(rung))
    _print_error(known, as_json=as_json)
    return known.exit_code if rung is None else KILLED_FOR_MEMORY


def _print_error(error: TraceshipError, *, as_json: bool) -> None:
    if as_json:
        told = {"id": error.id, "what": error.what, "why": error.why, "fix": error.fix}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
        return
    print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
