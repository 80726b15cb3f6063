"""Tables inside ``[fleet]``, each there only if it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from settings.section import Section

TlsPolicy = Literal[
    "TLS13-1-2-2021-06",
    "TLS13-1-2-Res-2021-06",
    "TLS13-1-3-2021-06",
    "TLS13-1-2-Res-PQ-2025-09",
    "TLS13-1-3-PQ-2025-09",
    "TLS13-1-2-Res-FIPS-2023-04",
    "TLS13-1-3-FIPS-2023-04",
]
"""Policies of TLS 1.2 and newer, without their common prefix. Source: SslPolicy of aws-cdk-lib 2.275."""

_TAG = re.compile(r"(?!(\.{1,2}|_index)$)[A-Za-z0-9+=.,_:@-]{1,128}")


class Scaling(Section):
    """[fleet.scaling]: how the number of instances follows the load."""

    in_flight: Annotated[float, Field(gt=0)] | None = None
    """Requests that a replica should have in flight, waiting ones included. Unset: 70 % of what its
    batches hold, and no more than its measured throughput answers within ``alarms.latency_p99_ms``."""
    out_minutes: Annotated[int, Field(ge=1, le=60)] = 2
    """Minutes of too few replicas before some are added."""
    in_minutes: Annotated[int, Field(ge=1, le=240)] = 10
    """Minutes of too many replicas before some are taken away; at least ``out_minutes``."""
    max_out_factor: Annotated[float, Field(ge=1.01, le=10)] = 1.5
    """Most that the fleet grows by in one step: 1.5 makes at most 6 of 4."""
    max_in_factor: Annotated[float, Field(ge=0, le=0.99)] = 0.75
    """Most that the fleet shrinks to in one step: 0.75 leaves at least 6 of 8."""
    out_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the fleet that may be missing before it grows."""
    in_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the fleet that may be idle before it shrinks."""

    @model_validator(mode="after")
    def _shrinks_no_faster_than_it_grows(self) -> Scaling:
        if self.in_minutes < self.out_minutes:
            raise ValueError(f"in_minutes {self.in_minutes} is below out_minutes {self.out_minutes}")
        return self


class WarmPool(Section):
    """[fleet.warm_pool]: instances that have booted once and wait, stopped"""

    min_size: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest instances that wait."""
    max_prepared: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Most instances in service and waiting together. Unset: ``max_size``, so everything that may be
    added is waiting."""
    reuse_on_scale_in: bool = False
    """Let instances that scaling takes away wait again instead of ending them."""


class Mtls(Section):
    """[fleet.mtls]: the load balancer asks callers for a certificate of their own."""

    ca_bundle: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/].*$")]
    """The authorities that callers' certificates may come from: a PEM file, ``s3://BUCKET/KEY``."""
    version: str | None = None
    """Version of that object. Unset: the one in force when the load balancer first gets it; only another
    ``version`` or ``ca_bundle`` brings another one."""


def check_tags(keys: Iterable[str]) -> None:
    """See that an instance whose metadata tell its tags starts with these.

    Source: EC2 user guide, "View tags for your EC2 instances using instance metadata".

    Raises:
        ValueError: EC2 would refuse every launch, after a deploy that looked well.
    """
    for key in keys:
        if _TAG.fullmatch(key) is None:
            raise ValueError(f"the tag {key!r} of a fleet has a space, a / or another sign that EC2 refuses")
