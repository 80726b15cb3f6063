"""What AWS answered, in the words of our errors. Shared by publish, fetch, fleet and the command.

``botocore`` is imported inside the functions: a machine that never talks to AWS needs none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from artifact.errors import Conflict, CredentialsError, TraceshipError

AwsClient: TypeAlias = Any
"""A boto3 client: its methods are made at run time from the service's model."""

_CREDENTIAL_CODES = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "403",
}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class AwsDenied(CredentialsError):
    """AWS refused the call, or there are no credentials to sign it with."""

    id = "aws-denied"

    def __init__(self, *, doing: str, why: str) -> None:
        super().__init__(
            what=f"AWS did not let us {doing}",
            why=why,
            fix="check `aws sts get-caller-identity`, AWS_PROFILE and the permissions in docs/permissions.md",
        )


class AwsUnreachable(TraceshipError):
    """Nothing answered at the AWS endpoint."""

    id = "aws-unreachable"

    def __init__(self, *, doing: str, why: str, local: bool) -> None:
        fix = (
            "start it with `traceship local up`"
            if local
            else "check the network and the region, then run again"
        )
        super().__init__(what=f"could not {doing}: {'the local AWS' if local else 'AWS'} does not answer",
                         why=why, fix=fix)  # fmt: skip


class AwsRefused(TraceshipError):
    """AWS answered with an error that is not about who we are."""

    id = "aws-refused"

    def __init__(self, *, doing: str, code: str, message: str) -> None:
        super().__init__(
            what=f"AWS would not {doing}",
            why=f"{code}: {message}",
            fix="correct what the message names, then run the command again; it continues where it stopped",
        )
        self.code = code


class BucketMissing(Conflict):
    """The bucket does not exist, or belongs to another account than expected."""

    id = "bucket-missing"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} cannot be used",
            why=why,
            fix="deploy it with `traceship deploy --foundation`, or check project.name, account and region",
        )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise our errors in place of botocore's. ``doing`` completes "AWS did not let us …".

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: see there. Other exceptions pass unchanged.
    """
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _from_answer(error, doing) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound,
            exceptions.TokenRetrievalError, exceptions.NoRegionError) as error:  # fmt: skip
        raise AwsDenied(doing=doing, why=str(error)) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise AwsUnreachable(doing=doing, why=str(error), local=is_local()) from error


def is_local() -> bool:
    """Whether AWS_ENDPOINT_URL points at this machine."""
    return urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in _LOOPBACK


def _from_answer(error: Exception, doing: str) -> TraceshipError:
    answer = getattr(error, "response", {}).get("Error", {})
    code, message = str(answer.get("Code", "?")), str(answer.get("Message", "no message"))
    if code in _CREDENTIAL_CODES:
        return AwsDenied(doing=doing, why=f"{code}: {message}")
    return AwsRefused(doing=doing, code=code, message=message)
