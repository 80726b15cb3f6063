"""enforcement.toml says "enforced" only where the refusal is seen, and "present" where it is not."""

from __future__ import annotations

import base64
import hashlib
import json

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws import names
from local_aws.enforcement import Status, claims
from local_aws.launcher import LocalAws
from tests.local_aws.stacks import new_stack


@pytest.fixture
def bucket(aws: LocalAws) -> str:
    name = new_stack(aws).name
    aws.client("s3").create_bucket(Bucket=name)
    return name


def status_of(words: str) -> Status:
    """Status of the one claim whose subject contains the words."""
    (claim,) = [claim for claim in claims() if words in claim.subject]
    return claim.status


def test_every_claim_says_something() -> None:
    """No empty subject or detail, and no subject twice."""
    found = claims()

    assert found
    assert all(claim.subject and claim.detail for claim in found)
    assert len({claim.subject for claim in found}) == len(found)


def test_wrong_digests_are_refused(aws: LocalAws, bucket: str) -> None:
    """S3 checksums: enforced, for SHA-256 and MD5."""
    s3 = aws.client("s3")
    sha256 = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"content", ChecksumSHA256=sha256)
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"content", ContentMD5=md5)

    assert status_of("S3 checksums") is Status.ENFORCED


def test_the_second_writer_loses(aws: LocalAws, bucket: str) -> None:
    """Conditional writes: enforced."""
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")

    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")

    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"first"
    assert status_of("conditional writes") is Status.ENFORCED


def test_a_bucket_of_another_owner_than_expected_is_refused(aws: LocalAws, bucket: str) -> None:
    """Expected bucket owner: enforced, for reading, writing and listing."""
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", ExpectedBucketOwner=names.ACCOUNT)
    stranger = {"Bucket": bucket, "ExpectedBucketOwner": "999999999999"}

    for call in (
        lambda: s3.put_object(Key="k", Body=b"other", **stranger),
        lambda: s3.get_object(Key="k", **stranger),
        lambda: s3.list_objects_v2(**stranger),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()

    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"
    assert status_of("expected bucket owner") is Status.ENFORCED


def test_bucket_policies_are_only_present(aws: LocalAws, bucket: str) -> None:
    """A policy that denies everything is stored and described, and the request goes through."""
    s3 = aws.client("s3")
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(
        Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )

    s3.put_object(Bucket=bucket, Key="k", Body=b"over plain http")

    assert "SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert status_of("bucket policies") is Status.PRESENT


def test_iam_is_only_present(aws: LocalAws) -> None:
    """A user to whom everything is denied lists the roles."""
    iam, name = aws.client("iam"), new_stack(aws).name
    iam.create_user(UserName=name)
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="none", PolicyDocument=json.dumps(deny))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    denied = boto3.client(
        "iam",
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )

    answer = denied.list_roles()

    assert "Roles" in answer
    assert status_of("IAM roles") is Status.PRESENT


def test_signatures_are_real(aws: LocalAws) -> None:
    """A KMS signature over a digest verifies, and one over another digest does not."""
    kms = aws.client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    digest, other = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    how = {"KeyId": key, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(Message=digest, **how)["Signature"]

    assert kms.verify(Message=digest, Signature=signature, **how)["SignatureValid"]
    with pytest.raises(ClientError, match="KMSInvalidSignature"):
        kms.verify(Message=other, Signature=signature, **how)
