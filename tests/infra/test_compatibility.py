"""The gate at synth: what cannot run is refused, in the words of the settings file."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from artifact.release import Ami, Device, Image, ReleaseLock
from infra.compatibility import check, check_canary
from infra.endpoint_compatibility import (
    DeadlineTooLong,
    DiskTooSmall,
    NotOnInf1,
    ReplicaStartsTooSlowly,
)
from infra.exact_keys import MAX_BLOBS
from infra.incompatible import (
    CheckpointTooShort,
    ChipsDiffer,
    DriverWithoutInf1,
    FamilyNotAllowed,
    ImageOutOfReach,
    ImageWithoutInf1,
    Incompatible,
    LockOfAnotherPlace,
    LockOutdated,
    LockTooOld,
    MachineDriverWithoutInf1,
    NameOfOtherService,
    NameTooLong,
    NotHosted,
    StartsTooSlowly,
    TooFewCores,
    TooFewZones,
    TooLittleMemory,
    TooManyBuckets,
    TooManyFiles,
    UnknownInstanceType,
    WarmPoolWithSpot,
    WrongChip,
)
from infra.instances import INF1_DRIVER, chip, instances
from infra.names import MAX_PROJECT_NAME, artifacts_bucket
from tests.infra.worlds import (
    CANARY,
    CHECKOUT,
    CPU,
    IMAGE,
    INF1,
    PINNED,
    canary_lock_of,
    lock_of,
    settings_of,
)


def _fleet(*types: str, **more: Any) -> dict[str, Any]:
    return {"fleet": {"instance_types": list(types), **more}}


def _endpoint(name: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": {"instance_type": name, **more}}


def _requiring(target: str, **requires: Any) -> ReleaseLock:
    lock = lock_of(target)
    replaced = msgspec.structs.replace(lock.artifact.requires, **requires)
    return lock_of(target, artifact=msgspec.structs.replace(lock.artifact, requires=replaced))


def _with(target: str, **facts: Any) -> ReleaseLock:
    """A lock whose facts of the artifact differ."""
    return lock_of(target, artifact=msgspec.structs.replace(lock_of(target).artifact, **facts))


def _digests(count: int) -> tuple[str, ...]:
    return tuple(f"{number:064x}" for number in range(count))


NEURONX = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/pytorch-inference-neuronx"


@pytest.mark.parametrize(
    ("settings", "target"), [(CPU, "cpu"), (INF1, "inf1"), (PINNED, "cpu")], ids=["cpu", "inf1", "pinned"]
)
def test_what_fits_is_let_through(settings: dict[str, Any], target: str) -> None:
    """No check complains about settings that work."""
    check(settings_of(settings), lock_of(target))


CASES: list[tuple[dict[str, Any], ReleaseLock, type[Incompatible], str]] = [
    (_fleet("inf1.xlarge"), lock_of("cpu"), WrongChip, "inf1.xlarge has 1 Inferentia chips"),
    (_fleet("c5.large"), lock_of("inf1"), WrongChip, "c5.large has no Inferentia chip"),
    (_endpoint("ml.inf1.xlarge"), lock_of("cpu"), WrongChip, "compiled for cpu"),
    (_endpoint("ml.c5.large"), lock_of("inf1"), WrongChip, "compiled for inf1"),
    (_fleet("inf2.xlarge"), lock_of("inf1"), UnknownInstanceType, "runs neither inf1 nor cpu artifacts"),
    (_endpoint("ml.trn1.2xlarge"), lock_of("inf1"), UnknownInstanceType, "runs neither"),
    (_fleet("z9.mega"), lock_of("cpu"), UnknownInstanceType, "infra/data/instances.toml"),
    (_fleet("m5.large"), _requiring("cpu", instance_families=("c5",)), FamilyNotAllowed, "one of: c5"),
    (_fleet("c5.large"), _requiring("cpu", memory_bytes=4 * 1024**3), TooLittleMemory, "needs 4.0 GiB"),
    (_endpoint("ml.c5.large"), _requiring("cpu", memory_bytes=4 * 1024**3), TooLittleMemory, "75%"),
    (_fleet("inf1.xlarge", "inf1.6xlarge"), lock_of("inf1"), ChipsDiffer, "inf1.6xlarge has 4"),
    (_fleet("ml.c5.large"), lock_of("cpu"), NameOfOtherService, "SageMaker"),
    (_endpoint("c5.large"), lock_of("cpu"), NameOfOtherService, "EC2"),
    (_endpoint("ml.m5.8xlarge"), lock_of("cpu"), NotHosted, "does not host"),
    (
        _fleet("c5.large", checkpoint_delay_minutes=2),
        lock_of("cpu"),
        CheckpointTooShort,
        "an alarm takes 120 s",
    ),
    ({"project": {"name": "a" * 26}}, lock_of("cpu"), NameTooLong, "26 characters"),
    ({"project": {"zones": ["eu-west-1a"]}}, lock_of("cpu"), TooFewZones, "needs 2 zones"),
    ({"project": {"name": "other"}}, lock_of("cpu"), LockOfAnotherPlace, "traceship, the settings say other"),
    ({"project": {"account": "999999999999"}}, lock_of("cpu"), LockOfAnotherPlace, "999999999999"),
    ({"project": {"region": "us-west-2"}}, lock_of("cpu"), LockOfAnotherPlace, "us-west-2"),
    ({}, lock_of("cpu", digest="cd" * 32), LockOfAnotherPlace, "cdcd"),
    ({"serve": {"image": f"a/b@sha256:{'1' * 64}"}}, lock_of("cpu"), LockOutdated, "a/b@sha256:1"),
    ({"compile": {"image": f"a/c@sha256:{'1' * 64}"}}, lock_of("cpu"), LockOutdated, "a/c@sha256:1"),
    (_fleet("c5.large", ami="ami-12345678"), lock_of("cpu"), LockOutdated, "ami-12345678"),
    (
        {},
        lock_of(
            "cpu", serving_image=Image(repository="public.ecr.aws/a/b", digest="1" * 64, placeholder=False)
        ),
        ImageOutOfReach,
        "private registries",
    ),
    (
        _fleet("inf1.xlarge"),
        lock_of("inf1", serving_image=Image(repository=NEURONX, digest="1" * 64, placeholder=False)),
        ImageWithoutInf1,
        "torch-neuronx",
    ),
    (_fleet("inf1.xlarge"), _requiring("inf1", neuron_driver="2.25"), DriverWithoutInf1, "2.24.*"),
    (
        {"image": {**IMAGE, "driver_version": "2.25.1.0"}},
        lock_of("inf1"),
        MachineDriverWithoutInf1,
        "Inf1 ends with 2.24.*",
    ),
    (
        _fleet("inf1.xlarge"),
        _with("inf1", device=Device(cores=1, bytes=9 * 1024**3)),
        TooManyBuckets,
        "9.0 GiB of device memory, and a copy has 8.0 GiB",
    ),
    (
        _fleet("inf1.6xlarge"),
        _with("inf1", device=Device(cores=8, bytes=17 * 1024**3)),
        TooManyBuckets,
        "a copy has 16.0 GiB",
    ),
    (
        _fleet("inf1.2xlarge"),
        _with("inf1", device=Device(cores=8, bytes=9 * 1024**3)),
        TooFewCores,
        "runs on 8, inf1.2xlarge has 4",
    ),
    (
        _endpoint("ml.inf1.xlarge"),
        _with("inf1", device=Device(cores=5, bytes=1024**3)),
        TooFewCores,
        "runs on 5, inf1.xlarge has 4",
    ),
    ({}, _with("cpu", blobs=_digests(MAX_BLOBS + 1)), TooManyFiles, f"hold {MAX_BLOBS} names"),
    (_fleet("c5.large"), lock_of("cpu", startup_seconds=3151), StartsTooSlowly, "7202 s"),
    (
        _fleet("c5.large", spot_percent=1, warm_pool={}),
        lock_of("cpu"),
        WarmPoolWithSpot,
        "on-demand instances",
    ),
    ({}, _with("cpu", blobs=msgspec.UNSET), LockTooOld, "did not record that yet"),
    (_fleet("inf1.xlarge"), _with("inf1", device=msgspec.UNSET), LockTooOld, "did not record"),
    (_endpoint("ml.inf1.xlarge", deployment={}), lock_of("inf1"), NotOnInf1, "flips at once"),
    (_endpoint("ml.inf1.xlarge", **{"async": {}}), lock_of("inf1"), NotOnInf1, "no asynchronous inference"),
    (
        {**_endpoint("ml.c5.large"), "serve": {"deadline_seconds": 55.5}},
        lock_of("cpu"),
        DeadlineTooLong,
        "waits 60 s",
    ),
    (_endpoint("ml.c5.large"), lock_of("cpu", startup_seconds=3601), ReplicaStartsTooSlowly, "waits 3600 s"),
    (
        _endpoint("ml.c5.large"),
        _with("cpu", archive_bytes=300 * 2**30, files_bytes=300 * 2**30),
        DiskTooSmall,
        "610 GiB, a variant's disk has 512",
    ),
]


@pytest.mark.parametrize(
    ("tables", "lock", "error", "words"), CASES, ids=[f"{c[2].id}-{n}" for n, c in enumerate(CASES)]
)
def test_what_cannot_run_is_refused(
    tables: dict[str, Any], lock: ReleaseLock, error: type[Incompatible], words: str
) -> None:
    """Exit code 2, with the value found and the value wanted, and a next step."""
    with pytest.raises(Incompatible) as refused:
        check(settings_of(tables), lock)

    assert type(refused.value) is error
    assert words in refused.value.why
    assert refused.value.exit_code == 2
    assert refused.value.fix


def test_every_refusal_has_a_case_and_an_id_of_its_own() -> None:
    """A new class without a case here would be an untested promise."""
    classes = set(Incompatible.__subclasses__())

    assert {case[2] for case in CASES} == classes
    assert len({error.id for error in classes}) == len(classes)


def test_the_foundation_is_checked_without_a_lock() -> None:
    """What would fail at its deployment is refused too."""
    check(settings_of(CPU), None)

    with pytest.raises(NameTooLong):
        check(settings_of({"project": {"name": "a" * 26}}), None)


def test_pins_that_the_lock_knows_are_let_through() -> None:
    """A registry of another account is fine as long as it is private."""
    repository = "999988887777.dkr.ecr.eu-west-1.amazonaws.com/shared/serving"
    lock = lock_of(
        "cpu",
        serving_image=Image(repository=repository, digest="1" * 64, placeholder=False),
        ami=Ami(id="ami-12345678", placeholder=False),
    )
    tables = {
        "serve": {"image": f"{repository}@sha256:{'1' * 64}"},
        **_fleet("c5.large", ami="ami-12345678"),
    }

    check(settings_of(tables), lock)


def test_the_longest_name_still_fits_the_longest_region() -> None:
    """63 characters is S3's limit; ap-southeast-1 has 14."""
    assert len(artifacts_bucket("a" * MAX_PROJECT_NAME, "1" * 12, "ap-southeast-1")) == 63


def test_chips_hold_what_the_compile_stage_counts_with() -> None:
    """Two packages that may not import each other know the same chip."""
    from compile import capacity

    assert (chip().cores, chip().memory_bytes) == (capacity.chip().cores, capacity.chip().memory_bytes)
    facts = json.loads((CHECKOUT / "compile/platform.json").read_text())["inf1"]
    assert facts["neuron_driver"]["value"] == INF1_DRIVER


def test_a_copy_over_several_chips_is_let_through_where_they_are() -> None:
    """Sixteen cores lie on four chips, whose memory it has for itself."""
    settings = settings_of(_fleet("inf1.6xlarge"), {"compile": {"target": "inf1"}})

    check(settings, _with("inf1", device=Device(cores=16, bytes=32 * 1024**3)))


def test_chips_and_memory_of_inf1_are_the_vendors() -> None:
    """1, 1, 4, 16 chips; 8, 16, 48, 192 GiB."""
    found = {name: (i.chips, i.memory_gib) for name, i in instances().items() if i.family == "inf1"}

    assert found == {
        "inf1.xlarge": (1, 8),
        "inf1.2xlarge": (1, 16),
        "inf1.6xlarge": (4, 48),
        "inf1.24xlarge": (16, 192),
    }
    assert all(i.sagemaker for i in instances().values() if i.family == "inf1")


def test_hosting_types_are_those_of_the_api() -> None:
    """data/instances.toml agrees with the enum that SageMaker's API model lists."""
    import botocore.session

    service = botocore.session.get_session().get_service_model("sagemaker")
    shape = service.shape_for("ProductionVariantInstanceType")
    hosted = set(shape.metadata["enum"])

    assert {name for name, i in instances().items() if i.sagemaker} == {
        name for name in instances() if f"ml.{name}" in hosted
    }


def test_a_warm_pool_goes_with_several_types_on_demand() -> None:
    """AWS refused that until November 2025; a slowest start is still let through."""
    check(settings_of(_fleet("c5.large", "m5.xlarge", warm_pool={})), lock_of("cpu", startup_seconds=3150))


@pytest.mark.parametrize("steps", [[], [0, 100], [50], [25, 25, 100], [50, 25, 100], [50, 120]])
def test_checkpoints_rise_to_the_whole_fleet(steps: list[int]) -> None:
    """Auto Scaling replaces every instance only if the last checkpoint is 100."""
    with pytest.raises(ValidationError, match="checkpoints_percent"):
        settings_of(_fleet("c5.large", checkpoints_percent=steps))


@pytest.mark.parametrize("section", ["deployment", "async"])
def test_what_sagemaker_does_not_do_on_inf1_is_fine_on_cpu_types(section: str) -> None:
    """The refusal names the section, and says what to do on Inf1."""
    with pytest.raises(NotOnInf1, match=f"endpoint.{section}"):
        check(settings_of(INF1, {"endpoint": {section: {}}}), lock_of("inf1"))

    check(settings_of(CPU, {"endpoint": {section: {}}}), lock_of("cpu"))


def test_the_limits_of_an_endpoint_are_no_limits_of_a_fleet() -> None:
    """Each limit itself is let through, and a load balancer waits as long as the settings say."""
    check(
        settings_of({"serve": {"deadline_seconds": 55}, "endpoint": CPU["endpoint"]}),
        lock_of("cpu", startup_seconds=3600),
    )
    check(
        settings_of({"serve": {"deadline_seconds": 60}, "fleet": CPU["fleet"]}),
        lock_of("cpu", startup_seconds=3150),
    )


def test_a_canary_is_compared_with_the_machines_like_the_release() -> None:
    """Its target, its place and its images; those of the settings are the newer ones, the canary's."""
    canary = canary_lock_of("inf1")
    image = Image(
        repository="111122223333.dkr.ecr.eu-west-1.amazonaws.com/s", digest="1" * 64, placeholder=False
    )
    pinned = settings_of(CANARY, {"serve": {"image": f"{image.repository}@sha256:{image.digest}"}})

    check_canary(settings_of(CANARY), lock_of("inf1"), canary)
    check_canary(pinned, lock_of("inf1"), msgspec.structs.replace(canary, serving_image=image))
    with pytest.raises(LockOutdated, match=r"serve\.image"):
        check_canary(pinned, lock_of("inf1"), canary)
    with pytest.raises(WrongChip):
        check_canary(settings_of(CANARY), lock_of("inf1"), canary_lock_of("cpu"))
    with pytest.raises(LockOfAnotherPlace):
        check_canary(settings_of(CANARY), lock_of("inf1"), msgspec.structs.replace(canary, name="other"))
