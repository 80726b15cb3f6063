"""Log groups: encrypted, kept for a year, named so that the key's policy admits them."""

from __future__ import annotations

from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs

from infra import names
from infra.stack import ProjectStack

RETENTION = logs.RetentionDays.ONE_YEAR


def make_log_group(
    stack: ProjectStack, role: str, *, key: kms.IKey, name: str | None = None
) -> logs.LogGroup:
    """Return a new log group ``Logs`` of ``stack``; ``name`` where AWS prescribes one."""
    return logs.LogGroup(
        stack,
        "Logs",
        log_group_name=name or names.log_group(stack.project, role),
        encryption_key=key,
        retention=RETENTION,
        removal_policy=stack.removal_policy,
    )
