"""Does the release fit the machines that the settings name? Asked before anything is synthesised.

Each check compares facts of the lock (the manifest's ``requires``), of the settings and of
data/instances.toml. The checks that need no release guard the foundation too.
"""

from __future__ import annotations

from artifact.release import Image, ReleaseLock, release_prefix
from infra.endpoint_compatibility import check_endpoint
from infra.exact_keys import listed_blobs, needed_device
from infra.images import is_private
from infra.incompatible import (
    MEMORY_SHARE,
    MIN_ZONES,
    CheckpointTooShort,
    ChipsDiffer,
    DriverWithoutInf1,
    FamilyNotAllowed,
    ImageOutOfReach,
    ImageWithoutInf1,
    LockOfAnotherPlace,
    LockOutdated,
    MachineDriverWithoutInf1,
    NameOfOtherService,
    NameTooLong,
    NotHosted,
    StartsTooSlowly,
    TooFewCores,
    TooFewZones,
    TooLittleMemory,
    TooManyBuckets,
    UnknownInstanceType,
    WarmPoolWithSpot,
    WrongChip,
)
from infra.instances import INF1_DRIVER, SAGEMAKER_PREFIX, Instance, chip, chips_of, instances
from infra.names import MAX_PROJECT_NAME, release_name
from infra.pins import parse_pin
from infra.rhythm import REACTION_SECONDS
from infra.timing import MAX_HOOK_SECONDS, launch_seconds
from settings.model import Fleet, Settings

NEWER_IMAGE = "neuronx"
"""In the name of every image whose runtime has no Inf1 any more (aws-neuron/deep-learning-containers)."""


def check(settings: Settings, lock: ReleaseLock | None) -> None:
    """Compare settings and lock; ``lock`` is None where no service is to be synthesised.

    Raises:
        Incompatible: the first thing that does not fit.
    """
    _check_settings(settings)
    if lock is None:
        return
    _check_place(settings, lock)
    _check_pins(settings, lock)
    listed_blobs(lock)
    if lock.artifact.requires.target == "inf1":
        _check_inf1(lock)
    if settings.fleet is not None:
        _check_fleet(settings.fleet.instance_types, lock)
        _check_start(lock)
    if settings.endpoint is not None:
        _check_endpoint(settings.endpoint.instance_type, lock)
        check_endpoint(settings.endpoint, settings.serve, lock)


def check_canary(settings: Settings, lock: ReleaseLock, canary: ReleaseLock) -> None:
    """The same for an endpoint with a canary: the settings' images are those of the canary, if they changed.

    Raises:
        Incompatible: the first thing that does not fit, of either.
    """
    unpinned = {
        "serve": settings.serve.model_copy(update={"image": None}),
        "compile": settings.compile.model_copy(update={"image": None}),
    }
    check(settings.model_copy(update=unpinned), lock)
    check(settings.model_copy(update={"fleet": None}), canary)


def _check_settings(settings: Settings) -> None:
    project = settings.project
    if len(project.name) > MAX_PROJECT_NAME:
        raise NameTooLong(name=project.name)
    if 0 < len(project.zones) < MIN_ZONES:
        raise TooFewZones(zones=project.zones)
    if settings.image is not None and not settings.image.driver_version.startswith(f"{INF1_DRIVER}."):
        raise MachineDriverWithoutInf1(version=settings.image.driver_version)
    if settings.fleet is not None and settings.fleet.checkpoint_delay_minutes * 60 <= REACTION_SECONDS:
        raise CheckpointTooShort(minutes=settings.fleet.checkpoint_delay_minutes)
    if settings.fleet is not None:
        _check_warm_pool(settings.fleet)


def _check_warm_pool(fleet: Fleet) -> None:
    """Since November 2025 a pool goes with several instance types, and still not with Spot.

    Source: EC2 Auto Scaling user guide, "Warm pools: limitations"; kubernetes/kops#17799.
    """
    if fleet.warm_pool is not None and fleet.spot_percent > 0:
        raise WarmPoolWithSpot(percent=fleet.spot_percent)


def _check_start(lock: ReleaseLock) -> None:
    wait = launch_seconds(lock)
    if wait > MAX_HOOK_SECONDS:
        raise StartsTooSlowly(startup=lock.startup_seconds, wait=wait)


def _check_place(settings: Settings, lock: ReleaseLock) -> None:
    project, location = settings.project, lock.location
    prefix = release_prefix(lock.name, lock.digest)
    pairs = [
        ("project or service", lock.name, release_name(settings)),
        ("account", location.account, project.account or location.account),
        ("region", location.region, project.region or location.region),
        ("release", location.prefix, prefix),
    ]
    for what, locked, wanted in pairs:
        if locked != wanted:
            raise LockOfAnotherPlace(what=what, lock=locked, settings=wanted)


def _check_pins(settings: Settings, lock: ReleaseLock) -> None:
    pins = [
        ("serve.image", settings.serve.image, lock.serving_image),
        ("compile.image", settings.compile.image, lock.compile_image),
    ]
    for key, text, locked in pins:
        if text is not None and parse_pin(text) != (locked.repository, locked.digest):
            raise LockOutdated(key=key, wanted=text, locked=_spoken(locked))
        if not is_private(locked):
            raise ImageOutOfReach(image=_spoken(locked))
    wanted_ami = settings.fleet.ami if settings.fleet is not None else None
    if wanted_ami is not None and wanted_ami != lock.ami.id:
        raise LockOutdated(key="fleet.ami", wanted=wanted_ami, locked=lock.ami.id)


def _check_inf1(lock: ReleaseLock) -> None:
    """What no Inf1 instance could run, whichever it is."""
    driver, image = lock.artifact.requires.neuron_driver, lock.serving_image
    if driver != INF1_DRIVER:
        raise DriverWithoutInf1(driver=str(driver))
    if NEWER_IMAGE in image.repository:
        raise ImageWithoutInf1(image=_spoken(image))
    device = needed_device(lock)
    available = chips_of(device.cores) * chip().memory_bytes
    if device.bytes > available:
        raise TooManyBuckets(needed=device.bytes, available=available, buckets=len(lock.artifact.buckets))


def _check_fleet(types: tuple[str, ...], lock: ReleaseLock) -> None:
    key = "fleet.instance_types"
    found = []
    for name in types:
        if name.startswith(SAGEMAKER_PREFIX):
            raise NameOfOtherService(key=key, name=name, better=name.removeprefix(SAGEMAKER_PREFIX))
        found.append(_fitting(key, name, lock))
    if len({instance.chips for instance in found}) > 1:
        raise ChipsDiffer(counts={instance.name: instance.chips for instance in found})


def _check_endpoint(name: str, lock: ReleaseLock) -> None:
    key = "endpoint.instance_type"
    if not name.startswith(SAGEMAKER_PREFIX):
        raise NameOfOtherService(key=key, name=name, better=SAGEMAKER_PREFIX + name)
    if not _fitting(key, name.removeprefix(SAGEMAKER_PREFIX), lock).sagemaker:
        raise NotHosted(key=key, name=name)


def _fitting(key: str, name: str, lock: ReleaseLock) -> Instance:
    """The facts of a type on which the release can run."""
    requires = lock.artifact.requires
    instance = instances().get(name)
    if instance is None:
        raise UnknownInstanceType(key=key, name=name)
    if (instance.chips > 0) != (requires.target == "inf1"):
        raise WrongChip(key=key, name=name, chips=instance.chips, target=requires.target)
    if requires.instance_families and instance.family not in requires.instance_families:
        raise FamilyNotAllowed(key=key, name=name, families=requires.instance_families)
    if requires.target == "inf1" and needed_device(lock).cores > instance.chips * chip().cores:
        raise TooFewCores(key=key, instance=instance, needed=needed_device(lock).cores)
    if requires.memory_bytes > instance.memory_bytes * MEMORY_SHARE:
        raise TooLittleMemory(key=key, instance=instance, needed=requires.memory_bytes)
    return instance


def _spoken(image: Image) -> str:
    return f"{image.repository}@sha256:{image.digest}"
