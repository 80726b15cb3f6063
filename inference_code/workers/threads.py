"""How many threads one graph runs with: what is faster on this machine, by measurement.

More threads help long batches on idle processors and hurt short ones, and where processors are
shared with others they wait for each other.
"""

from __future__ import annotations

import time

import numpy as np

from artifact.manifest import Bucket
from inference_code.encoding import input_shape
from inference_code.graphs import Graphs
from inference_code.rows import Wanted

_RUNS = 3
_WORTH = 0.9
"""More threads must take at most this share of the time of one."""


def best_threads(graphs: Graphs, most: int) -> int:
    """Set torch's threads to 1 or ``most``, whichever runs the largest bucket faster; return it.

    A graph that cannot be run with made-up inputs keeps one thread; the self-check will say why.
    """
    import torch

    torch.set_num_threads(1)
    if most == 1 or graphs.manifest.requires.target != "cpu":
        return 1
    bucket = max(graphs.manifest.buckets, key=lambda bucket: bucket.batch * bucket.length)
    try:
        alone = _seconds(graphs, bucket)
        torch.set_num_threads(most)
        together = _seconds(graphs, bucket)
    except RuntimeError:
        together = alone = 1.0
    chosen = most if together < _WORTH * alone else 1
    torch.set_num_threads(chosen)
    return chosen


def _seconds(graphs: Graphs, bucket: Bucket) -> float:
    """Of the fastest of some runs; the first ones of a graph are slower and do not count."""
    inputs = [np.ones(input_shape(bucket, graphs.manifest), dtype=np.int64) for _ in graphs.manifest.inputs]
    best = float("inf")
    for _ in range(_RUNS + 1):
        started = time.perf_counter()
        graphs.encode(bucket, inputs, [Wanted(bucket.length)])
        best = min(best, time.perf_counter() - started)
    return best
