"""KMS, S3, ECR and CloudWatch Logs."""

from __future__ import annotations

from local_aws.conformance.census.model import Described, Lister, answered, keyed, pages, steady
from local_aws.conformance.selfcheck import Clients


def _keys(clients: Clients) -> dict[str, Described]:
    """Keys in use or disabled; one that waits for its deletion is gone, for CloudFormation."""
    kms, found = clients.client("kms"), {}
    for entry in pages(clients, "kms", "list_keys", "Keys"):
        key = entry["KeyId"]
        metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
        if metadata["KeyState"] != "PendingDeletion":
            found[key] = {
                **steady(metadata),
                "policy": kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"],
                "tags": steady(kms.list_resource_tags(KeyId=key)["Tags"]),
                "rotation": kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
                if metadata["KeySpec"] == "SYMMETRIC_DEFAULT"
                else None,
            }
    return found


def _aliases(clients: Clients) -> dict[str, Described]:
    return keyed(pages(clients, "kms", "list_aliases", "Aliases"), "AliasName")


def _buckets(clients: Clients) -> dict[str, Described]:
    """With everything that a bucket is told, not with what lies in it."""
    s3 = clients.client("s3")
    return {
        bucket["Name"]: {
            "encryption": answered(s3.get_bucket_encryption, Bucket=bucket["Name"]),
            "lifecycle": answered(s3.get_bucket_lifecycle_configuration, "Rules", Bucket=bucket["Name"]),
            "logging": answered(s3.get_bucket_logging, "LoggingEnabled", Bucket=bucket["Name"]),
            "notifications": answered(s3.get_bucket_notification_configuration, Bucket=bucket["Name"]),
            "ownership": answered(
                s3.get_bucket_ownership_controls, "OwnershipControls", Bucket=bucket["Name"]
            ),
            "policy": answered(s3.get_bucket_policy, "Policy", Bucket=bucket["Name"]),
            "public": answered(s3.get_public_access_block, Bucket=bucket["Name"]),
            "replication": answered(s3.get_bucket_replication, Bucket=bucket["Name"]),
            "tags": answered(s3.get_bucket_tagging, "TagSet", Bucket=bucket["Name"]),
            "versioning": answered(s3.get_bucket_versioning, "Status", Bucket=bucket["Name"]),
        }
        for bucket in s3.list_buckets()["Buckets"]
    }


def _repositories(clients: Clients) -> dict[str, Described]:
    ecr, found = clients.client("ecr"), {}
    for entry in pages(clients, "ecr", "describe_repositories", "repositories"):
        name = entry["repositoryName"]
        found[name] = {
            **steady(entry),
            "lifecycle": answered(ecr.get_lifecycle_policy, "lifecyclePolicyText", repositoryName=name),
            "policy": answered(ecr.get_repository_policy, "policyText", repositoryName=name),
            "tags": steady(ecr.list_tags_for_resource(resourceArn=entry["repositoryArn"])["tags"]),
        }
    return found


def _log_groups(clients: Clients) -> dict[str, Described]:
    logs = clients.client("logs")
    return {
        group["logGroupName"]: {
            **steady(group),
            "tags": logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"],
        }
        for group in pages(clients, "logs", "describe_log_groups", "logGroups")
    }


LISTERS: dict[str, Lister] = {
    "AWS::KMS::Key": _keys,
    "AWS::KMS::Alias": _aliases,
    "AWS::S3::Bucket": _buckets,
    "AWS::ECR::Repository": _repositories,
    "AWS::Logs::LogGroup": _log_groups,
}
