"""A compile without its child processes: the same functions, called here.

Starting a child costs seconds of imports. Tests that need the real processes use
``compile.pipeline`` itself; the others trace and compare in the test's own process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from artifact.graphs import load_graph, load_weights
from artifact.manifest import WEIGHTS, decoder_path
from artifact.sealed import Sealed
from compile import buckets, comparison, parity, pipeline, preflight, source, trace
from compile.backends import cpu
from compile.buckets import TracedBucket, TracedModel
from compile.jobs import CompareJob, CompareResult, ModelJob
from compile.model import load_model, load_tokenizer, portable_tokenizer, vocabulary, wrap
from compile.request import TOLERANCES, CompileRequest, Shape, Workplace, parse_shape
from compile.samples import random_feed

Mutation = Callable[[torch.nn.Module], torch.nn.Module]
"""Turns the right wrapper into a wrong one before it is traced."""


@dataclass(frozen=True)
class World:
    """A model that was resolved and planned, and a place to work in."""

    request: CompileRequest
    found: source.ModelSource
    plan: preflight.Plan
    place: Workplace
    model: ModelJob


def make_request(model: Path | str, out: Path, *buckets: str, **options: Any) -> CompileRequest:
    """A request for the cpu target and feature-extraction unless told otherwise."""
    settings: dict[str, Any] = {"task": "feature-extraction", "target": "cpu", **options}
    shapes = tuple(parse_shape(bucket) for bucket in buckets or ("1x16", "2x16"))
    return CompileRequest(model=str(model), out=out, shapes=shapes, **settings)


def make_world(request: CompileRequest, base: Path) -> World:
    """Resolve, plan and lay out the folders below ``base``, as ``pipeline`` does."""
    found = source.resolve(request.model, revision=request.revision, allowed=request.allowed)
    plan = preflight.plan(request, found)
    place = Workplace(staging=base / "artifact", scratch=base / "scratch")
    place.staging.mkdir(parents=True)
    place.scratch.mkdir(parents=True)
    model = pipeline.model_job(request, plan, found.expose(place.scratch / "model"))
    return World(request, found, plan, place, model)


def trace_in(world: World, mutation: Mutation | None = None) -> TracedModel:
    """Trace every bucket here; ``mutation`` makes it the trace of something else."""
    (world.place.staging / "graphs").mkdir()
    buckets = [_trace(world, shape, mutation) for shape in world.plan.shapes]
    return TracedModel(staging=world.place.staging, buckets=tuple(buckets), weights=WEIGHTS)


def _trace(world: World, shape: Shape, mutation: Mutation | None) -> TracedBucket:
    job = buckets.make_job(world.request, world.model, shape, world.place, WEIGHTS)
    if mutation is None:
        result = trace.trace_here(job)
    else:
        model = load_model(world.model)
        wrapper = wrap(model, world.model)
        names = wrapper.names
        feed = random_feed(world.model, names, (shape.batch, shape.length), vocabulary(model))
        inputs = tuple(feed[name] for name in names)
        honest = trace.trace_here(replace_outputs(job, world.place.scratch))
        traced = cpu.jit_trace(mutation(wrapper).eval(), inputs)
        _save(traced, Path(job.graph), Path(str(job.weights)))
        result = honest
    size = Path(job.graph).stat().st_size
    path = f"graphs/{shape.name}.pt"
    return TracedBucket(
        shape=shape,
        path=path,
        decoder=None if job.decoder is None else decoder_path(shape.batch, shape.length),
        bytes=size,
        seconds=0.0,
        coverage=None,
        result=result,
    )


def replace_outputs(job: Any, scratch: Path) -> Any:
    """The same job with its files written where nobody reads them."""
    import msgspec

    name = f"honest-{job.batch}x{job.length}"
    return msgspec.structs.replace(
        job, graph=str(scratch / f"{name}.pt"), decoder=None, weights=None, workdir=str(scratch / name)
    )


def _save(traced: Any, graph: Path, weights: Path) -> None:
    taken = cpu._take_tensors(traced)
    weights.write_bytes(save_tensors(taken))
    graph.write_bytes(cpu.save(traced))


def compare_in(world: World, traced: TracedModel) -> CompareResult:
    """Run every gate here."""
    return comparison.compare(compare_job(world, traced))


def compare_job(world: World, traced: TracedModel) -> CompareJob:
    """What ``parity.prove`` would hand to its child."""
    tolerance = TOLERANCES[world.request.resolved_tier]
    return parity.make_job(traced, world.request, world.plan, world.model, tolerance)


def failed_gates(result: CompareResult) -> set[str]:
    """Names of the gates that any bucket failed."""
    return {verdict.gate for verdict in result.verdicts if not verdict.passed}


def subject_in(world: World, traced: TracedModel, reference: Any = None) -> comparison.Subject:
    """The first bucket's questions; ``reference`` takes the place of the untraced model."""
    model = load_model(world.model)
    size = vocabulary(model)
    job = compare_job(world, traced)
    own = load_tokenizer(world.model.folder)
    mask_token_id, ours, _ = comparison.questions(job, own)
    weights = load_weights(Sealed([(traced.staging / str(traced.weights)).read_bytes()]))
    return comparison.Subject(
        job=job,
        bucket=job.buckets[0],
        graph=load_graph(Sealed([(traced.staging / job.buckets[0].path).read_bytes()]), weights),
        reference=reference or wrap(model, world.model),
        tokenizer=portable_tokenizer(own),
        vocabulary=size,
        examples=tuple(ours),
        own_pad_token_id=model.config.pad_token_id,
        mask_token_id=mask_token_id,
        translator=comparison.translator(job, job.buckets[0], model, weights),
    )
