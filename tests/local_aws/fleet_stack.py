"""CloudFormation templates of a small fleet and a small endpoint, in the shape of our own stacks."""

from __future__ import annotations

from typing import Any

REFRESH = {
    "AutoScalingInstanceRefresh": {
        "Strategy": "Rolling",
        "Preferences": {
            "MinHealthyPercentage": 100,
            "CheckpointPercentages": [50, 100],
            "CheckpointDelay": 600,
            "BakeTime": 900,
            "AlarmSpecification": {"Alarms": [{"Ref": "Alarm"}]},
        },
    }
}


def user_data(release: str, digest: str) -> str:
    """cloud-config that writes the server's environment."""
    return (
        "#cloud-config\nwrite_files:\n  - path: /etc/traceship/serve.env\n    content: |\n"
        f"      TRACESHIP_RELEASE={release}\n      TRACESHIP_DIGEST={digest}\n"
        "      TRACESHIP_MODEL_DIR=/var/lib/traceship/model\n      TRACESHIP_HOST=0.0.0.0\n"
        "      SAGEMAKER_BIND_TO_PORT=8080\n"
        "  - path: /etc/systemd/system/traceship.service\n    content: |\n      [Unit]\n"
    )


def fleet(
    release: str, digest: str, *, smallest: int = 1, policy: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Launch template, group, target group, load balancer and an alarm."""
    version = {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}
    specification = {"LaunchTemplateId": {"Ref": "Template"}, "Version": version}
    group = {
        "MinSize": str(smallest),
        "MaxSize": "3",
        "HealthCheckType": "ELB",
        "TargetGroupARNs": [{"Ref": "Targets"}],
        "VPCZoneIdentifier": [{"Ref": "Subnet"}],
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": specification,
                "Overrides": [{"InstanceType": "c5.large"}],
            }
        },
        "Tags": [{"Key": "team", "Value": "search", "PropagateAtLaunch": True}],
    }
    return {
        "Resources": {
            "Vpc": _of("EC2::VPC", CidrBlock="10.0.0.0/16"),
            "Subnet": _of("EC2::Subnet", VpcId={"Ref": "Vpc"}, CidrBlock="10.0.0.0/24"),
            "Template": _of(
                "EC2::LaunchTemplate",
                LaunchTemplateName="tiny",
                LaunchTemplateData={
                    "ImageId": "ami-00000000000000000",
                    "InstanceType": "m5.large",
                    "UserData": {"Fn::Base64": user_data(release, digest)},
                },
            ),
            "Targets": _of(
                "ElasticLoadBalancingV2::TargetGroup",
                Port=8080, Protocol="HTTP", VpcId={"Ref": "Vpc"}, TargetType="instance",
                HealthCheckPath="/ping", Matcher={"HttpCode": "200"},
            ),
            "LoadBalancer": _of(
                "ElasticLoadBalancingV2::LoadBalancer",
                Name="tiny", Scheme="internal", Subnets=[{"Ref": "Subnet"}],
            ),
            "Listener": _of(
                "ElasticLoadBalancingV2::Listener",
                LoadBalancerArn={"Ref": "LoadBalancer"}, Port=80, Protocol="HTTP",
                DefaultActions=[{"Type": "forward", "TargetGroupArn": {"Ref": "Targets"}}],
            ),
            "Alarm": _of(
                "CloudWatch::Alarm",
                AlarmName="tiny-errors", Namespace="tiny", MetricName="errors", Statistic="Sum", Period=60,
                EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold",
            ),
            "Group": {**_of("AutoScaling::AutoScalingGroup", **group), "UpdatePolicy": policy or REFRESH},
        },
        "Outputs": {"Group": {"Value": {"Ref": "Group"}}, "Targets": {"Value": {"Ref": "Targets"}}},
    }  # fmt: skip


def endpoint(release: str, digest: str, *, name: str) -> dict[str, Any]:
    """Model, configuration, endpoint and its scaling; names carry the digest, as ours do."""
    model = f"{name}-{digest[:12]}"
    return {
        "Resources": {
            "Model": _of(
                "SageMaker::Model",
                ModelName=model,
                ExecutionRoleArn="arn:aws:iam::000000000000:role/service",
                EnableNetworkIsolation=True,
                PrimaryContainer={
                    "Image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/serving",
                    "ModelDataUrl": f"{release}/model.tar.gz",
                    "Environment": {"TRACESHIP_DIGEST": digest},
                },
            ),
            "Config": {
                **_of(
                    "SageMaker::EndpointConfig",
                    EndpointConfigName=model,
                    ProductionVariants=[
                        {
                            "ModelName": model, "VariantName": "stable", "InstanceType": "ml.c5.large",
                            "InitialInstanceCount": 1, "InitialVariantWeight": 1,
                            "ContainerStartupHealthCheckTimeoutInSeconds": 60,
                        }
                    ],
                ),
                "DependsOn": ["Model"],
            },
            "Endpoint": _of(
                "SageMaker::Endpoint",
                EndpointName=name,
                EndpointConfigName={"Fn::GetAtt": ["Config", "EndpointConfigName"]},
                RetainAllVariantProperties=True,
                Tags=[{"Key": "team", "Value": "search"}],
            ),
            "Target": _of(
                "ApplicationAutoScaling::ScalableTarget",
                MinCapacity=1, MaxCapacity=2, ServiceNamespace="sagemaker",
                ScalableDimension="sagemaker:variant:DesiredInstanceCount",
                ResourceId={"Fn::Join": ["", ["endpoint/", {"Fn::GetAtt": ["Endpoint", "EndpointName"]},
                                              "/variant/stable"]]},
            ),
            "Scaling": _of(
                "ApplicationAutoScaling::ScalingPolicy",
                PolicyName=f"{name}-invocations", PolicyType="TargetTrackingScaling",
                ScalingTargetId={"Ref": "Target"},
                TargetTrackingScalingPolicyConfiguration={
                    "TargetValue": 100,
                    "PredefinedMetricSpecification": {
                        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                    },
                },
            ),
        },
        "Outputs": {
            "Model": {"Value": {"Ref": "Model"}},
            "Endpoint": {"Value": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}},
        },
    }  # fmt: skip


def _of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}
