"""S3 writes with ``aws:kms`` and no key: the account's own key ``aws/s3``, as on AWS.

ministack has no such key and refuses the write; the CDK CLI publishes its templates that way.
Source: S3 API reference, PutObject, x-amz-server-side-encryption-aws-kms-key-id.
"""

from __future__ import annotations

from typing import Any

from ministack.services import s3

from local_aws.extension.registry import Registry

_ALGORITHM = "x-amz-server-side-encryption"
_KEY = "x-amz-server-side-encryption-aws-kms-key-id"


def register(registry: Registry) -> None:
    """Fill in the key before ministack checks the headers."""
    server = registry.server
    managed = f"arn:aws:kms:{server.region}:{server.account}:alias/aws/s3"

    def around(own: Any) -> Any:
        def resolve(headers: dict[str, str], bucket: str) -> Any:
            if headers.get(_ALGORITHM) == "aws:kms" and not headers.get(_KEY):
                headers = {**headers, _KEY: managed}
            return own(headers, bucket)

        return resolve

    registry.replace(s3, "_resolve_sse_write_headers", around)
