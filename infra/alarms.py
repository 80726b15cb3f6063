"""The topic that alarms speak to, and alarms that all share one rhythm (rhythm.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import IConstruct

from artifact.release import ReleaseLock
from infra.rhythm import EVALUATIONS, PERIOD_SECONDS
from infra.stack import ProjectStack
from settings.model import Alarms

PERIOD = cdk.Duration.seconds(PERIOD_SECONDS)


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


@dataclass
class Watch:
    """Makes alarms in ``stack`` that speak to ``topic``, and remembers them for rollout and dashboard.

    ``stopping``: those of ``alarms`` that stop a rollout; they all react faster than it goes on.
    """

    stack: ProjectStack
    topic: sns.ITopic
    alarms: list[cloudwatch.Alarm] = field(default_factory=list)
    stopping: list[cloudwatch.Alarm] = field(default_factory=list)

    def above(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        *,
        silence_is_bad: bool = False,
        minutes: int | None = None,
    ) -> None:
        """Alarm above ``threshold``; silence is good unless said, because nobody may be calling.

        Args:
            minutes: so many of them in a row, where a rollout need not wait for this alarm.
        """
        silence = cloudwatch.TreatMissingData
        self._remember(
            cloudwatch.Alarm(
                self.stack,
                f"{name}Alarm",
                metric=metric,
                threshold=threshold,
                evaluation_periods=EVALUATIONS if minutes is None else minutes * 60 // PERIOD_SECONDS,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                treat_missing_data=silence.BREACHING if silence_is_bad else silence.NOT_BREACHING,
                alarm_description=description,
            ),
            stops_rollout=minutes is None,
        )

    def below(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        *,
        after: IConstruct | None = None,
        periods: int = EVALUATIONS,
        stops_rollout: bool = True,
    ) -> None:
        """Alarm below ``threshold``; silence is bad, because the metric always flows.

        ``after``: what makes it flow, so that the alarm is not made before that is there.
        """
        alarm = self._remember(
            cloudwatch.Alarm(
                self.stack,
                f"{name}Alarm",
                metric=metric,
                threshold=threshold,
                evaluation_periods=periods,
                comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
                alarm_description=description,
            ),
            stops_rollout=stops_rollout,
        )
        if after is not None:
            alarm.node.add_dependency(after)

    def once(self, name: str, metric: cloudwatch.Metric, description: str) -> None:
        """Alarm as soon as it happened once in a period; what does not happen is good."""
        self._remember(
            cloudwatch.Alarm(
                self.stack,
                f"{name}Alarm",
                metric=metric,
                threshold=0,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
                alarm_description=description,
            ),
            stops_rollout=False,
        )

    def silent(self, name: str, metric: cloudwatch.Metric, periods: int, description: str) -> None:
        """Alarm when it did not happen once in so many of the metric's periods."""
        self._remember(
            cloudwatch.Alarm(
                self.stack,
                f"{name}Alarm",
                metric=metric,
                threshold=1,
                evaluation_periods=periods,
                comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
                alarm_description=description,
            ),
            stops_rollout=False,
        )

    def _remember(self, alarm: cloudwatch.Alarm, *, stops_rollout: bool) -> cloudwatch.Alarm:
        alarm.add_alarm_action(actions.SnsAction(self.topic))
        alarm.add_ok_action(actions.SnsAction(self.topic))
        self.alarms.append(alarm)
        if stops_rollout:
            self.stopping.append(alarm)
        return alarm


def error_percent(
    errors: Mapping[str, cloudwatch.IMetric], requests: cloudwatch.IMetric
) -> cloudwatch.MathExpression:
    """Share of failed requests in percent; a minute without requests has no value."""
    failed = " + ".join(f"FILL({name}, 0)" for name in errors)
    return cloudwatch.MathExpression(
        expression=f"100 * ({failed}) / requests",
        using_metrics={**errors, "requests": requests},
        period=PERIOD,
        label="errors %",
    )


def caption(lock: ReleaseLock) -> cloudwatch.TextWidget:
    """The line on top of a dashboard: which release runs, and how fast it is known to be."""
    speed = lock.throughput
    known = "measured" if speed.measured else "estimated"
    release = f"**{lock.name}** `{lock.digest[:12]}`"
    text = f"{release}, {speed.per_second:g} requests/s a replica ({known}: {speed.source})"
    return cloudwatch.TextWidget(markdown=text, width=24, height=2)
