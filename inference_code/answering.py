"""From the bytes of a request to rows, and from outputs to the bytes of an answer.

What the HTTP server and the hooks of the stock container share, free of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from artifact.serving import MAX_ANSWER_BYTES
from inference_code import bodies, forms, media
from inference_code.allowance import Allowance
from inference_code.errors import AnswerTooLarge, RequestError, TooManyAnswers, TooManyInputs
from inference_code.load import Model
from inference_code.media import Content
from inference_code.requests import Request, parse
from inference_code.rows import Outputs, Row, check_finite
from inference_code.task import Answered, Extent
from inference_code.tasks import answers, task_of


class Prepared(msgspec.Struct, frozen=True):
    """Requests whose parameters are settled, with the rows of each of their inputs, in order.

    lined: the body had a request a line, and so has the answer.
    extent: of the answer.
    """

    requests: tuple[Request, ...]
    rows_of: tuple[list[Row], ...]
    lined: bool = False
    extent: Extent = Extent()

    @property
    def form(self) -> str:
        """The media type of the answer where the client takes any: that of the question."""
        return media.LINES if self.lined else media.JSON

    @property
    def rows(self) -> list[Row]:
        """All rows in order: what to run."""
        return [row for rows in self.rows_of for row in rows]


def error_body(error: RequestError) -> bytes:
    """{"error": id, "message": one sentence}"""
    return msgspec.json.encode({"error": error.id, "message": error.message})


def prepared(
    body: bytes, model: Model, *, most: int, content: Content | None = None, hub: bool = False
) -> Prepared:
    """Bytes to requests and their rows.

    Args:
        most: inputs that one body may have; every window of a long text and every mask after the
            first counts as one.
        content: the form of the body; None: JSON.
        hub: the client speaks Hugging Face's inference API.

    Raises:
        RequestError: whatever is wrong with it, named with its line where there are lines.
    """
    content = content or Content()
    values = bodies.values(body, content, task_of(model.manifest).columns, most=most)
    if content.kind == media.JSON:
        return arranged(values[0], model, most=most, hub=hub)
    place = "row" if content.kind == media.CSV else "line"
    found: list[Prepared] = []
    left, extent = most, Extent()
    for number, value in enumerate(values, start=1 + content.header):
        try:
            one = arranged(value, model, most=left, hub=hub)
        except TooManyInputs:
            raise TooManyInputs(found=f"more than {most}, windows and masks counted", limit=most) from None
        except RequestError as error:
            raise error.at(f"{place} {number}") from None
        left -= sum(row.weight for row in one.rows)
        extent += one.extent
        _check_extent(extent)
        found.append(one)
    return Prepared(
        requests=tuple(request for one in found for request in one.requests),
        rows_of=tuple(rows for one in found for rows in one.rows_of),
        lined=True,
        extent=extent,
    )


def arranged(value: Any, model: Model, *, most: int, hub: bool = False) -> Prepared:
    """JSON data to a request and its rows; arguments and errors as for ``prepared``."""
    task = task_of(model.manifest)
    request = parse(
        value, task.parameters, task.read, at_root=task.at_root, defaults=task.hub if hub else None
    )
    return settled(request, model, most=most)


def settled(request: Request, model: Model, *, most: int) -> Prepared:
    """A request and its rows; arguments and errors as for ``prepared``."""
    task, encoder = task_of(model.manifest), model.encoder
    if len(request.items) > most:
        raise TooManyInputs(found=str(len(request.items)), limit=most)
    parameters = task.settle(request.parameters, encoder)
    rows_of: list[list[Row]] = []
    weight = 0
    for item in request.items:
        rows = task.rows(item, parameters, encoder)
        weight += sum(row.weight for row in rows)
        if weight > most:
            found = f"at least {weight}, windows and masks counted"
            raise TooManyInputs(found=found, limit=most)
        rows_of.append(rows)
    extent = task.extent(request.items, rows_of, parameters, encoder)
    _check_extent(extent)
    return Prepared(
        requests=(msgspec.structs.replace(request, parameters=parameters),),
        rows_of=tuple(rows_of),
        extent=extent,
    )


def _check_extent(extent: Extent) -> None:
    """
    Raises:
        TooManyAnswers, AnswerTooLarge: no such answer will be written; the model need not run for it.
    """
    if extent.share > 1:
        raise TooManyAnswers(found=extent.answers, limit=int(extent.answers / extent.share))
    if extent.size > MAX_ANSWER_BYTES:
        raise AnswerTooLarge(found=extent.size, limit=MAX_ANSWER_BYTES, at_least=True)


def offered(asked: Prepared, model: Model) -> list[str]:
    """The media types that the answer can be written in, that of the question first."""
    task, manifest = task_of(model.manifest), model.manifest
    found = [media.LINES, media.JSON] if asked.lined else [media.JSON, media.LINES]
    if task.table is not None and task.table.flat(manifest):
        found.append(media.CSV)
    items = [item for request in asked.requests for item in request.items]
    if task.numbers is not None and task.numbers.alike(items, manifest, _alone(asked)):
        found.append(media.NPY)
    return found


def written(
    outputs: Sequence[Outputs],
    asked: Prepared,
    model: Model,
    form: str = media.JSON,
    allowance: Allowance | None = None,
) -> bytes:
    """The body of an answer to ``outputs``, one for each of the rows in order.

    Args:
        form: one of what is ``offered``, by any of its names.

    Raises:
        InferenceFailed: a number is not finite.
        AnswerTooLarge, DeadlinePassed: see ``Allowance``.
        TooManyAnswers: of a kind that is known only now, see ``sentences.py``.
    """
    task, kind, allowance = task_of(model.manifest), media.canonical(form), allowance or Allowance()
    groups = _grouped(outputs, asked)
    if kind == media.NPY:
        assert task.numbers is not None, "only what is offered is chosen"
        for one in outputs:
            check_finite(one)
        arrays = [task.numbers.of(one, request.parameters) for request, inputs in groups for one in inputs]
        width = model.manifest.outputs[0].shape[-1]
        return allowance.take(forms.as_npy(arrays, single=_alone(asked), width=int(width)))
    if kind == media.CSV:
        assert task.table is not None, "only what is offered is chosen"
        cells, encoder = task.table.cells, model.encoder
        found = (one for request, each in groups for one in answers(each, request.parameters, encoder))
        return b"".join(allowance.take(forms.as_csv([cells(one)])) for one in found)
    values = [_values(request, each, model, allowance) for request, each in groups]
    if kind == media.LINES and not asked.lined and not asked.requests[0].single:
        return forms.as_lines(values[0][0])
    wholes = [one[0] if alone else forms.as_list(one) for one, alone in values]
    if kind == media.LINES:
        return forms.as_lines(wholes)
    return forms.as_list(wholes) if asked.lined else wholes[0]


def _values(
    request: Request, inputs: list[Answered[Any]], model: Model, allowance: Allowance
) -> tuple[list[bytes], bool]:
    """The JSON of an answer: of a value alone, or of those of a list. Each is written before the next."""
    task, found = task_of(model.manifest), answers(inputs, request.parameters, model.encoder)
    alone = request.single
    if task.shaped is not None:
        shaped = task.shaped(list(found), request)
        alone = not isinstance(shaped, list)
        found = iter([shaped] if alone else shaped)
    return [allowance.take(forms.as_json(value)) for value in found], alone


def _alone(asked: Prepared) -> bool:
    return not asked.lined and asked.requests[0].single


def _grouped(outputs: Sequence[Outputs], asked: Prepared) -> Iterator[tuple[Request, list[Answered[Any]]]]:
    """Each request with its inputs and their outputs."""
    rows_of, at = iter(asked.rows_of), 0
    for request in asked.requests:
        inputs = []
        for item in request.items:
            rows = next(rows_of)
            inputs.append(Answered(item=item, rows=rows, outputs=outputs[at : at + len(rows)]))
            at += len(rows)
        yield request, inputs
