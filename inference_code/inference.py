"""The four hooks of AWS's stock PyTorch container: same loader, same self-check, same answers.

``sagemaker-inference`` calls them in turn and turns an exception into a 500 whose body is the
traceback, for the caller to read. So a refusal travels through the hooks as a value and
``output_fn`` sets its status on ``context``. Its own ``input_fn`` would unpickle
``application/x-npy`` bodies; ours always decides. One worker answers one request at a time:
leave TorchServe's batch size at 1.

``context`` is ``ts.context.Context``; the toolkit passes it to hooks that take one more argument.
"""

from __future__ import annotations

import http
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inference_code import media
from inference_code.answering import Prepared, error_body, offered, prepared, written
from inference_code.batching import Planner
from inference_code.errors import InferenceFailed, RequestError
from inference_code.load import LoadedModel, load
from inference_code.log import logger
from inference_code.media import Content
from inference_code.options import given_signature, pinned_digest, pinned_keys
from inference_code.rows import Outputs, Row
from inference_code.selfcheck import costs, selfcheck

MAX_INPUTS = 16_384
"""Of one request. More than a chip answers within the platform's 60 seconds at any length."""


class Context(Protocol):
    """What of TorchServe's context is used here."""

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
        TraceshipError: whatever is wrong with it; the worker must not come up.
    """
    del context
    model = load(
        _artifact_folder(model_dir),
        digest=pinned_digest(os.environ),
        keys=pinned_keys(os.environ),
        signature=given_signature(os.environ),
    )
    selfcheck(model, model)
    return StockModel(model=model, planner=Planner(model.manifest.buckets, costs(model, model)))


def input_fn(body: Any, content_type: str | None, context: Context | None = None) -> Received | Refused:
    """The body as bytes, and what they are."""
    del context
    try:
        content = media.content_of([] if content_type is None else [content_type.encode(errors="replace")])
    except RequestError as error:
        return Refused(error)
    # The toolkit decodes JSON and CSV bodies to text before it calls.
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
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


def _answered(prediction: Predicted, accept: str | None) -> tuple[bytes, str] | Refused:
    asked, model = prediction.asked, prediction.model
    try:
        form = media.chosen(
            [] if accept is None else [accept.encode(errors="replace")], offered(asked, model)
        )
        return written(prediction.outputs, asked, model, form), form
    except RequestError as error:
        return Refused(error)
    except Exception:
        return _failed()


def _failed() -> Refused:
    # Anything that left the hooks would reach the caller as a traceback.
    logger.exception("inference failed")
    return Refused(InferenceFailed(why="its graph raised an error"))


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
