"""Container images by digest, as a URI that holds no account number unless the lock names one."""

from __future__ import annotations

import aws_cdk as cdk

from artifact.release import PLACEHOLDER_DIGEST, Image
from infra import names
from infra.pins import PRIVATE_REGISTRY


def is_private(image: Image) -> bool:
    """Whether the image lies in an ECR registry, the only kind an isolated network reaches."""
    return not _names_registry(image) or PRIVATE_REGISTRY.fullmatch(image.repository) is not None


def uri(image: Image) -> str:
    """``repository@sha256:digest``; a repository without a registry is one of the account's own."""
    own = f"{registry()}/{image.repository}"
    return f"{image.repository if _names_registry(image) else own}@sha256:{image.digest}"


def repository_arn(image: Image) -> str:
    """ARN of the ECR repository that holds the image (which must be private)."""
    match = PRIVATE_REGISTRY.fullmatch(image.repository)
    if match is None:
        place, name = f"{cdk.Aws.REGION}:{cdk.Aws.ACCOUNT_ID}", image.repository
    else:
        place, name = f"{match['region']}:{match['account']}", match["name"]
    return f"arn:{cdk.Aws.PARTITION}:ecr:{place}:repository/{name}"


def registry() -> str:
    """The account's own ECR registry, resolved when the stack is deployed."""
    return f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}"


def unknown(project: str, name: str) -> Image:
    """The placeholder that stands for an image before there is a lock."""
    return Image(repository=names.repository(project, name), digest=PLACEHOLDER_DIGEST, placeholder=True)


def _names_registry(image: Image) -> bool:
    return "." in image.repository.partition("/")[0]
