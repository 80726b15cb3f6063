"""What the local AWS cannot show by a describe call is asserted on the templates."""

from __future__ import annotations

from tests.infra.worlds import World


def test_the_group_reports_launches_failures_and_its_metrics(inf1: World) -> None:
    """To the topic that people read, for every kind of scaling; all group metrics, once a minute."""
    group = inf1.properties("fleet", "AWS::AutoScaling::AutoScalingGroup")

    (notification,) = group["NotificationConfigurations"]
    assert notification["TopicARN"]["Ref"] in inf1.all("fleet", "AWS::SNS::Topic")
    assert {
        "autoscaling:EC2_INSTANCE_LAUNCH",
        "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
        "autoscaling:EC2_INSTANCE_TERMINATE",
        "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
    } <= set(notification["NotificationTypes"])
    assert group["MetricsCollection"] == [{"Granularity": "1Minute"}]


def test_a_compute_environment_is_updated_and_not_replaced(inf1: World) -> None:
    """A replacement would take it from the queues that use it."""
    environments = inf1.all("compile", "AWS::Batch::ComputeEnvironment")

    assert environments
    for environment in environments.values():
        assert environment["Properties"]["ReplaceComputeEnvironment"] is False


def test_metadata_of_the_cdk_is_in_no_template(inf1: World, cpu: World) -> None:
    """It names the library's version, so that templates would change with every upgrade."""
    for world in (inf1, cpu):
        for role in world.templates:
            assert world.all(role, "AWS::CDK::Metadata") == {}
