"""TorchServe with its dynamic batching (batchSize and maxBatchDelay of the model's config)."""

import json
import os
import sys
from typing import Any

from ts.torch_handler.base_handler import BaseHandler

sys.path.insert(0, os.environ["BENCH_PEERS"])
from embedder import Embedder


class Handler(BaseHandler):  # type: ignore[misc]
    def initialize(self, _context: Any) -> None:
        self._embed = Embedder()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], _context: Any) -> list[list[float]]:
        bodies = [one.get("body") or one.get("data") for one in data]
        parsed = [json.loads(body) if isinstance(body, bytes | bytearray) else body for body in bodies]
        return self._embed([body["inputs"] for body in parsed])
