"""What AWS answered, in the words of our errors. Shared by publish, fetch, fleet and the command.

``botocore`` is imported inside the functions: a machine that never talks to AWS needs none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from artifact.descriptors import check_descriptors
from artifact.errors import Conflict, CredentialsError, TraceshipError, UsageError

AwsClient: TypeAlias = Any
"""A boto3 client: its methods are made at run time from the service's model."""

_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_BUSY_CODES = {
    "500",
    "503",
    "InternalError",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestInTheFuture"}
_DAMAGED_CODES = {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentSHA256Mismatch"}
_ELSEWHERE_CODES = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_NO_BUCKET_CODES = {"NoSuchBucket"}
_CREDENTIAL_CODES = {
    "AccessDenied",
    "AccessDeniedException",
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


class CredentialsExpired(CredentialsError):
    """The credentials were good once."""

    id = "credentials-expired"

    def __init__(self, *, doing: str, why: str) -> None:
        super().__init__(
            what=f"the AWS credentials expired before we could {doing}",
            why=why,
            fix="renew them (`aws sso login`, or a new session), then run the command again; "
            "it continues where it stopped",
        )


class KeyDenied(CredentialsError):
    """AWS KMS does not let us use the key that encrypts what we store or read."""

    id = "key-denied"

    def __init__(self, *, doing: str, why: str) -> None:
        super().__init__(
            what=f"the encryption key did not let us {doing}",
            why=why,
            fix="get kms:GenerateDataKey and kms:Decrypt on it (docs/permissions.md), then run again",
        )


class EncryptionKeyUnusable(TraceshipError):
    """The encryption key does not exist, or is disabled, or is about to be deleted."""

    id = "encryption-key-unusable"

    def __init__(self, *, doing: str, code: str, message: str) -> None:
        super().__init__(
            what=f"there is no usable encryption key to {doing}",
            why=f"{code}: {message}",
            fix="enable the project's key, or make it with `traceship deploy --foundation`, then run again",
        )


class WrongRegion(UsageError):
    """What we asked for lies in another region. ``region`` is the right one, None where AWS does not say."""

    id = "wrong-region"

    def __init__(self, *, doing: str, region: str | None) -> None:
        super().__init__(
            what=f"could not {doing} from this region",
            why=f"it lies in {region}" if region else "it lies in another one",
            fix=f"set project.region or AWS_REGION to {region or 'the right region'}, then run again",
        )


class ClockSkewed(TraceshipError):
    """This machine's clock and that of AWS differ by more than AWS accepts."""

    id = "clock-skewed"

    def __init__(self, *, doing: str, why: str) -> None:
        super().__init__(
            what=f"AWS would not let us {doing}: this machine's clock is wrong",
            why=why,
            fix="set the clock (`timedatectl set-ntp true`), then run the command again",
        )


class AwsBusy(TraceshipError):
    """AWS asked us to slow down, or had an error of its own, each time that we asked."""

    id = "aws-busy"

    def __init__(self, *, doing: str, code: str, message: str) -> None:
        super().__init__(
            what=f"AWS was too busy to {doing}",
            why=f"{code}: {message}",
            fix="wait a minute, then run the command again; it continues where it stopped",
        )


class BytesDamaged(TraceshipError):
    """What arrived at AWS is not what we sent, each time that we sent it."""

    id = "bytes-damaged"

    def __init__(self, *, doing: str, code: str, message: str) -> None:
        super().__init__(
            what=f"the bytes were damaged on their way, so we could not {doing}",
            why=f"{code}: {message}",
            fix="look for a faulty proxy, network or memory, then run again; nothing wrong was stored",
        )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise our errors in place of botocore's. ``doing`` completes "AWS did not let us …".

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused and the other errors of this module: see there.
        TooFewDescriptors: the process may open no more files.
            Other exceptions pass unchanged.
    """
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _from_answer(error, doing) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound,
            exceptions.TokenRetrievalError, exceptions.NoRegionError) as error:  # fmt: skip
        raise AwsDenied(doing=doing, why=str(error)) from error
    except Exception as error:
        check_descriptors(error, doing=doing)
        if not is_transport(error):
            raise
        raise AwsUnreachable(doing=doing, why=_one_line(error), local=is_local()) from error


def error_code(error: BaseException) -> str:
    """The code that AWS gave an error, such as "NoSuchKey"; empty where it is none of AWS's."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def is_broken_answer(error: BaseException) -> bool:
    """Whether an answer began and broke off, or arrived damaged: botocore does not repeat those."""
    from botocore.exceptions import (
        FlexibleChecksumError,
        IncompleteReadError,
        ReadTimeoutError,
        ResponseStreamingError,
    )
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    if isinstance(error, ReadTimeoutError):  # no answer at all, which botocore has waited for
        return False
    kinds = (
        FlexibleChecksumError,
        HTTPError,
        IncompleteReadError,
        ResponseParserError,
        ResponseStreamingError,
    )
    return isinstance(error, kinds)


def is_transport(error: BaseException) -> bool:
    """Whether the request or its answer was lost on the way, so that nobody knows what AWS did."""
    from botocore.exceptions import ConnectionError as BotoConnectionError
    from botocore.exceptions import HTTPClientError

    return isinstance(error, (BotoConnectionError, HTTPClientError)) or is_broken_answer(error)


def client_config(*, local: bool) -> Any:
    """How every client of ours waits, repeats and connects.

    Connections: enough for the threads of an upload. Attempts: the SDK's "standard" mode, with its
    growing pauses; a local AWS that does not answer will not answer later. Bodies that carry a
    checksum of their own are not hashed a second time for the signature; over TLS the SDK sees to
    that by itself.
    """
    from botocore.config import Config

    return Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": 2 if local else 5},
        s3={"payload_signing_enabled": False} if local else None,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def is_local() -> bool:
    """Whether AWS_ENDPOINT_URL points at this machine."""
    return urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in _LOOPBACK


def _from_answer(error: Exception, doing: str) -> TraceshipError:
    answer = getattr(error, "response", {})
    code = error_code(error) or "?"
    message = " ".join(str(answer.get("Error", {}).get("Message", "no message")).split())
    why = f"{code}: {message}"
    if code in _EXPIRED_CODES:
        return CredentialsExpired(doing=doing, why=why)
    if code.startswith("KMS."):
        return EncryptionKeyUnusable(doing=doing, code=code, message=message)
    if code in _CREDENTIAL_CODES:
        return KeyDenied(doing=doing, why=why) if "kms:" in message else AwsDenied(doing=doing, why=why)
    if code in _CLOCK_CODES:
        return ClockSkewed(doing=doing, why=why)
    if code in _ELSEWHERE_CODES:
        return WrongRegion(doing=doing, region=_region_told(answer))
    if code in _NO_BUCKET_CODES:
        return BucketMissing(bucket=str(answer["Error"].get("BucketName", "of this project")), why=why)
    if code in _BUSY_CODES:
        return AwsBusy(doing=doing, code=code, message=message)
    if code in _DAMAGED_CODES:
        return BytesDamaged(doing=doing, code=code, message=message)
    return AwsRefused(doing=doing, code=code, message=message)


def _region_told(answer: dict[str, Any]) -> str | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found = answer.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return str(found) if found else None
