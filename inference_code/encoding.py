"""Texts in, rows of token ids out; rows in, arrays in a bucket's static shape out.

The tokenizer alone, with the settings of the artifact: what tokenizer.json says about padding
and truncation is switched off, the manifest decides. Pairs with ``compile/trace.py``, which
binds the same inputs by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from artifact.errors import ProofFailed
from artifact.manifest import Bucket, Manifest, Padding
from artifact.moses import MosesTokenizer
from artifact.tokenization import TokenizerBroken, load_tokenizer
from inference_code.errors import BadRequest, InputTooLong
from inference_code.requests import Text
from inference_code.rows import Marks, Row
from inference_code.vocabulary import Vocabulary
from inference_code.word_memory import WordMemory, memory_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from artifact.tokenization import AnyTokenizer

    IntArray = NDArray[np.int64]

_EMPTY: dict[str, Callable[[Padding], int]] = {
    "input_ids": lambda padding: padding.token_id,
    "attention_mask": lambda _: 0,
    "token_type_ids": lambda padding: padding.token_type_id,
}
"""What stands where there is no token, by the name of the input."""

_CHARACTERS_PER_TOKEN = 8
_GROWTH = 4
_WHOLE_HALF = 16_384
MAX_UNSETTLED = 131_072
"""Characters that may go by without filling the limit. Beyond it the text is one endless word or
white space, which costs the tokenizer a second per megabyte for nothing."""


class TokenizerUnusable(ProofFailed):
    """The artifact's tokenizer or its inputs are of a kind that this server cannot fill."""

    id = "tokenizer-unusable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the artifact's texts cannot be turned into its inputs",
            why=why,
            fix="compile the model again with this version of traceship",
        )


class Encoder:
    """The artifact's tokenizer with the artifact's limit. Safe to use from several threads.

    ``manifest`` and ``vocabulary`` are what an answer needs to be put into words.
    """

    def __init__(self, tokenizer_json: bytes, manifest: Manifest) -> None:
        """
        Raises:
            TokenizerUnusable: not a tokenizer.json, or an input that is not made of tokens.
        """
        _check_manifest(manifest)
        self.manifest = manifest
        self._limit = manifest.max_length
        self._truncate = manifest.padding.truncate
        self._whole = _tokenizer(tokenizer_json)
        self._cut = _tokenizer(tokenizer_json)
        self.vocabulary = Vocabulary(self._whole, tokenizer_json)
        self._open_words = self._whole.unsettled_words if isinstance(self._whole, MosesTokenizer) else 1
        self._cut.enable_truncation(self._limit, strategy="longest_first")
        self._memory = memory_of(self._whole, tokenizer_json)

    def encode(self, text: Text, *, marked: bool = False, cut: bool | None = None) -> Row:
        """Return the row of one input.

        Args:
            marked: whether the row says where in the text its tokens lie.
            cut: whether a text that is too long is cut or refused; None: as the manifest says.

        Raises:
            InputTooLong: more tokens than the largest bucket, and they are not to be cut.
            BadRequest: an endless word, see ``MAX_UNSETTLED``.
        """
        cut = self._truncate if cut is None else cut
        if self._memory is not None and text.pair is None and not marked:
            row = self._remembered(self._memory, text.text, cut=cut)
            if row is not None:
                return row
        if cut:
            return _row(self._cut.encode(*self._beginnings(text)), marked=marked)
        for part in _parts(text):
            if self._prefix(text.field, part, self._limit + 1) is not part:
                raise InputTooLong(field=text.field, found=f"more than {self._limit}", limit=self._limit)
        row = _row(self._whole.encode(text.text, text.pair), marked=marked)
        if row.length > self._limit:
            raise InputTooLong(field=text.field, found=str(row.length), limit=self._limit)
        return row

    def encode_whole(self, text: str) -> Row:
        """Return the marked row of a text, however long that is."""
        return _row(self._whole.encode(text), marked=True)

    def encode_question(self, question: Text, context: str) -> Row:
        """Return the marked row of a question and all of its context, however long that is.

        Of a question that is longer than the limit only as much is read as shows that.

        Raises:
            BadRequest: a question that is an endless word, see ``MAX_UNSETTLED``.
        """
        text = self._prefix(question.field, question.text, self._limit + 1)
        return _row(self._whole.encode(text, context), marked=True)

    def _remembered(self, memory: WordMemory, text: str, *, cut: bool) -> Row | None:
        """The row of a text that is not too long, or may be cut; None: the tokenizer must say."""
        room = self._limit - memory.special
        size = _CHARACTERS_PER_TOKEN * self._limit
        whole = len(text) <= size
        if not whole and not cut:
            return None
        # The last word of a piece may go on.
        tokens = memory.tokens(text if whole else text[:size].rpartition(" ")[0])
        if (len(tokens) > room and not cut) or (len(tokens) < room and not whole):
            return None
        ids, types = memory.row(tokens[:room])
        return Row(ids=ids, types=types)

    def _beginnings(self, text: Text) -> tuple[str, str | None]:
        """What of a text or pair decides its cut row.

        Of two halves that are both too long, the one with more tokens keeps the odd place. So the
        longer half is read until it has more tokens than the other, which is read whole unless it
        is long itself; two halves over ``_WHOLE_HALF`` are compared by their characters.
        """
        if text.pair is None:
            return self._prefix(text.field, text.text, self._limit), None
        short, long = sorted((text.text, text.pair), key=len)
        if len(short) > _WHOLE_HALF:
            short = self._prefix(text.field, short, self._limit)
        tokens = len(self._whole.encode(short, add_special_tokens=False).ids)
        long = self._prefix(text.field, long, max(self._limit, tokens + 1))
        return (long, short) if len(text.text) > len(text.pair) else (short, long)

    def _prefix(self, field: str, part: str, tokens: int) -> str:
        """``part`` itself, or a piece of its beginning that has the same first ``tokens`` tokens.

        Keeps a text of megabytes from being tokenised to its end when only its beginning counts.
        """
        size = min(_CHARACTERS_PER_TOKEN * tokens, MAX_UNSETTLED)
        while size < len(part):
            piece = part[:size]
            settled = _settled(self._whole.encode(piece, add_special_tokens=False), self._open_words)
            longest = size >= MAX_UNSETTLED
            if settled >= tokens or (longest and settled >= self._limit):
                return piece
            if longest:
                raise BadRequest(
                    field=field,
                    why=f"its first {size} characters hold fewer than {tokens} tokens",
                    fix="send text made of words",
                )
            size = min(size * _GROWTH, MAX_UNSETTLED)
        return part


def input_shape(bucket: Bucket, manifest: Manifest) -> tuple[int, ...]:
    """Of each positional input of a bucket's graph."""
    beside = () if manifest.choices is None else (manifest.choices,)
    return (bucket.batch, *beside, bucket.length)


def fill(
    rows: Sequence[Row], bucket: Bucket, manifest: Manifest, into: Sequence[IntArray] | None = None
) -> Sequence[IntArray]:
    """Return the graph's positional inputs, int64, each of ``input_shape``.

    Rows beyond ``rows`` repeat the first one, candidates beyond a row's own repeat its first: real
    tokens keep every graph away from the division by an empty mask. Their answers are dropped.

    Args:
        into: arrays to fill, where they shall not be made anew.
    """
    import numpy as np

    shape = input_shape(bucket, manifest)
    arrays = into if into is not None else [np.empty(shape, dtype=np.int64) for _ in manifest.inputs]
    for tensor, array in zip(manifest.inputs, arrays):
        _fill_one(array.reshape(bucket.batch, -1, bucket.length), tensor.name, rows, manifest.padding)
    return arrays


def _fill_one(array: IntArray, name: str, rows: Sequence[Row], padding: Padding) -> None:
    empty = _EMPTY[name](padding)
    array.fill(empty)
    for at, row in enumerate(rows):
        lines = row.lines
        for beside, line in enumerate(lines):
            if name == "attention_mask":
                array[at, beside, : len(line.ids)] = 1
            elif name == "input_ids":
                array[at, beside, : len(line.ids)] = line.ids
            elif empty != 0 or any(line.types):
                array[at, beside, : len(line.types)] = line.types
        if len(lines) < array.shape[1]:
            array[at, len(lines) :] = array[at, 0]
    if len(rows) < array.shape[0]:
        array[len(rows) :] = array[0]


def _parts(text: Text) -> list[str]:
    return [text.text] if text.pair is None else [text.text, text.pair]


def _settled(encoding: Any, open_words: int) -> int:
    """How many tokens stay as they are whatever follows: all before the last ``open_words`` words."""
    words: list[Any] = encoding.word_ids
    if open_words == 1 or not words:
        return words.index(words[-1]) if words else 0
    return words.index(max(0, words[-1] + 1 - open_words))


def _row(encoding: Any, *, marked: bool) -> Row:
    marks = None
    if marked:
        marks = Marks(offsets=encoding.offsets, words=encoding.word_ids, sequences=encoding.sequence_ids)
    return Row(ids=encoding.ids, types=encoding.type_ids, marks=marks)


def _tokenizer(data: bytes) -> AnyTokenizer:
    try:
        return load_tokenizer(data)
    except TokenizerBroken as error:
        raise TokenizerUnusable(why=f"tokenizer.json cannot be read ({error.why})") from None


def _check_manifest(manifest: Manifest) -> None:
    unknown = sorted(tensor.name for tensor in manifest.inputs if tensor.name not in _EMPTY)
    if unknown:
        raise TokenizerUnusable(why=f"the graphs want {', '.join(unknown)}")
    if manifest.labels and manifest.outputs[0].shape[-1] != len(manifest.labels):
        raise TokenizerUnusable(why=f"{len(manifest.labels)} labels do not name the outputs of the graphs")
    if manifest.task == "fill-mask" and manifest.mask_token_id is None:
        raise TokenizerUnusable(why="the manifest does not say which token is the mask")
    if manifest.task == "multiple-choice" and manifest.choices is None:
        raise TokenizerUnusable(why="the manifest does not say how many choices a row holds")
    if manifest.task == "translation" and not _translates(manifest):
        raise TokenizerUnusable(why="the manifest does not say how to generate, or a bucket has no decoder")


def _translates(manifest: Manifest) -> bool:
    return manifest.generation is not None and all(b.decoder is not None for b in manifest.buckets)
