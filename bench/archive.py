"""``python -m bench.archive``: model.tar.gz against ``tar | pigz`` and ``tar | gzip``.

An artifact is made of random float32 weights, which compress as trained ones do. Each way of
packing it runs in turn, several rounds, and its best round counts: other work on the machine makes
single rounds slow. Ours hashes every file on the way, and the archive for the upload; a peer that
leaves the same behind has a hash beside it. Seconds are by the wall clock and, behind it, of the
processors, which other work falsifies less. Peak memory is that of our process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from artifact.canonical import encode
from artifact.listing import digest_file
from artifact.manifest import MANIFEST, MANIFEST_DIGEST

_ROOT = Path(__file__).resolve().parent.parent
_MIB = 1024 * 1024
_SLOW_LIMIT = 128 * _MIB
"""gzip and pigz with compression are run up to this size only; their speed does not depend on it."""

_OURS = """
import sys, time
from pathlib import Path
from artifact.packed import verify_packed
from artifact.verify import listed, verify
from compile.archive import artifact_members, write_archive
root, out = map(Path, sys.argv[1:])
start = time.perf_counter()
artifact = verify(root)
checked, used = time.perf_counter(), time.process_time()
write_archive(artifact_members(listed(root)), out)
written, used = time.perf_counter(), time.process_time() - used
with out.open("rb", buffering=1 << 20) as file:
    verify_packed(file, digest=artifact.digest)
read = time.perf_counter()
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(checked - start, written - checked, used, read - written, int(peak) * 1024)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, action="append", help="size of the weights; repeat (64 512 2049)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pigz", default=shutil.which("pigz"), help="where pigz is")
    options = parser.parse_args()
    if options.pigz is None:
        print("pigz is absent: install it or give --pigz; the comparison goes without it")
    for mib in options.mib or (64, 512, 2049):
        with tempfile.TemporaryDirectory(prefix="bench-archive-") as folder:
            measure(mib * _MIB, Path(folder), rounds=options.rounds, pigz=options.pigz)


def measure(size: int, base: Path, *, rounds: int, pigz: str | None) -> None:
    """Pack one artifact in every way, in turn, and print the best round of each."""
    root, out = base / "artifact", base / "packed"
    _make(root, size)
    print(f"{size / _MIB:.0f} MiB of weights; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    ways = _peers(root, out, pigz, slow=size <= _SLOW_LIMIT)
    best: dict[str, tuple[float, float]] = {}
    sizes: dict[str, int] = {}
    ours = [float("inf")] * 5
    for _ in range(rounds):
        ours = [min(pair) for pair in zip(ours, _ours(root, out))]
        ours_size = out.stat().st_size
        for name, run in ways.items():
            best[name] = min(best.get(name, (float("inf"), 0.0)), run())
            sizes[name] = out.stat().st_size
    checked, written, used, read, peak = ours
    _row("ours", (written, used), ours_size, "")
    for name, (seconds, busy) in best.items():
        told = f"  ours is {seconds / written:5.2f} times as fast, of the processors' time {busy / used:5.2f}"
        _row(name, (seconds, busy), sizes[name], told)
    print(f"  verify the folder {checked:.2f} s, the archive {read:.2f} s; peak memory {peak / 1e6:.0f} MB")


def _row(name: str, seconds: tuple[float, float], size: int, told: str) -> None:
    print(f"  {name:28}{seconds[0]:8.2f} s {seconds[1]:8.2f} s{size / 1e6:10.1f} MB{told}")


def _make(root: Path, size: int) -> None:
    import numpy as np

    from tests.kit.folders import manifest_of

    content = dict.fromkeys(("graphs/b1_s32.pt", "graphs/b8_s128.pt"), b"a graph " * 1000)
    content["tokenizer/tokenizer.json"] = b'{"version": "1.0"}\n'
    generator = np.random.default_rng(7)
    content["weights.safetensors"] = b"".join(
        generator.normal(size=min(_MIB, size - at) // 4).astype(np.float32).tobytes()
        for at in range(0, size, _MIB)
    )
    manifest = encode(manifest_of(content))
    content |= {MANIFEST: manifest, MANIFEST_DIGEST: digest_file(hashlib.sha256(manifest).hexdigest())}
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def _ours(root: Path, out: Path) -> Sequence[float]:
    done = subprocess.run(
        [sys.executable, "-c", _OURS, str(root), str(out)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


def _peers(
    root: Path, out: Path, pigz: str | None, *, slow: bool
) -> dict[str, Callable[[], tuple[float, float]]]:
    packers = {} if pigz is None else {"tar | pigz -0": f"{pigz} -0"}
    if slow:
        packers |= {} if pigz is None else {"tar | pigz": pigz}
        packers |= {"tar | gzip": "gzip"}
    ways: dict[str, Callable[[], tuple[float, float]]] = {}
    for name, packer in packers.items():
        command = f"tar -C {root} -cf - . | {packer}"
        ways[name] = partial(_timed, f"{command} > {out}")
    if pigz is not None:
        hasher = "openssl sha256" if shutil.which("openssl") else "sha256sum"
        hashed = f"tar -C {root} -cf - . | {pigz} -0 | tee {out} | {hasher}"
        ways[f"tar | pigz -0 | {hasher}"] = partial(_timed, hashed)
    return ways


def _timed(command: str) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
