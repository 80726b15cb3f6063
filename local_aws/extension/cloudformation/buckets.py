"""AWS::S3::Bucket: the properties that ministack drops, and a delete that never loses data.

ministack applies versioning, public access block, CORS and website itself. The rest goes
through S3's own API in its XML, property by property.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.services import s3

from local_aws.extension.cloudformation.answers import accepted
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

BUCKET = "AWS::S3::Bucket"
Answer = tuple[int, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A property of the type, as the body of the API call that sets it."""

    name: str
    document: Callable[[Any], bytes]
    put: Callable[[str, bytes], Answer]
    remove: Callable[[str], Answer]


def register(registry: Registry) -> None:
    """Extend ministack's bucket."""
    own = registry.resource_type(BUCKET)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        bucket, attributes = own.create(logical_id, properties, stack)
        try:
            _apply(bucket, {}, properties)
        except Exception:
            own.delete(bucket, properties)  # CloudFormation knows no id of a resource that failed
            raise
        return bucket, attributes

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        bucket, attributes = own.update(physical_id, old, new, stack, logical_id)
        _apply(bucket, old if bucket == physical_id else {}, new)
        return bucket, attributes

    registry.add_resource_type(BUCKET, create=create, update=update, delete=_delete, tags="list")


def _apply(bucket: str, old: Properties, new: Properties) -> None:
    for configuration in CONFIGURATIONS:
        if new.get(configuration.name):
            accepted(configuration.put(bucket, configuration.document(new[configuration.name])))
        elif old.get(configuration.name):
            accepted(configuration.remove(bucket))


def _delete(physical_id: str, _properties: Properties) -> None:
    """As S3 does: a bucket that still holds an object or a version is not deleted."""
    status, _, _ = answer = s3._delete_bucket(physical_id)
    if status != 404:
        accepted(answer)


def _xml(root: str, content: Any) -> bytes:
    document: bytes = tostring(_element(Element(root, xmlns=s3.S3_NS), content), encoding="utf-8")
    return document


def _element(element: Element, content: Any) -> Element:
    if isinstance(content, dict):
        for name, value in content.items():
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    _element(SubElement(element, name), item)
    else:
        element.text = str(content).lower() if isinstance(content, bool) else str(content)
    return element


def _lifecycle(value: Properties) -> bytes:
    return _xml("LifecycleConfiguration", {"Rule": [_lifecycle_rule(rule) for rule in value["Rules"]]})


def _lifecycle_rule(rule: Properties) -> dict[str, Any]:
    return {
        "ID": rule.get("Id"),
        "Status": rule["Status"],
        "Filter": _lifecycle_filter(rule),
        "Transition": [
            _transition(t, days="TransitionInDays", to="Days") for t in rule.get("Transitions", [])
        ],
        "NoncurrentVersionTransition": [
            _transition(t, days="TransitionInDays", to="NoncurrentDays")
            for t in rule.get("NoncurrentVersionTransitions", [])
        ],
        "Expiration": _expiration(rule),
        "NoncurrentVersionExpiration": _noncurrent_expiration(rule),
        "AbortIncompleteMultipartUpload": rule.get("AbortIncompleteMultipartUpload"),
    }


def _lifecycle_filter(rule: Properties) -> dict[str, Any]:
    terms = {
        "Prefix": rule.get("Prefix"),
        "Tag": rule.get("TagFilters") or None,
        "ObjectSizeGreaterThan": rule.get("ObjectSizeGreaterThan"),
        "ObjectSizeLessThan": rule.get("ObjectSizeLessThan"),
    }
    present = {name: term for name, term in terms.items() if term is not None}
    several = len(present) > 1 or len(rule.get("TagFilters", [])) > 1
    return {"And": present} if several else present


def _transition(transition: Properties, *, days: str, to: str) -> dict[str, Any]:
    return {
        to: transition.get(days),
        "Date": transition.get("TransitionDate"),
        "NewerNoncurrentVersions": transition.get("NewerNoncurrentVersions"),
        "StorageClass": transition["StorageClass"],
    }


def _expiration(rule: Properties) -> dict[str, Any] | None:
    found = {
        "Days": rule.get("ExpirationInDays"),
        "Date": rule.get("ExpirationDate"),
        "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
    }
    return found if any(value is not None for value in found.values()) else None


def _noncurrent_expiration(rule: Properties) -> dict[str, Any] | None:
    if "NoncurrentVersionExpiration" in rule:
        return dict(rule["NoncurrentVersionExpiration"])
    days = rule.get("NoncurrentVersionExpirationInDays")
    return None if days is None else {"NoncurrentDays": days}


def _encryption(value: Properties) -> bytes:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": rule.get("ServerSideEncryptionByDefault"),
            "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
        }
        for rule in value["ServerSideEncryptionConfiguration"]
    ]
    return _xml("ServerSideEncryptionConfiguration", {"Rule": rules})


def _logging(value: Properties) -> bytes:
    enabled = {"TargetBucket": value["DestinationBucketName"], "TargetPrefix": value.get("LogFilePrefix", "")}
    return _xml("BucketLoggingStatus", {"LoggingEnabled": enabled})


def _no_logging(bucket: str) -> Answer:
    answer: Answer = s3._put_bucket_logging(bucket, _xml("BucketLoggingStatus", {}))
    return answer


def _notification(value: Properties) -> bytes:
    """Only EventBridge; other receivers would need their own spelling, and are refused."""
    others = set(value) - {"EventBridgeConfiguration"}
    if others:
        raise ResourceFailed(f"the local AWS does not deliver {', '.join(sorted(others))}")
    switch = value.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", True)
    on = {"EventBridgeConfiguration": ""} if str(switch).lower() == "true" else {}
    return _xml("NotificationConfiguration", on)


def _no_notification(bucket: str) -> Answer:
    answer: Answer = s3._put_bucket_notification(bucket, _xml("NotificationConfiguration", {}))
    return answer


CONFIGURATIONS = (
    Configuration(
        name="NotificationConfiguration",
        document=_notification,
        put=s3._put_bucket_notification,
        remove=_no_notification,
    ),
    Configuration(
        name="LifecycleConfiguration",
        document=_lifecycle,
        put=s3._put_bucket_lifecycle,
        remove=s3._delete_bucket_lifecycle,
    ),
    Configuration(
        name="BucketEncryption",
        document=_encryption,
        put=s3._put_bucket_encryption,
        remove=s3._delete_bucket_encryption,
    ),
    Configuration(
        name="OwnershipControls",
        document=lambda value: _xml("OwnershipControls", {"Rule": value["Rules"]}),
        put=s3._put_bucket_ownership_controls,
        remove=s3._delete_bucket_ownership_controls,
    ),
    Configuration(
        name="LoggingConfiguration", document=_logging, put=s3._put_bucket_logging, remove=_no_logging
    ),
    Configuration(
        name="Tags",
        document=lambda value: _xml("Tagging", {"TagSet": {"Tag": value}}),
        put=s3._put_bucket_tagging,
        remove=s3._delete_bucket_tagging,
    ),
)
