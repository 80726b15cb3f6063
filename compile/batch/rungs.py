"""With how much memory a job begins: the size that sufficed for a model of the same architecture before.

Kept as ``compiled/memory/<digest>.json``, written by the job that came to its end (attempts.py) and
forgotten with everything else below compiled/. The digest stands for what decides the need: the numbers
and names of config.json (layers, widths, vocabulary; not labels, and not the weights themselves), the
target, the buckets, and whether the job traces, proves, or does both. So the next fine-tuned sibling of
a model begins where the first one ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from artifact.canonical import encode
from compile.batch.attempts import read_memory
from compile.batch.deployment import COMPILED, Deployment
from compile.request import CompileRequest, Shape
from compile.source import ModelSource

MEMORY = f"{COMPILED}/memory"
_NO_PART_OF_THE_NEED = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "id", "name"})

Doing = Literal["all", "trace", "prove"]


def memory_key(found: ModelSource, request: CompileRequest, shapes: Sequence[Shape], doing: Doing) -> str:
    """The S3 key of the memory that a job of this kind needs."""
    numbers = {
        name: value
        for name, value in found.config.items()
        if isinstance(value, bool | int | float | str) and name not in _NO_PART_OF_THE_NEED
    }
    need = {
        "config": numbers,
        "target": request.target,
        "shapes": [str(shape) for shape in sorted(shapes)],
        "doing": doing,
    }
    return f"{MEMORY}/{hashlib.sha256(encode(need)).hexdigest()}.json"


def remembered_gib(at: Deployment, key: str) -> int | None:
    """The memory that sufficed, in GiB; None if nobody knows.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    return read_memory(at.clients.s3, at.bucket, key, ExpectedBucketOwner=at.account)
