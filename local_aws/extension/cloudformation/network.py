"""AWS::EC2::FlowLog, the attribute VPC.CidrBlock, and what EC2's describe calls leave out.

ministack keeps the policy, security groups and private DNS of an endpoint, and can keep all of a flow
log, but does not return them.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

from local_aws.extension.cloudformation.answers import accepted, query
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

FLOW_LOG = "AWS::EC2::FlowLog"
VPC = "AWS::EC2::VPC"
_FLOW_LOG_ID = re.compile("<item>(fl-[^<]+)</item>")
_OWNERS = {"VPC": "_vpcs", "Subnet": "_subnets"}
_NOT_RETURNED = {
    "DeliverLogsPermissionArn": "deliverLogsPermissionArn",
    "LogFormat": "logFormat",
    "LogGroupName": "logGroupName",
    "MaxAggregationInterval": "maxAggregationInterval",
}
"""Properties of a flow log by their name in DescribeFlowLogs' answer."""


def register(registry: Registry) -> None:
    """Add the flow log, extend the VPC, and complete the describe calls of both and of endpoints."""
    registry.add_resource_type(
        FLOW_LOG,
        create=_create,
        update=_update,
        delete=_delete,
        replaced_by=(
            "ResourceId",
            "ResourceType",
            "TrafficType",
            "LogDestinationType",
            "LogDestination",
            *_NOT_RETURNED,
        ),
        tags="list",
    )
    _extend_vpc(registry)
    registry.replace(ec2, "_vpce_fields_xml", _with_groups)
    registry.replace_action(ec2._ACTION_MAP, "DescribeFlowLogs", _with_all_fields)


def _create(_logical_id: str, properties: Properties, _stack: str) -> Provisioned:
    owner, kind = properties["ResourceId"], properties["ResourceType"]
    if kind in _OWNERS and owner not in getattr(ec2, _OWNERS[kind]):
        raise ResourceFailed(f"The {kind} '{owner}' does not exist")
    answer = accepted(
        ec2._create_flow_logs(
            query(
                ResourceId=[owner],
                ResourceType=kind,
                TrafficType=properties.get("TrafficType"),
                LogDestinationType=properties.get("LogDestinationType"),
                LogDestination=properties.get("LogDestination"),
                LogGroupName=properties.get("LogGroupName"),
            )
        )
    )
    found = _FLOW_LOG_ID.search(answer)
    if found is None:
        raise ResourceFailed(f"EC2 made no flow log for {owner}")
    flow_log = found.group(1)
    record = ec2._flow_logs[flow_log]
    record.update({name: properties[name] for name in _NOT_RETURNED if name in properties})
    _set_tags(flow_log, properties)
    return flow_log, {"Id": flow_log}


def _update(physical_id: str, _old: Properties, new: Properties, _s: str, _l: str) -> Provisioned:
    _set_tags(physical_id, new)  # everything else replaces the flow log
    return physical_id, {"Id": physical_id}


def _delete(physical_id: str, _properties: Properties) -> None:
    ec2._delete_flow_logs(query(FlowLogId=[physical_id]))


def _set_tags(resource: str, properties: Properties) -> None:
    ec2._tags[resource] = [dict(tag) for tag in properties.get("Tags", [])]


def _extend_vpc(registry: Registry) -> None:
    own = registry.resource_type(VPC)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        return _with_cidr(own.create(logical_id, properties, stack))

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        return _with_cidr(own.update(physical_id, old, new, stack, logical_id))

    registry.add_resource_type(VPC, create=create, update=update, delete=own.delete)


def _with_cidr(provisioned: Provisioned) -> Provisioned:
    vpc, attributes = provisioned
    return vpc, {**attributes, "CidrBlock": ec2._vpcs[vpc]["CidrBlock"]}


def _with_groups(own: Any) -> Any:
    def fields(endpoint: dict[str, Any], tag: str = "item") -> str:
        groups = "".join(f"<item><groupId>{escape(g)}</groupId></item>" for g in endpoint["SecurityGroupIds"])
        private = str(endpoint.get("PrivateDnsEnabled", False)).lower()
        more = f"<groupSet>{groups}</groupSet><privateDnsEnabled>{private}</privateDnsEnabled>"
        if (policy := endpoint.get("PolicyDocument")) is not None:
            text = policy if isinstance(policy, str) else json.dumps(policy)
            more += f"<policyDocument>{escape(text)}</policyDocument>"
        return _before_end(own(endpoint, tag), tag, more)

    return fields


def _with_all_fields(own: Any) -> Any:
    def describe(parameters: dict[str, list[str]]) -> Any:
        status, headers, body = own(parameters)
        text = body.decode()
        for flow_log, record in ec2._flow_logs.items():
            start = f"<flowLogId>{flow_log}</flowLogId>"
            more = "".join(
                f"<{field}>{escape(str(record[name]))}</{field}>"
                for name, field in _NOT_RETURNED.items()
                if name in record
            )
            text = text.replace(start, start + more)
        return status, headers, text.encode()

    return describe


def _before_end(element: str, tag: str, more: str) -> str:
    start, end, rest = element.rpartition(f"</{tag}>")
    return start + more + end + rest
