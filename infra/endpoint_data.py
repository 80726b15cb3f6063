"""What an endpoint leaves in S3: copies of requests, or the requests and answers of an async endpoint.

Each has a prefix of its own in the artifacts bucket, which empties itself (artifacts_stack.py), and
the role of the model may write there and nowhere else. SageMaker acts with that role, not the
container, which has no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns

from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.roles import publish_to, use_key_for_bucket, write_objects
from infra.stack import ProjectStack
from settings.endpoint import Async, Capture

MODES = {"input": ("Input",), "output": ("Output",), "both": ("Input", "Output")}

_Config = sagemaker.CfnEndpointConfig


def capture_config(capture: Capture, artifacts: ArtifactsStack) -> _Config.DataCaptureConfigProperty:
    """Copies of requests below ``captured/``, where SageMaker adds endpoint, variant and hour."""
    types = _Config.CaptureContentTypeHeaderProperty(
        json_content_types=list(capture.json_types) or None, csv_content_types=list(capture.csv_types) or None
    )
    return _Config.DataCaptureConfigProperty(
        enable_capture=True,
        initial_sampling_percentage=capture.percent,
        destination_s3_uri=f"s3://{artifacts.bucket.bucket_name}/{names.CAPTURED}",
        kms_key_id=capture.kms_key or artifacts.key.key_arn,
        capture_options=[_Config.CaptureOptionProperty(capture_mode=mode) for mode in MODES[capture.what]],
        capture_content_type_header=types if capture.json_types or capture.csv_types else None,
    )


def may_capture(capture: Capture, artifacts: ArtifactsStack, endpoint: str) -> list[iam.PolicyStatement]:
    """Write copies of this endpoint's requests, encrypted with the key of the settings or the project's."""
    writes = write_objects(artifacts, f"{names.captured_prefix(endpoint)}/*", sid="Capture")
    key = (
        [] if capture.kms_key is None else [use_key_for_bucket(artifacts, capture.kms_key, sid="CaptureKey")]
    )
    return [writes, *key]


@dataclass(frozen=True)
class Topics:
    """Who hears of the answers and failures of an async endpoint. ``own``: those that the stack made."""

    success: sns.ITopic
    error: sns.ITopic
    own: tuple[sns.ITopic, ...]


def make_topics(stack: ProjectStack, wanted: Async, artifacts: ArtifactsStack) -> Topics:
    """The topics of the settings, else new encrypted ones."""
    made: list[sns.ITopic] = []

    def topic(name: str, arn: str | None) -> sns.ITopic:
        if arn is not None:
            return sns.Topic.from_topic_arn(stack, name, arn)
        made.append(sns.Topic(stack, name, master_key=artifacts.key, enforce_ssl=True))
        return made[-1]

    success, error = topic("Answers", wanted.success_topic_arn), topic("Failures", wanted.error_topic_arn)
    cdk.CfnOutput(stack, "AnswersTopicArn", value=success.topic_arn)
    cdk.CfnOutput(stack, "FailuresTopicArn", value=error.topic_arn)
    return Topics(success=success, error=error, own=tuple(made))


def async_config(
    wanted: Async, topics: Topics, artifacts: ArtifactsStack, endpoint: str
) -> _Config.AsyncInferenceConfigProperty:
    """Answers below ``async/ENDPOINT/output``, failures below ``async/ENDPOINT/failed``."""
    bucket = artifacts.bucket.bucket_name
    return _Config.AsyncInferenceConfigProperty(
        client_config=_Config.AsyncInferenceClientConfigProperty(
            max_concurrent_invocations_per_instance=wanted.max_concurrent
        ),
        output_config=_Config.AsyncInferenceOutputConfigProperty(
            kms_key_id=artifacts.key.key_arn,
            s3_output_path=f"s3://{bucket}/{names.async_prefix(endpoint, 'output')}",
            s3_failure_path=f"s3://{bucket}/{names.async_prefix(endpoint, 'failed')}",
            notification_config=_Config.AsyncInferenceNotificationConfigProperty(
                success_topic=topics.success.topic_arn, error_topic=topics.error.topic_arn
            ),
        ),
    )


def async_inputs(endpoint: str) -> str:
    """Keys that the role must be able to read: where callers put their requests."""
    return f"{names.async_prefix(endpoint, 'input')}/*"


def may_answer_later(topics: Topics, artifacts: ArtifactsStack, endpoint: str) -> list[iam.PolicyStatement]:
    """Write answers and failures of this endpoint, and tell the topics."""
    places = (f"{names.async_prefix(endpoint, part)}/*" for part in ("output", "failed"))
    return [
        write_objects(artifacts, *places, sid="Answer"),
        *publish_to((topics.success, topics.error), own=topics.own, key=artifacts.key),
    ]
