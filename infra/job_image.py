"""The image of compile jobs: one by its digest, or the checkout's own, built when the stack is deployed.

A built image is a CDK asset. Its tag is the hash of everything that goes into it, the repository of
the CDK's bootstrap does not let a tag move, and the CDK CLI builds and pushes it only where no image
has that tag. So the tag names one image for good, as a digest does, and synth needs no engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ecr_assets as assets
from constructs import Construct

from artifact.release import Image
from infra.images import repository_arn, uri

CHECKOUT = Path(__file__).resolve().parent.parent
DOCKERFILE = "compile/Dockerfile"
CONTEXT = ("artifact", "compile")
"""The folders that the Dockerfile copies; nothing else changes the asset's hash, or is sent to the engine."""


@dataclass(frozen=True)
class JobImage:
    """What a container definition names, and the ARN of the repository that it is pulled from."""

    uri: str
    repository_arn: str

    @classmethod
    def by_digest(cls, image: Image) -> JobImage:
        return cls(uri=uri(image), repository_arn=repository_arn(image))

    @classmethod
    def built(cls, scope: Construct) -> JobImage:
        """The asset of this checkout's Dockerfile."""
        asset = assets.DockerImageAsset(
            scope,
            "Image",
            directory=str(CHECKOUT),
            file=DOCKERFILE,
            platform=assets.Platform.LINUX_AMD64,
            exclude=["*", *(f"!{folder}" for folder in CONTEXT), "**/__pycache__"],
            ignore_mode=cdk.IgnoreMode.DOCKER,
        )
        return cls(uri=asset.image_uri, repository_arn=asset.repository.repository_arn)
