"""KMS, S3, ECR and CloudWatch Logs."""

from __future__ import annotations

from typing import Any

from local_aws.conformance.describe.model import Describer, Found, Resource, only, pascal
from local_aws.conformance.selfcheck import Clients


def _key(clients: Clients, resource: Resource) -> Found:
    kms, key = clients.client("kms"), resource.physical_id
    found: Found = dict(kms.describe_key(KeyId=key)["KeyMetadata"])
    found["KeyPolicy"] = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    found["Tags"] = _renamed(kms.list_resource_tags(KeyId=key)["Tags"], TagKey="Key", TagValue="Value")
    if found["KeySpec"] == "SYMMETRIC_DEFAULT":
        found["EnableKeyRotation"] = kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    return found


def _alias(clients: Clients, resource: Resource) -> Found:
    aliases = clients.client("kms").list_aliases()["Aliases"]
    found = only([a for a in aliases if a["AliasName"] == resource.physical_id], "alias")
    # The API gives the key's id, a template names the key by id or ARN.
    by_arn = str(resource.properties.get("TargetKeyId")).startswith("arn:")
    arn = f"{found['AliasArn'].rpartition(':')[0]}:key/{found['TargetKeyId']}"
    return {**found, "TargetKeyId": arn if by_arn else found["TargetKeyId"]}


def _bucket(clients: Clients, resource: Resource) -> Found:
    s3, name = clients.client("s3"), resource.physical_id
    s3.head_bucket(Bucket=name)
    found: Found = {
        "BucketName": name,
        "BucketEncryption": _encryption(s3.get_bucket_encryption(Bucket=name)),
        "VersioningConfiguration": s3.get_bucket_versioning(Bucket=name),
    }
    asked = resource.properties
    if "OwnershipControls" in asked:
        found["OwnershipControls"] = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]
    if "PublicAccessBlockConfiguration" in asked:
        answer = s3.get_public_access_block(Bucket=name)
        found["PublicAccessBlockConfiguration"] = answer["PublicAccessBlockConfiguration"]
    if "LifecycleConfiguration" in asked:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        found["LifecycleConfiguration"] = {"Rules": [_lifecycle_rule(rule) for rule in rules]}
    if "LoggingConfiguration" in asked:
        enabled = s3.get_bucket_logging(Bucket=name).get("LoggingEnabled", {})
        names = {"TargetBucket": "DestinationBucketName", "TargetPrefix": "LogFilePrefix"}
        found["LoggingConfiguration"] = {names.get(k, k): v for k, v in enabled.items()}
    if "NotificationConfiguration" in asked:
        answer = s3.get_bucket_notification_configuration(Bucket=name)
        is_on = "EventBridgeConfiguration" in answer
        found["NotificationConfiguration"] = {
            "EventBridgeConfiguration": {"EventBridgeEnabled": is_on},
        }
    if "Tags" in asked:
        found["Tags"] = s3.get_bucket_tagging(Bucket=name)["TagSet"]
    return found


def _encryption(answer: dict[str, Any]) -> Found:
    rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
    return {
        "ServerSideEncryptionConfiguration": [
            {**rule, "ServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"]}
            for rule in rules
        ]
    }


def _lifecycle_rule(rule: dict[str, Any]) -> Found:
    expiration = rule.get("Expiration", {})
    scope = rule.get("Filter", {})
    return {
        **rule,
        "Id": rule.get("ID"),
        "Prefix": scope.get("Prefix") or scope.get("And", {}).get("Prefix"),
        "ExpirationInDays": expiration.get("Days"),
        "ExpirationDate": expiration.get("Date"),
        "ExpiredObjectDeleteMarker": expiration.get("ExpiredObjectDeleteMarker"),
        "NoncurrentVersionExpirationInDays": rule.get("NoncurrentVersionExpiration", {}).get(
            "NoncurrentDays"
        ),
        "Transitions": _renamed(rule.get("Transitions", []), Days="TransitionInDays", Date="TransitionDate"),
    }


def _bucket_policy(clients: Clients, resource: Resource) -> Found:
    bucket = resource.properties["Bucket"]
    policy = clients.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    return {"Bucket": bucket, "PolicyDocument": policy}


def _repository(clients: Clients, resource: Resource) -> Found:
    ecr = clients.client("ecr")
    found = only(
        ecr.describe_repositories(repositoryNames=[resource.physical_id])["repositories"], "repository"
    )
    if "LifecyclePolicy" in resource.properties:
        text = ecr.get_lifecycle_policy(repositoryName=resource.physical_id)["lifecyclePolicyText"]
        found = {**found, "lifecyclePolicy": {"LifecyclePolicyText": text}}
    return {**pascal(found), "Tags": ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]}


def _log_group(clients: Clients, resource: Resource) -> Found:
    name = resource.physical_id
    groups = clients.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    found = only([g for g in groups if g["logGroupName"] == name], "log group")
    tags = clients.client("logs").list_tags_for_resource(resourceArn=found["logGroupArn"])["tags"]
    return {**pascal(found), "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def _renamed(items: list[dict[str, Any]], **names: str) -> list[Found]:
    return [{names.get(key, key): value for key, value in item.items()} for item in items]


DESCRIBERS: dict[str, Describer] = {
    "AWS::KMS::Key": _key,
    "AWS::KMS::Alias": _alias,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::ECR::Repository": _repository,
    "AWS::Logs::LogGroup": _log_group,
}
