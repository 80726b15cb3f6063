"""A tiny artifact made by hand, without transformers and without ``compile``: real tokenizer, real graphs.

The model is an embedding, a mean over the mask and the task's own linear layer, so that a test
can compute the right answer itself (``World.answer``, ``World.outputs``).
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from artifact.canonical import encode
from artifact.golden import Case, Golden
from artifact.manifest import Bucket, Embedding, File, Manifest, Padding, Tensor, bucket_name, graph_path
from tests.kit.folders import manifest_of, write_folder

PAD, UNK, CLS, SEP = 0, 1, 2, 3
WORDS = 200
MASK = WORDS + 4
VOCABULARY = WORDS + 5
HIDDEN = 8
SLOW_WORD = f"w{WORDS - 1}"
GOLDEN_TEXTS = ("w1 w2 w3", "w9", "w50 w60 w70 w80 w90")
CLASSIFIERS = ("text-classification", "token-classification")


@dataclass(frozen=True)
class Recipe:
    """What to make. ``busy`` repeats a matrix product to slow each run down, ``stalls`` does so for each
    ``SLOW_WORD`` in a run; ``constant`` and ``wrong_by`` make graphs that disagree with the golden answers,
    as broken hardware would; ``poisoned`` ones answer NaN to a row with ``SLOW_WORD``, and are well."""

    task: str = "feature-extraction"
    pooling: str = "mean"
    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    choices: int = 3
    buckets: tuple[tuple[int, int], ...] = ((1, 8), (1, 16), (4, 16))
    truncate: bool = False
    busy: int = 0
    stalls: int = 0
    constant: bool = False
    wrong_by: float = 0.0
    poisoned: bool = False
    golden_texts: tuple[str, ...] = GOLDEN_TEXTS


class Tiny(torch.nn.Module):
    """ids, mask, types -> the outputs of the recipe's task."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.recipe = recipe
        words = torch.randn(VOCABULARY - 1, HIDDEN, generator=generator)
        self.types = torch.nn.Parameter(torch.randn(2, HIDDEN, generator=generator))
        self.head = torch.nn.Parameter(torch.randn(HIDDEN, len(recipe.labels), generator=generator))
        # Drawn before what only some tasks use: how fast it runs depends on its values, by denormals.
        self.register_buffer("burn", torch.randn(256, 256, generator=generator) / 16)
        mask = torch.randn(1, HIDDEN, generator=generator)
        words = torch.cat([words, mask])
        if recipe.poisoned:
            words[WORDS + 3] = float("nan")
        self.words = torch.nn.Parameter(words)
        self.spans = torch.nn.Parameter(torch.randn(HIDDEN, 2, generator=generator))

    def forward(self, ids: Any, mask: Any, types: Any) -> Any:
        states = self.words[ids] + self.types[types]
        if self.recipe.busy:
            states = states + 0.0 * _burn(self.burn, self.recipe.busy)
        if self.recipe.stalls:
            states = states + 0.0 * _burn_for(self.burn, ids, self.recipe.stalls)
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(-2) / weights.sum(-2)
        if self.recipe.task == "text-classification":
            return (pooled @ self.head,)
        if self.recipe.task == "multiple-choice":
            return (pooled @ self.spans[:, 0],)
        if self.recipe.task == "feature-extraction":
            return (states,) if self.recipe.pooling == "none" else (pooled,)
        mixed = states + pooled.unsqueeze(-2)
        if self.recipe.task == "token-classification":
            return (mixed @ self.head,)
        if self.recipe.task == "fill-mask":
            return (mixed @ self.words.T,)
        return (mixed @ self.spans[:, 0], mixed @ self.spans[:, 1])


@torch.jit.script
def _burn(matrix: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        matrix = torch.tanh(matrix @ matrix)
    return matrix.mean()


@torch.jit.script
def _burn_for(matrix: torch.Tensor, ids: torch.Tensor, times: int) -> torch.Tensor:
    # The id of SLOW_WORD; a script cannot read it from the module.
    return _burn(matrix, times * int((ids == 203).sum()))


class Broken(torch.nn.Module):
    """The right model behind a fault of the recipe; what the graphs hold."""

    def __init__(self, tiny: Tiny) -> None:
        super().__init__()
        self.tiny = tiny

    def forward(self, ids: Any, mask: Any, types: Any) -> Any:
        outputs = self.tiny(ids, mask, types)
        if self.tiny.recipe.constant:
            outputs = [torch.zeros_like(output) + self.tiny.words[0, 0] for output in outputs]
        return tuple(output + self.tiny.recipe.wrong_by for output in outputs)


@dataclass(frozen=True)
class World:
    """A made artifact and the means to know the right answers."""

    root: Path
    digest: str
    recipe: Recipe

    def answer(self, text: str, pair: str | None = None) -> Any:
        """What the untraced model answers to one input, every label for classification."""
        return expected_answer(self.recipe, text, pair)

    def outputs(self, *lines: tuple[str, str | None]) -> list[Any]:
        """What the untraced model says of one row; several lines are the choices of one input."""
        return raw_outputs(self.recipe, *lines)


def tokenizer() -> Tokenizer:
    """BERT's pipeline over words ``w0`` to ``w199``, with a mask."""
    vocabulary = {"[PAD]": PAD, "[UNK]": UNK, "[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}
    vocabulary |= {f"w{n}": n + 4 for n in range(WORDS)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = BertNormalizer()
    made.pre_tokenizer = BertPreTokenizer()
    made.decoder = WordPieceDecoder()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made


def expected_answer(recipe: Recipe, text: str, pair: str | None = None) -> Any:
    """The right answer in serving shape, from the untraced model."""
    (output,) = raw_outputs(recipe, (text, pair))
    if recipe.task != "text-classification":
        return output
    scores = torch.softmax(torch.tensor(output), dim=-1).tolist()
    ranked = sorted(zip(recipe.labels, scores), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked]


def raw_outputs(recipe: Recipe, *lines: tuple[str, str | None]) -> list[Any]:
    """The untraced model's outputs for one row, each line without padding or filler."""
    found = []
    for text, pair in lines:
        encoding = tokenizer().encode(text, pair)
        ids, types = torch.tensor([encoding.ids]), torch.tensor([encoding.type_ids])
        with torch.no_grad():
            found.append(Tiny(replace(recipe, busy=0, stalls=0))(ids, torch.ones_like(ids), types))
    if recipe.task == "multiple-choice":
        return [[float(output) for (output,) in found]]
    return [output[0].tolist() for output in found[0]]


def build(root: Path, recipe: Recipe | None = None) -> World:
    """Write the artifact of ``recipe`` to ``root``."""
    recipe = recipe or Recipe()
    content = {
        "config.json": b'{"model_type":"tiny"}\n',
        "golden.json": encode(_golden(recipe)),
        "parity.json": b"{}\n",
        "tokenizer/tokenizer.json": tokenizer().to_str().encode(),
        **_graphs(recipe),
    }
    return World(root=root, digest=write_folder(root, content, _manifest(recipe, content)), recipe=recipe)


def _golden(recipe: Recipe) -> Golden:
    parameters: dict[str, Any] = {"top_k": None} if recipe.task == "text-classification" else {}
    cases = [_golden_case(recipe, text) for text in recipe.golden_texts]
    inputs, expected = [case[0] for case in cases], [case[1] for case in cases]
    return Golden(
        tolerance=1e-5,
        cases=tuple(
            Case(
                bucket=bucket_name(batch, length),
                request={"inputs": inputs, "parameters": parameters},
                expected=expected,
            )
            for batch, length in recipe.buckets
        ),
    )


def _golden_case(recipe: Recipe, text: str) -> tuple[Any, Any]:
    """An input of at most eight tokens that is made of ``text``, and its evidence."""
    start = " ".join(text.split()[:4])
    if recipe.task == "question-answering":
        first, last = raw_outputs(recipe, ("w1", start))
        return {"question": "w1", "context": start}, {"start_logits": first, "end_logits": last}
    if recipe.task == "multiple-choice":
        choices = [start, "w5", "w6 w7", "w8"][: recipe.choices]
        (logits,) = raw_outputs(recipe, *(("w1", choice) for choice in choices))
        return {"text": "w1", "choices": choices}, logits
    if recipe.task == "fill-mask":
        masked = f"{start} [MASK]"
        place = tokenizer().encode(masked).ids.index(MASK)
        return masked, raw_outputs(recipe, (masked, None))[0][place][:: -(-VOCABULARY // 64)]
    return text, expected_answer(recipe, text)


@functools.lru_cache(maxsize=16)
def _graphs(recipe: Recipe) -> dict[str, bytes]:
    module = Broken(Tiny(recipe)).eval()
    tensors = {
        name: tensor.detach().clone()
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }
    files = {"weights.safetensors": save(tensors)}
    for batch, length in recipe.buckets:
        shape = tuple(batch if axis == "batch" else axis for axis in _axes(recipe, length))
        files[graph_path(batch, length)] = _weightless(module, shape)
    return files


def _axes(recipe: Recipe, length: str | int) -> tuple[str | int, ...]:
    """Of each input."""
    return ("batch", recipe.choices, length) if recipe.task == "multiple-choice" else ("batch", length)


def _weightless(module: torch.nn.Module, shape: Any) -> bytes:
    ids = torch.ones(shape, dtype=torch.int64)
    traced = torch.jit.trace(module, (ids, ids, ids * 0), check_trace=False)  # type: ignore[no-untyped-call]
    loaded = torch.jit.load(_saved(traced))  # type: ignore[no-untyped-call]
    for tensor in [*loaded.parameters(), *loaded.buffers()]:
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    return _saved(loaded).getvalue()


def _saved(module: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return buffer


def _manifest(recipe: Recipe, content: dict[str, bytes]) -> Manifest:
    base = manifest_of(content)
    embeds = recipe.task == "feature-extraction"
    return replaced(
        base,
        task=recipe.task,
        architecture="tiny",
        labels=recipe.labels if recipe.task in CLASSIFIERS else (),
        problem_type="single_label_classification" if recipe.task == "text-classification" else None,
        inputs=tuple(
            Tensor(name=name, dtype="int64", shape=_axes(recipe, "length"))
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ),
        outputs=tuple(Tensor(name=n, dtype="float32", shape=shape) for n, shape in _outputs(recipe)),
        embedding=Embedding(pooling=recipe.pooling, normalize=False) if embeds else None,  # type: ignore[arg-type]
        choices=recipe.choices if recipe.task == "multiple-choice" else None,
        mask_token_id=MASK if recipe.task == "fill-mask" else None,
        buckets=tuple(Bucket(batch=b, length=n, path=graph_path(b, n)) for b, n in recipe.buckets),
        padding=Padding(side="right", token_id=PAD, token_type_id=0, truncate=recipe.truncate),
    )


def _outputs(recipe: Recipe) -> list[tuple[str, tuple[str | int, ...]]]:
    labels = len(recipe.labels)
    by_task: dict[str, list[tuple[str, tuple[str | int, ...]]]] = {
        "text-classification": [("logits", ("batch", labels))],
        "token-classification": [("logits", ("batch", "length", labels))],
        "question-answering": [("start_logits", ("batch", "length")), ("end_logits", ("batch", "length"))],
        "fill-mask": [("logits", ("batch", "length", VOCABULARY))],
        "multiple-choice": [("logits", ("batch", recipe.choices))],
    }
    if recipe.task in by_task:
        return by_task[recipe.task]
    if recipe.pooling == "none":
        return [("last_hidden_state", ("batch", "length", HIDDEN))]
    return [("embedding", ("batch", HIDDEN))]


def replaced(manifest: Manifest, **fields: Any) -> Manifest:
    """``manifest`` with some fields changed."""
    names: Sequence[str] = manifest.__struct_fields__
    return Manifest(**{name: fields.get(name, getattr(manifest, name)) for name in names})


def rewrite(root: Path, path: str, data: bytes) -> str:
    """Change a file *and* its manifest, as whoever packages an artifact could; return the new digest."""
    from artifact.canonical import decode

    manifest = decode((root / "manifest.json").read_bytes(), Manifest)
    entry = File(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    files = tuple(entry if file.path == path else file for file in manifest.files)
    return write_folder(root, {path: data}, replaced(manifest, files=files))
