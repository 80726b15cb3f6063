"""The SageMaker endpoint: what it runs, how it changes, when it alarms."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from artifact import serving
from infra.endpoint_stack import download_timeout, startup_timeout
from tests.infra.worlds import CPU, DIGEST, World, lock_of, settings_of, synthesise, text_of

MODEL = "AWS::SageMaker::Model"
CONFIG = "AWS::SageMaker::EndpointConfig"
ENDPOINT = "AWS::SageMaker::Endpoint"


def test_the_model_is_one_archive_and_one_image_by_digest(cpu: World) -> None:
    """And the digest that the server must find in it."""
    container = cpu.properties("endpoint", MODEL)["PrimaryContainer"]

    assert text_of(container["ModelDataUrl"]).startswith(
        "s3://<traceship-artifacts:ExportsOutputRefArtifacts"
    )
    assert text_of(container["ModelDataUrl"]).endswith(f"/releases/traceship/{DIGEST}/model.tar.gz")
    assert text_of(container["Image"]).endswith(f"/traceship/serving@sha256:{'0' * 64}")
    assert container["Environment"] == {
        serving.ENV_DIGEST: DIGEST,
        serving.ENV_BATCH_WINDOW_MS: "2",
        serving.ENV_DEADLINE_SECONDS: "20",
        serving.ENV_QUEUE_LIMIT: "256",
        serving.ENV_LOG: "all",
        serving.ENV_EMF: "60",
        serving.ENV_SERVICE: "traceship-endpoint",
    }


def test_containers_are_isolated(cpu: World) -> None:
    """No call leaves them; SageMaker attaches them to isolated subnets."""
    model = cpu.properties("endpoint", MODEL)

    assert model["EnableNetworkIsolation"] is True
    assert all("IsolatedSubnet" in s["Fn::ImportValue"] for s in model["VpcConfig"]["Subnets"])
    group = cpu.properties("endpoint", "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group


def test_an_update_keeps_what_scaling_chose(cpu: World, inf1: World) -> None:
    """Counts and weights survive; there is no deployment configuration that Inf1 would ignore."""
    for world in (cpu, inf1):
        endpoint = world.properties("endpoint", ENDPOINT)
        assert endpoint["RetainAllVariantProperties"] is True
        assert "DeploymentConfig" not in endpoint
        assert endpoint["EndpointName"] == "traceship"


def test_the_variant_is_the_one_that_weights_will_shift(inf1: World) -> None:
    """One variant `stable` of the settings' type, with the least count to begin with."""
    config = inf1.properties("endpoint", CONFIG)
    variant = config["ProductionVariants"][0]

    assert len(config["ProductionVariants"]) == 1
    assert variant["VariantName"] == "stable"
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.inf1.xlarge", 2)
    assert variant["InitialVariantWeight"] == 1
    assert "Key" in json.dumps(config["KmsKeyId"])


def test_names_follow_the_content(cpu: World, tmp_path: Path) -> None:
    """Any change of model or configuration is a new name: CloudFormation replaces, never collides."""
    queue = settings_of(CPU, {"serve": {"queue_limit": 7}})
    count = settings_of(CPU, {"endpoint": {"min_count": 2}})

    other_model = synthesise(tmp_path / "queue", queue, lock_of("cpu"))
    other_count = synthesise(tmp_path / "count", count, lock_of("cpu"))

    model, config = _names(cpu)
    assert model.startswith(f"traceship-{DIGEST[:12]}-")
    assert _names(other_model)[0] != model
    assert _names(other_model)[1] != config
    assert _names(other_count)[0] == model
    assert _names(other_count)[1] != config
    assert max(len(name) for name in _names(cpu)) <= 63


def test_the_role_reads_one_archive(cpu: World) -> None:
    """No listing, no writing, no other release."""
    statements = {s["Sid"]: s for s in cpu.policy("endpoint", "RolePolicy")}

    assert statements["Read"]["Action"] == "s3:GetObject"
    assert text_of(statements["Read"]["Resource"]).endswith(f"/releases/traceship/{DIGEST}/model.tar.gz")
    assert set(statements) == {"Read", "BucketKey", "RegistryLogin", "PullImage", "AttachToVpc", "Log"}
    trust = cpu.properties("endpoint", "AWS::IAM::Role")["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_scaling_uses_the_metric_of_real_time_endpoints(cpu: World, tmp_path: Path) -> None:
    """Invocations a minute and instance, from the measured throughput or as the settings say."""
    given_by_hand = synthesise(
        tmp_path, settings_of(CPU, {"endpoint": {"invocations_per_instance": 123}}), lock_of("cpu")
    )

    for world, value in ((cpu, 2100), (given_by_hand, 123)):
        policy = world.properties("endpoint", "AWS::ApplicationAutoScaling::ScalingPolicy")
        tracking = policy["TargetTrackingScalingPolicyConfiguration"]
        assert tracking["PredefinedMetricSpecification"] == {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        }
        assert tracking["TargetValue"] == value
    target = cpu.properties("endpoint", "AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    assert target["ScalableDimension"] == "sagemaker:variant:DesiredInstanceCount"


@given(size=st.integers(min_value=1, max_value=10**12), startup=st.integers(min_value=0, max_value=10**5))
def test_timeouts_stay_within_the_platforms_limits(size: int, startup: int) -> None:
    """60 to 3600 s, and in between as long as size and start-up ask for."""
    lock = lock_of("cpu", startup_seconds=startup)
    facts = type(lock.artifact)(
        **{**{f: getattr(lock.artifact, f) for f in lock.artifact.__struct_fields__}, "archive_bytes": size}
    )
    lock = lock_of("cpu", startup_seconds=startup, artifact=facts)

    assert 60 <= download_timeout(lock) <= 3600
    assert 60 <= startup_timeout(lock) <= 3600
    assert startup_timeout(lock) >= min(3600, 2 * startup)
    assert download_timeout(lock) >= min(3600, size / 10_000_000)


def test_latency_is_compared_in_the_metrics_own_unit(cpu: World) -> None:
    """ModelLatency counts microseconds; the settings say milliseconds."""
    alarms = cpu.all("endpoint", "AWS::CloudWatch::Alarm")
    latency = next(a["Properties"] for n, a in alarms.items() if n.startswith("Latency"))

    assert latency["Threshold"] == 1_000_000
    assert latency["Metrics"][0]["MetricStat"]["Metric"]["MetricName"] == "ModelLatency"
    assert len(alarms) == 2
    assert all(a["Properties"]["AlarmActions"] for a in alarms.values())


def test_the_log_group_exists_before_the_endpoint_writes_to_it(cpu: World) -> None:
    """SageMaker would make one without encryption and without an end."""
    group = cpu.properties("endpoint", "AWS::Logs::LogGroup")
    endpoint = cpu.only("endpoint", ENDPOINT)

    assert group["LogGroupName"] == "/aws/sagemaker/Endpoints/traceship"
    assert "KmsKeyId" in group
    assert set(cpu.all("endpoint", "AWS::Logs::LogGroup")) <= set(endpoint["DependsOn"])


def _names(world: World) -> tuple[str, str]:
    model = world.properties("endpoint", MODEL)["ModelName"]
    config = world.properties("endpoint", CONFIG)["EndpointConfigName"]
    assert isinstance(model, str)
    assert isinstance(config, str)
    return model, config


def test_another_release_brings_its_own_identity(cpu: World, tmp_path: Path) -> None:
    """SageMaker goes back to the old configuration by itself; its role must still be there."""
    digest = "cd" * 32
    location = msgspec.structs.replace(lock_of("cpu").location, prefix=f"releases/traceship/{digest}")

    other = synthesise(tmp_path, cpu.settings, lock_of("cpu", digest=digest, location=location))

    for kind in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
        old, new = (set(world.all("endpoint", kind)) for world in (cpu, other))
        assert (len(old), len(new), len(old & new)) == (1, 1, 0)
    (role,) = other.all("endpoint", "AWS::IAM::Role")
    model = other.properties("endpoint", "AWS::SageMaker::Model")
    assert model["ExecutionRoleArn"] == {"Fn::GetAtt": [role, "Arn"]}
