"""SageMaker and application autoscaling."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, NotThere, Resource, only
from local_aws.conformance.selfcheck import Clients

NAMESPACE = "sagemaker"


def _model(clients: Clients, resource: Resource) -> Found:
    name = resource.physical_id.rpartition("/")[2]
    return {**clients.client("sagemaker").describe_model(ModelName=name), **_tags(clients, resource)}


def _config(clients: Clients, resource: Resource) -> Found:
    name = resource.physical_id.rpartition("/")[2]
    found = clients.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
    return {**found, **_tags(clients, resource)}


def _endpoint(clients: Clients, resource: Resource) -> Found:
    name = resource.physical_id.rpartition("/")[2]
    found = clients.client("sagemaker").describe_endpoint(EndpointName=name)
    if found["EndpointStatus"] != "InService":
        raise NotThere(
            f"the endpoint is {found['EndpointStatus']}: {found.get('FailureReason', 'no reason given')}"
        )
    deployed = {"DeploymentConfig": found.get("LastDeploymentConfig")}
    return {**found, **deployed, **_tags(clients, resource)}


def _tags(clients: Clients, resource: Resource) -> Found:
    return {"Tags": clients.client("sagemaker").list_tags(ResourceArn=resource.physical_id)["Tags"]}


def _target(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("application-autoscaling").describe_scalable_targets(ServiceNamespace=NAMESPACE)
    wanted = resource.physical_id.partition("|")[0]
    found = only([t for t in answer["ScalableTargets"] if t["ResourceId"] == wanted], "scalable target")
    actions = clients.client("application-autoscaling").describe_scheduled_actions(
        ServiceNamespace=NAMESPACE, ResourceId=wanted
    )
    return {**found, "ScheduledActions": actions["ScheduledActions"]}


def _policy(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("application-autoscaling").describe_scaling_policies(ServiceNamespace=NAMESPACE)
    found = only([p for p in answer["ScalingPolicies"] if p["PolicyARN"] == resource.physical_id], "policy")
    target = "|".join((found["ResourceId"], found["ScalableDimension"], found["ServiceNamespace"]))
    return {**found, "ScalingTargetId": target}


DESCRIBERS: dict[str, Describer] = {
    "AWS::SageMaker::Model": _model,
    "AWS::SageMaker::EndpointConfig": _config,
    "AWS::SageMaker::Endpoint": _endpoint,
    "AWS::ApplicationAutoScaling::ScalableTarget": _target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _policy,
}
