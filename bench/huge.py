"""``python -m bench.huge``: a member of more than 2 GiB through every step of a release, and what it costs.

The weights are a sparse file, so that they take no room on the disk; the archive does, as much as
they are long. Packed, read back by our own reader and by the system's tar, published to the local AWS and
fetched again; for each step seconds by the clock and of the processor, and the peak of memory above
idle, which must not grow with the file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_MIB = 1024**2
MEMORY_GOAL = 150 * _MIB
_STEPS = """
import resource, sys, time, uuid
from pathlib import Path
import boto3
from botocore.config import Config
from artifact.aws import client_config
from artifact.packed import verify_packed
from artifact.verify import listed, verify
from compile.archive import artifact_members, write_parcel
from compile.publish import Destination, publish
from inference_code.fetch import FetchOptions, fetch
root, base = Path(sys.argv[1]), Path(sys.argv[2])
# the local AWS does one thing at a time, and that of 2 GiB for long
long = Config(connect_timeout=900, read_timeout=900)
patient = client_config(local=True).merge(long)
s3 = boto3.client("s3", config=patient)
bucket = f"bench-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
to = Destination(account="000000000000", region="us-east-1", bucket=bucket, name="huge")
found = {}
def peak():
    told = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return told
def step(name, work):
    peak()
    idle, used, began = peak(), time.process_time(), time.monotonic()
    found[name] = work()
    seconds, used = time.monotonic() - began, time.process_time() - used
    told = f"{seconds:8.2f} s{used:8.2f} s CPU{(peak() - idle) / 2**20:8.0f} MiB above idle"
    print(f"  {name:8}{told}", flush=True)
def check():
    with (base / "packed").open("rb", buffering=1 << 20) as file:
        return verify_packed(file).digest
step("verify", lambda: verify(root).digest)
step("pack", lambda: write_parcel(artifact_members(listed(root)), base / "packed"))
step("read", check)
step("publish", lambda: publish(root, to, s3, report=lambda _: None, archive=found["pack"]))
prefix = found["publish"].prefix
options = FetchOptions(bucket, prefix, found["verify"], base / "got", "000000000000")
step("fetch", lambda: fetch(options, s3).digest)
assert found["verify"] == found["read"] == found["fetch"] == found["publish"].digest
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2 * 1024 + 1, help="size of the member (2049)")
    options = parser.parse_args()
    sys.path.insert(0, str(_ROOT))
    from bench.ship import _artifact, _local

    with tempfile.TemporaryDirectory(prefix="bench-huge-") as folder:
        base = Path(folder)
        root = _artifact(base / "artifact", {})
        with (root / "weights.safetensors").open("wb") as file:
            file.truncate(options.mib * _MIB)
        _artifact(root, {}, keep=True)  # its manifest, of what is there now
        with _local(base) as (_, environment):
            print(f"a member of {options.mib} MiB (goal: {MEMORY_GOAL // _MIB} MiB above idle)", flush=True)
            subprocess.run(
                [sys.executable, "-c", _STEPS, str(root), str(base)], env=environment, cwd=_ROOT, check=True
            )
        listing = subprocess.run(
            ["tar", "-tvzf", str(base / "packed")], capture_output=True, text=True, check=True
        ).stdout
        print(f"  tar reads {sum(int(line.split()[2]) for line in listing.splitlines())} bytes of members")


if __name__ == "__main__":
    main()
