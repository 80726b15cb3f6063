"""One request through decoding, rows, graphs and encoding, without a socket or a queue."""

from __future__ import annotations

from inference_code.answering import error_body, prepared, written
from inference_code.errors import RequestError
from inference_code.load import LoadedModel


def answered(model: LoadedModel, body: bytes) -> tuple[int, bytes]:
    """Status and body. Whatever is not a ``RequestError`` escapes: it would be a 500 of ours."""
    try:
        asked = prepared(body, model, most=256)
        buckets = sorted(model.manifest.buckets, key=lambda bucket: bucket.length)
        outputs = [
            output
            for row in asked.rows
            for output in model.run(next(b for b in buckets if b.length >= row.length), [row])
        ]
        return 200, written(outputs, asked, model)
    except RequestError as error:
        return error.status, error_body(error)
