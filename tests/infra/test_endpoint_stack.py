"""The SageMaker endpoint: what it runs, how it changes, when it alarms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact import serving
from infra.canary import CanaryLockMissing, read_canary
from infra.endpoint_limits import download_timeout, startup_timeout, volume_gib
from infra.names import canary_variant
from tests.infra.worlds import (
    CANARY,
    CPU,
    DIGEST,
    INF1,
    LATER,
    OTHER_DIGEST,
    World,
    canary_lock_of,
    lock_of,
    settings_of,
    synthesise,
    text_of,
)

MODEL = "AWS::SageMaker::Model"
CONFIG = "AWS::SageMaker::EndpointConfig"
ENDPOINT = "AWS::SageMaker::Endpoint"
TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"


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
        assert endpoint["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DataCaptureConfig"}]
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
        assert (tracking["ScaleOutCooldown"], tracking["ScaleInCooldown"]) == (60, 300)
    target = cpu.properties("endpoint", TARGET)
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
    assert 300 <= startup_timeout(lock) <= 3600
    assert startup_timeout(lock) >= min(3600, 2 * startup)
    assert download_timeout(lock) >= min(3600, size / 10_000_000)


@given(archive=st.integers(1, 600 * 2**30), files=st.integers(1, 600 * 2**30))
def test_a_disk_holds_the_archive_and_what_is_unpacked_of_it(archive: int, files: int) -> None:
    """Both at once, with room to spare; asked for only where the usual disk is too small."""
    facts = msgspec.structs.replace(lock_of("cpu").artifact, archive_bytes=archive, files_bytes=files)

    gib = volume_gib(lock_of("cpu", artifact=facts))

    assert (gib or 30) * 2**30 >= archive + files + 9 * 2**30
    assert gib is None or gib > 30
    assert gib is None or (gib - 12) * 2**30 < archive + files


def test_a_large_release_asks_for_a_disk(tmp_path: Path) -> None:
    """And a small one does not, so that SageMaker chooses."""
    facts = msgspec.structs.replace(lock_of("cpu").artifact, archive_bytes=20 * 2**30, files_bytes=20 * 2**30)

    world = synthesise(tmp_path, settings_of(LATER), lock_of("cpu", artifact=facts))

    (variant,) = world.properties("endpoint", CONFIG)["ProductionVariants"]
    assert variant["VolumeSizeInGB"] == 50
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 2148


def test_latency_is_compared_in_the_metrics_own_unit(cpu: World) -> None:
    """ModelLatency and OverheadLatency count microseconds; the settings say milliseconds."""
    alarms = _alarms(cpu)

    assert alarms["Latency"]["Threshold"] == 1_000_000
    assert alarms["Latency"]["Metrics"][0]["MetricStat"]["Metric"]["MetricName"] == "ModelLatency"
    assert alarms["Overhead"]["Threshold"] == 500_000
    assert set(alarms) == {"Errors", "Latency", "Overhead", "Disk", "Instances", "Ready"}
    assert all(alarm["AlarmActions"] for alarm in alarms.values())


def test_silence_is_an_alarm_once_the_endpoint_is_there(cpu: World, tmp_path: Path) -> None:
    """No instance, or no server that passed its golden set; without metrics of ours only the first."""
    alarms = cpu.all("endpoint", "AWS::CloudWatch::Alarm")
    silent = settings_of(CPU, {"serve": {"metrics_seconds": 0}})

    for name, metric in (("Instances", "CPUUtilization"), ("Ready", "Ready")):
        (alarm,) = (body for key, body in alarms.items() if key.startswith(name))
        properties = alarm["Properties"]
        found = properties.get("MetricName") or properties["Metrics"][0]["MetricStat"]["Metric"]["MetricName"]
        assert (found, properties["TreatMissingData"]) == (metric, "breaching")
        assert properties["ComparisonOperator"] == "LessThanThreshold"
        assert set(cpu.all("endpoint", ENDPOINT)) <= set(alarm["DependsOn"])
    assert "Ready" not in _alarms(synthesise(tmp_path, silent, lock_of("cpu")))


def _alarms(world: World) -> dict[str, Any]:
    """Properties of the alarms by the names that the stack gives them."""
    found = world.all("endpoint", "AWS::CloudWatch::Alarm")
    return {re.sub(r"Alarm[0-9A-F]{8}$", "", name): body["Properties"] for name, body in found.items()}


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


def test_a_share_of_the_throughput_and_the_pauses_are_the_settings(tmp_path: Path) -> None:
    """Out and in each have their own pause."""
    scaling = {"load_percent": 50, "out_cooldown_seconds": 30, "in_cooldown_seconds": 900}

    world = synthesise(tmp_path, settings_of(CPU, {"endpoint": {"scaling": scaling}}), lock_of("cpu"))

    tracking = world.properties("endpoint", POLICY)["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 1500
    assert (tracking["ScaleOutCooldown"], tracking["ScaleInCooldown"]) == (30, 900)


def test_scaling_can_be_off(tmp_path: Path) -> None:
    """SageMaker refuses another instance type while a scalable target is registered."""
    off = settings_of(CPU, {"endpoint": {"scaling": {"enabled": False}}})

    world = synthesise(tmp_path, off, lock_of("cpu"))

    assert world.all("endpoint", TARGET) == world.all("endpoint", POLICY) == {}


def test_a_schedule_changes_the_limits(canary: World) -> None:
    """In its own time zone, in the service's own spelling."""
    day, night = canary.properties("endpoint", TARGET)["ScheduledActions"]

    assert day == {
        "ScheduledActionName": "day",
        "Schedule": "cron(0 7 ? * MON-FRI *)",
        "Timezone": "Europe/Paris",
        "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 6},
    }
    assert (night["Timezone"], night["ScalableTargetAction"]["MinCapacity"]) == ("UTC", 1)


def test_a_canary_stands_beside_the_release_without_traffic(canary: World) -> None:
    """Its own model, image digest and name; the weights are for a rollout to shift."""
    stable, second = canary.properties("endpoint", CONFIG)["ProductionVariants"]
    models = {m["Properties"]["ModelName"]: m["Properties"] for m in canary.all("endpoint", MODEL).values()}

    assert (stable["VariantName"], stable["InitialVariantWeight"]) == ("stable", 1)
    assert (second["VariantName"], second["InitialVariantWeight"]) == (canary_variant(OTHER_DIGEST), 0)
    assert (stable["InitialInstanceCount"], second["InitialInstanceCount"]) == (1, 2)
    digests = [
        models[variant["ModelName"]]["PrimaryContainer"]["Environment"][serving.ENV_DIGEST]
        for variant in (stable, second)
    ]
    assert digests == [DIGEST, OTHER_DIGEST]
    services = {m["PrimaryContainer"]["Environment"][serving.ENV_SERVICE] for m in models.values()}
    assert services == {"traceship-endpoint", "traceship-endpoint-canary"}


def test_a_canary_leaves_the_release_beside_it_as_it_is(canary: World, tmp_path: Path) -> None:
    """Role, policy and model are the same resources with the same names: nothing of it is replaced."""
    alone = {**CANARY, "endpoint": {**CANARY["endpoint"], "canary": None}}

    before = synthesise(tmp_path, settings_of(alone), lock_of("inf1"))

    for kind in (MODEL, "AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
        old, new = before.all("endpoint", kind), canary.all("endpoint", kind)
        assert old.items() <= new.items()
        assert len(new) == len(old) + 1


def test_each_canary_has_a_name_of_its_own(canary: World, tmp_path: Path) -> None:
    """SageMaker keeps the weight of a name that it knows: the next canary would begin with the last one's."""
    digest = "ef" * 32
    location = msgspec.structs.replace(lock_of("inf1").location, prefix=f"releases/traceship/{digest}")
    third = lock_of("inf1", digest=digest, location=location)

    world = synthesise(tmp_path, canary.settings, lock_of("inf1"), canary=third)

    variants = world.properties("endpoint", CONFIG)["ProductionVariants"]
    assert [v["VariantName"] for v in variants] == ["stable", canary_variant(digest)]
    assert canary_variant(digest) != canary_variant(OTHER_DIGEST)
    assert len(canary_variant(digest)) <= 63
    roles = {name[-12:] for name in world.all("endpoint", "AWS::IAM::Role")}
    assert roles == {DIGEST[:12], digest[:12]}


def test_nothing_scales_a_canary(canary: World) -> None:
    """SageMaker refuses to remove a variant that is registered as a scalable target."""
    target = canary.only("endpoint", TARGET)

    assert text_of(target["Properties"]["ResourceId"]).endswith("/variant/stable")


def test_a_canary_may_be_the_release_itself(tmp_path: Path) -> None:
    """While it is promoted both variants run it, so that no traffic goes back to the old one."""
    world = synthesise(tmp_path, settings_of(CANARY), canary_lock_of("inf1"), canary=canary_lock_of("inf1"))

    names = [m["Properties"]["ModelName"] for m in world.all("endpoint", MODEL).values()]
    assert len(set(names)) == 2


def test_a_canary_without_a_lock_is_refused(tmp_path: Path) -> None:
    """The file that is missing is named."""
    assert read_canary(settings_of(CANARY), tmp_path) is None
    assert read_canary(settings_of(INF1), tmp_path) is None

    with pytest.raises(CanaryLockMissing) as refused:
        synthesise(tmp_path, settings_of(CANARY), lock_of("inf1"))

    assert "release.canary.lock.json" in refused.value.what
    assert "ship --canary" in refused.value.fix
    assert refused.value.exit_code == 2


def test_a_canary_is_watched_by_itself(canary: World) -> None:
    """Its few errors would drown in the share of all."""
    alarms = _alarms(canary)

    assert {
        f"Canary{name}" for name in ("Errors", "Latency", "Overhead", "Disk", "Instances", "Ready")
    } <= set(alarms)
    assert canary_variant(OTHER_DIGEST) in json.dumps(alarms["CanaryErrors"])
    assert canary_variant(OTHER_DIGEST) not in json.dumps(alarms["Errors"])


def test_requests_are_captured_where_they_expire(canary: World) -> None:
    """Below a prefix of the artifacts bucket, with the project's key, both sides, JSON as JSON."""
    capture = canary.properties("endpoint", CONFIG)["DataCaptureConfig"]

    assert capture["InitialSamplingPercentage"] == 5
    assert text_of(capture["DestinationS3Uri"]).endswith("/captured")
    assert "Key" in text_of(capture["KmsKeyId"])
    assert [option["CaptureMode"] for option in capture["CaptureOptions"]] == ["Input", "Output"]
    assert capture["CaptureContentTypeHeader"] == {"JsonContentTypes": ["application/json"]}
    rules = canary.all("artifacts", "AWS::S3::Bucket")
    kept = json.dumps([body["Properties"].get("LifecycleConfiguration") for body in rules.values()])
    assert '"ExpirationInDays": 30, "Id": "captured"' in kept


@pytest.mark.parametrize(("what", "modes"), [("input", ["Input"]), ("output", ["Output"])])
def test_one_side_may_be_captured(what: str, modes: list[str], tmp_path: Path) -> None:
    """With a key of another owner, and content types of one's own."""
    key = "arn:aws:kms:eu-west-1:111122223333:key/12345678-90ab-cdef-1234-567890abcdef"
    asked = {"percent": 100, "what": what, "kms_key": key, "json_types": [], "csv_types": ["text/csv"]}
    settings = settings_of(CPU, {"endpoint": {"capture": asked}})

    world = synthesise(tmp_path, settings, lock_of("cpu"))

    capture = world.properties("endpoint", CONFIG)["DataCaptureConfig"]
    assert [option["CaptureMode"] for option in capture["CaptureOptions"]] == modes
    assert (capture["KmsKeyId"], capture["InitialSamplingPercentage"]) == (key, 100)
    assert capture["CaptureContentTypeHeader"] == {"CsvContentTypes": ["text/csv"]}
    statements = {s["Sid"]: s for s in world.policy("endpoint", "RolePolicy")}
    assert statements["CaptureKey"]["Resource"] == key
    assert statements["BucketKey"]["Action"] == "kms:Decrypt"


def test_capture_stops_on_a_full_disk_so_the_disk_is_watched_earlier(canary: World, cpu: World) -> None:
    """SageMaker counts no request that it did not capture."""
    assert _alarms(canary)["Disk"]["Threshold"] == 75
    assert _alarms(cpu)["Disk"]["Threshold"] == 85


@pytest.mark.parametrize("days", [30, 3])
def test_what_endpoints_left_expires_after_their_sections_are_gone(days: int, tmp_path: Path) -> None:
    """The rules belong to the project and do not go with the section that made the data."""
    changed = {} if days == 30 else {"project": {"keep_requests_days": days}}

    world = synthesise(tmp_path, settings_of(CPU, changed), None, foundation=True)

    text = json.dumps(world.templates["artifacts"])
    for prefix in ("captured", "async"):
        assert f'"ExpirationInDays": {days}, "Id": "{prefix}"' in text


def test_an_async_endpoint_answers_by_way_of_s3(later: World) -> None:
    """Answers and failures apart, encrypted, each with a topic; a limit on requests at a time."""
    config = later.properties("endpoint", CONFIG)["AsyncInferenceConfig"]
    output = config["OutputConfig"]

    assert text_of(output["S3OutputPath"]).endswith("/async/traceship/output")
    assert text_of(output["S3FailurePath"]).endswith("/async/traceship/failed")
    assert config["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 4}
    topics = later.all("endpoint", "AWS::SNS::Topic")
    named = {text_of(topic).strip("<>") for topic in output["NotificationConfig"].values()}
    assert named == {name for name in topics if name.startswith(("Answers", "Failures"))}
    assert all(topics[name]["Properties"]["KmsMasterKeyId"] for name in named)


def test_an_async_endpoint_may_be_empty_and_wakes_up(later: World) -> None:
    """A step from zero on the endpoint's own metric; the backlog decides about more."""
    policies = {
        p["Properties"]["PolicyType"]: p["Properties"] for p in later.all("endpoint", POLICY).values()
    }
    alarm = _alarms(later)["WaitingForAnInstance"]

    assert later.properties("endpoint", TARGET)["MinCapacity"] == 0
    assert later.properties("endpoint", CONFIG)["ProductionVariants"][0]["InitialInstanceCount"] == 1
    step = policies["StepScaling"]["StepScalingPolicyConfiguration"]
    assert step["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("HasBacklogWithoutCapacity", 1)
    assert alarm["Dimensions"] == [{"Name": "EndpointName", "Value": "traceship"}]
    tracking = policies["TargetTrackingScaling"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["CustomizedMetricSpecification"]
    assert metric["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert metric["Dimensions"] == [{"Name": "EndpointName", "Value": "traceship"}]
    assert tracking["TargetValue"] == 1050


def test_an_async_endpoint_is_watched_by_the_metrics_that_it_has(later: World) -> None:
    """SageMaker publishes neither invocations nor overhead for it, and an alarm on them would sleep."""
    alarms = _alarms(later)
    text = json.dumps([*alarms.values(), later.properties("endpoint", "AWS::CloudWatch::Dashboard")])

    assert set(alarms) == {"Errors", "Latency", "Disk", "Waiting", "Lost", "WaitingForAnInstance"}
    assert not re.search(r"OverheadLatency|InvocationsPerInstance|Invocations\b", text)
    assert alarms["Waiting"]["Threshold"] == 600
    assert "ExpiredRequests" in json.dumps(alarms["Lost"])


def test_an_async_endpoint_that_is_never_empty_needs_no_step(tmp_path: Path) -> None:
    """Topics of one's own are used, and none is made."""
    topic = "arn:aws:sns:eu-west-1:111122223333:answers"
    later = {"success_topic_arn": topic, "error_topic_arn": topic, "backlog_per_instance": 7}
    settings = settings_of(LATER, {"endpoint": {"min_count": 1, "async": later}})

    world = synthesise(tmp_path, settings, lock_of("cpu"))

    policy = world.properties("endpoint", POLICY)
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 7
    assert "WaitingForAnInstance" not in _alarms(world)
    assert [name[:10] for name in world.all("endpoint", "AWS::SNS::Topic")] == ["AlarmTopic"]
    statements = {s["Sid"]: s for s in world.policy("endpoint", "RolePolicy")}
    assert statements["Publish"]["Resource"] == topic
    assert "TopicKey" not in statements


def test_sagemaker_shifts_the_traffic_where_it_can(later: World) -> None:
    """A share first, then all, and back on an alarm, which must be there before the update."""
    shifting = later.properties("endpoint", ENDPOINT)["DeploymentConfig"]
    policy = shifting["BlueGreenUpdatePolicy"]

    assert policy["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 25},
        "WaitIntervalInSeconds": 600,
    }
    assert policy["TerminationWaitInSeconds"] == 600
    assert policy["MaximumExecutionTimeoutInSeconds"] > 1200
    alarms = [alarm["AlarmName"]["Ref"] for alarm in shifting["AutoRollbackConfiguration"]["Alarms"]]
    assert [name[:6] for name in alarms] == ["Errors", "Latenc"]
    assert "Ref" not in json.dumps(_alarms(later)["Errors"]["Metrics"])


def test_the_dashboard_shows_each_variant(canary: World) -> None:
    """Traffic, time, overhead, errors, hosts and both releases."""
    body = text_of(canary.properties("endpoint", "AWS::CloudWatch::Dashboard")["DashboardBody"])

    for name in ("Invocations", "ModelLatency", "OverheadLatency", "Invocation4XXErrors", "CPUUtilization",
                 "MemoryUtilization", "DiskUtilization"):  # fmt: skip
        for variant in ("stable", canary_variant(OTHER_DIGEST)):
            assert re.search(rf'"{name}","EndpointName","traceship","VariantName","{variant}"', body), name
    assert DIGEST[:12] in body
    assert OTHER_DIGEST[:12] in body
