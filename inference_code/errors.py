"""What a client of the server can be told: an HTTP status, a stable id, one plain sentence.

Never a path or a trace: those go to the log. Group by who must act: the client (4xx), or the
one who runs the server (5xx).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from artifact.errors import TraceshipError


class RequestError(TraceshipError):
    """A request that gets no answer. ``retry_after`` in seconds, where waiting helps."""

    status: ClassVar[int] = 400
    retry_after: ClassVar[int | None] = None
    allow: str | None = None

    @property
    def message(self) -> str:
        """The one sentence of the HTTP answer."""
        return f"{self.what}: {self.why}; {self.fix}."

    def at(self, place: str) -> RequestError:
        """This error, told of one ``place`` of a request, such as a line."""
        self.what = f"{place}: {self.what}"
        return self


class BadRequest(RequestError):
    """The body is not a request in the documented shape."""

    id = "bad-request"

    def __init__(self, *, field: str, why: str, fix: str) -> None:
        super().__init__(what=f"{field} cannot be used", why=why, fix=fix)
        self.field = field


class NotJson(RequestError):
    """The body is not one strict JSON value."""

    id = "not-json"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the body cannot be read as JSON",
            why=why,
            fix="send one JSON value in UTF-8, without NaN and without repeated keys",
        )


class NotCsv(RequestError):
    """The body is not comma-separated values in the columns of the task."""

    id = "not-csv"

    def __init__(self, *, why: str, fix: str) -> None:
        super().__init__(what="the body cannot be read as CSV", why=why, fix=fix)


class InputTooLong(RequestError):
    """An input has more tokens than the largest bucket, and this model does not cut."""

    id = "input-too-long"

    def __init__(self, *, field: str, found: str, limit: int) -> None:
        super().__init__(
            what=f"{field} is too long",
            why=f"it has {found} tokens, the limit is {limit} with special tokens",
            fix="send a shorter text, or compile a longer bucket or with truncation",
        )
        self.limit = limit


class TooManyInputs(RequestError):
    """One request with more inputs than the queue ever holds."""

    id = "too-many-inputs"
    status = 413

    def __init__(self, *, found: str, limit: int) -> None:
        super().__init__(
            what="the request has too many inputs",
            why=f"it has {found}, the limit is {limit}",
            fix="send them in several requests",
        )


class BodyTooLarge(RequestError):
    """The body exceeds the platform's limit."""

    id = "body-too-large"
    status = 413

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            what="the body is too large",
            why=f"the limit is {limit} bytes",
            fix="send the inputs in several requests",
        )


class AnswerTooLarge(RequestError):
    """The answer exceeds what is written at a time, or what AWS's stock container passes on.

    ``at_least``: only so much of it was looked at, or none: it can be known before the model runs.
    """

    id = "answer-too-large"
    status = 413

    def __init__(self, *, found: int, limit: int, at_least: bool = False) -> None:
        super().__init__(
            what="the answer is too large",
            why=f"it has {'at least ' if at_least else ''}{found} bytes, the limit is {limit}",
            fix="send the inputs in several requests, or a smaller top_k",
        )


class TooManyAnswers(RequestError):
    """``top_k`` times the inputs or masks of a request is more than is written at a time."""

    id = "too-many-answers"
    status = 413

    def __init__(self, *, found: int, limit: int) -> None:
        super().__init__(
            what="the request asks for too many answers",
            why=f"top_k makes them {found}, the limit is {limit}",
            fix="send a smaller top_k, or the inputs in several requests",
        )


class ClientGone(RequestError):
    """The client closed the connection before its answer, or before its body was here; nobody reads this.

    The number is nginx's.
    """

    id = "client-gone"
    status = 499

    def __init__(self) -> None:
        super().__init__(
            what="the client is gone",
            why="it closed the connection before its answer",
            fix="wait longer for answers, or send fewer requests at a time",
        )


class UnsupportedMediaType(RequestError):
    """The body's type is not one that is read here."""

    id = "unsupported-media-type"
    status = 415

    def __init__(self, *, found: str, wanted: str) -> None:
        super().__init__(
            what="the body's type is not supported",
            why=f"the Content-Type is {found}",
            fix=f"send {wanted}",
        )


class NotAcceptable(RequestError):
    """The client accepts no type in which this answer can be written."""

    id = "not-acceptable"
    status = 406

    def __init__(self, *, found: str, offered: str) -> None:
        super().__init__(
            what="no acceptable answer can be written",
            why=f"the Accept header is {found}",
            fix=f"accept {offered}",
        )


class NotFound(RequestError):
    """No such route."""

    id = "not-found"
    status = 404

    def __init__(self, *, routes: Sequence[str]) -> None:
        super().__init__(
            what="there is nothing here",
            why=f"the routes are {', '.join(routes)}",
            fix="use one of them",
        )


class UnknownModel(RequestError):
    """The request names a model that is not served here."""

    id = "unknown-model"
    status = 404

    def __init__(self, *, found: str, known: str) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in found[:80])
        super().__init__(
            what=f'there is no model "{shown}" here',
            why=f'this server has "{known}"',
            fix="send that name as model",
        )


class ModelUnknown(RequestError):
    """No model of that name is served here."""

    id = "model-unknown"
    status = 404

    def __init__(self, *, names: Sequence[str]) -> None:
        super().__init__(
            what="there is no such model here",
            why=f"those that are served are {', '.join(names)}",
            fix="use one of their names",
        )


class ModelUnnamed(RequestError):
    """Several models are served and the request names none."""

    id = "model-unnamed"

    def __init__(self, *, names: Sequence[str]) -> None:
        super().__init__(
            what="the request does not say which model it is for",
            why=f"those that are served are {', '.join(names)}",
            fix="put /models/NAME before the path, or the name in X-Amzn-SageMaker-Target-Model",
        )


class MethodNotAllowed(RequestError):
    """The route exists for another method."""

    id = "method-not-allowed"
    status = 405

    def __init__(self, *, allow: str) -> None:
        super().__init__(
            what="the method is not allowed", why=f"this route takes {allow}", fix=f"use {allow}"
        )
        self.allow = allow


class TooManyRequests(RequestError):
    """The queue is full, in rows or in time. Nothing of the request was run."""

    id = "too-many-requests"
    status = 429
    retry_after = 1

    def __init__(self, *, waiting: int) -> None:
        super().__init__(
            what="the server is at its limit",
            why=f"{waiting} inputs wait already",
            fix="try again after a pause",
        )


class TooMuchToWrite(RequestError):
    """More large answers are to be written already than are written within a second. Nothing was run."""

    id = "too-much-to-write"
    status = 429
    retry_after = 1

    def __init__(self, *, waiting: int) -> None:
        super().__init__(
            what="the server is at its limit",
            why=f"{waiting} large answers are to be written already",
            fix="try again after a pause",
        )


class NotReady(RequestError):
    """The model is being loaded or proven, has failed, or the server is stopping."""

    id = "not-ready"
    status = 503
    retry_after = 1

    def __init__(self, *, state: str) -> None:
        super().__init__(
            what="the server cannot answer now", why=f"it is {state}", fix="wait until /ping answers 200"
        )


class NeverStarted(RequestError):
    """The deadline passed while the request still waited; it can be sent again safely."""

    id = "deadline-in-queue"
    status = 503
    retry_after = 1

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            what="the request was not started in time",
            why=f"the deadline is {seconds:g} seconds",
            fix="try again after a pause",
        )


class DeadlinePassed(RequestError):
    """The deadline passed while the model ran."""

    id = "deadline-passed"
    status = 504

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            what="the answer was not ready in time",
            why=f"the deadline is {seconds:g} seconds",
            fix="send fewer or shorter inputs in one request",
        )


class WorkerLost(RequestError):
    """The process that had the request ended or hung; another one takes its place."""

    id = "worker-lost"
    status = 503
    retry_after = 1

    def __init__(self) -> None:
        super().__init__(
            what="the request was lost",
            why="the process that ran it ended",
            fix="send it again",
        )


class InferenceFailed(RequestError):
    """The graph raised, or answered with numbers that are none."""

    id = "inference-failed"
    status = 500

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the model gave no answer", why=why, fix="try again, and tell the operator if it persists"
        )


class ServerMistake(RequestError):
    """A fault of ours."""

    id = "internal-error"
    status = 500

    def __init__(self) -> None:
        super().__init__(
            what="the server made a mistake",
            why="its log says which",
            fix="tell the operator, with the request's id",
        )
