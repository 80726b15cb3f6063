"""Trace one bucket again, exactly as it was traced when it failed.

    python repro.py            in the environment of versions.json

Exit code 0: it was traced. Otherwise the error of the first time, if that is reproducible, with the
compiler's log in trace.log. Nothing outside this folder is read but the installed packages. Where
model/ holds no weights, random ones are made from the config; the graph is the same.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compile.jobs import ModelJob

HERE = Path(__file__).resolve().parent
SEED = 0


def main() -> int:
    """Trace; return the process's exit code."""
    sys.path.insert(0, str(HERE / "code"))
    from artifact.errors import TraceshipError

    with tempfile.TemporaryDirectory(prefix="repro-") as folder:
        try:
            _trace(Path(folder))
        except TraceshipError as error:
            print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)
            return error.exit_code
        finally:
            for log in Path(folder).glob("scratch/*.log"):
                shutil.copyfile(log, HERE / "trace.log")
    print("traced: the failure did not happen again")
    return 0


def _trace(work: Path) -> None:
    import msgspec

    from artifact.canonical import decode
    from compile.__main__ import parse
    from compile.buckets import inputs_path, trace_buckets
    from compile.jobs import ModelJob
    from compile.request import Workplace

    model = decode((HERE / "model.json").read_bytes(), ModelJob)
    model = msgspec.structs.replace(model, folder=str(_model(model, work / "model")))
    request = parse(json.loads((HERE / "arguments.json").read_text(encoding="utf-8")))
    place = Workplace(staging=work / "artifact", scratch=work / "scratch")
    place.staging.mkdir()
    place.scratch.mkdir()
    (shape,) = request.shapes
    if (HERE / "inputs.json").exists():
        shutil.copyfile(HERE / "inputs.json", inputs_path(place, shape))
    trace_buckets(request, model, request.shapes, place=place, report=print)


def _model(job: ModelJob, into: Path) -> Path:
    """A copy of the model's folder, with random weights where it has none."""
    shutil.copytree(HERE / "model", into)
    if not any(path.suffix in (".safetensors", ".bin") for path in into.iterdir()):
        import torch
        import transformers

        torch.manual_seed(SEED)
        trust = {"trust_remote_code": job.remote_code}
        config = transformers.AutoConfig.from_pretrained(into, **trust)
        made = getattr(transformers, job.auto_class).from_config(config, **trust)
        made.save_pretrained(into, safe_serialization=True)
    return into


if __name__ == "__main__":
    sys.exit(main())
