"""[endpoint] and the tables below it: how one release is served by SageMaker (docs/endpoint.md)."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from settings.cron import parse_six
from settings.section import Section
from settings.timezone import check_zone

TopicArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+$")]
_KEY_ID = r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
KeyArn = Annotated[str, Field(pattern=rf"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{{12}}:key/{_KEY_ID}$")]
ContentType = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9!#$&^_.+-]+$")]
Percent = Annotated[int, Field(ge=1, le=100)]


class Scaling(Section):
    """[endpoint.scaling]"""

    enabled: bool = True
    """False: nothing scales the endpoint, and ``schedule`` may not be used. SageMaker refuses another
    instance type while scaling is on: deploy once without it, then change the type."""
    load_percent: Percent = 70
    """Share of a replica's measured throughput at which another is added."""
    out_cooldown_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """Pause after instances were added, before more are."""
    in_cooldown_seconds: Annotated[int, Field(ge=0, le=7200)] = 300
    """Pause after instances were taken away, before more are."""


def _is_cron(text: str) -> str:
    parse_six(text)
    return text


class ScheduledScaling(Section):
    """[[endpoint.schedule]]"""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Name of the action, such as ``evening``."""
    cron: Annotated[str, AfterValidator(_is_cron)]
    """When: minute, hour, day of month, month, day of week, year, such as ``0 20 ? * MON-FRI *``."""
    timezone: Annotated[str, AfterValidator(check_zone)] = "UTC"
    """The IANA time zone that ``cron`` is meant in."""
    min_count: Annotated[int, Field(ge=0, le=1000)]
    """Fewest instances from then on; 0 with ``[endpoint.async]`` only."""
    max_count: Annotated[int, Field(ge=1, le=1000)]
    """Most instances from then on."""

    @model_validator(mode="after")
    def _counts_in_order(self) -> ScheduledScaling:
        if self.min_count > self.max_count:
            raise ValueError(f"min_count {self.min_count} is above max_count {self.max_count}")
        return self


class Canary(Section):
    """[endpoint.canary]: a second release beside the first, with no traffic until somebody shifts it;
    `traceship ship --canary` writes its lock."""

    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """Instances of the canary to begin with; nothing scales it but who shifts its weight."""


class Capture(Section):
    """[endpoint.capture]: copies of requests and answers in S3. They hold what your callers sent."""

    percent: int
    """Share of the requests that is kept, 1 to 100."""
    what: Literal["input", "output", "both"] = "both"
    """What is kept of each."""
    kms_key: KeyArn | None = None
    """ARN of the KMS key that encrypts them. Unset: the project's key."""
    json_types: Annotated[tuple[ContentType, ...], Field(max_length=10)] = ("application/json",)
    """Content types that are kept as JSON; what is in neither list is kept in base64."""
    csv_types: Annotated[tuple[ContentType, ...], Field(max_length=10)] = ()
    """Content types that are kept as CSV."""

    @field_validator("percent")
    @classmethod
    def _keeps_something(cls, percent: int) -> int:
        if not 1 <= percent <= 100:
            raise ValueError("a share from 1 to 100; to keep nothing, remove [endpoint.capture]")
        return percent


class Async(Section):
    """[endpoint.async]: requests and answers by way of S3 and a queue; not on Inf1."""

    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 4
    """Requests at a time that SageMaker hands to one instance."""
    backlog_per_instance: Annotated[float, Field(gt=0)] | None = None
    """Waiting requests an instance at which another is added. Unset: what one does in 30 seconds."""
    success_topic_arn: TopicArn | None = None
    """SNS topic that hears of each answer. Unset: the stack makes one."""
    error_topic_arn: TopicArn | None = None
    """SNS topic that hears of each failure. Unset: the stack makes one."""
    max_age_minutes: Annotated[int, Field(ge=1, le=360)] = 30
    """Alarm when a request waits longer; starting from zero instances takes minutes."""


class Deployment(Section):
    """[endpoint.deployment]: SageMaker shifts the traffic and goes back on an alarm; not on Inf1."""

    canary_percent: Annotated[int, Field(ge=1, le=50)] = 10
    """Share of the new instances that takes traffic first."""
    bake_minutes: Annotated[int, Field(ge=3, le=60)] = 10
    """Wait with that share before the rest follows; longer than an alarm needs to fire."""
    keep_old_minutes: Annotated[int, Field(ge=3, le=60)] = 10
    """Wait with all the traffic on the new instances before the old ones go; alarms still send it back."""


class Endpoint(Section):
    """[endpoint]: the stack exists iff this table does."""

    instance_type: str
    """SageMaker instance type, such as ``ml.inf1.xlarge``."""
    min_count: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest instances; 0 with ``[endpoint.async]`` only."""
    max_count: Annotated[int, Field(ge=1, le=1000)] = 4
    """Most instances."""
    invocations_per_instance: Annotated[float, Field(gt=0)] | None = None
    """Target invocations a minute and instance. Unset: from the artifact's throughput."""
    scaling: Scaling = Scaling()
    """How instances are added and taken away."""
    schedule: tuple[ScheduledScaling, ...] = ()
    """Other limits of the instances at set times."""
    canary: Canary | None = None
    """A second release beside the first."""
    capture: Capture | None = None
    """Copies of requests and answers in S3."""
    async_: Async | None = Field(default=None, alias="async")
    """Requests and answers by way of S3, instead of at once."""
    deployment: Deployment | None = None
    """Let SageMaker shift the traffic to a new release."""

    @property
    def initial_count(self) -> int:
        """Instances of a new endpoint; SageMaker starts none with fewer than one."""
        return max(1, self.min_count)

    @model_validator(mode="after")
    def _counts_in_order(self) -> Endpoint:
        if self.min_count > self.max_count:
            raise ValueError(f"min_count {self.min_count} is above max_count {self.max_count}")
        return self

    @model_validator(mode="after")
    def _at_least_one_answers_at_once(self) -> Endpoint:
        counts = [
            ("min_count", self.min_count),
            *((f"schedule {s.name}", s.min_count) for s in self.schedule),
        ]
        for place, count in counts:
            if count == 0 and self.async_ is None:
                raise ValueError(f"{place} is 0, but an endpoint without [endpoint.async] cannot be empty")
        if self.min_count == 0 and not self.scaling.enabled:
            raise ValueError("min_count is 0, but nothing would start an instance with scaling off")
        return self

    @model_validator(mode="after")
    def _schedule_can_act(self) -> Endpoint:
        if self.schedule and not self.scaling.enabled:
            raise ValueError("schedule needs scaling.enabled")
        twice = [name for name, times in Counter(s.name for s in self.schedule).items() if times > 1]
        if twice:
            raise ValueError(f"two actions of schedule are called {twice[0]}")
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Endpoint:
        """Sources: docs/decisions/0026-endpoint.md."""
        if self.canary is not None and self.async_ is not None:
            raise ValueError("an async endpoint takes no canary: InvokeEndpointAsync cannot name a variant")
        if self.canary is not None and self.deployment is not None:
            raise ValueError("canary and deployment both shift traffic; keep one of them")
        if self.capture is not None and self.async_ is not None:
            raise ValueError("an async endpoint needs no capture: its requests and answers are in S3 anyway")
        return self
