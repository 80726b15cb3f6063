"""Who asks, by the route: a pipeline's client, one of Hugging Face's inference API, or one of OpenAI's.

A dialect reads a body, says in which forms its answer can go, writes it, and words its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from artifact.manifest import Manifest
from artifact.serving import EMBEDDINGS, HUB, INVOCATIONS
from inference_code import answering, media, openai
from inference_code.allowance import Allowance
from inference_code.answering import Prepared
from inference_code.errors import RequestError
from inference_code.load import Model
from inference_code.media import Content
from inference_code.rows import Outputs


@dataclass(frozen=True)
class Dialect:
    """From a body to rows, and from outputs to a body; ``answering`` says what is raised.

    readable: the media types of its bodies.
    prepared: a body in its form to rows, of at most so many inputs.
    offered: the media types of the answer, the best first; ``written`` takes one of them.
    spoken: whether an artifact can be asked in it.
    """

    readable: tuple[str, ...]
    prepared: Callable[[bytes, Model, int, Content], Prepared]
    offered: Callable[[Prepared, Model], Sequence[str]]
    written: Callable[[Sequence[Outputs], Prepared, Model, str, Allowance], bytes]
    error_body: Callable[[RequestError], bytes]
    spoken: Callable[[Manifest], bool]


PIPELINE = Dialect(
    readable=(media.JSON, media.LINES, media.CSV),
    prepared=lambda body, model, most, content: answering.prepared(body, model, most=most, content=content),
    offered=answering.offered,
    written=answering.written,
    error_body=answering.error_body,
    spoken=lambda _manifest: True,
)
_HUB = replace(
    PIPELINE,
    prepared=lambda body, model, most, content: answering.prepared(
        body, model, most=most, content=content, hub=True
    ),
)
_OPENAI = Dialect(
    readable=(media.JSON,),
    prepared=lambda body, model, most, _content: openai.prepared(body, model, most=most),
    offered=lambda _asked, _model: (media.JSON,),
    written=lambda outputs, asked, model, _form, allowance: openai.written(outputs, asked, model, allowance),
    error_body=openai.error_body,
    spoken=openai.speaks,
)


def dialects(*, openai_route: bool) -> Mapping[str, Dialect]:
    """The routes that answer inferences."""
    found = {INVOCATIONS: PIPELINE, HUB: _HUB}
    return {**found, EMBEDDINGS: _OPENAI} if openai_route else found
