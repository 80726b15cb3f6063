"""ECR on the local AWS: an image that is not there is an error, as the CDK CLI expects."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from local_aws.launcher import LocalAws


def test_an_image_that_is_not_there_is_refused_and_one_that_is_there_described(aws: LocalAws) -> None:
    """Taken for published, an asset would never be built."""
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="images-of-a-test")
    ecr.put_image(repositoryName="images-of-a-test", imageManifest="{}", imageTag="there")

    found = ecr.describe_images(repositoryName="images-of-a-test", imageIds=[{"imageTag": "there"}])

    assert [image["imageTags"] for image in found["imageDetails"]] == [["there"]]
    with pytest.raises(ClientError, match="ImageNotFoundException"):
        ecr.describe_images(repositoryName="images-of-a-test", imageIds=[{"imageTag": "gone"}])
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        ecr.describe_images(repositoryName="no-such-repository", imageIds=[{"imageTag": "gone"}])
