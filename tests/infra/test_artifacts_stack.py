"""Where releases live: what protects them."""

from __future__ import annotations

import json
from typing import Any

from infra.names import artifacts_bucket, logs_bucket
from tests.infra.worlds import World, text_of

BUCKET = "AWS::S3::Bucket"


def _bucket(world: World, name: str) -> dict[str, Any]:
    found = [b for key, b in world.all("artifacts", BUCKET).items() if key.startswith(name)]
    assert len(found) == 1
    return found[0]


def _statements(world: World, bucket: str) -> dict[str, dict[str, Any]]:
    policies = world.all("artifacts", "AWS::S3::BucketPolicy")
    document = next(p for name, p in policies.items() if name.startswith(bucket))["Properties"][
        "PolicyDocument"
    ]
    return {s.get("Sid", f"{s['Effect']} {n}"): s for n, s in enumerate(document["Statement"])}


def test_the_bucket_has_the_name_that_the_command_computes(cpu: World) -> None:
    """`traceship ship` finds the bucket without asking CloudFormation."""
    name = text_of(_bucket(cpu, "Artifacts")["Properties"]["BucketName"])

    assert name == artifacts_bucket("traceship", "111122223333", "eu-west-1")


def test_objects_are_encrypted_with_the_projects_own_key(cpu: World) -> None:
    """With bucket keys, so that KMS is not asked for every object."""
    rule = _bucket(cpu, "Artifacts")["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]

    assert rule["BucketKeyEnabled"] is True
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]["Fn::GetAtt"][0].startswith("Key")


def test_nobody_public_reads_either_bucket(cpu: World) -> None:
    """All four switches are on, and ACLs do not count."""
    for name in ("Artifacts", "AccessLogs"):
        properties = _bucket(cpu, name)["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_versions_are_kept_and_stale_parts_removed(cpu: World) -> None:
    """Old versions go after 90 days, parts of an upload that never ended after 7."""
    properties = _bucket(cpu, "Artifacts")["Properties"]

    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    rule = properties["LifecycleConfiguration"]["Rules"][0]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}


def test_only_tls_from_1_2_on_is_accepted(cpu: World) -> None:
    """For both buckets, for every principal and action."""
    for name in ("Artifacts", "AccessLogs"):
        denials = [s for s in _statements(cpu, name).values() if s["Effect"] == "Deny"]
        conditions = [s["Condition"] for s in denials if s["Action"] == "s3:*"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
        assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions


def test_a_manifest_can_be_written_once_only(cpu: World) -> None:
    """A PutObject without If-None-Match on a release's manifest is denied to everybody."""
    statement = _statements(cpu, "Artifacts")["ManifestsAreWrittenOnce"]

    assert statement["Effect"] == "Deny"
    assert statement["Action"] == "s3:PutObject"
    assert statement["Principal"] == {"AWS": "*"}
    assert statement["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert text_of(statement["Resource"]).endswith("/releases/*/manifest.json")


def test_access_is_logged_to_the_other_bucket(cpu: World) -> None:
    """S3 and the load balancers of this account may write there, nobody else."""
    logging = _bucket(cpu, "Artifacts")["Properties"]["LoggingConfiguration"]
    assert logging["DestinationBucketName"]["Ref"].startswith("AccessLogs")

    allowed = [s for s in _statements(cpu, "AccessLogs").values() if s["Effect"] == "Allow"]

    assert {s["Principal"]["Service"] for s in allowed} == {
        "logging.s3.amazonaws.com",
        "logdelivery.elasticloadbalancing.amazonaws.com",
    }
    assert {s["Action"] for s in allowed} == {"s3:PutObject"}
    name = text_of(_bucket(cpu, "AccessLogs")["Properties"]["BucketName"])
    assert name == logs_bucket("traceship", "111122223333", "eu-west-1")


def test_images_cannot_be_replaced_and_are_scanned(cpu: World) -> None:
    """Two repositories, encrypted with the project's key."""
    repositories = [r["Properties"] for r in cpu.all("artifacts", "AWS::ECR::Repository").values()]

    assert {r["RepositoryName"] for r in repositories} == {"traceship/serving", "traceship/compile"}
    for repository in repositories:
        assert repository["ImageTagMutability"] == "IMMUTABLE"
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert repository["EncryptionConfiguration"]["EncryptionType"] == "KMS"


def test_the_key_rotates_and_the_signing_key_signs(cpu: World) -> None:
    """One symmetric key with yearly rotation, one P-256 key for signatures only."""
    keys = {name: k["Properties"] for name, k in cpu.all("artifacts", "AWS::KMS::Key").items()}
    data = next(k for name, k in keys.items() if name.startswith("Key"))
    signing = next(k for name, k in keys.items() if name.startswith("SigningKey"))

    assert data["EnableKeyRotation"] is True
    assert (signing["KeySpec"], signing["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")
    aliases = {a["Properties"]["AliasName"] for a in cpu.all("artifacts", "AWS::KMS::Alias").values()}
    assert aliases == {"alias/traceship", "alias/traceship-signing"}


def test_services_use_the_key_for_this_project_only(cpu: World) -> None:
    """Log groups by prefix, alarms and Auto Scaling by account; all but the root's under a condition."""
    keys = cpu.all("artifacts", "AWS::KMS::Key")
    document = next(k for n, k in keys.items() if n.startswith("Key"))["Properties"]["KeyPolicy"]
    statements = {s["Sid"]: s for s in document["Statement"] if "Sid" in s}

    assert set(statements) == {"LogGroups", "Alarms", "AutoScaling"}
    assert len(document["Statement"]) == len(statements) + 1
    arns = statements["LogGroups"]["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    assert [text_of(arn).partition("log-group:")[2] for arn in arns] == [
        "/traceship/traceship/*",
        "/aws/sagemaker/Endpoints/traceship",
        "/aws/sagemaker/Endpoints/traceship-*",
        "/aws/imagebuilder/traceship-*",
    ]
    assert "aws:PrincipalArn" in statements["AutoScaling"]["Condition"]["ArnEquals"]
    assert "kms:CallerAccount" in statements["AutoScaling"]["Condition"]["StringEquals"]


def test_data_outlives_the_stack_unless_told_otherwise(inf1: World, cpu: World) -> None:
    """Buckets, keys and images are retained by default, and go in a demonstration.

    What a failed creation made is removed in any case, so that the next try finds its names free.
    """
    for kind in (BUCKET, "AWS::KMS::Key", "AWS::ECR::Repository"):
        assert {r["DeletionPolicy"] for r in inf1.all("artifacts", kind).values()} == {"RetainExceptOnCreate"}
        assert {r["DeletionPolicy"] for r in cpu.all("artifacts", kind).values()} == {"Delete"}
    assert all(
        r["Properties"]["EmptyOnDelete"] for r in cpu.all("artifacts", "AWS::ECR::Repository").values()
    )


def _lifecycle(world: World) -> dict[str, dict[str, Any]]:
    rows = _bucket(world, "Artifacts")["Properties"]["LifecycleConfiguration"]["Rules"]
    return {row["Id"]: row for row in rows}


def test_what_jobs_exchange_expires_and_nothing_else_does(cpu: World, existing: World) -> None:
    """After the days of the settings; releases and blobs are under no rule that deletes."""
    for world, days in ((cpu, 90), (existing, 30)):
        rules = _lifecycle(world)
        expiring = {row.get("Prefix"): row["ExpirationInDays"] for row in rules.values() if "Prefix" in row}
        exchanged = dict.fromkeys(("models/", "compiled/", "requests/"), days)
        assert expiring == {**exchanged, "captured/": 30, "async/": 30}
        assert "ExpirationInDays" not in rules["stale"]


def test_the_bucket_tells_event_bridge_only_where_requests_are_taken(cpu: World, inf1: World) -> None:
    """By a property of its own: no function, and no role with AWS's policy."""
    asked = _bucket(cpu, "Artifacts")["Properties"]["NotificationConfiguration"]

    assert asked == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    assert "NotificationConfiguration" not in _bucket(inf1, "Artifacts")["Properties"]
    kinds = {body["Type"] for body in cpu.templates["artifacts"]["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Function", "Custom::S3BucketNotifications"}


def test_images_without_a_tag_expire_and_those_with_one_never(cpu: World) -> None:
    """A fleet may start an instance with an image that is years old."""
    for repository in cpu.all("artifacts", "AWS::ECR::Repository").values():
        policy = repository["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
        (rule,) = json.loads(policy)["rules"]
        assert rule["selection"] == {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countNumber": 90,
            "countUnit": "days",
        }
