"""The EC2 fleet: rollout, network, identity, alarms."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from artifact import serving
from infra.exact_keys import BLOBS_A_POLICY, MAX_BLOBS, POLICY_CHARACTERS
from infra.names import MAX_PROJECT_NAME
from infra.rhythm import REACTION_SECONDS
from infra.timing import CONTAINER_STOP_SECONDS, UNIT_STOP_SECONDS
from tests.infra.worlds import (
    BLOBS,
    CERTIFICATE,
    CPU,
    DIGEST,
    INF1,
    World,
    lock_of,
    settings_of,
    synthesise,
    text_of,
)

GROUP = "AWS::AutoScaling::AutoScalingGroup"
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
OF_A_RELEASE = {"AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::IAM::InstanceProfile"}
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"


def _launch_data(world: World) -> dict[str, Any]:
    data: dict[str, Any] = world.properties("fleet", "AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    return data


def _attributes(world: World, kind: str, key: str) -> dict[str, Any]:
    return {a["Key"]: a["Value"] for a in world.properties("fleet", kind)[key]}


def test_the_launch_template_is_named_by_number_and_the_ami_by_id(cpu: World) -> None:
    """Both are conditions of a rollback (EC2 Auto Scaling API reference)."""
    mixed = cpu.properties("fleet", GROUP)["MixedInstancesPolicy"]["LaunchTemplate"]

    assert mixed["LaunchTemplateSpecification"]["Version"]["Fn::GetAtt"][1] == "LatestVersionNumber"
    assert _launch_data(cpu)["ImageId"] == "ami-00000000000000000"


def test_a_rollout_pauses_bakes_and_is_undone_by_alarms(cpu: World) -> None:
    """The policy is there from the first deploy on; an update without it could not be rolled back."""
    policy = cpu.only("fleet", GROUP)["UpdatePolicy"]["AutoScalingInstanceRefresh"]

    preferences = policy["Preferences"]
    assert policy["Strategy"] == "Rolling"
    assert (preferences["MinHealthyPercentage"], preferences["MaxHealthyPercentage"]) == (100, 110)
    assert preferences["CheckpointPercentages"] == [1, 25, 100]
    assert (preferences["CheckpointDelay"], preferences["BakeTime"]) == (600, 900)
    assert preferences["SkipMatching"] is True
    alarms = {alarm["Ref"] for alarm in preferences["AlarmSpecification"]["Alarms"]}
    assert len(alarms) == 3
    assert alarms < set(cpu.all("fleet", "AWS::CloudWatch::Alarm"))
    assert preferences["CheckpointDelay"] > REACTION_SECONDS


def test_instance_types_come_in_the_order_of_the_settings(pinned: World) -> None:
    """On-demand, the first type that a zone can give."""
    mixed = pinned.properties("fleet", GROUP)["MixedInstancesPolicy"]

    types = [o["InstanceType"] for o in mixed["LaunchTemplate"]["Overrides"]]
    assert types == ["m5.xlarge", "c5.xlarge"]
    assert mixed["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized",
        "OnDemandPercentageAboveBaseCapacity": 100,
    }


def test_a_deploy_leaves_the_live_size_alone(cpu: World) -> None:
    """Bounds only; what scaling chose in between stays."""
    group = cpu.only("fleet", GROUP)

    assert (group["Properties"]["MinSize"], group["Properties"]["MaxSize"]) == ("1", "2")
    assert "DesiredCapacity" not in group["Properties"]
    assert group["UpdatePolicy"]["AutoScalingScheduledAction"] == {
        "IgnoreUnmodifiedGroupSizeProperties": True
    }


def test_an_instance_counts_when_the_load_balancer_says_so(cpu: World) -> None:
    """/ping with 200 on port 8080, which the server gives after its golden set passed."""
    group = cpu.properties("fleet", GROUP)
    targets = cpu.properties("fleet", TARGETS)

    assert group["HealthCheckType"] == "ELB"
    assert (targets["Port"], targets["HealthCheckPath"]) == (serving.PORT, serving.PING)
    assert targets["Matcher"] == {"HttpCode": "200"}


def test_an_instance_leaves_after_its_last_request(cpu: World, pinned: World) -> None:
    """The target drains ten seconds longer than the deadline; the hook outlasts the unit's stop."""
    for world, deadline in ((cpu, 20), (pinned, 40)):
        attributes = _attributes(world, TARGETS, "TargetGroupAttributes")
        assert attributes["deregistration_delay.timeout_seconds"] == str(deadline + 10)

    (hook,) = [
        body["Properties"]
        for body in cpu.all("fleet", "AWS::AutoScaling::LifecycleHook").values()
        if body["Properties"]["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    ]
    assert hook["HeartbeatTimeout"] >= UNIT_STOP_SECONDS > CONTAINER_STOP_SECONDS >= serving.DRAIN_SECONDS
    assert hook["DefaultResult"] == "CONTINUE"


def test_the_load_balancer_is_internal_and_strict(cpu: World) -> None:
    """No odd headers, no ambiguous requests, every access logged."""
    attributes = _attributes(cpu, BALANCER, "LoadBalancerAttributes")

    assert cpu.properties("fleet", BALANCER)["Scheme"] == "internal"
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert attributes["routing.http.desync_mitigation_mode"] == "strictest"
    assert attributes["access_logs.s3.enabled"] == "true"
    assert "AccessLogs" in json.dumps(attributes["access_logs.s3.bucket"])


def test_only_a_demonstration_can_be_deleted_at_once(cpu: World, inf1: World) -> None:
    """Deletion protection follows project.retain_data."""
    key = "deletion_protection.enabled"

    assert _attributes(inf1, BALANCER, "LoadBalancerAttributes")[key] == "true"
    assert _attributes(cpu, BALANCER, "LoadBalancerAttributes")[key] == "false"


def test_a_certificate_makes_the_listener_https(cpu: World, pinned: World) -> None:
    """Without one, callers inside the VPC use HTTP."""
    plain = cpu.properties("fleet", "AWS::ElasticLoadBalancingV2::Listener")
    secure = pinned.properties("fleet", "AWS::ElasticLoadBalancingV2::Listener")

    assert (plain["Port"], plain["Protocol"]) == (80, "HTTP")
    assert (secure["Port"], secure["Protocol"]) == (443, "HTTPS")
    assert secure["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    assert "TLS13" in secure["SslPolicy"]


def test_callers_reach_the_balancer_and_it_alone_reaches_the_instances(cpu: World, pinned: World) -> None:
    """The VPC unless the settings name ranges; port 8080 from the balancer's group; 443 out."""
    for world, cidr, port in ((cpu, "10.20.0.0/16", 80), (pinned, "10.9.0.0/16", 443)):
        groups = world.all("fleet", "AWS::EC2::SecurityGroup")
        door = next(g["Properties"] for name, g in groups.items() if name.startswith("Door"))
        inside = next(g["Properties"] for name, g in groups.items() if name.startswith("Instances"))
        assert [(r["CidrIp"], r["FromPort"], r["ToPort"]) for r in door["SecurityGroupIngress"]] == [
            (cidr, port, port)
        ]
        assert "SecurityGroupIngress" not in inside
        assert [(r["FromPort"], r["ToPort"]) for r in inside["SecurityGroupEgress"]] == [(443, 443)]
        way_in = world.properties("fleet", "AWS::EC2::SecurityGroupIngress")
        assert (way_in["FromPort"], way_in["ToPort"]) == (8080, 8080)
        assert way_in["SourceSecurityGroupId"]["Fn::GetAtt"][0].startswith("Door")


def test_credentials_stay_on_the_host_and_disks_are_encrypted(cpu: World) -> None:
    """Session tokens, one hop, no key pair."""
    data = _launch_data(cpu)

    assert data["MetadataOptions"] == {
        "HttpProtocolIpv6": "disabled",
        "HttpPutResponseHopLimit": 1,
        "HttpTokens": "required",
        "InstanceMetadataTags": "enabled",
    }
    assert [m["Ebs"]["Encrypted"] for m in data["BlockDeviceMappings"]] == [True]
    assert "KeyName" not in data


def test_an_instance_reads_this_release_and_no_other(cpu: World) -> None:
    """One manifest and the blobs of the lock, each by its key; the KMS key for that bucket's objects only."""
    statements = {s["Sid"]: s for s in cpu.policy("fleet", "RolePolicy")}
    (blobs,) = cpu.policy("fleet", "RoleBlobs1")
    bucket = "arn:aws:s3:::traceship-artifacts-111122223333-eu-west-1"

    assert statements["Read"]["Action"] == blobs["Action"] == "s3:GetObject"
    assert text_of(statements["Read"]["Resource"]) == f"{bucket}/releases/traceship/{DIGEST}/manifest.json"
    assert [text_of(arn) for arn in blobs["Resource"]] == [f"{bucket}/blobs/sha256/{blob}" for blob in BLOBS]
    assert statements["BucketKey"]["Action"] == "kms:Decrypt"
    condition = statements["BucketKey"]["Condition"]["StringEquals"]
    assert text_of(condition["kms:EncryptionContext:aws:s3:arn"]) == bucket
    assert text_of(condition["kms:ViaService"]) == "s3.eu-west-1.amazonaws.com"


def test_the_launch_template_uses_the_profile_of_its_release(cpu: World) -> None:
    """A version of the template from before keeps naming the profile from before."""
    (profile,) = cpu.all("fleet", "AWS::IAM::InstanceProfile")

    assert profile.endswith(DIGEST[:12])
    assert _launch_data(cpu)["IamInstanceProfile"] == {"Arn": {"Fn::GetAtt": [profile, "Arn"]}}


@pytest.mark.parametrize("files", [1, BLOBS_A_POLICY, BLOBS_A_POLICY + 1, MAX_BLOBS])
def test_as_many_files_as_the_gate_lets_through_fit_the_policies(tmp_path: Path, files: int) -> None:
    """Ten policies of 6,144 characters, with the longest names that a project and a region can have."""
    name, account = "a" * MAX_PROJECT_NAME, "1" * 12
    lock = lock_of("cpu", name=name)
    facts = msgspec.structs.replace(lock.artifact, blobs=tuple(f"{number:064x}" for number in range(files)))
    prefix = f"releases/{name}/{lock.digest}"
    location = msgspec.structs.replace(lock.location, account=account, region="us-gov-east-1", prefix=prefix)
    lock = msgspec.structs.replace(lock, artifact=facts, location=location)
    settings = settings_of({"project": {"name": name}, "fleet": CPU["fleet"]})

    world = synthesise(tmp_path, settings, lock)

    role = world.properties("fleet", "AWS::IAM::Role")
    policies = world.all("fleet", "AWS::IAM::ManagedPolicy")
    assert len(role["ManagedPolicyArns"]) == len(policies) == 1 + math.ceil(files / BLOBS_A_POLICY) <= 10
    longest = {
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::Partition": "aws-us-gov",
        "AWS::AccountId": account,
        "AWS::Region": "ap-southeast-1",
    }
    read = []
    for policy in policies.values():
        document = json.dumps(policy["Properties"]["PolicyDocument"], separators=(",", ":"))
        names = re.sub(r'\{"Fn::Join":\["",\[(.*?)\]\]\}', lambda m: _joined(m[1], longest), document)
        assert len(re.sub(r"\s", "", names)) <= POLICY_CHARACTERS
        read += re.findall(r"blobs/sha256/([0-9a-f]{64})", names)
    assert sorted(read) == list(facts.blobs)


def _joined(parts: str, pseudo: dict[str, str]) -> str:
    """A join's parts, themselves JSON, as the string in quotes that IAM would count."""
    found = json.loads(f"[{parts}]")
    return json.dumps("".join(pseudo[part["Ref"]] if isinstance(part, dict) else part for part in found))


def test_an_instance_pulls_one_repository_and_may_do_little_else(cpu: World) -> None:
    """Of S3 only its slots are written; nothing of IAM, no parameter, no secret."""
    statements = cpu.policy("fleet", "RolePolicy")
    actions = {
        a for s in statements for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }

    pull = next(s for s in statements if s["Sid"] == "PullImage")
    assert text_of(pull["Resource"]) == "arn:aws:ecr:eu-west-1:111122223333:repository/traceship/serving"
    assert {a.partition(":")[0] for a in actions} == {
        "autoscaling",
        "ecr",
        "kms",
        "logs",
        "s3",
        "ssm",
        "ssmmessages",
    }
    assert not [a for a in actions if "*" in a]
    assert "ssm:GetParameter" not in actions


def test_alarms_speak_and_silence_of_healthy_hosts_is_bad(cpu: World) -> None:
    """Errors and latency may be silent when nobody calls; a fleet that reports no host may not."""
    alarms = {n: a["Properties"] for n, a in cpu.all("fleet", "AWS::CloudWatch::Alarm").items()}
    silence = {name.partition("Alarm")[0]: a["TreatMissingData"] for name, a in alarms.items()}

    good, bad = "notBreaching", "breaching"
    assert silence == {
        "Errors": good,
        "Latency": good,
        "HealthyHosts": bad,
        "MissingHosts": bad,
        "ScaleOut": good,
        "ScaleIn": good,
    }
    alarms = {name: alarm for name, alarm in alarms.items() if not name.startswith("Scale")}
    assert all(a["AlarmActions"] and a["OKActions"] for a in alarms.values())


def test_chips_have_alarms_of_their_own_and_silence_undoes_no_rollout(inf1: World) -> None:
    """The instances that a rollout begins with may have no watch; a fault of a new one does stop it."""
    alarms = inf1.all("fleet", "AWS::CloudWatch::Alarm")
    silence = {name.partition("Alarm")[0]: a["Properties"]["TreatMissingData"] for name, a in alarms.items()}
    group = inf1.only("fleet", "AWS::AutoScaling::AutoScalingGroup")
    preferences = group["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    stopping = {row["Ref"].partition("Alarm")[0] for row in preferences["AlarmSpecification"]["Alarms"]}

    assert silence["HostFault"] == "notBreaching"
    assert silence["NeuronReports"] == "breaching"
    assert stopping >= {"HostFault", "Errors", "Latency"}
    assert "NeuronReports" not in stopping
    assert all(a["Properties"]["AlarmActions"] for a in alarms.values())


def test_alarms_speak_to_the_topic_of_the_settings(pinned: World) -> None:
    """Those that change the size speak to their policies only."""
    alarms = pinned.all("fleet", "AWS::CloudWatch::Alarm")

    assert pinned.all("fleet", "AWS::SNS::Topic") == {}
    assert {
        json.dumps(a["Properties"]["AlarmActions"])
        for name, a in alarms.items()
        if not name.startswith("Scale")
    } == {'["arn:aws:sns:eu-west-1:111122223333:pager"]'}


def test_the_topic_is_encrypted_and_admits_alarms_over_tls(cpu: World) -> None:
    """A policy replaces the default one, so CloudWatch must be let in by it."""
    assert "Key" in json.dumps(cpu.properties("fleet", "AWS::SNS::Topic")["KmsMasterKeyId"])
    statements = cpu.properties("fleet", "AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    effects = {(s["Effect"], json.dumps(s["Principal"])) for s in statements}

    assert effects == {("Deny", '"*"'), ("Allow", '{"Service": "cloudwatch.amazonaws.com"}')}


def test_another_release_changes_the_launch_template_and_nothing_it_should_not(
    inf1: World, tmp_path: Path
) -> None:
    """User data and labels differ, the network does not; and the old role, profile and policies stay
    until the rollout is over, so that its rollback finds them."""
    digest = "cd" * 32
    location = lock_of("inf1").location
    moved = type(location)(
        account=location.account,
        region=location.region,
        bucket=location.bucket,
        prefix=f"releases/traceship/{digest}",
    )
    other = synthesise(tmp_path, settings_of(INF1), lock_of("inf1", digest=digest, location=moved))

    before, after = inf1.templates["fleet"]["Resources"], other.templates["fleet"]["Resources"]
    changed = {name for name in before if name in after and before[name] != after[name]}
    assert {before[name]["Type"] for name in changed} == {
        "AWS::EC2::LaunchTemplate",
        "AWS::CloudWatch::Dashboard",
    }
    assert {before[name]["Type"] for name in before if name not in after} == OF_A_RELEASE
    assert {after[name]["Type"] for name in after if name not in before} == OF_A_RELEASE
    for role in ("artifacts", "network", "compile"):
        assert inf1.templates[role] == other.templates[role]
