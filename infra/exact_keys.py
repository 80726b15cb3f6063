"""How many objects a role can be given by name, and which a release needs.

A managed policy has a limit in characters and a role a limit in policies; together they bound the
files of a release (docs/decisions/0021-exact-keys.md). Imports no CDK.
"""

from __future__ import annotations

import msgspec

from artifact.release import Device, ReleaseLock
from infra.incompatible import LockTooOld, TooManyFiles

POLICY_CHARACTERS = 6_144
"""Longest managed policy, white space not counted. Source: IAM user guide, "IAM and AWS STS quotas"."""
POLICIES_A_ROLE = 10
"""Managed policies of a role unless the quota was raised. Source: the same."""
ARN_CHARACTERS = 164
"""Longest ARN of a blob in a list: the longest partition, 63 characters of bucket, 77 of key, the quotes."""
STATEMENT_CHARACTERS = 150
"""What stands around the list."""
BLOBS_A_POLICY = (POLICY_CHARACTERS - STATEMENT_CHARACTERS) // ARN_CHARACTERS
MAX_BLOBS = BLOBS_A_POLICY * (POLICIES_A_ROLE - 1)
"""Of one release; the role's first policy holds what else it may do."""


def listed_blobs(lock: ReleaseLock) -> tuple[str, ...]:
    """Digests of the release's files, each once.

    Raises:
        LockTooOld: it is from before they were listed.
        TooManyFiles: more than a role can be given.
    """
    blobs = lock.artifact.blobs
    if isinstance(blobs, msgspec.UnsetType):
        raise LockTooOld(lacks="the release's files")
    if len(blobs) > MAX_BLOBS:
        raise TooManyFiles(found=len(blobs), limit=MAX_BLOBS, buckets=len(lock.artifact.buckets))
    return blobs


def needed_device(lock: ReleaseLock) -> Device:
    """What one copy of an inf1 release takes of the device.

    Raises:
        LockTooOld: it is from before that was written down.
    """
    device = lock.artifact.device
    if isinstance(device, msgspec.UnsetType):
        raise LockTooOld(lacks="what a copy takes of the Inferentia device")
    return device
