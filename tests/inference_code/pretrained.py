"""transformers' own model behind our server's code: what a pipeline is compared with.

The model stands where a graph would, so nothing but encoding and answering differs. Tests that
import this are skipped where transformers refuses the serving image's tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from artifact.manifest import Bucket, Padding, Tensor, bucket_name, graph_path
from inference_code.answering import prepared, written
from inference_code.batching import Planner
from inference_code.inference import StockModel, _run_all
from inference_code.load import LoadedModel, load
from tests.kit.folders import manifest_of, write_folder
from tests.kit.handmade import replaced

transformers = pytest.importorskip("transformers", exc_type=ImportError)

BUCKETS = ((1, 16), (2, 32), (4, 64))
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "plain")
_FIELDS = {"question-answering": ("start_logits", "end_logits")}
_CLASSIFIERS = ("text-classification", "token-classification")
_AUTO = {
    "token-classification": transformers.AutoModelForTokenClassification,
    "question-answering": transformers.AutoModelForQuestionAnswering,
    "fill-mask": transformers.AutoModelForMaskedLM,
    "multiple-choice": transformers.AutoModelForMultipleChoice,
    "text-classification": transformers.AutoModelForSequenceClassification,
}
_TEXT = (
    "the cat sat on the mill, and he was in Paris for it. Is that a cat? It was a mill to him; "
    "Anna and Boris went from Berlin to Kyoto in 1999 and wrote 1,234 letters about the mill."
)


class Pretrained:
    """A random checkpoint for ``task`` with its tokenizer, and our answers from it."""

    def __init__(
        self, folder: Path, task: str, *, tokenizer: Any = None, choices: int = 3, truncate: bool = False
    ) -> None:
        from tests.kit.models import tiny_model  # imports transformers, see above

        tiny_model(folder / "model", "bert")
        self.task = task
        self.tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(folder / "model")
        self.model = _scaled(folder / "model", task, len(self.tokenizer))
        self.choices = choices if task == "multiple-choice" else None
        self.loaded = self._load(folder / "artifact", truncate)

    def ask(self, inputs: Any, *, hub: bool = False, **parameters: Any) -> Any:
        """What our server answers, or, to a client of Hugging Face's inference API, what it answers that."""
        body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
        asked = prepared(body, self.loaded, most=256, hub=hub)
        outputs = _run_all(asked.rows, StockModel(self.loaded, Planner(self.loaded.manifest.buckets)))
        return json.loads(written(outputs, asked, self.loaded))

    def pipeline(self) -> Any:
        """transformers' pipeline of the same task, where this generation has it."""
        return transformers.pipeline(self.task, model=self.model, tokenizer=self.tokenizer)

    def _load(self, root: Path, truncate: bool) -> LoadedModel:
        inputs = ("input_ids", "attention_mask", "token_type_ids")
        shape = ("batch", "length") if self.choices is None else ("batch", self.choices, "length")
        fields = _FIELDS.get(self.task, ("logits",))
        content = {
            "config.json": b"{}\n",
            "golden.json": b"{}\n",
            "tokenizer/tokenizer.json": self.tokenizer.backend_tokenizer.to_str().encode(),
            "weights.safetensors": b"",
            **{graph_path(*bucket): b"a graph" for bucket in BUCKETS},
        }
        manifest = replaced(
            manifest_of(content),
            task=self.task,
            labels=LABELS if self.task in _CLASSIFIERS else (),
            inputs=tuple(Tensor(name=name, dtype="int64", shape=shape) for name in inputs),
            outputs=tuple(self._output(name) for name in fields),
            embedding=None,
            choices=self.choices,
            mask_token_id=self.tokenizer.mask_token_id if self.task == "fill-mask" else None,
            buckets=tuple(Bucket(batch=b, length=n, path=graph_path(b, n)) for b, n in BUCKETS),
            padding=Padding(
                side="right", token_id=self.tokenizer.pad_token_id, token_type_id=0, truncate=truncate
            ),
        )
        write_folder(root, content, manifest)
        graph = _as_graph(self.model, inputs, fields)
        graphs: Any = {bucket_name(*bucket): graph for bucket in BUCKETS}
        return load(root, loader=lambda _manifest, _take: graphs)

    def _output(self, name: str) -> Tensor:
        shapes: dict[str, tuple[str | int, ...]] = {
            "token-classification": ("batch", "length", len(LABELS)),
            "question-answering": ("batch", "length"),
            "fill-mask": ("batch", "length", self.model.config.vocab_size),
            "multiple-choice": ("batch", self.choices or 0),
            "text-classification": ("batch", len(LABELS)),
        }
        return Tensor(name=name, dtype="float32", shape=shapes[self.task])


def _scaled(folder: Path, task: str, vocabulary: int) -> Any:
    """Weights large enough that a wrong token or mask moves an answer by more than any tolerance."""
    config = transformers.AutoConfig.from_pretrained(folder)
    config.vocab_size = vocabulary
    if task in _CLASSIFIERS:
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: index for index, label in enumerate(LABELS)}
    torch.manual_seed(5)
    model = _AUTO[task].from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    return model


def _as_graph(model: Any, inputs: tuple[str, ...], fields: tuple[str, ...]) -> Callable[..., Any]:
    def graph(*tensors: Any) -> Any:
        with torch.no_grad():
            found = model(**dict(zip(inputs, tensors)), return_dict=True)
        return tuple(found[field] for field in fields)

    return graph


def byte_level() -> Any:
    """A tokenizer as RoBERTa's: BPE over bytes, no word marks, offsets without the blank."""
    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([_TEXT] * 3, trainer)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return _fast(made)


def metaspace() -> Any:
    """A tokenizer as CamemBERT's: Unigram over SentencePiece's blanks, with an unknown token."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
    )
    made.train_from_iterator([_TEXT] * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        # Types of the pair are 1: tokenizers forgets a template's other types in overlapping windows.
        pair="<s> $A </s> </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return _fast(made)


def _fast(tokenizer: Tokenizer) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="<s>",
        bos_token="<s>",
        sep_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "word pieces": lambda: None,
    "byte level": byte_level,
    "metaspace": metaspace,
}
