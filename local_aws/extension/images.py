"""ECR's DescribeImages: an image that is not there is an error, as on AWS.

ministack leaves it out of the answer, and the CDK CLI, which asks before it builds an image, would take
every image for published.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ecr

from local_aws.extension.registry import Registry


def register(registry: Registry) -> None:
    """Go around ministack's operation."""
    registry.replace(ecr, "_describe_images", _or_not_found)


def _or_not_found(own: Any) -> Any:
    def describe(request: dict[str, Any]) -> Any:
        name = request.get("repositoryName", "")
        missing = [i for i in request.get("imageIds") or () if ecr._find_image(name, i) is None]
        if name in ecr._repositories and missing:
            message = f"The image with imageId {missing[0]} does not exist within the repository '{name}'"
            return error_response_json("ImageNotFoundException", message, 400)
        return own(request)

    return describe
