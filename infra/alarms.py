"""The topic that alarms speak to, and alarms that all share one rhythm.

A rollout waits ``checkpoint_delay_minutes`` after each step; an alarm that needs longer than
that could not stop the next one, so its rhythm is fixed here and compared in compatibility.py.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns

from artifact.release import ReleaseLock
from infra.stack import ProjectStack
from settings.model import Alarms

PERIOD_SECONDS = 60
PERIOD = cdk.Duration.seconds(PERIOD_SECONDS)
EVALUATIONS = 2
REACTION_SECONDS = PERIOD_SECONDS * EVALUATIONS
"""Shortest time from the first bad minute to the alarm."""


def alarm_topic(stack: ProjectStack, alarms: Alarms, *, key: kms.IKey) -> sns.ITopic:
    """The topic of the settings, else a new encrypted one."""
    if alarms.topic_arn is not None:
        return sns.Topic.from_topic_arn(stack, "AlarmTopic", alarms.topic_arn)
    topic = sns.Topic(stack, "AlarmTopic", master_key=key, enforce_ssl=True)
    # A policy of our own replaces the one that lets the account's alarms in.
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            sid="Alarms",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
        )
    )
    return topic


def make_alarm(
    stack: ProjectStack,
    name: str,
    metric: cloudwatch.IMetric,
    *,
    threshold: float,
    topic: sns.ITopic,
    description: str,
    below: bool = False,
) -> cloudwatch.Alarm:
    """An alarm above ``threshold``, or below it; silence is bad only where the metric must flow."""
    comparison = cloudwatch.ComparisonOperator
    silence = cloudwatch.TreatMissingData
    alarm = cloudwatch.Alarm(
        stack,
        f"{name}Alarm",
        metric=metric,
        threshold=threshold,
        evaluation_periods=EVALUATIONS,
        comparison_operator=comparison.LESS_THAN_THRESHOLD if below else comparison.GREATER_THAN_THRESHOLD,
        treat_missing_data=silence.BREACHING if below else silence.NOT_BREACHING,
        alarm_description=description,
    )
    alarm.add_alarm_action(actions.SnsAction(topic))
    alarm.add_ok_action(actions.SnsAction(topic))
    return alarm


def error_percent(
    errors: dict[str, cloudwatch.IMetric], requests: cloudwatch.IMetric
) -> cloudwatch.MathExpression:
    """Share of failed requests in percent; a minute without requests has no value."""
    return cloudwatch.MathExpression(
        expression=f"100 * ({' + '.join(f'FILL({name}, 0)' for name in errors)}) / requests",
        using_metrics={**errors, "requests": requests},
        period=PERIOD,
        label="errors %",
    )


def caption(lock: ReleaseLock) -> cloudwatch.TextWidget:
    """The line on top of a dashboard: which release runs, and how fast it is known to be."""
    speed = lock.throughput
    known = "measured" if speed.measured else "estimated"
    text = f"**{lock.name}** `{lock.digest[:12]}`, {speed.per_second:g} requests/s a replica ({known}: {speed.source})"
    return cloudwatch.TextWidget(markdown=text, width=24, height=2)
