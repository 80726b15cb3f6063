"""The ways in which settings and release may not fit together, in the words of their author's file.

Raised by compatibility.py only.
"""

from __future__ import annotations

from artifact.errors import UsageError
from infra.instances import INF1_DRIVER, SAGEMAKER_PREFIX, Instance, chip, instances
from infra.names import MAX_PROJECT_NAME
from infra.rhythm import REACTION_SECONDS
from infra.timing import MAX_HOOK_SECONDS

MEMORY_SHARE = 0.75
"""Share of a host's memory that the artifact may take; the rest is for the system and requests."""
MIN_ZONES = 2
"""A load balancer needs two."""


class Incompatible(UsageError):
    """Settings and release do not fit together; deploying them could not work."""

    id = "incompatible"


class NameTooLong(Incompatible):
    """project.name leaves no room for account and region in the bucket's name."""

    id = "name-too-long"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            what=f"project.name {name!r} is too long",
            why=f"it has {len(name)} characters; the bucket's name leaves room for {MAX_PROJECT_NAME}",
            fix=f"choose a name of at most {MAX_PROJECT_NAME} characters",
        )


class TooFewZones(Incompatible):
    """project.zones names one zone."""

    id = "too-few-zones"

    def __init__(self, *, zones: tuple[str, ...]) -> None:
        super().__init__(
            what=f"project.zones names only {', '.join(zones)}",
            why=f"a load balancer needs {MIN_ZONES} zones",
            fix="name another zone, or none to take the region's first two",
        )


class CheckpointTooShort(Incompatible):
    """A rollout would go on before an alarm could stop it."""

    id = "checkpoint-too-short"

    def __init__(self, *, minutes: int) -> None:
        super().__init__(
            what=f"fleet.checkpoint_delay_minutes = {minutes} is too short",
            why=f"the next step comes after {minutes * 60} s, an alarm takes {REACTION_SECONDS} s",
            fix=f"set it to at least {REACTION_SECONDS // 60 + 1}",
        )


class StartsTooSlowly(Incompatible):
    """An instance would be given up before it could be ready."""

    id = "starts-too-slowly"

    def __init__(self, *, startup: int, wait: int) -> None:
        super().__init__(
            what=f"the release takes {startup} s to start, too long for a fleet",
            why=f"Auto Scaling would have to wait {wait} s for a new instance, and waits "
            f"{MAX_HOOK_SECONDS} s at most",
            fix="name fewer or smaller compile.buckets and run `traceship ship`",
        )


class WarmPoolWithSpot(Incompatible):
    """Spot instances cannot wait in a warm pool."""

    id = "warm-pool-with-spot"

    def __init__(self, *, percent: int) -> None:
        super().__init__(
            what=f"fleet.warm_pool does not go with fleet.spot_percent = {percent}",
            why="EC2 Auto Scaling keeps on-demand instances in a warm pool only: Spot is taken back while it "
            "waits, and is not there when it is to start again",
            fix="remove [fleet.warm_pool], or set spot_percent = 0",
        )


class UnknownInstanceType(Incompatible):
    """An instance type of which nothing is known here."""

    id = "unknown-instance-type"

    def __init__(self, *, key: str, name: str) -> None:
        family = name.removeprefix(SAGEMAKER_PREFIX).partition(".")[0]
        known = sorted({instance.family for instance in instances().values()})
        other_chip = family.startswith(("inf", "trn"))
        super().__init__(
            what=f"{key} names {name}, which traceship does not know",
            why="its chip runs neither inf1 nor cpu artifacts"
            if other_chip
            else "it is not in infra/data/instances.toml, so nothing about it can be checked",
            fix=f"use a type of the families {', '.join(known)}",
        )


class NameOfOtherService(Incompatible):
    """A SageMaker type where EC2's name is wanted, or the other way round."""

    id = "name-of-other-service"

    def __init__(self, *, key: str, name: str, better: str) -> None:
        service = "SageMaker" if name.startswith(SAGEMAKER_PREFIX) else "EC2"
        super().__init__(
            what=f"{key} cannot be {name}", why=f"that is how {service} spells it", fix=f"write {better}"
        )


class NotHosted(Incompatible):
    """SageMaker has no endpoints on that type."""

    id = "not-hosted"

    def __init__(self, *, key: str, name: str) -> None:
        hosted = [SAGEMAKER_PREFIX + other.name for other in instances().values() if other.sagemaker]
        family = name.rpartition(".")[0]
        near = [other for other in hosted if other.startswith(f"{family}.")] or ["ml.c5.large"]
        super().__init__(
            what=f"{key} cannot be {name}",
            why="SageMaker does not host endpoints on it",
            fix=f"use one of: {', '.join(near)}",
        )


class WrongChip(Incompatible):
    """The artifact is for another kind of machine."""

    id = "wrong-chip"

    def __init__(self, *, key: str, name: str, chips: int, target: str) -> None:
        has = f"{chips} Inferentia chips" if chips else "no Inferentia chip"
        wanted = "an inf1 type" if target == "inf1" else "a type without such chips"
        other = "cpu" if target == "inf1" else "inf1"
        super().__init__(
            what=f"{key} names {name}, on which this release does not belong",
            why=f"the release was compiled for {target} and {name} has {has}",
            fix=f'name {wanted}, or set compile.target = "{other}" and run `traceship ship`',
        )


class FamilyNotAllowed(Incompatible):
    """The manifest lists the families it runs on, and this is none of them."""

    id = "family-not-allowed"

    def __init__(self, *, key: str, name: str, families: tuple[str, ...]) -> None:
        super().__init__(
            what=f"{key} names {name}, which the release does not allow",
            why=f"its manifest requires one of: {', '.join(families)}",
            fix=f"name a type of {', '.join(families)}",
        )


class TooLittleMemory(Incompatible):
    """One copy of the artifact does not fit the host."""

    id = "too-little-memory"

    def __init__(self, *, key: str, instance: Instance, needed: int) -> None:
        super().__init__(
            what=f"{key} names {instance.name}, which has too little memory",
            why=f"the release needs {needed / 1024**3:.1f} GiB, and {MEMORY_SHARE:.0%} of "
            f"{instance.memory_gib:g} GiB is {instance.memory_gib * MEMORY_SHARE:.1f} GiB",
            fix="name a larger type of the same family",
        )


class TooFewCores(Incompatible):
    """One copy is spread over more NeuronCores than the instance has."""

    id = "too-few-cores"

    def __init__(self, *, key: str, instance: Instance, needed: int) -> None:
        super().__init__(
            what=f"{key} names {instance.name}, which has too few NeuronCores",
            why=f"one copy of the release runs on {needed}, {instance.name} has "
            f"{instance.chips * chip().cores}",
            fix="name a larger type of the family, or set a smaller compile.pipeline_cores and run "
            "`traceship ship`",
        )


class TooManyBuckets(Incompatible):
    """The buckets' weights and activations need more than the chips of one copy have."""

    id = "too-many-buckets"

    def __init__(self, *, needed: int, available: int, buckets: int) -> None:
        super().__init__(
            what=f"the {buckets} buckets of the release do not fit the Inferentia device",
            why=f"each holds the weights again: they need {needed / 1024**3:.1f} GiB of device memory, "
            f"and a copy has {available / 1024**3:.1f} GiB",
            fix="name fewer or smaller compile.buckets, or spread a copy over more chips with "
            "compile.pipeline_cores, and run `traceship ship`",
        )


class TooManyFiles(Incompatible):
    """More files than the policies of one role can name."""

    id = "too-many-files"

    def __init__(self, *, found: int, limit: int, buckets: int) -> None:
        super().__init__(
            what=f"the release has {found} files, more than an instance can be allowed to read by name",
            why=f"the policies of one role hold {limit} names; {buckets} of the files are graphs of buckets",
            fix="name fewer compile.buckets and run `traceship ship`",
        )


class LockTooOld(Incompatible):
    """The lock is from before it said all that the stacks need."""

    id = "lock-too-old"

    def __init__(self, *, lacks: str) -> None:
        super().__init__(
            what=f"the lock does not say {lacks}",
            why="it was written by a traceship that did not record that yet",
            fix="run `traceship ship`, which finds the release published and only writes the lock",
        )


class DriverWithoutInf1(Incompatible):
    """The release asks for a Neuron driver that has no Inf1."""

    id = "driver-without-inf1"

    def __init__(self, *, driver: str) -> None:
        super().__init__(
            what=f"the release asks for version {driver} of the Neuron driver, which no Inf1 host can have",
            why=f"Inf1 ends with {INF1_DRIVER}.*",
            fix="compile with the Inf1 versions of compile/platform.json and run `traceship ship`",
        )


class MachineDriverWithoutInf1(Incompatible):
    """The machine image would get a Neuron driver that has no Inf1."""

    id = "machine-driver-without-inf1"

    def __init__(self, *, version: str) -> None:
        super().__init__(
            what=f"image.driver_version {version} cannot run an Inf1 machine",
            why=f"Inf1 ends with {INF1_DRIVER}.*",
            fix=f"set image.driver_version to one of {INF1_DRIVER}.*",
        )


class ImageWithoutInf1(Incompatible):
    """The serving image is of the newer Neuron family."""

    id = "image-without-inf1"

    def __init__(self, *, image: str) -> None:
        super().__init__(
            what=f"the image {image} does not serve Inf1",
            why="images named neuronx hold torch-neuronx, which loads no artifact of torch-neuron",
            fix="build inference_code/Dockerfile on the base image that `python -m fleet.base_image REGION` "
            "names, and pin that as serve.image",
        )


class ChipsDiffer(Incompatible):
    """One launch template cannot hand one and four devices to its container."""

    id = "chips-differ"

    def __init__(self, *, counts: dict[str, int]) -> None:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        super().__init__(
            what="fleet.instance_types mixes types with different numbers of chips",
            why=f"the container gets one device a chip: {listed}",
            fix="keep types with the same number of chips",
        )


class LockOfAnotherPlace(Incompatible):
    """The lock names a release of another project, account or region."""

    id = "lock-of-another-place"

    def __init__(self, *, what: str, lock: str, settings: str) -> None:
        super().__init__(
            what=f"the lock belongs to another {what}",
            why=f"it says {lock}, the settings say {settings}",
            fix="run `traceship ship` with these settings",
        )


class LockOutdated(Incompatible):
    """The settings pin an image that was not in force when the lock was written."""

    id = "lock-outdated"

    def __init__(self, *, key: str, wanted: str, locked: str) -> None:
        super().__init__(
            what=f"the lock does not know about {key}",
            why=f"the settings say {wanted}, the lock says {locked}",
            fix="run `traceship ship` to write the lock again",
        )


class ImageOutOfReach(Incompatible):
    """The image lies where an isolated network cannot pull it from."""

    id = "image-out-of-reach"

    def __init__(self, *, image: str) -> None:
        super().__init__(
            what=f"the image {image} cannot be pulled",
            why="the subnets have no way out, they reach ECR's private registries only",
            fix="copy it to the project's own repository and pin it there by digest",
        )
