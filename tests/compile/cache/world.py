"""Models and artifacts made by hand, so that a test of the cache compiles nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.manifest import Requires
from artifact.verify import verify
from compile.cache.environment import Environment
from compile.cache.key import CacheKey, make_key
from compile.cache.local import LocalCache
from compile.cache.remembered import Remembered
from compile.request import BucketReport, CompiledArtifact, CompileRequest, Figure, parse_shape
from compile.source import resolve
from tests.compile.results import compiled_example
from tests.kit.folders import CONTENT, manifest_of, write_folder

CONFIG = {"model_type": "bert", "hidden_size": 2, "id2label": {"0": "no", "1": "yes"}}
TENSORS = {"embeddings.weight": bytes(range(16)), "pooler.bias": b"\1" * 8, "pooler.weight": b"\2" * 16}
HERE = Environment(
    versions={"python": "3.11", "torch": "2.13.0", "transformers": "5.24.0", "torch-neuron": None},
    cpu={"machine": "x86_64", "instructions": "avx avx2"},
    code={"compile/trace.py": "a" * 64, "compile/wrapper.py": "b" * 64},
)


def make_request(model: Path, out: Path, **options: Any) -> CompileRequest:
    """A request for one bucket of the cpu target. Imports no torch, as ``tests.compile.world`` does."""
    settings: dict[str, Any] = {"task": "feature-extraction", "target": "cpu", **options}
    return CompileRequest(model=str(model), out=out, shapes=(parse_shape("1x32"),), **settings)


def safetensors_bytes(tensors: Mapping[str, bytes], metadata: Mapping[str, str] = {}) -> bytes:
    """A safetensors file of float32 vectors."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def write_model(
    folder: Path, *, tensors: Mapping[str, bytes] = TENSORS, config: Mapping[str, Any] = CONFIG
) -> Path:
    """A model folder that can be resolved and hashed, and never loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return folder


def write_shards(folder: Path, shards: list[dict[str, bytes]]) -> Path:
    """The same kind of folder, its tensors spread over several files."""
    write_model(folder)
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, tensors in enumerate(shards):
        name = f"model-{number + 1}.safetensors"
        (folder / name).write_bytes(safetensors_bytes(tensors))
        weight_map.update(dict.fromkeys(tensors, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def key_for(request: CompileRequest, notes: Path, environment: Environment = HERE) -> CacheKey:
    """The request's key; ``notes`` is where digests are remembered."""
    found = resolve(request.model, revision=request.revision, identity=request.identity)
    return make_key(request, found, environment, Remembered(notes))


@dataclass
class Compiler:
    """A runner that writes an artifact by the book and counts its runs."""

    answer: bytes = CONTENT["golden.json"]
    runs: list[Path] = field(default_factory=list)

    def __call__(self, request: CompileRequest) -> CompiledArtifact:
        self.runs.append(request.out)
        content = {**CONTENT, "golden.json": self.answer}
        requires = Requires(
            target=request.target,
            instance_families=(),
            torch="2.13.0",
            torch_neuron=None,
            neuron_driver=None,
            memory_bytes=1,
        )
        manifest = manifest_of(content)
        source = resolve(request.model, revision=request.revision, identity=request.identity).identity
        fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
        fields |= {"source": source, "task": request.task, "requires": requires}
        write_folder(request.out, content, type(manifest)(**fields))
        return _result(request)


def _result(request: CompileRequest) -> CompiledArtifact:
    figure = Figure(
        bucket="b1_s32", output="x", max_abs=2e-7, mean_abs=1e-8, compared=64, min_cosine=0.999999
    )
    proven = compiled_example()
    return CompiledArtifact(
        path=request.out,
        digest=verify(request.out).digest,
        target=request.target,
        task=request.task,
        buckets=(BucketReport(batch=1, length=32, bytes=1344, seconds=1.5),),
        parity=(figure,),
        coverage=None,
        waivers=request.waivers,
        seconds=12.5,
        about=proven.about,
        verdicts=proven.verdicts,
        fillings=proven.fillings,
    )


@dataclass
class World:
    """A cache, a model and a place for artifacts."""

    base: Path
    local: LocalCache
    model: Path

    def request(self, out: str = "out", **options: Any) -> CompileRequest:
        return make_request(self.model, self.base / out, **options)

    def kept(self, *requests: CompileRequest) -> list[CacheKey]:
        """Compile and keep each request; their keys."""
        self.local.prepare()
        keys = []
        for request in requests:
            key = key_for(request, self.base / "notes")
            self.local.keep(key, Compiler()(request))
            keys.append(key)
        return keys

    def entry(self, key: CacheKey) -> Path:
        return self.local.folder / "entries" / key.digest

    def entries(self) -> set[str]:
        return {path.name for path in (self.local.folder / "entries").iterdir()}


def make_world(base: Path, *, limit: int = 10**9) -> World:
    return World(base=base, local=LocalCache(base / "cache", limit=limit), model=write_model(base / "model"))


def changed(environment: Environment, part: str, name: str, value: str | None) -> Environment:
    """The environment with one value of ``versions``, ``cpu`` or ``code`` replaced or added."""
    return replace(environment, **{part: {**getattr(environment, part), name: value}})


def document(**fields: Any) -> dict[str, Any]:
    """A small key document."""
    base: dict[str, Any] = json.loads(encode({"source": {"id": "its content"}, "weights": {}, "config": {}}))
    return {**base, **fields}
