"""``python -m bench.ship``: publishing against ``aws s3 cp``, boto3 and sagemaker-core, to one S3.

The S3 is the local one of this checkout, a process of its own on this machine, so the seconds say
little about AWS and the ratios say what each client costs. Every figure is taken in this run, each
in a process of its own, the rounds interleaved; the best of each counts. Ours is the whole of
``publish`` for the bytes that it sends: it verifies the artifact first, hashes every file, writes
the archive, and puts the manifest last. The others copy files.

    AWS_CLI   path of an ``aws`` command; without one, or without sagemaker-core, that peer is named as absent
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_MIB = 1024**2
LARGE_GOAL, SMALL_GOAL, MEMORY_GOAL = 1.0, 2.0, 150 * _MIB
"""Throughput against the fastest peer, for one large file and for many small ones; bytes above idle."""

_CLIENT = """
import json, os, resource, sys, time
from pathlib import Path
kind, folder, bucket, account, *rest = sys.argv[1:]
files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
sent = sum(p.stat().st_size for p in files)
import boto3
if kind == "publish":
    from artifact.aws import client_config
    from compile.publish import Destination, publish
    s3 = boto3.client("s3", config=client_config(local=True))
    to = Destination(account=account, region="us-east-1", bucket=bucket, name="bench")
    s3.list_buckets()
    idle, began = resident(), time.monotonic()
    published = publish(Path(folder), to, s3, report=lambda _: None)
    seconds, sent = time.monotonic() - began, published.uploaded_bytes
elif kind == "files":
    from artifact.aws import client_config
    from artifact.verify import verify
    from compile.publish import Destination
    from compile.publish import release
    from compile.publish.bucket import Bucket
    from compile.publish.files import Sender
    from compile.publish.pool import Pool, free_descriptors, workers_for
    from compile.publish.progress import Meter
    s3 = boto3.client("s3", config=client_config(local=True))
    to = Destination(account=account, region="us-east-1", bucket=bucket, name="bench")
    s3.list_buckets()
    idle, began = resident(), time.monotonic()
    blobs = release._blobs(verify(Path(folder)))
    meter = Meter(total_bytes=1, total_files=1, tell=lambda _: None)
    with Pool(workers_for(free_descriptors())) as pool:
        own = Bucket(s3, to, stopping=pool.stopping)
        sender, listing = Sender(own, pool, meter), release._listing(own, len(blobs))
        for blob in blobs:
            sender.send(blob, absent=listing.lacks(blob.key))
        pool.drain()
    seconds, sent = time.monotonic() - began, meter.sent_bytes
elif kind == "upload_file":
    s3 = boto3.client("s3")
    s3.list_buckets()
    idle, began = resident(), time.monotonic()
    for path in files:
        s3.upload_file(str(path), bucket, str(path.relative_to(folder)))
    seconds = time.monotonic() - began
elif kind == "put_object":
    s3 = boto3.client("s3")
    s3.list_buckets()
    idle, began = resident(), time.monotonic()
    for path in files:
        with path.open("rb") as body:
            s3.put_object(Bucket=bucket, Key=str(path.relative_to(folder)), Body=body)
    seconds = time.monotonic() - began
elif kind == "sagemaker-core":
    from sagemaker.core.helper.session_helper import Session
    session = Session(boto3.Session(region_name="us-east-1"))
    idle, began = resident(), time.monotonic()
    session.upload_data(folder, bucket=bucket, key_prefix="data")
    seconds = time.monotonic() - began
print(json.dumps({"seconds": seconds, "bytes": sent, "above_idle": resident() - idle}))
"""


@dataclass(frozen=True)
class Run:
    """``bytes`` that were sent; ``above_idle`` at the peak, None where it is not known."""

    seconds: float
    bytes: int
    above_idle: int | None

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=1024, help="MiB of the one large file (1024)")
    parser.add_argument("--count", type=int, default=2000, help="how many files of 64 KiB (2000)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sys.path.insert(0, str(_ROOT))
    from local_aws import launcher

    with tempfile.TemporaryDirectory(prefix="bench-ship-") as folder:
        base = Path(folder)
        aws = launcher.up(base / "aws")
        try:
            environment = {**_own_environment(), **aws.environment(), "PYTHONPATH": str(_ROOT)}
            bench = Bench(environment, aws.client("s3"), options.rounds)
            large = _artifact(base / "large", {"weights.safetensors": options.large * _MIB})
            bench.compare(f"1 x {options.large} MiB", large, LARGE_GOAL)
            shutil.rmtree(large)
            files = {f"tokenizer/{n:05}.bin": 1 << 16 for n in range(options.count)}
            small = _artifact(base / "small", files)
            bench.compare(f"{options.count} x 64 KiB", small, SMALL_GOAL)
            bench.changed(small)
        finally:
            launcher.down(base / "aws")


class Bench:
    """Runs clients against one S3, each time into a bucket of its own."""

    def __init__(self, environment: dict[str, str], s3: object, rounds: int) -> None:
        self._environment = environment
        self._s3 = s3
        self._rounds = rounds

    def compare(self, title: str, folder: Path, goal: float) -> None:
        kinds = ["files", "publish", "upload_file", "put_object", *self._present()]
        runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
        for _ in range(self._rounds):
            for kind in kinds:
                runs[kind].append(self._run(kind, folder, self._bucket()))
        best = {kind: max(tried, key=lambda run: run.speed) for kind, tried in runs.items()}
        fastest = max(("upload_file", "put_object", *self._present()), key=lambda kind: best[kind].speed)
        print(f"{title}; load {os.getloadavg()[0]:.1f}; fastest peer {fastest}")
        for kind, run in best.items():
            ratio = run.speed / best[fastest].speed
            memory = "" if run.above_idle is None else f"{run.above_idle / _MIB:7.0f} MiB above idle"
            wanted = f" (goal {goal})" if kind in {"files", "publish"} else ""
            print(
                f"  {_NAMES[kind]:38}{run.seconds:8.2f} s{run.speed / 1e6:9.1f} MB/s"
                f"{ratio:7.2f} x{wanted:11}{memory}"
            )

    def changed(self, folder: Path) -> None:
        """Publish, change one file, publish again: what is sent then."""
        bucket = self._bucket()
        first = self._run("publish", folder, bucket)
        _artifact(folder, {"tokenizer/00000.bin": 1 << 16}, keep=True)
        second = self._run("files", folder, bucket)
        third = self._run("publish", folder, bucket)
        print(f"again with one changed file of 64 KiB: {second.bytes} bytes of files, ", end="")
        print(
            f"then {third.bytes / 1e6:.1f} MB of archive and manifest; the first time {first.bytes / 1e6:.1f} MB"
        )

    def _bucket(self) -> str:
        name = f"bench-{uuid.uuid4().hex[:12]}"
        self._s3.create_bucket(Bucket=name)  # type: ignore[attr-defined]
        return name

    def _present(self) -> Sequence[str]:
        found = ["aws s3 cp"] if self._environment.get("AWS_CLI") or shutil.which("aws") else []
        try:
            import sagemaker.core  # noqa: F401
        except ImportError:
            return found
        return [*found, "sagemaker-core"]

    def _run(self, kind: str, folder: Path, bucket: str) -> Run:
        if kind == "aws s3 cp":
            return self._cli(folder, bucket)
        command = [sys.executable, "-c", _CLIENT, kind, str(folder), bucket, "000000000000"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{kind} failed:\n{done.stderr[-3000:]}")
        return Run(**json.loads(done.stdout.splitlines()[-1]))

    def _cli(self, folder: Path, bucket: str) -> Run:
        """The command's start is taken off: seconds of ``aws --version``."""
        import time

        aws = self._environment.get("AWS_CLI") or "aws"
        began = time.monotonic()
        subprocess.run([aws, "--version"], env=self._environment, capture_output=True, check=True)
        start = time.monotonic() - began
        began = time.monotonic()
        copy = [aws, "s3", "cp", "--recursive", "--quiet", str(folder), f"s3://{bucket}/data"]
        subprocess.run(copy, env=self._environment, check=True)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Run(seconds=time.monotonic() - began - start, bytes=size, above_idle=None)


_NAMES = {
    "files": "ours, the files (verified, hashed)",
    "publish": "ours, the whole release",
    "upload_file": "boto3 upload_file, file by file",
    "put_object": "boto3 put_object, file by file",
    "aws s3 cp": "aws s3 cp --recursive",
    "sagemaker-core": "sagemaker-core Session.upload_data",
}


def _own_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if "AWS_CLI" in os.environ:
        kept["AWS_CLI"] = os.environ["AWS_CLI"]
    return kept


def _artifact(folder: Path, sizes: dict[str, int], *, keep: bool = False) -> Path:
    """An artifact whose files have random bytes; ``keep``: only the named ones are written anew."""
    from artifact.canonical import encode
    from artifact.manifest import File
    from tests.kit.folders import CONTENT, manifest_of, write_manifest

    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for at in range(0, size, _MIB):
                out.write(os.urandom(min(_MIB, size - at)))
    if not keep:
        for name, data in CONTENT.items():
            if name not in sizes:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
    import hashlib

    import msgspec

    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("manifest."))
    files = []
    for path in paths:
        with path.open("rb") as data:
            digest = hashlib.sha256()
            while chunk := data.read(_MIB):
                digest.update(chunk)
        name = path.relative_to(folder).as_posix()
        files.append(File(path=name, size=path.stat().st_size, sha256=digest.hexdigest()))
    manifest = msgspec.structs.replace(manifest_of(CONTENT), files=tuple(files))
    write_manifest(folder, encode(manifest))
    return folder


if __name__ == "__main__":
    main()
