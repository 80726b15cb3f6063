"""What is paid for: quantities of things with a price, out of templates, a load and the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from artifact.release import ReleaseLock
from infra.cost.capacity import Load, Work
from infra.cost.catalogue import EC2, SAGEMAKER, SPOT
from infra.cost.schedule import HOURS_A_MONTH
from infra.cost.services import Service, Template, disk_gib, resources
from settings.model import Serve

GIB = 1024**3
"""AWS bills storage, logs and data by these, and calls them GB."""
MONITORED = 7
"""Metrics of an instance with detailed monitoring. Source: CloudWatch pricing page, example 1."""
OWN_METRICS = 20
"""Metrics that a service's replicas write together (inference_code/emf.py)."""
REQUEST_LINE_BYTES = 560
"""A request's line in the log, with what CloudWatch adds to each (26 bytes). Measured: tests/infra/cost."""
METRICS_LINE_BYTES = 2500
"""A replica's line of metrics each minute, the same way."""
LOG_MONTHS = 12
"""infra/logs.py keeps a year; the storage of a project that has run so long is shown."""
FREE_DISK_GIB = 20
"""Of a Fargate task. Source: Fargate pricing page."""
CONNECTIONS_A_LCU = 25
"""New connections a second that one capacity unit has room for; it has a GB an hour, too.

Source: Elastic Load Balancing pricing page."""
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class Usage:
    """A quantity in the unit of ``price`` (catalogue.py), with a note where it is an assumption."""

    stack: str
    what: str
    price: str
    quantity: Fraction
    note: str = ""
    estimate: bool = False


def of_service(service: Service, work: Work, serve: Serve) -> Iterator[Usage]:
    """Instances, their disks and metrics, and what requests leave in the logs."""
    yield from _instances(service, work)
    if service.disk_gib:
        disks = work.instances * service.disk_gib
        yield Usage(service.stack, f"disks of {service.disk_gib} GB", "ebs/gp3", disks)
    if service.detailed_monitoring:
        yield Usage(
            service.stack, "detailed monitoring", "cloudwatch/metric", work.instances * MONITORED,
            note=f"{MONITORED} metrics an instance", estimate=True,
        )  # fmt: skip
    if serve.metrics_seconds:
        yield Usage(service.stack, "metrics of the replicas", "cloudwatch/metric", Fraction(OWN_METRICS))
    yield from _logs(service, work, serve)


def _instances(service: Service, work: Work) -> Iterator[Usage]:
    kind = service.instance_type
    if service.kind == "endpoint":
        yield Usage(service.stack, f"{kind} hosting", SAGEMAKER + kind, work.instance_hours)
        for other, count in service.always:
            hours = Fraction(count * HOURS_A_MONTH)
            yield Usage(service.stack, f"{other} hosting, second variant", SAGEMAKER + other, hours)
        return
    on_demand = sum((service.on_demand(count) * hours for count, hours in work.hours.items()), Fraction())
    spot = work.instance_hours - on_demand
    if on_demand or not spot:
        yield Usage(service.stack, f"{kind} on-demand", EC2 + kind, on_demand)
    if spot:
        yield Usage(
            service.stack, f"{kind} Spot", SPOT + kind, spot,
            note="as if there always were Spot capacity of this type", estimate=True,
        )  # fmt: skip


def _logs(service: Service, work: Work, serve: Serve) -> Iterator[Usage]:
    """An endpoint's log does not go through the VPC: SageMaker takes it out of the container itself."""
    stack = service.stack
    lines = work.requests * _logged(serve.request_log) * REQUEST_LINE_BYTES
    if serve.metrics_seconds:
        each_hour = Fraction(SECONDS_AN_HOUR, serve.metrics_seconds)
        lines += work.instance_hours * each_hour * METRICS_LINE_BYTES
    gigabytes = lines / GIB
    note = f"{REQUEST_LINE_BYTES} bytes for a request's line (serve.request_log = {serve.request_log!r})"
    if serve.request_log == "all":
        note += "; '1/100' writes a hundredth of them"
    yield Usage(stack, "log, written", "logs/ingest", gigabytes, note=note, estimate=True)
    kept = f"{LOG_MONTHS} months of it, as if it were not compressed"
    yield Usage(stack, "log, kept", "logs/storage", gigabytes * LOG_MONTHS, note=kept, estimate=True)
    if service.kind == "fleet":
        through = "the log only, not images and metrics"
        yield Usage(
            stack, "data through private endpoints", "vpc-endpoint/gb", gigabytes, note=through, estimate=True
        )


def _logged(request_log: str) -> Fraction:
    """Share of the answered requests that have a line."""
    return Fraction({"all": "1", "errors": "0"}.get(request_log, request_log))


def of_stack(stack: str, template: Template, requests_per_second: Fraction, load: Load) -> Iterator[Usage]:
    """What a stack costs whether instances run or not, and its load balancer's work.

    Args:
        requests_per_second: that the stack's services answer, mean over the month.
    """
    hours = Fraction(HOURS_A_MONTH)
    for _, endpoint in resources(template, "AWS::EC2::VPCEndpoint"):
        if endpoint.get("VpcEndpointType") == "Interface":
            zones = len(endpoint["SubnetIds"])
            name = _service_name(endpoint["ServiceName"])
            yield Usage(stack, f"private endpoint of {name}", "vpc-endpoint/hour", zones * hours)
    for name, _ in resources(template, "AWS::KMS::Key"):
        yield Usage(stack, f"key {name}", "kms/key", Fraction(1))
    alarms = sum(_metrics_of(alarm) for _, alarm in resources(template, "AWS::CloudWatch::Alarm"))
    if alarms:
        yield Usage(stack, "metrics that alarms watch", "cloudwatch/alarm", Fraction(alarms))
    for _, _board in resources(template, "AWS::CloudWatch::Dashboard"):
        yield Usage(stack, "dashboard", "cloudwatch/dashboard", Fraction(1))
    for _, _balancer in resources(template, "AWS::ElasticLoadBalancingV2::LoadBalancer"):
        yield Usage(stack, "load balancer", "alb/hour", hours)
        units = max(
            requests_per_second / CONNECTIONS_A_LCU,
            requests_per_second * SECONDS_AN_HOUR * load.request_bytes / GIB,
        )
        note = "a new connection for each request; less with clients that keep theirs"
        yield Usage(stack, "capacity units", "alb/lcu", units * hours, note=note, estimate=True)


def _metrics_of(alarm: Mapping[str, Any]) -> int:
    """An alarm on an expression is billed for each metric that goes into it."""
    return sum("MetricStat" in each for each in alarm["Metrics"]) if "Metrics" in alarm else 1


def _service_name(value: Any) -> str:
    """``ecr.api`` of ``com.amazonaws.{region}.ecr.api``."""
    text = value["Fn::Join"][1][-1] if isinstance(value, Mapping) else value
    return str(text).removeprefix("com.amazonaws.").lstrip(".")


def of_release(stack: str, lock: ReleaseLock) -> Iterator[Usage]:
    """The release's files and archive in S3."""
    size = Fraction(lock.artifact.files_bytes + lock.artifact.archive_bytes, GIB)
    yield Usage(
        stack, f"files of release {lock.digest[:12]}", "s3/storage", size, note="older releases add theirs"
    )


def of_compile_hour(stack: str, template: Template) -> Iterator[Usage]:
    """An hour of one compile job, on-demand and with the memory, or the machine, that it begins with.

    Other jobs of the stack take requests and look at releases; the one with the most processors compiles.
    """
    jobs = [job["ContainerProperties"] for _, job in resources(template, "AWS::Batch::JobDefinition")]
    if not jobs:
        return
    container = max(jobs, key=lambda each: _needs(each)["VCPU"])
    machine = _batch_machine(template)
    if machine is not None:
        yield Usage(stack, f"{machine} on-demand", EC2 + machine, Fraction(1))
        for _, launch in resources(template, "AWS::EC2::LaunchTemplate"):
            size = disk_gib(launch["LaunchTemplateData"])
            yield Usage(stack, f"its disk of {size} GB", "ebs/gp3", Fraction(size, HOURS_A_MONTH))
        return
    needs = _needs(container)
    disk = max(Fraction(container["EphemeralStorage"]["SizeInGiB"]) - FREE_DISK_GIB, Fraction())
    yield Usage(stack, "processors", "fargate/vcpu", needs["VCPU"])
    yield Usage(stack, "memory", "fargate/memory", needs["MEMORY"] / 1024)
    yield Usage(stack, f"disk above {FREE_DISK_GIB} GB", "fargate/storage", disk)


def _needs(container: Mapping[str, Any]) -> dict[str, Fraction]:
    """Processors, and MiB of memory."""
    return {each["Type"]: Fraction(each["Value"]) for each in container["ResourceRequirements"]}


def _batch_machine(template: Template) -> str | None:
    """The instance type that on-demand jobs try first; None on Fargate."""
    for _, environment in resources(template, "AWS::Batch::ComputeEnvironment"):
        if environment["ComputeResources"]["Type"] == "EC2":
            return str(environment["ComputeResources"]["InstanceTypes"][0])
    return None
