"""What is checked before and after ``cdk deploy``, and the deploy itself.

Before: the bucket holds what the lock names, nothing unknowable is left as a placeholder where it
would matter, and the fleet's zones offer its instance types. After: every output arrived, and the
endpoint runs the configuration that was asked for (SageMaker can return to the old one without an
error).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from artifact.aws import AwsClient, is_local, translated
from artifact.errors import ProofFailed, UsageError
from artifact.release import ReleaseLock
from cli.cdk import Cdk
from cli.console import step
from cli.endpoints import DeployIncomplete, check_endpoint, check_update, wanted_variants
from cli.owners import check_owner
from cli.project import Project
from fleet.offerings import check_offerings
from infra.names import ENDPOINT, FLEET, stack_name, stack_names
from infra.signing import signing_environment

TOOLKIT_STACK = "CDKToolkit"


class ReleaseAbsent(UsageError):
    """The lock names a release that its bucket does not hold."""

    id = "release-absent"

    def __init__(self, *, place: str, why: str) -> None:
        super().__init__(
            what=f"the release that the lock names is not in {place}",
            why=why,
            fix="publish it with `traceship ship`, or check out the lock of a release that was published",
        )


class ReleaseDamaged(ProofFailed):
    """The release in S3 is not the one that the lock names."""

    id = "release-damaged"

    def __init__(self, *, place: str, why: str) -> None:
        super().__init__(
            what=f"{place} is not the release that the lock names",
            why=why,
            fix="inspect the object's versions in S3, then `traceship ship` to publish again",
        )


class PlaceholdersLeft(UsageError):
    """A real account would get an image or AMI that nobody looked up."""

    id = "placeholders-left"

    def __init__(self, *, names: tuple[str, ...]) -> None:
        super().__init__(
            what="the release is not ready for a real account",
            why=f"these are placeholders: {', '.join(names)}",
            fix="set serve.image, compile.image and fleet.ami in traceship.toml (docs/first-deploy.md), "
            "then `traceship ship`",
        )


class NotBootstrapped(UsageError):
    """The account and region were never prepared for the CDK."""

    id = "not-bootstrapped"

    def __init__(self, *, account: str, region: str) -> None:
        super().__init__(
            what=f"account {account} in {region} is not bootstrapped for the CDK",
            why=f"it has no stack {TOOLKIT_STACK}",
            fix="run the same command with --bootstrap",
        )


class UnknownStack(UsageError):
    """A stack was asked for that these settings do not describe."""

    id = "unknown-stack"

    def __init__(self, *, asked: str, known: tuple[str, ...]) -> None:
        super().__init__(
            what=f"there is no stack {asked!r} in these settings",
            why=f"they describe: {', '.join(known)}",
            fix="name one of those, or add the section that makes the stack exist",
        )


def deploy(
    project: Project,
    *,
    stacks: tuple[str, ...] = (),
    foundation: bool = False,
    bootstrap: bool = False,
    import_existing: bool = False,
    take_over: bool = False,
    quiet: bool = False,
) -> dict[str, dict[str, str]]:
    """Deploy the stacks of the project's settings and return their outputs by stack.

    Args:
        stacks: names or roles (``fleet``) to deploy; empty: all.
        foundation: only what needs no release yet.
        bootstrap: prepare the account and region for the CDK first.
        import_existing: take what an earlier stack left behind into the new one, by its names.
        take_over: make stacks that another stage or project made this one's.
        quiet: show the CDK CLI's own lines only when it fails.

    Raises:
        UnknownStack, ReleaseAbsent, PlaceholdersLeft, NotBootstrapped, TypeNotOffered: nothing was deployed.
        StackOfAnother: likewise; a stack, also one that only would be deployed along, is another stage's.
        SubprocessFailed, DeployIncomplete: what the CDK or the endpoint said.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    chosen = _chosen(project, stacks, foundation=foundation)
    for service in project.services:
        if any(name in chosen for name in _service_stacks(service)):
            with step(f"check that the bucket holds the release of {service.lock_path.name}"):
                check_release(service, service.lock())
        if stack_name(service.settings, FLEET) in chosen:
            with step("check that the zones offer the fleet's instance types"):
                check_zones(service)
        if stack_name(service.settings, ENDPOINT) in chosen and (canary := service.canary_lock()) is not None:
            with step(f"check that the bucket holds the release of {service.for_canary().lock_path.name}"):
                check_release(service, canary)
    cdk = Cdk.of(project, quiet=quiet)
    with step("synthesise the stacks, with all policies"):
        cdk.synth(foundation=foundation)
    if bootstrap:
        with step(f"bootstrap the CDK in {project.account}, {project.region}"):
            cdk.bootstrap(project.account, project.region)
    elif _find(project.client("cloudformation"), TOOLKIT_STACK) is None:
        raise NotBootstrapped(account=project.account, region=project.region)
    # All of the assembly: the CDK deploys what the chosen ones depend on, too.
    for stack in () if take_over else stack_names(project.all_settings, foundation=foundation):
        if (there := _find(project.client("cloudformation"), stack)) is not None:
            check_owner(there, project.shared)
    for service in project.services:
        if (stack := stack_name(service.settings, ENDPOINT)) in chosen:
            check_update(service, wanted_variants(cdk.out, stack))
    with step(f"deploy {', '.join(chosen)}"):
        outputs = cdk.deploy(chosen, project.state / "outputs.json", import_existing=import_existing)
    _check_outputs(cdk.out, chosen, outputs)
    for service in project.services:
        if (stack := stack_name(service.settings, ENDPOINT)) in chosen:
            check_endpoint(service, wanted_variants(cdk.out, stack))
    return outputs


def check_release(project: Project, lock: ReleaseLock) -> None:
    """See that a pinned key signed the release, and that S3 holds it; on a real account refuse placeholders.

    Raises:
        SignatureMissing, WrongKey, …: from ``artifact.trust``.
        ReleaseAbsent, ReleaseDamaged, PlaceholdersLeft, AwsDenied, AwsUnreachable.
    """
    from botocore.exceptions import ClientError

    if not is_local():
        _refuse_placeholders(project, lock)
    signing_environment(project.settings.signing, lock)
    s3, where = project.client("s3"), lock.location
    key = f"{where.prefix}/manifest.json"
    place = f"s3://{where.bucket}/{key}"
    with translated(f"read {place}"):
        try:
            answer = s3.get_object(Bucket=where.bucket, Key=key, ExpectedBucketOwner=where.account)
            found = hashlib.sha256(answer["Body"].read()).hexdigest()
            archive = s3.head_object(
                Bucket=where.bucket, Key=f"{where.prefix}/model.tar.gz", ExpectedBucketOwner=where.account
            )
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in {"404", "NoSuchKey", "NoSuchBucket"}:
                raise ReleaseAbsent(place=f"s3://{where.bucket}", why=f"S3 answers {code}") from None
            raise
    if found != lock.digest:
        raise ReleaseDamaged(
            place=place, why=f"its sha256 begins {found[:12]}, the lock says {lock.digest[:12]}"
        )
    if archive["ContentLength"] != lock.artifact.archive_bytes:
        why = f"it has {archive['ContentLength']} bytes, the lock says {lock.artifact.archive_bytes}"
        raise ReleaseDamaged(place=f"s3://{where.bucket}/{where.prefix}/model.tar.gz", why=why)


def check_zones(project: Project) -> None:
    """See that every zone of the fleet offers every type of it.

    Raises:
        TypeNotOffered: one does not.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    settings = project.settings
    if settings.fleet is not None:
        zones = settings.project.zones or tuple(subnet.zone for subnet in settings.network.subnets)
        check_offerings(project.client("ec2"), settings.fleet.instance_types, zones)


def _refuse_placeholders(project: Project, lock: ReleaseLock) -> None:
    from infra.placeholders import placeholders

    left = placeholders(project.settings, lock)
    if left:
        raise PlaceholdersLeft(names=left)


def _chosen(project: Project, asked: tuple[str, ...], *, foundation: bool) -> list[str]:
    known = stack_names(project.all_settings, foundation=foundation)
    if not asked:
        return list(known)
    full = [n if n in known else f"{project.shared.project.name}-{n}" for n in asked]
    for name, shown in zip(full, asked):
        if name not in known:
            raise UnknownStack(asked=shown, known=known)
    return full


def _service_stacks(project: Project) -> tuple[str, str]:
    return stack_name(project.settings, FLEET), stack_name(project.settings, ENDPOINT)


def _find(cloudformation: AwsClient, stack: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None where there is none."""
    from botocore.exceptions import ClientError

    with translated(f"look for the stack {stack}"):
        try:
            found: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ValidationError":
                return None
            raise
    return found


def _check_outputs(out: Path, stacks: list[str], outputs: dict[str, dict[str, str]]) -> None:
    for stack in stacks:
        template: dict[str, Any] = json.loads((out / f"{stack}.template.json").read_text())
        missing = set(template.get("Outputs", {})) - set(outputs.get(stack, {}))
        if missing:
            raise DeployIncomplete(
                what=f"the stack {stack} was deployed without all of its outputs",
                why=f"missing: {', '.join(sorted(missing))}",
            )
