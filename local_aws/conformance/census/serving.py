"""Launch templates, Auto Scaling, load balancers, SageMaker and application autoscaling."""

from __future__ import annotations

from local_aws.conformance.census.model import Described, Lister, keyed, pages, steady
from local_aws.conformance.selfcheck import Clients

NAMESPACE = "sagemaker"


def _launch_templates(clients: Clients) -> dict[str, Described]:
    ec2 = clients.client("ec2")
    found = keyed(ec2.describe_launch_templates()["LaunchTemplates"], "LaunchTemplateId")
    for template, described in found.items():
        versions = ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
        described["versions"] = {str(one["VersionNumber"]): steady(one) for one in versions}
    return found


def _groups(clients: Clients) -> dict[str, Described]:
    groups = pages(clients, "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups")
    return keyed(groups, "AutoScalingGroupName")


def _hooks(clients: Clients) -> dict[str, Described]:
    autoscaling, found = clients.client("autoscaling"), []
    for group in _groups(clients):
        found += autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    return keyed(found, "LifecycleHookName")


def _scaling_policies(clients: Clients) -> dict[str, Described]:
    return keyed(clients.client("autoscaling").describe_policies()["ScalingPolicies"], "PolicyARN")


def _scheduled_actions(clients: Clients) -> dict[str, Described]:
    actions = clients.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    return keyed(actions, "ScheduledActionName")


def _load_balancers(clients: Clients) -> dict[str, Described]:
    elb = clients.client("elbv2")
    return {
        one["LoadBalancerArn"]: {
            **steady(one),
            "attributes": steady(
                elb.describe_load_balancer_attributes(LoadBalancerArn=one["LoadBalancerArn"])["Attributes"]
            ),
            "tags": _tags(clients, one["LoadBalancerArn"]),
        }
        for one in pages(clients, "elbv2", "describe_load_balancers", "LoadBalancers")
    }


def _target_groups(clients: Clients) -> dict[str, Described]:
    elb = clients.client("elbv2")
    return {
        one["TargetGroupArn"]: {
            **steady(one),
            "attributes": steady(
                elb.describe_target_group_attributes(TargetGroupArn=one["TargetGroupArn"])["Attributes"]
            ),
            "tags": _tags(clients, one["TargetGroupArn"]),
        }
        for one in pages(clients, "elbv2", "describe_target_groups", "TargetGroups")
    }


def _listeners(clients: Clients) -> dict[str, Described]:
    elb, found = clients.client("elbv2"), {}
    for balancer in pages(clients, "elbv2", "describe_load_balancers", "LoadBalancers"):
        for one in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            rules = elb.describe_rules(ListenerArn=one["ListenerArn"])["Rules"]
            tags = _tags(clients, one["ListenerArn"])
            found[one["ListenerArn"]] = {**steady(one), "rules": steady(rules), "tags": tags}
    return found


def _tags(clients: Clients, arn: str) -> list[Described]:
    answer = clients.client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"]
    found: list[Described] = steady(answer)
    return found


def _hosted(noun: str, operation: str, member: str) -> Lister:
    """Models, configurations and endpoints by ARN, each as it is described."""

    def lister(clients: Clients) -> dict[str, Described]:
        sagemaker, found = clients.client("sagemaker"), {}
        describe = getattr(sagemaker, operation.replace("list_", "describe_")[:-1])
        for one in getattr(sagemaker, operation)()[member]:
            arn = one[f"{noun}Arn"]
            tags = steady(sagemaker.list_tags(ResourceArn=arn)["Tags"])
            found[arn] = {**steady(describe(**{f"{noun}Name": one[f"{noun}Name"]})), "tags": tags}
        return found

    return lister


def _targets(clients: Clients) -> dict[str, Described]:
    """Ref gives resource, dimension and namespace with bars between them."""
    answer = clients.client("application-autoscaling").describe_scalable_targets(ServiceNamespace=NAMESPACE)
    return {
        "|".join((one["ResourceId"], one["ScalableDimension"], NAMESPACE)): steady(one)
        for one in answer["ScalableTargets"]
    }


def _policies(clients: Clients) -> dict[str, Described]:
    answer = clients.client("application-autoscaling").describe_scaling_policies(ServiceNamespace=NAMESPACE)
    return keyed(answer["ScalingPolicies"], "PolicyARN")


LISTERS: dict[str, Lister] = {
    "AWS::EC2::LaunchTemplate": _launch_templates,
    "AWS::AutoScaling::AutoScalingGroup": _groups,
    "AWS::AutoScaling::LifecycleHook": _hooks,
    "AWS::AutoScaling::ScalingPolicy": _scaling_policies,
    "AWS::AutoScaling::ScheduledAction": _scheduled_actions,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancers,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _target_groups,
    "AWS::ElasticLoadBalancingV2::Listener": _listeners,
    "AWS::SageMaker::Model": _hosted("Model", "list_models", "Models"),
    "AWS::SageMaker::EndpointConfig": _hosted("EndpointConfig", "list_endpoint_configs", "EndpointConfigs"),
    "AWS::SageMaker::Endpoint": _hosted("Endpoint", "list_endpoints", "Endpoints"),
    "AWS::ApplicationAutoScaling::ScalableTarget": _targets,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _policies,
}
