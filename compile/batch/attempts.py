"""What a job leaves of its attempt in S3, beside whatever it makes.

    compiled/attempts/<place>/<job>.json   how this attempt stands: started, done, failed, interrupted
    compiled/memory/<digest>.json          the memory that sufficed for such a model (rungs.py)

``<place>`` is the job's place below compiled/: the key of a row, or ``<key>.parts/BxL`` of a bucket. A job
that is killed without a word leaves ``started``, which is how a row that no memory suffices for is found.
The kernel's memory killer mostly takes a child of the job, and the job lives to say so: it notes that, and
ends with the exit code of one that was killed, for which the state machine gives the next size.
The job's role may write below compiled/ already, so none of this needs another right, and nobody but a
job writes it. ``given_up.py`` reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import msgspec

from artifact.aws import AwsClient, translated
from artifact.canonical import encode
from artifact.errors import CredentialsError, TraceshipError
from artifact.manifest import Record
from compile.batch.deployment import COMPILED
from compile.durable import NoRoom, no_room
from compile.out_of_memory import ran_out_of_memory
from compile.places import s3_client, split_place

SCHEMA: Literal["traceship.attempt/1"] = "traceship.attempt/1"
ATTEMPTS = f"{COMPILED}/attempts"
JOB_VARIABLE = "AWS_BATCH_JOB_ID"
"""Set by AWS Batch in every job."""
MEMORY_VARIABLE = "TRACESHIP_MEMORY_GIB"
LAST_VARIABLE = "TRACESHIP_LAST_MEMORY"
"""Set by the state machine: the job's memory, and ``true`` where no larger size is left to try."""
KILLED_FOR_MEMORY = 137
"""The exit code for which the state machine gives more memory (infra/compile_machine.py): that of a container
whose first process was killed."""

Status = Literal["started", "done", "failed", "interrupted"]


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt. ``lasting``: it failed for a reason that repeating cannot mend.

    ``memory_gib`` is None for a job that nobody told; ``id`` to ``fix`` are the error's, empty without one.
    """

    schema: Literal["traceship.attempt/1"] = SCHEMA
    job: str
    status: Status
    memory_gib: int | None
    last_memory: bool
    lasting: bool = False
    exit_code: int | None = None
    id: str = ""
    what: str = ""
    why: str = ""
    fix: str = ""


class Memory(Record, frozen=True, kw_only=True):
    """The memory, in GiB, with which a job of this kind came to its end."""

    schema: Literal["traceship.memory/1"] = "traceship.memory/1"
    gib: int


@dataclass(frozen=True)
class Rung:
    """The memory that the state machine gave the job, in GiB, and whether no larger size is left to try."""

    gib: int
    is_last: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Rung | None:
        """None where no state machine told."""
        memory = environ.get(MEMORY_VARIABLE, "")
        last = environ.get(LAST_VARIABLE) == "true"
        return cls(gib=int(memory), is_last=last) if memory.isdecimal() else None

    def __str__(self) -> str:
        """For the log of a job that it was too little for."""
        next_one = "the most there is" if self.is_last else f"exit code {KILLED_FOR_MEMORY} asks for more"
        return f"{self.gib} GiB of memory were too little, {next_one}"


def attempts_prefix(prefix: str) -> str | None:
    """Where the attempts at ``compiled/…`` lie, without a slash at the end; None for any other place."""
    head, _, rest = prefix.partition("/")
    return f"{ATTEMPTS}/{rest}" if head == COMPILED and rest else None


def is_passing(error: BaseException) -> bool:
    """Whether the same job could end otherwise another time: AWS, a full disk, somebody's interruption."""
    about_aws = type(error).__module__ == "artifact.aws" or isinstance(error, CredentialsError)
    return about_aws or isinstance(error, NoRoom | KeyboardInterrupt) or no_room(error, place="") is not None


def too_little(error: BaseException, environ: Mapping[str, str]) -> Rung | None:
    """The memory that a job of the state machine ran out of; it then has to end with ``KILLED_FOR_MEMORY``.

    None for any other error, and for a process that no state machine waits for.
    """
    return Rung.of(environ) if ran_out_of_memory(error) else None


@contextmanager
def noted(out: str, remember: str | None, environ: Mapping[str, str]) -> Iterator[None]:
    """Leave an attempt at ``out``, and at ``remember`` the memory that sufficed; outside of Batch nothing.

    A job that may not write there ends at once, and not after hours of compiling for nobody.

    Args:
        out, remember: ``s3://BUCKET/KEY``; another place is none that attempts are noted for.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: the first note could not be written.
    """
    note = _Note.of(out, environ)
    if note is None:
        yield
        return
    note.write("started")
    try:
        yield
    except BaseException as error:
        note.write_end(error)
        raise
    note.write_end(None)
    if remember is not None and note.rung is not None:
        _remember(note.s3, remember, note.rung.gib)


@dataclass(frozen=True)
class _Note:
    s3: AwsClient
    bucket: str
    key: str
    job: str
    rung: Rung | None

    @classmethod
    def of(cls, out: str, environ: Mapping[str, str]) -> _Note | None:
        job = environ.get(JOB_VARIABLE)
        if job is None or not out.startswith("s3://"):
            return None
        bucket, prefix = split_place(out)
        place = attempts_prefix(prefix)
        if place is None:
            return None
        return cls(
            s3=s3_client(),
            bucket=bucket,
            key=f"{place}/{job}.json",
            job=job,
            rung=Rung.of(environ),
        )

    def write(self, status: Status, error: BaseException | None = None) -> None:
        ours = error if isinstance(error, TraceshipError) else None
        attempt = Attempt(
            job=self.job,
            status=status,
            memory_gib=None if self.rung is None else self.rung.gib,
            last_memory=self._is_last,
            lasting=status == "failed" and error is not None and self._is_lasting(error),
            exit_code=None if ours is None else self._exit_code(ours),
            id="" if ours is None else ours.id,
            what=str(error or "") if ours is None else ours.what,
            why="" if ours is None else ours.why,
            fix="" if ours is None else ours.fix,
        )
        with translated(f"write s3://{self.bucket}/{self.key}"):
            self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=encode(attempt))

    @property
    def _is_last(self) -> bool:
        return self.rung is not None and self.rung.is_last

    def _exit_code(self, error: TraceshipError) -> int:
        has_ladder = self.rung is not None
        return KILLED_FOR_MEMORY if has_ladder and ran_out_of_memory(error) else error.exit_code

    def _is_lasting(self, error: BaseException) -> bool:
        """Too little memory lasts only where there is no more: elsewhere the next size is tried."""
        return self._is_last if ran_out_of_memory(error) else not is_passing(error)

    def write_end(self, error: BaseException | None) -> None:
        """The note is worth less than the result, or than the error that ends the job."""
        status: Status = (
            "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        )
        try:
            self.write(status, error)
        except TraceshipError as unwritten:
            print(f"the attempt was not noted: {unwritten}", file=sys.stderr)


def _remember(s3: AwsClient, place: str, gib: int) -> None:
    """Write only what is new, so that the note gets old with the result and is forgotten with it."""
    bucket, key = split_place(place)
    try:
        if read_memory(s3, bucket, key) != gib:
            with translated(f"write {place}"):
                s3.put_object(Bucket=bucket, Key=key, Body=encode(Memory(gib=gib)))
    except TraceshipError as unwritten:
        print(f"the memory that sufficed was not noted: {unwritten}", file=sys.stderr)


def read_memory(s3: AwsClient, bucket: str, key: str, **owner: str) -> int | None:
    """The memory noted at a place, in GiB; None where there is no note, or one that cannot be read.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    from botocore.exceptions import ClientError

    with translated(f"read s3://{bucket}/{key}"):
        try:
            data = s3.get_object(Bucket=bucket, Key=key, **owner)["Body"].read()
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return None
    try:
        return msgspec.json.decode(data, type=Memory).gib
    except msgspec.DecodeError:
        return None
