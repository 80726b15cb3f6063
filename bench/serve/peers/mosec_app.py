"""mosec with its dynamic batching."""

import os
from typing import Any

from embedder import Embedder
from mosec import Server, Worker


class Embed(Worker):
    def __init__(self) -> None:
        self._embed = Embedder()

    def forward(self, data: list[dict[str, Any]]) -> list[list[float]]:
        return self._embed([one["inputs"] for one in data])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Embed, num=int(os.environ["BENCH_WORKERS"]), max_batch_size=16, max_wait_time=5)
    server.run()
