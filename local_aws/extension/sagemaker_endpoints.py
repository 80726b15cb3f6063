"""The life of an endpoint: real servers behind every state, and the platform's silent rollback.

    CreateEndpoint ──► Creating ──► InService                       every replica answered /ping
                            └─────► Failed                          the reason is the replica's
    UpdateEndpoint ──► Updating ──► InService on the new config     the old replicas stop afterwards
                            └─────► InService on the OLD config     with a FailureReason
    DeleteEndpoint ──► Deleting ──► gone

Deployment guardrails are accepted and do nothing: an update is all-at-once without a bake, which
is what AWS does on Inf1 whatever the request says.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import request_scope

from local_aws.extension.faults import Injected, check
from local_aws.extension.json_protocol import AwsError, now
from local_aws.extension.replicas import (
    RESTORE_SECONDS,
    STARTUP_SECONDS,
    Launch,
    Replica,
    ReplicaFailed,
    Replicas,
)
from local_aws.extension.sagemaker_store import Record, SageMakerStore, arn, model_data

Fleet = dict[str, list[Replica]]
"""Replicas by variant name."""
Unpack = Callable[[str, Replica], None]
"""Puts the model data of an ``s3://`` URL into the replica's folder, or raises ReplicaFailed."""
RETAINABLE = frozenset({"DesiredInstanceCount", "DesiredWeight", "DataCaptureConfig"})
"""What RetainAllVariantProperties keeps."""

logger = logging.getLogger("traceship.sagemaker")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One variant as it shall be: the config's variant with the count and weight in force."""

    variant: Record
    count: int
    weight: float

    @property
    def name(self) -> str:
        """The variant's name."""
        return str(self.variant["VariantName"])


class Endpoints:
    """Runs endpoints. Every public method returns at once, ``settle`` waits for the outcome."""

    def __init__(
        self, store: SageMakerStore, replicas: Replicas, unpack: Unpack, scales: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._scales = scales
        self._replicas = replicas
        self._unpack = unpack
        self._fleets: dict[str, Fleet] = {}
        self._workers: dict[str, threading.Thread] = {}
        self._numbers = itertools.count(1)

    def create(self, name: str, config_name: str, tags: list[dict[str, str]]) -> str:
        """Start an endpoint; it is Creating until its servers answer.

        Raises:
            AwsError: ValidationException: an unknown configuration, or a name that is taken.
        """
        config = self._store.get("endpoint-config", config_name)
        wanted = [_as_configured(variant) for variant in config["ProductionVariants"]]
        record: Record = {
            "EndpointName": name,
            "EndpointArn": arn("endpoint", name),
            "EndpointConfigName": config_name,
            "EndpointStatus": "Creating",
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }
        _captures(record, config.get("DataCaptureConfig"))
        identity = self._store.add("endpoint", name, record, tags)
        self._in_background(record, functools.partial(self._bring_up, record, wanted))
        return identity

    def update(self, name: str, config_name: str, retained: frozenset[str]) -> str:
        """Deploy another configuration.

        Args:
            retained: which of ``RETAINABLE`` keep their current value, in variants that exist already.

        Raises:
            AwsError: ValidationException: it would remove a variant that is registered for scaling, or
                change its instance type; or the endpoint is not InService.
        """
        record = self._idle(name)
        config = self._store.get("endpoint-config", config_name)
        self._refuse_scaled(record, config)
        current = {variant["VariantName"]: variant for variant in record.get("ProductionVariants", [])}
        wanted = [
            _retaining(_as_configured(variant), current.get(variant["VariantName"]), retained)
            for variant in config["ProductionVariants"]
        ]
        _enter(record, "Updating")
        capture = record if "DataCaptureConfig" in retained else config
        work = functools.partial(self._replace, record, config_name, wanted, capture.get("DataCaptureConfig"))
        self._in_background(record, work)
        return str(record["EndpointArn"])

    def scale(self, name: str, changes: Mapping[str, Mapping[str, Any]]) -> str:
        """Change weights and counts of variants, by variant name.

        Raises:
            AwsError: ValidationException: no such variant, or the endpoint is not InService.
        """
        record = self._idle(name)
        config = self._store.get("endpoint-config", record["EndpointConfigName"])
        current = {variant["VariantName"]: variant for variant in record["ProductionVariants"]}
        unknown = sorted(set(changes) - set(current))
        if unknown:
            raise AwsError(
                "ValidationException",
                f"The variant name(s) {unknown} is/are not present within endpoint configuration "
                f'"{arn("endpoint-config", config["EndpointConfigName"])}".',
            )
        wanted = [
            _changed(variant, current[variant["VariantName"]], changes.get(variant["VariantName"], {}))
            for variant in config["ProductionVariants"]
        ]
        _enter(record, "Updating")
        self._in_background(record, functools.partial(self._resize, record, wanted))
        return str(record["EndpointArn"])

    def delete(self, name: str) -> None:
        """Stop the servers and forget the endpoint; it is Deleting meanwhile."""
        record = self._store.get("endpoint", name)
        if record["EndpointStatus"] not in ("InService", "Failed"):
            raise _busy(record)
        _enter(record, "Deleting")
        self._in_background(record, functools.partial(self._tear_down, record))

    def settle(self, name: str) -> Record | None:
        """Wait until no operation runs on the endpoint; its record then, None if it is gone."""
        worker = self._workers.get(arn("endpoint", name))
        if worker is not None:
            worker.join()
        return self._store.find("endpoint", name)

    def fleet(self, name: str) -> Fleet:
        """The replicas that take requests, by variant; empty before the first InService."""
        return self._fleets.get(arn("endpoint", name), {})

    def resume(self) -> None:
        """Start again what the state says is in service; waits for it a while.

        An endpoint is SystemUpdating until its servers answer.
        """
        for account, region in self._store.scopes():
            with request_scope(account, region):
                for record in self._store.all("endpoint"):
                    self._resume_one(record)
        deadline = time.monotonic() + RESTORE_SECONDS
        for worker in list(self._workers.values()):
            worker.join(max(0.0, deadline - time.monotonic()))

    def reset(self) -> None:
        """Stop every server and forget every record."""
        fleets, self._fleets = self._fleets, {}
        self._store.clear()
        self._replicas.stop(
            [replica for fleet in fleets.values() for members in fleet.values() for replica in members]
        )

    def _resume_one(self, record: Record) -> None:
        if record["EndpointStatus"] == "Deleting":
            self._store.remove("endpoint", record["EndpointName"])
        elif record["EndpointStatus"] != "Failed":
            config = self._store.get("endpoint-config", record["EndpointConfigName"])
            current = {variant["VariantName"]: variant for variant in record.get("ProductionVariants", [])}
            wanted = [
                _retaining(_as_configured(variant), current.get(variant["VariantName"]), RETAINABLE)
                for variant in config["ProductionVariants"]
            ]
            _enter(record, "SystemUpdating")
            self._in_background(record, functools.partial(self._bring_up, record, wanted))

    def _bring_up(self, record: Record, wanted: list[Wanted]) -> None:
        try:
            fleet = self._start(record, wanted)
        except ReplicaFailed as failure:
            if not self._replicas.closed:  # else `up` starts it again
                _enter(record, "Failed", str(failure))
            return
        self._switch(record, record["EndpointConfigName"], wanted, fleet)

    def _refuse_scaled(self, record: Record, config: Record) -> None:
        """Source: SageMaker guide, "Update endpoints that use auto scaling"."""
        running = self._store.get("endpoint-config", record["EndpointConfigName"])
        types = {variant["VariantName"]: variant["InstanceType"] for variant in config["ProductionVariants"]}
        bound = [
            variant["VariantName"]
            for variant in running["ProductionVariants"]
            if types.get(variant["VariantName"]) != variant["InstanceType"]
            and self._scales(f"endpoint/{record['EndpointName']}/variant/{variant['VariantName']}")
        ]
        if bound:
            raise AwsError(
                "ValidationException",
                f"The variant(s) {bound} must be deregistered as scalable target with AutoScaling before "
                "they can be removed or have their instance type updated.",
            )

    def _replace(
        self, record: Record, config_name: str, wanted: list[Wanted], capture: Record | None
    ) -> None:
        old = self._fleets.get(record["EndpointArn"], {})
        try:
            fleet = self._start(record, wanted)
        except ReplicaFailed as failure:
            _enter(record, "InService", str(failure))
            return
        _captures(record, capture)
        self._switch(record, config_name, wanted, fleet)
        self._replicas.stop([replica for members in old.values() for replica in members])

    def _resize(self, record: Record, wanted: list[Wanted]) -> None:
        """Add what is missing first; what is too many stops after the switch."""
        old = self._fleets.get(record["EndpointArn"], {})
        kept = {want.name: old.get(want.name, [])[: want.count] for want in wanted}
        missing = [
            Wanted(variant=want.variant, count=want.count - len(kept[want.name]), weight=want.weight)
            for want in wanted
        ]
        try:
            added = self._start(record, missing)
        except ReplicaFailed as failure:
            _enter(record, "InService", str(failure))
            return
        fleet = {want.name: kept[want.name] + added[want.name] for want in wanted}
        self._switch(record, record["EndpointConfigName"], wanted, fleet)
        self._replicas.stop([replica for want in wanted for replica in old.get(want.name, [])[want.count :]])

    def _tear_down(self, record: Record) -> None:
        fleet = self._fleets.pop(record["EndpointArn"], {})
        self._replicas.stop([replica for members in fleet.values() for replica in members])
        self._store.remove("endpoint", record["EndpointName"])

    def _start(self, record: Record, wanted: list[Wanted]) -> Fleet:
        """Start every replica at once and wait for all.

        Raises:
            ReplicaFailed: one did not come up; those that did have been stopped again.
        """
        fleet: Fleet = {want.name: [] for want in wanted}
        try:
            check("sagemaker:Provision")
            for want in wanted:
                for _ in range(want.count):
                    fleet[want.name].append(self._replicas.start(self._launch(record, want.variant)))
            for name, members in fleet.items():
                _await_all(name, members)
        except (ReplicaFailed, AwsError, Injected) as failure:
            self._replicas.stop([replica for members in fleet.values() for replica in members])
            raise ReplicaFailed(str(failure)) from failure
        return fleet

    def _launch(self, record: Record, variant: Record) -> Launch:
        container = self._store.get("model", variant["ModelName"])["PrimaryContainer"]
        name = record["EndpointName"]
        timeout = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS)
        return Launch(
            kind="variant",
            id=f"{name}-{variant['VariantName']}-{next(self._numbers)}",
            owner=name,
            environment={key: str(value) for key, value in container.get("Environment", {}).items()},
            serve=self._replicas.command("serve"),
            prepare=functools.partial(self._unpack, model_data(container)),
            startup_seconds=float(timeout),
        )

    def _switch(self, record: Record, config_name: str, wanted: list[Wanted], fleet: Fleet) -> None:
        self._fleets[record["EndpointArn"]] = fleet
        record["EndpointConfigName"] = config_name
        record["ProductionVariants"] = [_summary(self._store, want) for want in wanted]
        _enter(record, "InService")

    def _idle(self, name: str) -> Record:
        record = self._store.get("endpoint", name)
        if record["EndpointStatus"] != "InService":
            raise _busy(record)
        return record

    def _in_background(self, record: Record, work: Callable[[], None]) -> None:
        """Run in the caller's account and region, on a thread that ``settle`` can wait for."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                logger.exception("endpoint %s", record["EndpointName"])
                _enter(record, "Failed", str(error))

        context = contextvars.copy_context()
        worker = threading.Thread(target=context.run, args=(guarded,), daemon=True)
        self._workers[record["EndpointArn"]] = worker
        worker.start()


def _await_all(variant: str, members: list[Replica]) -> None:
    for replica in members:
        try:
            replica.wait_ready()
        except ReplicaFailed as failure:
            if str(failure).startswith("Could not find model data"):
                raise
            raise ReplicaFailed(
                f"The primary container for production variant {variant} did not pass the ping health check. "
                f"Please check CloudWatch logs for this endpoint. {failure}"
            ) from failure


def _as_configured(variant: Record) -> Wanted:
    return Wanted(
        variant=variant, count=variant["InitialInstanceCount"], weight=variant["InitialVariantWeight"]
    )


def _retaining(want: Wanted, current: Record | None, retained: frozenset[str]) -> Wanted:
    if current is None:
        return want
    return Wanted(
        variant=want.variant,
        count=current["CurrentInstanceCount"] if "DesiredInstanceCount" in retained else want.count,
        weight=current["CurrentWeight"] if "DesiredWeight" in retained else want.weight,
    )


def _changed(variant: Record, current: Record, change: Mapping[str, Any]) -> Wanted:
    return Wanted(
        variant=variant,
        count=int(change.get("DesiredInstanceCount", current["CurrentInstanceCount"])),
        weight=float(change.get("DesiredWeight", current["CurrentWeight"])),
    )


def _summary(store: SageMakerStore, want: Wanted) -> Record:
    image = store.get("model", want.variant["ModelName"])["PrimaryContainer"]["Image"]
    return {
        "VariantName": want.name,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": now()}],
        "CurrentWeight": want.weight,
        "DesiredWeight": want.weight,
        "CurrentInstanceCount": want.count,
        "DesiredInstanceCount": want.count,
    }


def _captures(record: Record, config: Record | None) -> None:
    """Describe what is captured, as DescribeEndpoint does; the rest of the configuration lies beside it."""
    record.pop("DataCaptureConfig", None)
    if config is not None and str(config.get("EnableCapture", True)).lower() == "true":
        record["DataCaptureConfig"] = {
            **config,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": int(config["InitialSamplingPercentage"]),
        }


def _enter(record: Record, status: str, reason: str = "") -> None:
    record["EndpointStatus"] = status
    record["LastModifiedTime"] = now()
    record.pop("FailureReason", None)
    if reason:
        record["FailureReason"] = reason[:1024]


def _busy(record: Record) -> AwsError:
    return AwsError("ValidationException", f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')
