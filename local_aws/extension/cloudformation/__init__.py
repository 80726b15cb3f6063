"""CloudFormation types that ministack lacks, and properties that it accepts and drops.

    answers.py          calls a service's own API and turns a refusal into a failed resource
    buckets.py          AWS::S3::Bucket: what ministack drops, and a delete that never loses data
    security_groups.py  AWS::EC2::SecurityGroupIngress and SecurityGroupEgress
    network.py          AWS::EC2::FlowLog, VPC.CidrBlock, fields that describe calls leave out
    alarms.py           AWS::CloudWatch::Alarm on metric math; encryption of AWS::SNS::Topic
    state_machines.py   AWS::StepFunctions::StateMachine: logging and tracing
    fleets.py           AWS::EC2::LaunchTemplate and AWS::ElasticLoadBalancingV2::TargetGroup
    batch.py            AWS::Batch::ComputeEnvironment, JobQueue and JobDefinition
    change_sets.py      change sets that change outputs or policies only
    replacement.py      which changes replace a resource (create_only.toml)
    strict.py           refuses taken names and references to nothing
    unread.py           notes every property that no provisioner looked at

Each type goes through the API of its service, so what a describe call returns afterwards is
what an API user would have got.
"""

from __future__ import annotations

from local_aws.extension.cloudformation import (
    alarms,
    batch,
    buckets,
    change_sets,
    fleets,
    network,
    security_groups,
    state_machines,
)
from local_aws.extension.registry import Registry


def register(registry: Registry) -> None:
    """Add or extend every type of this folder."""
    modules = (buckets, security_groups, network, batch, state_machines, alarms, fleets, change_sets)
    for module in modules:
        module.register(registry)
