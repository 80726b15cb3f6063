"""Which resource types a bill knows, and in words what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.cost.services import Template

ALWAYS_LEFT_OUT = (
    "taxes, credits, the free tier, Savings Plans and other agreements",
    "data transfer between zones, out of AWS and to SageMaker endpoints",
    "requests to S3, KMS and ECR; Step Functions' transitions; SNS messages",
)

PRICED = frozenset(
    {
        "AWS::AutoScaling::AutoScalingGroup",
        "AWS::Batch::JobDefinition",
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::EC2::LaunchTemplate",
        "AWS::EC2::VPCEndpoint",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::KMS::Key",
        "AWS::Logs::LogGroup",
        "AWS::SageMaker::EndpointConfig",
    }
)
"""Types with lines of their own (usage.py, services.py); a log group by what is written to it."""

FREE = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::AutoScaling::LifecycleHook",
        "AWS::AutoScaling::ScalingPolicy",
        "AWS::AutoScaling::ScheduledAction",
        "AWS::Batch::ComputeEnvironment",
        "AWS::Batch::JobQueue",
        "AWS::CDK::Metadata",
        "AWS::CloudFormation::WaitConditionHandle",
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::ECR::RepositoryPolicy",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "AWS::Events::Rule",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::ImageBuilder::Component",
        "AWS::ImageBuilder::DistributionConfiguration",
        "AWS::ImageBuilder::ImageRecipe",
        "AWS::ImageBuilder::InfrastructureConfiguration",
        "AWS::KMS::Alias",
        "AWS::Logs::MetricFilter",
        "AWS::Logs::ResourcePolicy",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
        "AWS::SageMaker::Endpoint",
        "AWS::SageMaker::Model",
    }
)
"""Types that cost nothing themselves."""

LEFT_OUT = {
    "AWS::AutoScaling::WarmPool": "instances of warm pools",
    "AWS::CloudWatch::CompositeAlarm": "composite alarms",
    "AWS::EC2::FlowLog": "flow logs, which grow with the traffic",
    "AWS::ECR::Repository": "images in ECR",
    "AWS::EC2::InternetGateway": "what goes out through internet gateways",
    "AWS::EC2::NatGateway": "NAT gateways",
    "AWS::ElasticLoadBalancingV2::TrustStore": "trust stores of mutual TLS",
    "AWS::ImageBuilder::ImagePipeline": "builds of machine images: an hour or two of two instances each, "
    "and a snapshot",
    "AWS::S3::Bucket": "older releases, captured data and access logs in S3",
    "AWS::Scheduler::Schedule": "the job that reads all releases every day",
    "AWS::SNS::Topic": "messages of topics",
    "AWS::SQS::Queue": "messages of queues",
    "AWS::SageMaker::EndpointConfig": "disks of endpoints",
    "AWS::StepFunctions::StateMachine": "transitions of state machines",
}
"""What is not computed, by the type that brings it."""


def not_included(templates: Mapping[str, Template]) -> tuple[str, ...]:
    """Sentences for a person: what is always left out, what these stacks bring, and what nobody knows."""
    types = {r["Type"] for template in templates.values() for r in template.get("Resources", {}).values()}
    brought = [words for kind, words in LEFT_OUT.items() if kind in types]
    return (*ALWAYS_LEFT_OUT, *brought, *(f"{kind}: not known to this command" for kind in unknown(types)))


def unknown(types: Iterable[str]) -> tuple[str, ...]:
    """Types about which nothing is said here."""
    return tuple(sorted(set(types) - PRICED - FREE - LEFT_OUT.keys()))
