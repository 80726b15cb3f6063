"""Per resource type: what the service's own API returns, under the template's property names.

    model.py    what a describer gets and gives
    storage.py  KMS, S3, ECR, CloudWatch Logs
    network.py  VPC and everything in it
    access.py   IAM
    compute.py  Batch, Step Functions
    events.py   EventBridge rules and schedules
    fleet.py    launch templates, Auto Scaling, load balancers
    watch.py    alarms, dashboards, topics
    endpoint.py SageMaker, application autoscaling

A describer raises whatever the API raises where the resource is not there.
"""

from __future__ import annotations

from local_aws.conformance.describe import access, compute, endpoint, events, fleet, network, storage, watch
from local_aws.conformance.describe.model import Describer, Shape

DESCRIBERS: dict[str, Describer] = {
    **storage.DESCRIBERS,
    **network.DESCRIBERS,
    **access.DESCRIBERS,
    **compute.DESCRIBERS,
    **events.DESCRIBERS,
    **fleet.DESCRIBERS,
    **watch.DESCRIBERS,
    **endpoint.DESCRIBERS,
}

TAGGED: dict[str, Shape] = {
    "AWS::AutoScaling::AutoScalingGroup": "list",
    "AWS::Batch::ComputeEnvironment": "map",
    "AWS::Batch::JobDefinition": "map",
    "AWS::Batch::JobQueue": "map",
    "AWS::CloudWatch::Alarm": "list",
    "AWS::EC2::FlowLog": "list",
    "AWS::EC2::RouteTable": "list",
    "AWS::EC2::SecurityGroup": "list",
    "AWS::EC2::Subnet": "list",
    "AWS::EC2::VPC": "list",
    "AWS::EC2::VPCEndpoint": "list",
    "AWS::ECR::Repository": "list",
    "AWS::ElasticLoadBalancingV2::Listener": "list",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "list",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "list",
    "AWS::IAM::Role": "list",
    "AWS::KMS::Key": "list",
    "AWS::Logs::LogGroup": "list",
    "AWS::S3::Bucket": "list",
    "AWS::SNS::Topic": "list",
    "AWS::SageMaker::Endpoint": "list",
    "AWS::SageMaker::EndpointConfig": "list",
    "AWS::SageMaker::Model": "list",
    "AWS::StepFunctions::StateMachine": "list",
}
"""Types to which CloudFormation gives the stack's tags, and the shape of their property ``Tags``.
Source: ``tagging`` in the registry's schemas of the types (a test reads them from cfn-lint)."""
