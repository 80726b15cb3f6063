"""The fleet's group with everything that is optional: Spot, a schedule, a warm pool, callers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from pydantic import ValidationError

from infra.fleet_doors import TLS_POLICIES
from infra.names import READY_HOOK, fleet_group
from infra.timing import launch_seconds, start_seconds
from settings.fleet import TlsPolicy
from tests.infra.worlds import CERTIFICATE, CPU, NIGHT, SPOT, World, lock_of, make_app, settings_of

GROUP = "AWS::AutoScaling::AutoScalingGroup"
HOOK = "AWS::AutoScaling::LifecycleHook"
FRIDAY = {"name": "friday", "cron": "0 9 * * 5"}
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"


def _fleet(**keys: Any) -> dict[str, Any]:
    return {"fleet": {**CPU["fleet"], **keys}}


def test_spot_comes_above_the_base_in_the_given_order_and_is_replaced_ahead(spot: World) -> None:
    """Capacity first, order as far as it goes; no price at which AWS takes it away."""
    group = spot.properties("fleet", GROUP)

    assert group["MixedInstancesPolicy"]["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized",
        "OnDemandBaseCapacity": 1,
        "OnDemandPercentageAboveBaseCapacity": 40,
        "SpotAllocationStrategy": "capacity-optimized-prioritized",
    }
    overrides = group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert [override["InstanceType"] for override in overrides] == ["c5.large", "m5.xlarge"]
    assert group["CapacityRebalance"] is True


def test_a_fleet_is_on_demand_unless_it_says_otherwise(cpu: World) -> None:
    """A base without a share of Spot changes nothing."""
    group = cpu.properties("fleet", GROUP)

    assert "CapacityRebalance" not in group
    assert "OnDemandBaseCapacity" not in group["MixedInstancesPolicy"]["InstancesDistribution"]


def test_the_schedule_moves_bounds_in_its_own_time_zone(spot: World) -> None:
    """Down to nothing at night, back in the morning, both by the callers' clock."""
    actions = spot.all("fleet", "AWS::AutoScaling::ScheduledAction")
    found = {
        name: (p["Recurrence"], p["TimeZone"], p["MinSize"], p["MaxSize"], p["DesiredCapacity"])
        for name, p in ((name, body["Properties"]) for name, body in actions.items())
    }

    assert found == {
        "ScheduleNight": ("0 20 * * *", "Europe/Berlin", 0, 0, 0),
        "ScheduleMorning": ("30 6 * * 1-5", "Europe/Berlin", 2, 8, 3),
    }
    assert "DesiredCapacity" not in spot.properties("fleet", GROUP)


def test_a_warm_pool_holds_what_the_settings_say(warm: World, cpu: World) -> None:
    """And there is none unasked."""
    assert warm.properties("fleet", "AWS::AutoScaling::WarmPool") == {
        "AutoScalingGroupName": {"Ref": next(iter(warm.all("fleet", GROUP)))},
        "PoolState": "Stopped",
        "MinSize": 2,
        "MaxGroupPreparedCapacity": 3,
        "InstanceReusePolicy": {"ReuseOnScaleIn": True},
    }
    assert cpu.all("fleet", "AWS::AutoScaling::WarmPool") == {}


def test_the_pool_is_not_there_before_the_hook_that_its_instances_wait_for(warm: World) -> None:
    """One that is stopped while it boots for the first time never writes its units."""
    (pool,) = warm.all("fleet", "AWS::AutoScaling::WarmPool").values()
    hooks = {
        name
        for name, body in warm.all("fleet", HOOK).items()
        if body["Properties"].get("LifecycleHookName") == READY_HOOK
    }

    assert set(pool["DependsOn"]) == hooks


def test_a_new_instance_waits_until_it_says_that_it_is_proven(cpu: World) -> None:
    """Under the name that the host knows; one that never says so is given up after its longest start."""
    (hook,) = [
        body["Properties"]
        for body in cpu.all("fleet", HOOK).values()
        if body["Properties"]["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    ]

    assert (hook["LifecycleHookName"], hook["DefaultResult"]) == (READY_HOOK, "ABANDON")
    assert hook["HeartbeatTimeout"] == launch_seconds(lock_of("cpu")) == 900 + 300
    assert start_seconds(lock_of("cpu")) < launch_seconds(lock_of("cpu"))


def test_ill_and_old_instances_are_replaced_as_in_a_rollout(cpu: World, warm: World) -> None:
    """A new one first, a tenth of the fleet at a time."""
    group = cpu.only("fleet", GROUP)
    preferences = group["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]

    policy = group["Properties"]["InstanceMaintenancePolicy"]
    assert policy == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}
    assert policy == {name: preferences[name] for name in policy}
    assert group["Properties"]["MaxInstanceLifetime"] == 30 * 86_400
    assert warm.properties("fleet", GROUP)["MaxInstanceLifetime"] == 7 * 86_400


def test_the_group_has_the_name_that_its_alarms_look_for(cpu: World) -> None:
    """They cannot refer to it: it refers to them. Each service's fleet has one of its own."""
    search = settings_of(CPU).of(stage=None, service="search", runs="search")

    assert cpu.properties("fleet", GROUP)["AutoScalingGroupName"] == fleet_group(cpu.settings)
    assert (fleet_group(cpu.settings), fleet_group(search)) == ("traceship-fleet", "traceship-search-fleet")


def test_callers_can_be_a_security_group_and_nobody_else(spot: World) -> None:
    """The VPC's addresses are let in only where the settings name nobody."""
    doors = spot.all("fleet", "AWS::EC2::SecurityGroup")
    (door,) = [body["Properties"] for name, body in doors.items() if name.startswith("Door")]

    assert [
        (row["SourceSecurityGroupId"], row["FromPort"], row["ToPort"], row.get("CidrIp"))
        for row in door["SecurityGroupIngress"]
    ] == [("sg-0123456789abcdef0", 443, 443, None)]


def test_callers_show_a_certificate_of_the_given_authorities(spot: World, pinned: World) -> None:
    """Verified by the load balancer, expiry included; the bundle by its version."""
    listener = spot.properties("fleet", LISTENER)
    store = spot.properties("fleet", "AWS::ElasticLoadBalancingV2::TrustStore")

    assert listener["MutualAuthentication"]["Mode"] == "verify"
    assert listener["MutualAuthentication"]["IgnoreClientCertificateExpiry"] is False
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-3-2021-06"
    assert store["CaCertificatesBundleS3Bucket"] == "authorities"
    assert store["CaCertificatesBundleS3Key"] == "clients/bundle.pem"
    assert store["CaCertificatesBundleS3ObjectVersion"] == "3HL4kqt"
    assert "MutualAuthentication" not in pinned.properties("fleet", LISTENER)


def test_every_tls_policy_of_the_settings_is_the_load_balancers_of_that_name(tmp_path: Path) -> None:
    """The CDK has names of its own for them; a listener each shows what they stand for."""
    assert tuple(TLS_POLICIES) == get_args(TlsPolicy)
    app = make_app(tmp_path)
    stack = cdk.Stack(app, "policies")
    vpc = ec2.Vpc(stack, "Vpc")
    balancer = elb.ApplicationLoadBalancer(stack, "LoadBalancer", vpc=vpc)
    for number, policy in enumerate(TLS_POLICIES.values()):
        balancer.add_listener(
            f"Listener{number}",
            port=8443 + number,
            protocol=elb.ApplicationProtocol.HTTPS,
            certificates=[elb.ListenerCertificate.from_arn(CERTIFICATE)],
            ssl_policy=policy,
            default_action=elb.ListenerAction.fixed_response(200),
        )

    template = app.synth().get_stack_by_name("policies").template
    found = [
        body["Properties"]["SslPolicy"] for body in template["Resources"].values() if body["Type"] == LISTENER
    ]
    assert found == [f"ELBSecurityPolicy-{name}" for name in TLS_POLICIES]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mtls": {"ca_bundle": "s3://authorities/a.pem"}}, "mtls needs certificate_arn"),
        ({"mtls": {"ca_bundle": "authorities/a.pem"}, "certificate_arn": CERTIFICATE}, "ca_bundle"),
        ({"on_demand_base": 3}, "above max_size 2"),
        ({"spot_percent": 101}, "spot_percent"),
        ({"schedule": [NIGHT]}, "night sets min and no other entry"),
        ({"schedule": [NIGHT, NIGHT]}, "same name"),
        ({"schedule": [{**FRIDAY, "desired": 3}]}, "desired 3 is outside of 1 to 2"),
        ({"schedule": [{**FRIDAY, "desired": 0}]}, "desired 0 is outside of 1 to 2"),
        (
            {"schedule": [{**FRIDAY, "min": 4}, {**FRIDAY, "name": "later", "min": 2}]},
            "min 4 is outside of 1 to 2",
        ),
        ({"tls_policy": "TLS13-1-0-2021-06"}, "tls_policy"),
        ({"client_security_groups": ["sg-1"]}, "client_security_groups"),
        ({"warm_pool": {"state": "running"}}, "warm_pool.state"),
        ({"max_lifetime_days": 0}, "max_lifetime_days"),
        ({"scaling": {"in_minutes": 1}}, "below out_minutes"),
        ({"scaling": {"max_in_factor": 1.0}}, "max_in_factor"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(keys: dict[str, Any], words: str) -> None:
    """In the words of the settings file."""
    with pytest.raises(ValidationError, match=words.replace(".", r"\.")):
        settings_of(_fleet(**keys))


def test_the_fullest_fleet_is_one_that_the_settings_know() -> None:
    """The worlds of these tests say what they seem to say."""
    fleet = settings_of(SPOT).fleet

    assert fleet is not None
    assert [entry.name for entry in fleet.schedule] == ["night", "morning"]
