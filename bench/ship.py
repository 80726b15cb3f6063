"""``python -m bench.ship``: publishing against ``aws s3 cp``, boto3 and sagemaker-core.

To two S3s, each a process of its own on this machine: the local AWS of this checkout, which takes
more processor time for a request than the clients do, and one that is far away and does no work
(far_s3.py). Every figure is taken in this run, each in a process of its own, the rounds
interleaved; the best of each counts. The peers copy files. "The files" are ours for the same bytes,
of an artifact that was verified and packed before, every file hashed again as it is sent; "packed in an
earlier run": a ship that goes on after it was killed, which must hash the whole of a large file beside.
"The whole release" verifies and writes the archive first, sends it too, and puts the manifest last.

    AWS_CLI   path of an ``aws`` command; without one, or without sagemaker-core, that peer is named as absent
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_MIB = 1024**2
LARGE_GOAL, SMALL_GOAL, MEMORY_GOAL = 1.0, 2.0, 150 * _MIB
"""Throughput against the fastest peer, for one large file and for many small ones; bytes above idle."""

_CLIENT = """
import json, os, resource, sys, time
from pathlib import Path
kind, folder, bucket, account, *rest = sys.argv[1:]
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
def resident():
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return peak
sent = sum(p.stat().st_size for p in files)
import boto3
if kind == "publish":
    from artifact.aws import client_config
    from compile.publish import Destination, publish
    s3 = boto3.client("s3", config=client_config(local=True))
    to = Destination(account=account, region="us-east-1", bucket=bucket, name="bench")
    s3.list_buckets()
    resident()
    idle, before, began = resident(), spent(), time.monotonic()
    published = publish(Path(folder), to, s3, report=lambda _: None)
    seconds, sent = time.monotonic() - began, published.uploaded_bytes
elif kind in ("files", "again"):
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
    from compile.archive import artifact_members, write_parcel
    artifact = verify(Path(folder))
    scratch = Path(folder).parent / "packed"
    packed = write_parcel(artifact_members(artifact), scratch) if kind == "files" else None
    scratch.unlink(missing_ok=True)
    blobs = release._blobs(artifact, {} if packed is None else packed.files)
    idle, before, began = resident(), spent(), time.monotonic()
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
    resident()
    idle, before, began = resident(), spent(), time.monotonic()
    for path in files:
        s3.upload_file(str(path), bucket, str(path.relative_to(folder)))
    seconds = time.monotonic() - began
elif kind == "put_object":
    s3 = boto3.client("s3")
    s3.list_buckets()
    resident()
    idle, before, began = resident(), spent(), time.monotonic()
    for path in files:
        with path.open("rb") as body:
            s3.put_object(Bucket=bucket, Key=str(path.relative_to(folder)), Body=body)
    seconds = time.monotonic() - began
elif kind == "sagemaker-core":
    from sagemaker.core.helper.session_helper import Session
    session = Session(boto3.Session(region_name="us-east-1"))
    idle, before, began = resident(), spent(), time.monotonic()
    session.upload_data(folder, bucket=bucket, key_prefix="data")
    seconds = time.monotonic() - began
told = {"seconds": seconds, "processor": spent() - before, "bytes": sent, "above_idle": resident() - idle}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Run:
    """``bytes`` that were sent; ``above_idle`` at the peak, None where it is not known.

    ``seconds`` by the wall clock; ``processor``: seconds of it that the client took, which other work
    on the machine disturbs less.
    """

    seconds: float
    processor: float
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
    parser.add_argument("--to", choices=("far", "local"), action="append", help="one of the two S3s (both)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the S3s are stopped then too
    sys.path.insert(0, str(_ROOT))
    with tempfile.TemporaryDirectory(prefix="bench-ship-") as folder:
        base = Path(folder)
        large = _artifact(base / "large", {"weights.safetensors": options.large * _MIB})
        files = {f"tokenizer/{n:05}.bin": 1 << 16 for n in range(options.count)}
        small = _artifact(base / "small", files)
        servers = {"far": _far, "local": _local}
        for which in options.to or servers:
            with servers[which](base) as (name, environment):
                print(f"to {name}")
                bench = Bench(environment, options.rounds)
                bench.compare(f"1 x {options.large} MiB", large, LARGE_GOAL)
                bench.compare(f"{options.count} x 64 KiB", small, SMALL_GOAL)
        with _local(base) as (_, environment):
            Bench(environment, 1).changed(small)


@contextmanager
def _local(base: Path) -> Iterator[tuple[str, dict[str, str]]]:
    from local_aws import launcher

    aws = launcher.up(base / "aws")
    try:
        yield "the local AWS", {**_own_environment(), **aws.environment(), "PYTHONPATH": str(_ROOT)}
    finally:
        launcher.down(base / "aws")


@contextmanager
def _far(base: Path) -> Iterator[tuple[str, dict[str, str]]]:
    from bench.far_s3 import ROUND_TRIP_SECONDS
    from local_aws import names

    with subprocess.Popen(
        [sys.executable, "-m", "bench.far_s3"], cwd=_ROOT, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        environment = {**_own_environment(), **names.client_environment(base, port), "PYTHONPATH": str(_ROOT)}
        try:
            yield f"an S3 that is {ROUND_TRIP_SECONDS * 1e3:.0f} ms away", environment
        finally:
            server.kill()


class Bench:
    """Runs clients against one S3, each time into a bucket of its own."""

    def __init__(self, environment: dict[str, str], rounds: int) -> None:
        self._environment = environment
        self._rounds = rounds
        self._starts: list[tuple[float, float]] = []

    def compare(self, title: str, folder: Path, goal: float) -> None:
        kinds = ["files", "again", "publish", "upload_file", "put_object", *self._present()]
        runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
        for _ in range(self._rounds):
            for kind in kinds:
                runs[kind].append(self._run(kind, folder, self._bucket()))
        best = {kind: max(tried, key=lambda run: run.speed) for kind, tried in runs.items()}
        peers = ["upload_file", *self._present()]
        fastest = max(peers, key=lambda kind: best[kind].speed)
        absent = {"aws s3 cp", "sagemaker-core"} - set(peers)
        print(f"  {title}; load {os.getloadavg()[0]:.1f}; fastest peer {fastest}; absent {absent or 'none'}")
        for kind, run in best.items():
            ratio = run.speed / best[fastest].speed
            memory = "" if run.above_idle is None else f"{run.above_idle / _MIB:7.0f} MiB above idle"
            wanted = f" (goal {goal})" if kind in {"files", "again", "publish"} else ""
            told = f"{run.processor:7.2f} s CPU{run.seconds:8.2f} s{run.speed / 1e6:8.1f} MB/s{ratio:7.2f} x"
            print(f"  {_NAMES[kind]:42}{told}{wanted:11}{memory}")

    def changed(self, folder: Path) -> None:
        """Publish, change one file, publish again: what is sent then."""
        bucket = self._bucket()
        first = self._run("publish", folder, bucket)
        _artifact(folder, {"tokenizer/00000.bin": 1 << 16}, keep=True)
        again = self._run("files", folder, bucket)
        rest = self._run("publish", folder, bucket)
        print(
            f"published {first.bytes / 1e6:.1f} MB; again with one changed file: {again.bytes} bytes of files"
        )
        print(f"and {rest.bytes / 1e6:.1f} MB of archive and manifest")

    def _bucket(self) -> str:
        name = f"bench-{uuid.uuid4().hex[:12]}"
        self._s3().create_bucket(Bucket=name)
        return name

    def _s3(self) -> Any:
        import boto3

        here = self._environment
        return boto3.client(
            "s3",
            endpoint_url=here["AWS_ENDPOINT_URL"],
            region_name=here["AWS_REGION"],
            aws_access_key_id=here["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=here["AWS_SECRET_ACCESS_KEY"],
        )

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
        """The command's start is taken off: what ``aws --version`` took, at best."""
        aws = self._environment.get("AWS_CLI") or "aws"
        self._starts.append(self._timed([aws, "--version"]))
        start, start_processor = min(self._starts)
        copy = [aws, "s3", "cp", "--recursive", "--quiet", str(folder), f"s3://{bucket}/data"]
        seconds, processor = self._timed(copy)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Run(
            seconds=seconds - start, processor=processor - start_processor, bytes=size, above_idle=None
        )

    def _timed(self, command: list[str]) -> tuple[float, float]:
        """Seconds of the wall clock and of the processor."""

        def spent() -> float:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime

        before, began = spent(), time.monotonic()
        subprocess.run(command, env=self._environment, capture_output=True, check=True)
        return time.monotonic() - began, spent() - before


_NAMES = {
    "files": "ours, the files",
    "again": "ours, the files, packed in an earlier run",
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
