"""Where things lie: buckets, keys, image repositories, logs, topics and queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.rules.template import Resource, Template, at, listed, rule, text

BUCKET = "AWS::S3::Bucket"
BUCKET_POLICY = "AWS::S3::BucketPolicy"
KEY = "AWS::KMS::Key"
REPOSITORY = "AWS::ECR::Repository"
LOG_GROUP = "AWS::Logs::LogGroup"
TOPIC = "AWS::SNS::Topic"
TOPIC_POLICY = "AWS::SNS::TopicPolicy"
QUEUE = "AWS::SQS::Queue"
QUEUE_POLICY = "AWS::SQS::QueuePolicy"

SYMMETRIC = (None, "SYMMETRIC_DEFAULT")
KEPT = ("Retain", "RetainExceptOnCreate", "Snapshot")
PASSING = ("captured", "async")
"""Prefixes of what endpoints leave (infra/names.py)."""
ARTIFACTS = "-artifacts-"
"""In the name of the bucket that holds releases (infra/names.py)."""


@rule(
    "bucket-is-private",
    BUCKET,
    what="No bucket can be made public",
    why="neither a policy nor an access list written later may open it",
    fix="set all four of PublicAccessBlockConfiguration",
)
def bucket_is_private(resource: Resource, _: Template) -> bool:
    block = resource.at("PublicAccessBlockConfiguration")
    sides = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    return all(block[side] is True for side in sides)


@rule(
    "bucket-has-one-owner",
    BUCKET,
    what="Access lists of objects mean nothing",
    why="an object written from another account would otherwise be that account's",
    fix="set ObjectOwnership to BucketOwnerEnforced",
)
def bucket_has_one_owner(resource: Resource, _: Template) -> bool:
    rows = listed(resource.at("OwnershipControls", "Rules"))
    return bool(rows) and all(row["ObjectOwnership"] == "BucketOwnerEnforced" for row in rows)


@rule(
    "bucket-is-encrypted",
    BUCKET,
    what="Releases are encrypted with the project's key, logs at least with S3's",
    why="a key of one's own can be withdrawn, and its uses are logged",
    fix="set BucketEncryption, for releases to aws:kms with the key",
)
def bucket_is_encrypted(resource: Resource, _: Template) -> bool:
    rows = listed(resource.at("BucketEncryption", "ServerSideEncryptionConfiguration"))
    ways = [at(row, "ServerSideEncryptionByDefault") for row in rows]
    if not _holds_releases(resource):
        return bool(ways) and all(way["SSEAlgorithm"] for way in ways)
    return bool(ways) and all(way["SSEAlgorithm"] == "aws:kms" and way["KMSMasterKeyID"] for way in ways)


@rule(
    "bucket-keeps-versions",
    BUCKET,
    what="Every version of an object is kept for a while",
    why="what is deleted or overwritten by mistake can be brought back",
    fix="set VersioningConfiguration.Status to Enabled",
)
def bucket_keeps_versions(resource: Resource, _: Template) -> bool:
    return bool(resource.at("VersioningConfiguration", "Status") == "Enabled")


@rule(
    "bucket-logs-access",
    BUCKET,
    what="Reads and writes of releases are logged",
    why="after an incident nothing else says who read the model",
    fix="set LoggingConfiguration",
)
def bucket_logs_access(resource: Resource, template: Template) -> bool:
    logs = "DestinationBucketName"
    is_log = any(template.beside(resource, BUCKET, "LoggingConfiguration", logs))
    return is_log or bool(resource.at("LoggingConfiguration", logs))


@rule(
    "bucket-tls-only",
    BUCKET,
    what="A bucket is spoken to by TLS only",
    why="S3 also answers plain HTTP",
    fix="deny everything in the bucket's policy where aws:SecureTransport is false",
)
def bucket_tls_only(resource: Resource, template: Template) -> bool:
    return any(
        str(at(statement, "Condition", "Bool", "aws:SecureTransport")) == "false" and _denies_all(statement)
        for statement in _statements(resource, template, BUCKET_POLICY, "Bucket")
    )


@rule(
    "bucket-modern-tls",
    BUCKET,
    what="A bucket is spoken to by TLS 1.2 or newer",
    why="older versions have known weaknesses",
    fix="deny everything in the bucket's policy where s3:TlsVersion is below 1.2",
)
def bucket_modern_tls(resource: Resource, template: Template) -> bool:
    return any(
        float(at(statement, "Condition", "NumericLessThan", "s3:TlsVersion") or 0) >= 1.2
        and _denies_all(statement)
        for statement in _statements(resource, template, BUCKET_POLICY, "Bucket")
    )


@rule(
    "manifests-written-once",
    BUCKET,
    what="A release is never replaced",
    why="two writers at once, or a thief, could put another manifest under a name that is in use",
    fix="deny everybody s3:PutObject of releases/*/manifest.json where s3:if-none-match is absent",
)
def manifests_written_once(resource: Resource, template: Template) -> bool:
    return not _holds_releases(resource) or any(
        statement["Effect"] == "Deny"
        and str(at(statement, "Condition", "Null", "s3:if-none-match")) == "true"
        and "s3:PutObject" in listed(statement["Action"])
        and text(statement["Resource"]).endswith("/releases/*/manifest.json")
        and _is_anybody(statement)
        for statement in _statements(resource, template, BUCKET_POLICY, "Bucket")
    )


@rule(
    "stale-parts-expire",
    BUCKET,
    what="Uploads that were given up expire",
    why="their parts are paid for and nowhere to be seen",
    fix="add a lifecycle rule with AbortIncompleteMultipartUpload",
)
def stale_parts_expire(resource: Resource, _: Template) -> bool:
    rows = listed(resource.at("LifecycleConfiguration", "Rules"))
    return not _holds_releases(resource) or any(row.get("AbortIncompleteMultipartUpload") for row in rows)


@rule(
    "requests-expire",
    BUCKET,
    what="What endpoints leave of requests is deleted after a stated time, old versions too",
    why="it holds what callers sent, and versioning would keep it after it was deleted",
    fix=f"add lifecycle rules for {PASSING[0]}/ and {PASSING[1]}/ with ExpirationInDays and "
    "NoncurrentVersionExpiration",
)
def requests_expire(resource: Resource, _: Template) -> bool:
    rows = listed(resource.at("LifecycleConfiguration", "Rules"))
    gone = {
        row.get("Prefix")
        for row in rows
        if row["Status"] == "Enabled"
        and row.get("ExpirationInDays")
        and at(row, "NoncurrentVersionExpiration", "NoncurrentDays") == 1
    }
    return not _holds_releases(resource) or {f"{prefix}/" for prefix in PASSING} <= gone


@rule(
    "exchange-expires",
    BUCKET,
    what="What compile jobs are handed and hand back expires; releases and their blobs never do",
    why="models of every experiment would be paid for for ever; a release that is gone cannot be served",
    fix="add lifecycle rules with ExpirationInDays for models/, compiled/, requests/, and none for releases",
)
def exchange_expires(resource: Resource, _: Template) -> bool:
    if not _holds_releases(resource):
        return True
    rows = listed(resource.at("LifecycleConfiguration", "Rules"))
    expiring = [row for row in rows if row.get("ExpirationInDays") and row["Status"] == "Enabled"]
    exchanged = {"models/", "compiled/", "requests/"}
    return {row.get("Prefix") for row in expiring} == exchanged | {f"{prefix}/" for prefix in PASSING}


@rule(
    "key-rotates",
    KEY,
    what="The encryption key is renewed every year",
    why="what one key's material can open stays limited",
    fix="set EnableKeyRotation (an asymmetric key cannot rotate)",
)
def key_rotates(resource: Resource, _: Template) -> bool:
    return resource.at("KeySpec") not in SYMMETRIC or resource.at("EnableKeyRotation") is True


@rule(
    "no-anonymous-access",
    KEY,
    BUCKET_POLICY,
    TOPIC_POLICY,
    QUEUE_POLICY,
    REPOSITORY,
    what="A resource's policy lets nobody in without a condition",
    why="Principal * means everybody on AWS",
    fix="name the principal, or add the condition that does",
)
def no_anonymous_access(resource: Resource, _: Template) -> bool:
    names = ("PolicyDocument", "KeyPolicy", "RepositoryPolicyText")
    found = [statement for name in names for statement in listed(resource.at(name, "Statement"))]
    return all(
        statement["Effect"] == "Deny" or not _is_anybody(statement) or bool(statement.get("Condition"))
        for statement in found
    )


@rule(
    "tags-do-not-move",
    REPOSITORY,
    what="A tag of an image cannot be given to another one",
    why="people read tags, even where machines use digests",
    fix="set ImageTagMutability to IMMUTABLE",
)
def tags_do_not_move(resource: Resource, _: Template) -> bool:
    return bool(resource.at("ImageTagMutability") == "IMMUTABLE")


@rule(
    "images-are-scanned",
    REPOSITORY,
    what="Images are scanned when they arrive",
    why="known holes are found before they run",
    fix="set ImageScanningConfiguration.ScanOnPush",
)
def images_are_scanned(resource: Resource, _: Template) -> bool:
    return resource.at("ImageScanningConfiguration", "ScanOnPush") is True


@rule(
    "untagged-images-expire",
    REPOSITORY,
    what="Images without a tag expire, and those with one do not",
    why="an image in use has a tag; a rule that counts images would one day take it from a running fleet",
    fix="add a lifecycle policy whose only rule selects untagged images by their age",
)
def untagged_images_expire(resource: Resource, _: Template) -> bool:
    rows = json.loads(text(resource.at("LifecyclePolicy")["LifecyclePolicyText"]))["rules"]
    chosen = [row["selection"] for row in rows]
    return bool(chosen) and all(
        row["tagStatus"] == "untagged" and row["countType"] == "sinceImagePushed" for row in chosen
    )


@rule(
    "images-are-encrypted",
    REPOSITORY,
    what="Images are encrypted with the project's key",
    why="a key of one's own can be withdrawn, and its uses are logged",
    fix="set EncryptionConfiguration to KMS with the key",
)
def images_are_encrypted(resource: Resource, _: Template) -> bool:
    return bool(resource.at("EncryptionConfiguration")["EncryptionType"] == "KMS") and bool(
        resource.at("EncryptionConfiguration", "KmsKey")
    )


@rule(
    "logs-are-encrypted",
    LOG_GROUP,
    what="Logs are encrypted with the project's key",
    why="what a server logs tells about its callers",
    fix="set KmsKeyId",
)
def logs_are_encrypted(resource: Resource, _: Template) -> bool:
    return bool(resource.at("KmsKeyId"))


@rule(
    "logs-end",
    LOG_GROUP,
    what="Logs are kept for a stated time",
    why="by default CloudWatch keeps and bills them for ever",
    fix="set RetentionInDays",
)
def logs_end(resource: Resource, _: Template) -> bool:
    return int(resource.at("RetentionInDays")) > 0


@rule(
    "messages-are-encrypted",
    TOPIC,
    QUEUE,
    what="Topics and queues are encrypted with the project's key",
    why="messages name instances, releases and errors",
    fix="set KmsMasterKeyId",
)
def messages_are_encrypted(resource: Resource, _: Template) -> bool:
    return bool(resource.at("KmsMasterKeyId"))


@rule(
    "messages-by-tls",
    TOPIC,
    QUEUE,
    what="Topics and queues are spoken to by TLS only",
    why="both also answer plain HTTP",
    fix="deny everybody in the policy where aws:SecureTransport is false",
)
def messages_by_tls(resource: Resource, template: Template) -> bool:
    kind, name = (TOPIC_POLICY, "Topics") if resource.type == TOPIC else (QUEUE_POLICY, "Queues")
    return any(
        statement["Effect"] == "Deny"
        and str(at(statement, "Condition", "Bool", "aws:SecureTransport")) == "false"
        and _is_anybody(statement)
        for statement in _statements(resource, template, kind, name)
    )


@rule(
    "data-outlives-its-stack",
    BUCKET,
    KEY,
    REPOSITORY,
    LOG_GROUP,
    what="Where the settings retain data, deleting or replacing a resource leaves it",
    why="CloudFormation deletes unasked, and a key that is gone takes everything with it",
    fix="set DeletionPolicy and UpdateReplacePolicy to retain",
)
def data_outlives_its_stack(resource: Resource, template: Template) -> bool:
    policies = (resource.body.get("DeletionPolicy"), resource.body.get("UpdateReplacePolicy"))
    return not template.retain_data or all(policy in KEPT for policy in policies)


def _holds_releases(resource: Resource) -> bool:
    return ARTIFACTS in text(resource.at("BucketName"))


def _statements(resource: Resource, template: Template, kind: str, name: str) -> Iterator[dict[str, Any]]:
    """Statements of the policies of type ``kind`` that say they are for ``resource``."""
    for policy in template.beside(resource, kind, name):
        yield from listed(policy.at("PolicyDocument", "Statement"))


def _denies_all(statement: dict[str, Any]) -> bool:
    """Everything to everybody, on the bucket and on its objects."""
    whole = statement["Effect"] == "Deny" and "s3:*" in listed(statement["Action"])
    objects = any(text(place).endswith("/*") for place in listed(statement["Resource"]))
    return whole and objects and _is_anybody(statement)


def _is_anybody(statement: dict[str, Any]) -> bool:
    principal = statement["Principal"]
    return principal == "*" or "*" in listed(at(principal, "AWS"))
