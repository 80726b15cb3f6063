"""What ministack's S3 does otherwise than AWS's.

Writes with ``aws:kms`` and no key: the account's own key ``aws/s3``. ministack has none and refuses
the write; the CDK CLI publishes its templates that way.
Source: S3 API reference, PutObject, x-amz-server-side-encryption-aws-kms-key-id.

Requests that expect another owner of the bucket: refused with 403. ministack does not look.
Source: S3 user guide, "Verifying bucket ownership with bucket owner condition".
"""

from __future__ import annotations

from typing import Any

from ministack.services import s3

from local_aws.extension.registry import Registry

_ALGORITHM = "x-amz-server-side-encryption"
_KEY = "x-amz-server-side-encryption-aws-kms-key-id"
_OWNER = "x-amz-expected-bucket-owner"


def register(registry: Registry) -> None:
    """Go around ministack's handling of requests and of encryption headers."""
    _fill_in_the_key(registry)
    _compare_the_owner(registry)


def _compare_the_owner(registry: Registry) -> None:
    def around(own: Any) -> Any:
        async def handle(
            method: str, path: str, headers: dict[str, str], *rest: Any, **more: Any
        ) -> tuple[int, dict[str, str], bytes]:
            if headers.get(_OWNER, registry.server.account) != registry.server.account:
                refusal: tuple[int, dict[str, str], bytes] = s3._error("AccessDenied", "Access Denied", 403)
                return refusal
            answer: tuple[int, dict[str, str], bytes] = await own(method, path, headers, *rest, **more)
            return answer

        return handle

    registry.replace(s3, "handle_request", around)


def _fill_in_the_key(registry: Registry) -> None:
    server = registry.server
    managed = f"arn:aws:kms:{server.region}:{server.account}:alias/aws/s3"

    def around(own: Any) -> Any:
        def resolve(headers: dict[str, str], bucket: str) -> Any:
            if headers.get(_ALGORITHM) == "aws:kms" and not headers.get(_KEY):
                headers = {**headers, _KEY: managed}
            return own(headers, bucket)

        return resolve

    registry.replace(s3, "_resolve_sse_write_headers", around)
