"""The four hooks of AWS's stock PyTorch container: same loader, same self-check, same answers.

``sagemaker-inference`` calls them in turn and turns an exception into a 500. So a refusal travels
through the hooks as a value and ``output_fn`` sets its status on ``context``. Its own ``input_fn``
would unpickle ``application/x-npy`` bodies; ours always decides. One worker answers one request at
a time. What the toolkit does around the hooks is ``toolkit.py``'s to guard.

``context`` is ``ts.context.Context``; the toolkit passes it to hooks that take one more argument.
"""

from __future__ import annotations

import http
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from artifact.serving import MAX_BODY_BYTES
from inference_code import media
from inference_code.answering import Prepared, error_body, offered, prepared, written
from inference_code.batching import Planner
from inference_code.errors import AnswerTooLarge, BodyTooLarge, InferenceFailed, RequestError
from inference_code.load import LoadedModel, load
from inference_code.log import logger
from inference_code.media import Content
from inference_code.option_values import OptionInvalid
from inference_code.options import given_signature, pinned_digest, pinned_keys
from inference_code.rows import Outputs, Row
from inference_code.selfcheck import costs, selfcheck

MAX_INPUTS = 16_384
"""Of one request. More than a chip answers within the platform's 60 seconds at any length."""
TORCHSERVE_FRAME = 6_553_500
"""Bytes of a worker's message that TorchServe takes, unless TS_MAX_RESPONSE_SIZE says otherwise; at a
longer one it ends the worker. Source: TorchServe's configuration page, max_response_size."""
FRAME_HEADERS = 4096
"""Of that, for what is not the body; far more than there is."""


class Context(Protocol):
    """What of TorchServe's context is used here."""

    @property
    def system_properties(self) -> Mapping[str, Any]: ...

    def get_all_request_header(self, idx: int) -> Mapping[str, str]: ...

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None: ...


@dataclass(frozen=True)
class StockModel:
    """A proven model and the costs that choose its buckets."""

    model: LoadedModel
    planner: Planner


@dataclass(frozen=True)
class Received:
    """A body and its form."""

    body: bytes
    content: Content


@dataclass(frozen=True)
class Predicted:
    """Outputs that wait for the form in which the client takes them."""

    asked: Prepared
    outputs: Sequence[Outputs]
    model: LoadedModel


@dataclass(frozen=True)
class Refused:
    """A request that gets an error for an answer."""

    error: RequestError


def model_fn(model_dir: str, context: Context | None = None) -> StockModel:
    """Verify, load and prove the artifact of the archive.

    Raises:
        OptionInvalid: TorchServe is told to batch. The toolkit calls the hooks one by one all the same
            and tells none of them which request it is for, so a status would reach another's.
        TraceshipError: whatever is wrong with it; the worker must not come up.
    """
    batch = 1 if context is None else context.system_properties.get("batch_size") or 1
    if batch > 1:
        raise OptionInvalid(name="SAGEMAKER_TS_BATCH_SIZE", value=str(batch), wanted="1")
    model = load(
        _artifact_folder(model_dir),
        digest=pinned_digest(os.environ),
        keys=pinned_keys(os.environ),
        signature=given_signature(os.environ),
    )
    selfcheck(model, model)
    return StockModel(model=model, planner=Planner(model.manifest.buckets, costs(model, model)))


def input_fn(body: Any, content_type: str | None, context: Context | None = None) -> Received | Refused:
    """The body as bytes, and what they are. ``None`` is what the toolkit has for no body."""
    headers = {} if context is None else context.get_all_request_header(0)
    encodings = [value for name, value in headers.items() if name.lower() == "content-encoding"]
    try:
        content = media.content_of(
            _header(content_type), [value.encode("latin-1", "replace") for value in encodings]
        )
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body or b"")
        if len(data) > MAX_BODY_BYTES:
            raise BodyTooLarge(limit=MAX_BODY_BYTES)
    except RequestError as error:
        return Refused(error)
    return Received(data, content)


def predict_fn(
    data: Received | Refused, model: StockModel, context: Context | None = None
) -> Predicted | Refused:
    """The outputs of the graphs."""
    del context
    if isinstance(data, Refused):
        return data
    try:
        asked = prepared(data.body, model.model, most=MAX_INPUTS, content=data.content)
        return Predicted(asked, _run_all(asked.rows, model), model.model)
    except RequestError as error:
        return Refused(error)
    except Exception:
        return _failed()


def output_fn(
    prediction: Predicted | Refused, accept: str | None, context: Context | None = None
) -> tuple[bytes, str]:
    """Body and content type; an error's status goes to ``context``."""
    found = prediction if isinstance(prediction, Refused) else _answered(prediction, accept)
    if not isinstance(found, Refused):
        return found
    error = found.error
    if context is not None:
        context.set_response_status(code=error.status, phrase=http.HTTPStatus(error.status).phrase)
    return error_body(error), media.JSON


def _header(value: str | None) -> list[bytes]:
    return [] if value is None else [value.encode("latin-1", "replace")]


def _answered(prediction: Predicted, accept: str | None) -> tuple[bytes, str] | Refused:
    asked, model = prediction.asked, prediction.model
    try:
        form = media.chosen(_header(accept), offered(asked, model))
        return _sendable(written(prediction.outputs, asked, model, form)), form
    except RequestError as error:
        return Refused(error)
    except Exception:
        return _failed()


def _failed() -> Refused:
    # Anything that left the hooks would reach the caller as a traceback.
    logger.exception("inference failed")
    return Refused(InferenceFailed(why="its graph raised an error"))


def _sendable(answer: bytes) -> bytes:
    limit = int(os.environ.get("TS_MAX_RESPONSE_SIZE") or TORCHSERVE_FRAME) - FRAME_HEADERS
    if len(answer) > limit:
        raise AnswerTooLarge(found=len(answer), limit=limit)
    return answer


def _artifact_folder(model_dir: str) -> Path:
    """TorchServe passes a link to the unpacked archive, or its code folder if that is all it sees."""
    root = Path(model_dir).resolve()
    return (root.parent if root.name == "code" else root) / "artifact"


def _run_all(rows: Sequence[Row], model: StockModel) -> list[Outputs]:
    found: dict[int, Outputs] = {}
    waiting = list(range(len(rows)))
    while waiting:
        plan = model.planner.choose([rows[at].length for at in waiting])
        taken = [waiting[position] for position in plan.positions]
        outputs = model.model.run(plan.bucket, [rows[at] for at in taken])
        found.update(zip(taken, outputs))
        waiting = [at for at in waiting if at not in found]
    return [found[at] for at in range(len(rows))]
