"""A folder that is an artifact by the book, without torch: for tests of manifest and verification."""

from __future__ import annotations

import hashlib
from pathlib import Path

from artifact.canonical import encode
from artifact.manifest import (
    MANIFEST,
    MANIFEST_DIGEST,
    SCHEMA,
    Bucket,
    BuiltWith,
    Embedding,
    File,
    Manifest,
    Padding,
    Parity,
    Requires,
    Source,
    Tensor,
)

CONTENT = {
    "config.json": b'{"model_type": "bert"}\n',
    "golden.json": b'{"cases": []}\n',
    "graphs/b1_s32.pt": b"a graph of 32 tokens " * 64,
    "graphs/b8_s128.pt": b"a graph of 128 tokens " * 64,
    "parity.json": b"{}\n",
    "tokenizer/tokenizer.json": b'{"version": "1.0"}\n',
    "weights.safetensors": bytes(range(256)) * 16,
}


def manifest_of(content: dict[str, bytes]) -> Manifest:
    """A valid manifest that names exactly ``content``."""
    files = tuple(
        File(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in sorted(content.items())
    )
    return Manifest(
        schema=SCHEMA,
        source=Source(id="pypi:example", revision="1.0", files=files[:1]),
        task="feature-extraction",
        architecture="bert",
        labels=(),
        problem_type=None,
        inputs=tuple(
            Tensor(name=name, dtype="int64", shape=("batch", "length"))
            for name in ("input_ids", "attention_mask")
        ),
        outputs=(Tensor(name="embedding", dtype="float32", shape=("batch", 8)),),
        embedding=Embedding(pooling="mean", normalize=True),
        buckets=(
            Bucket(batch=1, length=32, path="graphs/b1_s32.pt"),
            Bucket(batch=8, length=128, path="graphs/b8_s128.pt"),
        ),
        padding=Padding(side="right", token_id=0, token_type_id=0, truncate=False),
        tokenizer="tokenizer/tokenizer.json",
        weights="weights.safetensors",
        compiler_args=(),
        coverage=None,
        parity=Parity(tier="cpu", tolerance=1e-5, compared=10),
        waivers=(),
        built_with=BuiltWith(
            torch="2.13.0",
            transformers="5.24.0",
            tokenizers="0.23.3",
            torch_neuron=None,
            neuron_cc=None,
            cpu="AVX2",
        ),
        requires=Requires(
            target="cpu",
            instance_families=(),
            torch="2.13.0",
            torch_neuron=None,
            neuron_driver=None,
            memory_bytes=1_000_000,
        ),
        files=files,
    )


def write_folder(root: Path, content: dict[str, bytes], manifest: Manifest | None = None) -> str:
    """Write ``content`` and its manifest below ``root``; return the manifest's digest."""
    for path, data in content.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return write_manifest(root, encode(manifest or manifest_of(content)))


def write_manifest(root: Path, data: bytes) -> str:
    """Write ``data`` as the manifest with a digest file that agrees; return the digest."""
    digest = hashlib.sha256(data).hexdigest()
    (root / MANIFEST).write_bytes(data)
    (root / MANIFEST_DIGEST).write_text(f"{digest}\n")
    return digest
