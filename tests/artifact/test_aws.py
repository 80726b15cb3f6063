"""What AWS says, in the words of our errors."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from artifact.aws import AwsDenied, AwsRefused, AwsUnreachable, BucketMissing, is_local, translated


def _answer(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as the service worded it"}}, "PutObject")


@pytest.mark.parametrize(
    "code", ["AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"]
)
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
        raise _answer("KMS.DisabledException")

    assert refused.value.code == "KMS.DisabledException"
    assert refused.value.exit_code == 1


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
