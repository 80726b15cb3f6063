"""AWS::CloudWatch::Alarm on metric math, and encryption of AWS::SNS::Topic.

ministack refuses alarms with ``Metrics``. Here they are kept and described as asked, and
SetAlarmState moves them; their expressions are not evaluated.
"""

from __future__ import annotations

from typing import Any

from ministack.services import cloudwatch, sns

from local_aws.extension.registry import Properties, Provisioned, Registry

ALARM = "AWS::CloudWatch::Alarm"
TOPIC = "AWS::SNS::Topic"
_STAND_IN = {"MetricName": "metric math", "Namespace": "metric math"}
"""Satisfies ministack's provisioner; no metric has this name."""
_OF_ONE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period")
_TOPIC_ATTRIBUTES = ("KmsMasterKeyId", "SignatureVersion", "TracingConfig")


def register(registry: Registry) -> None:
    """Extend ministack's alarm and topic."""
    _extend_alarm(registry)
    _extend_topic(registry)


def _extend_alarm(registry: Registry) -> None:
    own = registry.resource_type(ALARM)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        return _with_metrics(own.create(logical_id, _plain(properties), stack), properties)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        return _with_metrics(own.update(physical_id, _plain(old), _plain(new), stack, logical_id), new)

    registry.add_resource_type(
        ALARM, create=create, update=update, delete=own.delete, replaced_by=("AlarmName",)
    )


def _plain(properties: Properties) -> Properties:
    if not properties.get("Metrics"):
        return properties
    return {**{name: value for name, value in properties.items() if name != "Metrics"}, **_STAND_IN}


def _with_metrics(provisioned: Provisioned, properties: Properties) -> Provisioned:
    if properties.get("Metrics"):
        record = cloudwatch._alarms[provisioned[0]]
        record.update(dict.fromkeys(_OF_ONE_METRIC))
        record["Metrics"] = [_numbered(query) for query in properties["Metrics"]]
    return provisioned


def _numbered(query: Properties) -> dict[str, Any]:
    """Periods are whole numbers to clients, and may be texts in a template."""
    stat = query.get("MetricStat")
    if stat is None:
        return dict(query)
    return {**query, "MetricStat": {**stat, "Period": int(stat["Period"])}}


def _extend_topic(registry: Registry) -> None:
    own = registry.resource_type(TOPIC)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        return _with_attributes(own.create(logical_id, properties, stack), properties)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        return _with_attributes(own.update(physical_id, old, new, stack, logical_id), new)

    registry.add_resource_type(TOPIC, create=create, update=update, delete=own.delete)


def _with_attributes(provisioned: Provisioned, properties: Properties) -> Provisioned:
    attributes = sns._topics[provisioned[0]]["attributes"]
    for name in _TOPIC_ATTRIBUTES:
        if properties.get(name):
            attributes[name] = str(properties[name])
        else:
            attributes.pop(name, None)
    return provisioned
