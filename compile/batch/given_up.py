"""Rows that are not tried again: they failed too often for a reason that repeating cannot mend.

A row is known by its key, which holds all that shapes its artifact: weights, config, buckets, options, and
the digest of the image. So a row whose inputs change is another row, with no failures. What counts is
in ``compiled/attempts/`` (attempts.py); to clear a row is to delete what lies there of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from artifact.aws import translated
from artifact.errors import TraceshipError, UsageError
from compile.batch.attempts import ATTEMPTS, Attempt
from compile.batch.deployment import COMPILED, Deployment
from compile.batch.rows import Row

LONGEST_JOB = datetime.timedelta(hours=6)
"""A job's time limit (infra/compile_compute.py): what started earlier and said nothing is dead."""
_READ = 100
"""Most attempts at a place that are read; the newest."""


class RowGivenUp(TraceshipError):
    """A row that failed so often that it is not tried again."""

    id = "row-given-up"

    def __init__(self, *, label: str, key: str, failures: int, last: Attempt) -> None:
        said = f"{last.what}: {last.why}" if last.what else "it was killed with the most memory that there is"
        super().__init__(
            what=f"{label} is not tried again",
            why=f"it failed {failures} times with these inputs, the last time because {said}",
            fix=f"change the model or its options, or run `traceship poison --clear {key}` and try again",
        )


class NothingGivenUp(UsageError):
    """There is no such row to clear."""

    id = "nothing-given-up"

    def __init__(self, *, key: str) -> None:
        super().__init__(
            what=f"there are no failed attempts at {key}",
            why="nothing lies in its place below compiled/attempts/",
            fix="run `traceship poison` to see what is given up",
        )


@dataclass(frozen=True)
class GivenUp:
    """A row by its key, and the job that failed most: the row's own or one of its buckets'."""

    key: str
    failures: int
    last: Attempt


@dataclass(frozen=True)
class _Noted:
    key: str
    written: datetime.datetime

    @property
    def place(self) -> str:
        """``<row>``, or ``<row>.parts/BxL``."""
        return self.key.removeprefix(f"{ATTEMPTS}/").rpartition("/")[0]

    @property
    def row(self) -> str:
        return self.place.partition("/")[0].removesuffix(".parts")


def given_up(at: Deployment, row: Row) -> RowGivenUp | None:
    """Why the row is not tried again; None if it is.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    key = row.prefix.removeprefix(f"{COMPILED}/")
    found = next(_rows(at, key), None)
    if found is None:
        return None
    return RowGivenUp(label=row.label, key=key, failures=found.failures, last=found.last)


def all_given_up(at: Deployment) -> list[GivenUp]:
    """Every row that is not tried again, by key.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    return list(_rows(at, ""))


def clear(at: Deployment, key: str) -> int:
    """Forget the attempts at a row; return how many there were.

    Raises:
        NothingGivenUp: none.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    noted = [found for found in _listed(at, key) if found.row == key]
    if not noted:
        raise NothingGivenUp(key=key)
    with translated(f"delete below s3://{at.bucket}/{ATTEMPTS}/"):
        for found in noted:
            at.clients.s3.delete_object(Bucket=at.bucket, Key=found.key, ExpectedBucketOwner=at.account)
    return len(noted)


def _rows(at: Deployment, key: str) -> Iterator[GivenUp]:
    """Rows given up; all of them, or the one with this key."""
    places: dict[str, list[_Noted]] = {}
    for found in _listed(at, key):
        if key in ("", found.row):
            places.setdefault(found.place, []).append(found)
    worst: dict[str, GivenUp] = {}
    for noted in places.values():
        if len(noted) < at.give_up_after:
            continue
        failed = _lasting(at, noted)
        row = noted[0].row
        if len(failed) >= max(at.give_up_after, worst[row].failures if row in worst else 0):
            worst[row] = GivenUp(key=row, failures=len(failed), last=failed[-1])
    yield from (worst[row] for row in sorted(worst))


def _lasting(at: Deployment, noted: list[_Noted]) -> list[Attempt]:
    """The attempts at one place that failed for good, the oldest first.

    One that only started was killed if another came after it, or if no job may run that long. It counts
    where there was no more memory to give: elsewhere it was tried again with more.
    """
    in_order = sorted(noted, key=lambda found: found.written)[-_READ:]
    now = datetime.datetime.now(datetime.timezone.utc)
    failed = []
    for found in in_order:
        attempt = _read(at, found)
        is_dead = found is not in_order[-1] or now - found.written > LONGEST_JOB
        killed = attempt is not None and attempt.status == "started" and attempt.last_memory and is_dead
        if attempt is not None and (attempt.lasting or killed):
            failed.append(attempt)
    return failed


def _read(at: Deployment, noted: _Noted) -> Attempt | None:
    """The attempt; None for what no version of this module wrote."""
    with translated(f"read s3://{at.bucket}/{noted.key}"):
        body = at.clients.s3.get_object(Bucket=at.bucket, Key=noted.key, ExpectedBucketOwner=at.account)
        data = body["Body"].read()
    try:
        return msgspec.json.decode(data, type=Attempt)
    except msgspec.DecodeError:
        return None


def _listed(at: Deployment, key: str) -> Iterator[_Noted]:
    asked: dict[str, Any] = {"Bucket": at.bucket, "Prefix": f"{ATTEMPTS}/{key}"}
    with translated(f"list s3://{at.bucket}/{ATTEMPTS}/"):
        while True:
            page = at.clients.s3.list_objects_v2(**asked, ExpectedBucketOwner=at.account)
            for row in page.get("Contents", ()):
                yield _Noted(key=row["Key"], written=row["LastModified"])
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]
