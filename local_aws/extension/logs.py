"""Writes what a process printed to CloudWatch Logs, as the awslogs driver of a container does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ministack.services import cloudwatch_logs

from local_aws.extension.cloudformation.answers import accepted

DEFAULT_GROUP = "/aws/batch/job"
DEFAULT_PREFIX = "default"


@dataclass(frozen=True, kw_only=True)
class LogStream:
    """A stream of a group. The group must exist; the stream is made at the first write."""

    group: str
    stream: str

    @classmethod
    def of_container(cls, container: dict[str, Any], task: str) -> LogStream:
        """Where a Batch container's ``logConfiguration`` sends the output of one task."""
        options = container.get("logConfiguration", {}).get("options", {})
        prefix = options.get("awslogs-stream-prefix", DEFAULT_PREFIX)
        return cls(group=options.get("awslogs-group", DEFAULT_GROUP), stream=f"{prefix}/default/{task}")

    def write(self, text: str) -> None:
        """Append the lines of ``text``; nothing is written for an empty one."""
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in text.splitlines() if line]
        if not events:
            return
        if self.group == DEFAULT_GROUP and self.group not in cloudwatch_logs._log_groups:
            accepted(cloudwatch_logs._create_log_group({"logGroupName": self.group}))
        place = {"logGroupName": self.group, "logStreamName": self.stream}
        if self.stream not in cloudwatch_logs._log_groups.get(self.group, {}).get("streams", {}):
            accepted(cloudwatch_logs._create_log_stream(place))
        accepted(cloudwatch_logs._put_log_events({**place, "logEvents": events}))
