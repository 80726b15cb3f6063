"""A release signed with the local AWS's KMS verifies offline."""

from __future__ import annotations

from artifact.statement import release_statement
from artifact.trust import check_signature
from cli.signers import KmsKey, seal
from local_aws.launcher import LocalAws

DIGEST = "ab" * 32


def test_a_p256_key_of_the_local_kms_signs_a_release(aws: LocalAws) -> None:
    """By its alias, as the artifacts stack names it."""
    kms = aws.client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/traceship-signing", TargetKeyId=key)

    signer = KmsKey("alias/traceship-signing", kms)
    envelope = seal(release_statement(DIGEST), signer)

    assert check_signature(DIGEST, envelope, [signer.public_key]) == signer.public_key
