"""What AWS says, in the words of our errors."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from artifact.aws import (
    AwsBusy,
    AwsDenied,
    AwsRefused,
    AwsUnreachable,
    BucketMissing,
    BytesDamaged,
    ClockSkewed,
    CredentialsExpired,
    EncryptionKeyUnusable,
    KeyDenied,
    WrongRegion,
    client_config,
    is_local,
    translated,
)
from artifact.errors import TraceshipError
from compile.publish.pool import WORKERS


def _answer(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as the service worded it"}}, "PutObject")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_a_question_of_who_we_are_exits_4(code: str) -> None:
    """The words of the service are kept; the fix speaks of credentials."""
    with pytest.raises(AwsDenied, match=code) as refused, translated("publish"):
        raise _answer(code)

    assert refused.value.exit_code == 4
    assert "AWS_PROFILE" in refused.value.fix


def test_no_credentials_at_all_exits_4() -> None:
    """Nobody said who we are."""
    with pytest.raises(AwsDenied) as refused, translated("publish"):
        raise NoCredentialsError

    assert refused.value.exit_code == 4


def test_any_other_answer_keeps_its_code() -> None:
    """The operator can look the service's code up."""
    with pytest.raises(AwsRefused) as refused, translated("publish"):
        raise _answer("NewlyInvented")

    assert refused.value.code == "NewlyInvented"
    assert refused.value.exit_code == 1


@pytest.mark.parametrize(
    ("code", "expected", "exit_code", "fix"),
    [
        ("ExpiredToken", CredentialsExpired, 4, "aws sso login"),
        ("RequestTimeTooSkewed", ClockSkewed, 1, "timedatectl"),
        ("KMS.DisabledException", EncryptionKeyUnusable, 1, "enable the project's key"),
        ("PermanentRedirect", WrongRegion, 2, "project.region"),
        ("NoSuchBucket", BucketMissing, 5, "deploy --foundation"),
        ("SlowDown", AwsBusy, 1, "wait a minute"),
        ("InternalError", AwsBusy, 1, "wait a minute"),
        ("BadDigest", BytesDamaged, 1, "faulty proxy"),
    ],
)
def test_an_answer_that_we_know_has_its_own_fix(
    code: str, expected: type[TraceshipError], exit_code: int, fix: str
) -> None:
    """Whoever reads it knows what to do."""
    with pytest.raises(expected) as refused, translated("publish"):
        raise _answer(code)

    assert type(refused.value) is expected
    assert refused.value.exit_code == exit_code
    assert fix in refused.value.fix


def test_a_denied_key_is_not_taken_for_denied_storage() -> None:
    """S3 answers both alike; only the message names the permission."""
    denied = _answer("AccessDenied")
    denied.response["Error"]["Message"] = "user/x is not authorized to perform: kms:GenerateDataKey"

    with pytest.raises(KeyDenied) as refused, translated("publish"):
        raise denied

    assert refused.value.exit_code == 4


@pytest.mark.parametrize(
    "error",
    [
        ProtocolError("Connection broken: IncompleteRead(5 bytes read)"),
        ResponseParserError("Unable to parse response (no element found:\nline 1), invalid XML"),
        ReadTimeoutError(endpoint_url="https://s3"),
        ConnectionClosedError(endpoint_url="https://s3"),
    ],
)
def test_an_answer_that_breaks_off_is_one_line_about_the_network(error: Exception) -> None:
    """botocore lets some of them through as they are; nobody gets a traceback for them."""
    with pytest.raises(AwsUnreachable) as refused, translated("publish"):
        raise error

    assert "\n" not in refused.value.why


def test_errors_of_our_own_pass_unchanged() -> None:
    """They have their words already."""
    own = BucketMissing(bucket="b", why="gone")

    with pytest.raises(BucketMissing) as passed, translated("publish"):
        raise own

    assert passed.value is own


def test_an_uploads_threads_all_have_a_connection() -> None:
    """A pool that is smaller than the threads makes a new connection for every request."""
    assert client_config(local=False).max_pool_connections >= WORKERS


def test_a_silent_local_aws_is_named_with_the_command_that_starts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The most common mistake on one machine has its own fix."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")

    with pytest.raises(AwsUnreachable, match="local AWS") as refused, translated("publish"):
        raise EndpointConnectionError(endpoint_url="http://localhost:1")

    assert "traceship local up" in refused.value.fix


def test_a_silent_aws_elsewhere_is_not_called_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to start an emulator when the network is down."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    with pytest.raises(AwsUnreachable) as refused, translated("publish"):
        raise EndpointConnectionError(endpoint_url="https://s3.amazonaws.com")

    assert "local" not in refused.value.fix


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:4566", True),
        ("http://127.0.0.1:1", True),
        ("http://[::1]:4566", True),
        ("https://s3.amazonaws.com", False),
        ("http://localhost.example.com", False),
        ("", False),
    ],
)
def test_only_loopback_counts_as_local(monkeypatch: pytest.MonkeyPatch, url: str, local: bool) -> None:
    """What may be done to this machine must never be done to an account."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)

    assert is_local() is local


def test_our_own_errors_pass_through_unchanged() -> None:
    """Translating twice would hide the better words."""
    with pytest.raises(BucketMissing), translated("publish"):
        raise BucketMissing(bucket="b", why="there is no such bucket")
