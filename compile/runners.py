"""Where a compile runs: in this Python (``local``) or in the Inf1 container (``docker``).

Both start ``python -m compile`` with the same options and give the same digest where the
versions are the same. The container gets the model read-only, one folder to write to, no
network, no capabilities and a user that is not root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artifact.errors import TraceshipError, UsageError
from artifact.interpreter import module_command
from artifact.verify import verify
from compile.children import HOLDS_STDIN, KILLED, RUNNER, Failure, as_raised
from compile.drafts import beside
from compile.package import check_out, install
from compile.repro import check_folder
from compile.request import CompiledArtifact, CompileRequest
from compile.result import read_result
from compile.source import ModelSource, resolve

Report = Callable[[str], None]

DOCKERFILE = "compile/Dockerfile"
_ROOT = Path(__file__).resolve().parent.parent
_PINNED = re.compile(r"(?:[^@\s]+@)?sha256:[0-9a-f]{64}")
_UNPRIVILEGED = 10001
"""User and group inside the container when root runs the command."""


class EngineMissing(TraceshipError):
    """There is no container engine on this machine."""

    id = "engine-missing"

    def __init__(self) -> None:
        super().__init__(
            what="the docker runner needs a container engine",
            why="there is no `docker` on PATH",
            fix="install Docker, or use `--runner local` on a machine that has torch-neuron",
        )


class EngineFailed(TraceshipError):
    """The engine could not start the container, or lost it."""

    id = "engine-failed"

    def __init__(self, *, doing: str, exit_code: int, why: str) -> None:
        super().__init__(
            what=f"docker could not {doing} (exit code {exit_code})",
            why=why,
            fix="see that `docker info` works and that the image exists, then run the command again",
        )


class CompileDied(TraceshipError):
    """The compile's own process ended without a word that can be understood."""

    id = "compile-died"

    def __init__(self, *, exit_code: int, why: str) -> None:
        super().__init__(
            what=f"the process of the compile ended with exit code {exit_code}",
            why=why,
            fix="see that memory and disk suffice, then run it again with `--debug`",
        )


class ImageNotPinned(UsageError):
    """An image named by a tag, which may be another image tomorrow."""

    id = "image-not-pinned"

    def __init__(self, *, image: str) -> None:
        super().__init__(
            what=f"{image} does not name one image for good",
            why="a tag can be moved; the compiler's version is part of the artifact's identity",
            fix="give NAME@sha256:… (`docker images --digests`), or leave the image out to build one",
        )


@dataclass(frozen=True)
class Mounts:
    """What a container sees: ``model`` read-only as /model, ``out`` writable as /out."""

    model: Path
    out: Path


def run_local(request: CompileRequest, report: Report) -> CompiledArtifact:
    """Compile with this Python, in a process of its own.

    Raises:
        TraceshipError: the very error of the compile.
    """
    command = module_command("compile", *arguments(request), "--json")
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": path, RUNNER: str(os.getpid())}
    data = _run(command, env, None, report)
    return read_result(data, request.out)


def run_docker(request: CompileRequest, image: str, report: Report) -> CompiledArtifact:
    """Compile in a container; the artifact is verified here before it gets its name.

    Args:
        image: ``NAME@sha256:…``, or the id of a local image, ``sha256:…``.

    Raises:
        EngineMissing, EngineFailed, ImageNotPinned, OutputNotWritable, ReproductionExists: see there.
        TraceshipError: the very error of the compile.
    """
    if _PINNED.fullmatch(image) is None:
        raise ImageNotPinned(image=image)
    if shutil.which("docker") is None:
        raise EngineMissing()
    check_out(request.out)
    check_folder(request.work.repro)
    found = resolve(
        request.model,
        revision=request.revision,
        identity=request.identity,
        allowed=request.allowed,
        report=report,
    )
    with beside(request.out, suffix=".docker") as base:
        base.chmod(0o755)  # the container's user is another one
        try:
            mounts = Mounts(model=_mountable(found, base / "model"), out=base / "out")
            mounts.out.mkdir()
            user = _user(mounts.out)
            command = docker_command(request, found, image, mounts, user)
            data = _run(command, os.environ, "run the compile", report)
            made = mounts.out / "artifact"
            verify(made, digest=data["digest"])
            install(made, request.out, data["digest"])
        finally:
            _bring_out(base / "out/repro", request.work.repro)
    return read_result(data, request.out)


def build_image(report: Report) -> str:
    """Build the image of ``compile/Dockerfile`` and return its id, ``sha256:…``.

    Raises:
        EngineMissing, EngineFailed: see there.
    """
    if shutil.which("docker") is None:
        raise EngineMissing()
    report(f"building the compile image from {DOCKERFILE}")
    command = ["docker", "build", "--quiet", "--file", DOCKERFILE, "."]
    built = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise EngineFailed(doing="build the image", exit_code=built.returncode, why=_last(built.stderr))
    return built.stdout.strip()


def docker_command(
    request: CompileRequest, found: ModelSource, image: str, mounts: Mounts, user: str
) -> list[str]:
    """The whole ``docker run`` line. ``user`` is UID:GID, never root's."""
    inside = replace(
        request,
        model="/model",
        out=Path("/out/artifact"),
        revision=found.identity.revision,
        identity=found.identity.id,
        samples=None if request.samples is None else Path("/samples"),
        work=replace(request.work, repro=None if request.work.repro is None else Path("/out/repro")),
    )
    samples = [] if request.samples is None else _samples_mount(request.samples)
    return [
        # The container ends with us: it holds on to our end of its standard input (children.py).
        *("docker", "run", "--rm", "--init", "--interactive", "--env", f"{RUNNER}={HOLDS_STDIN}"),
        *("--network", "none", "--user", user),
        *("--read-only", "--tmpfs", "/tmp:rw,exec,mode=1777", "--env", "HOME=/tmp"),  # noqa: S108
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--mount", _mount(mounts.model, "/model", "readonly")),
        *("--mount", _mount(mounts.out, "/out")),
        *samples,
        image,
        *arguments(inside),
        "--json",
    ]


def _samples_mount(file: Path) -> list[str]:
    return ["--mount", _mount(file.resolve(), "/samples", "readonly")]


def arguments(request: CompileRequest) -> list[str]:
    """The request as options of ``python -m compile``; ``__main__.parse`` is the inverse."""
    words = ["--model", request.model, "--task", request.task, "--target", request.target]
    for shape in request.shapes:
        words += ["--bucket", str(shape)]
    words += ["--out", str(request.out), "--pooling", request.pooling, "--tier", request.resolved_tier]
    words += ["--choices", str(request.choices)]
    compiler = request.compiler
    words += [
        "--compiler-timeout",
        str(compiler.timeout_seconds),
        "--min-coverage",
        str(compiler.min_coverage),
        "--casting",
        compiler.casting,
        "--pipeline-cores",
        str(compiler.pipeline_cores),
    ]
    optional = {
        "--revision": request.revision,
        "--identity": request.identity,
        "--optimization": compiler.optimization,
        "--max-partitions": compiler.max_partitions,
        "--minimum-segment-size": compiler.minimum_segment_size,
        "--single-fusion-ratio": compiler.single_fusion_ratio,
        "--samples": request.samples,
        "--max-target-length": request.max_target_length,
        "--num-beams": request.num_beams,
        "--jobs": request.work.jobs,
        "--repro": request.work.repro,
        "--parts": request.work.parts,
    }
    for flag, value in optional.items():
        words += [] if value is None else [flag, str(value)]
    words += [f"--compiler-arg={argument}" for argument in compiler.arguments]
    words += [f"--allow-fallback={operator}" for operator in compiler.allowed_fallback]
    words += [f"--waive={waiver.gate}={waiver.reason}" for waiver in request.waivers]
    switches = {
        "--normalize": request.normalize,
        "--truncate": request.truncate,
        "--separate-weights": compiler.separate_weights,
        "--allow-pickle": request.allow_pickle,
        "--trust-remote-code": request.trust_remote_code,
        "--fast-relayout": compiler.fast_relayout,
        "--dynamic-batch": compiler.dynamic_batch,
        "--repro-weights": request.work.repro_weights,
        "--debug": request.debug,
    }
    return words + [flag for flag, on in switches.items() if on]


def _mount(source: Path, target: str, *options: str) -> str:
    """A value of ``--mount``, which is a line of CSV: a path may hold a comma."""
    fields = ["type=bind", f"src={source}", f"dst={target}", *options]
    return ",".join('"' + f.replace('"', '""') + '"' if "," in f or '"' in f else f for f in fields)


def _mountable(found: ModelSource, copy: Path) -> Path:
    """The model's folder; a copy of the files where some are links that end outside a mount."""
    paths = [found.folder / file.path for file in found.identity.files]
    if not any(path.is_symlink() for path in paths):
        return found.folder.resolve()
    copy.mkdir()
    for path in paths:
        shutil.copyfile(path, copy / path.name)
    return copy


def _bring_out(written: Path, wanted: Path | None) -> None:
    """Move a failed bucket's reproduction from the container's folder to where it was asked for."""
    if wanted is not None and written.is_dir():
        shutil.copytree(written, wanted, dirs_exist_ok=True)


def _user(out: Path) -> str:
    """The caller's own ids, so that the files are theirs; for root an unprivileged user."""
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    os.chown(out, _UNPRIVILEGED, _UNPRIVILEGED)
    return f"{_UNPRIVILEGED}:{_UNPRIVILEGED}"


def _run(command: list[str], env: Mapping[str, str], doing: str | None, report: Report) -> dict[str, Any]:
    """Run the entry point, pass its progress on, return what it printed.

    On Ctrl-C the child, which gets the signal too, is given time to clean up.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stdout,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # held open for as long as we live; nothing is written
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(env),
        ) as child,
    ):
        try:
            last = _follow(child, report)
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        if code != 0:
            raise _error(last, code, doing)
        stdout.seek(0)
        data: dict[str, Any] = json.load(stdout)
        return data


def _follow(child: subprocess.Popen[str], report: Report) -> str:
    """Report each line but the last error object; return the last line."""
    last = ""
    for line in child.stderr or ():
        last = line.rstrip("\n")
        if not last.startswith('{"id"'):
            report(last)
    return last


def _error(last: str, code: int, doing: str | None) -> BaseException:
    """``doing`` is what the engine was asked for; ``None``: there was no engine."""
    if code == 130:
        return KeyboardInterrupt()
    try:
        told = json.loads(last)
        failure = Failure(id=told["id"], exit_code=code, what=told["what"], why=told["why"], fix=told["fix"])
    except (ValueError, KeyError, TypeError):
        why = last or ("it was killed, most often for memory" if code in KILLED else "it said nothing")
        return (
            CompileDied(exit_code=code, why=why)
            if doing is None
            else EngineFailed(doing=doing, exit_code=code, why=why)
        )
    return as_raised(failure)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
