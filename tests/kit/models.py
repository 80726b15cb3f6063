"""Tiny random transformers checkpoints with tokenizers, saved as users have them on disk.

Two layers, hidden size 32. Weights are scaled up so that a wrong mask, a dropped input or a
swapped label moves an answer by far more than any tolerance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HIDDEN = 32
POSITIONS = 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"$%()-_/#=&éöüàèßабвгдежзийклмнопрстуфхцчшщыьэюя"
_WORDS = ("the", "a", "is", "and", "of", "in", "it", "to", "he", "was", "for", "on", "that", "cat", "mill")

_BERT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}
_XLM = {"emb_dim": HIDDEN, "n_layers": 2, "n_heads": 2, "max_position_embeddings": POSITIONS}
_SIZES: dict[str, dict[str, Any]] = {
    "albert": {**_BERT, "embedding_size": 16, "num_hidden_groups": 1},
    "bert": _BERT,
    "convbert": {**_BERT, "num_attention_heads": 4, "embedding_size": HIDDEN, "conv_kernel_size": 3},
    "deberta": {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **_BERT,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "camembert": {**_BERT, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "distilbert": {
        "dim": HIDDEN,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": POSITIONS,
    },
    "electra": {**_BERT, "embedding_size": 16},
    "flaubert": _XLM,
    "mobilebert": {**_BERT, "embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    "modernbert": {
        **_BERT,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
        "bos_token_id": None,
        "eos_token_id": None,
        "cls_token_id": None,
        "sep_token_id": None,
    },
    "marian": {
        "d_model": HIDDEN,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": POSITIONS,
        "scale_embedding": True,
        # with its head tied, a random model repeats the token that it was given
        "tie_word_embeddings": False,
    },
    "roformer": {**_BERT, "embedding_size": HIDDEN},
    "xlm": _XLM,
    "mpnet": {**_BERT, "max_position_embeddings": POSITIONS + 2},
    "roberta": {**_BERT, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "xlm-roberta": {**_BERT, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
}
ARCHITECTURES = tuple(sorted(name for name in _SIZES if name in transformers.CONFIG_MAPPING))
"""Those that the installed transformers knows; the container's has no modernbert."""
_CLASSES = {
    "feature-extraction": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
    "multiple-choice": "AutoModelForMultipleChoice",
    "translation": "AutoModelForSeq2SeqLM",
}
_PAD_FIRST = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_BERT_LIKE = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNTYPED = ("distilbert", "flaubert", "marian", "modernbert", "xlm")
_ROBERTAS = ("camembert", "mpnet", "roberta", "xlm-roberta")


def tiny_model(
    folder: Path,
    architecture: str = "bert",
    *,
    task: str | None = None,
    labels: tuple[str, ...] | None = None,
    problem_type: str | None = None,
    seed: int = 0,
    scale: float = 3.0,
    **config: Any,
) -> Path:
    """Save a random checkpoint and its tokenizer to ``folder`` and return that.

    Args:
        task: which head it has; unset, text-classification with labels and none without.
        labels: of a classification head.
        scale: factor on every weight matrix; 1.0 is the library's own initialisation, whose
            answers differ too little from each other to show a fault.
        config: replaces or adds config values.
    """
    tokenizer = _tokenizer(architecture)
    settings = {**_SIZES[architecture], "vocab_size": tokenizer.get_vocab_size(), **config}
    settings["pad_token_id"] = tokenizer.token_to_id(_specials(architecture)["pad_token"])
    if architecture in ("flaubert", "xlm"):
        settings["pad_index"] = settings["pad_token_id"]
    if architecture == "marian":
        settings["eos_token_id"] = settings["forced_eos_token_id"] = tokenizer.token_to_id("[SEP]")
        settings["decoder_start_token_id"] = settings["pad_token_id"]
    if labels is not None:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
        settings["problem_type"] = problem_type
    made = transformers.AutoConfig.for_model(architecture, **settings)
    torch.manual_seed(seed)
    task = task or ("translation" if architecture == "marian" else None)
    task = task or ("feature-extraction" if labels is None else "text-classification")
    model = getattr(transformers, _CLASSES[task]).from_config(made)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
            elif not bool(parameter.any()):
                parameter.normal_(std=0.1)
        if architecture == "marian":
            model.final_logits_bias.normal_(std=0.3)
    model.save_pretrained(folder, safe_serialization=True)
    _save_tokenizer(tokenizer, architecture, folder)
    return folder


def _specials(architecture: str) -> dict[str, str]:
    if architecture in _ROBERTAS:
        start, pad, end, unknown, mask = _PAD_FIRST
    else:
        pad, unknown, start, end, mask = _BERT_LIKE
    return {
        "pad_token": pad,
        "unk_token": unknown,
        "cls_token": start,
        "sep_token": end,
        "mask_token": mask,
    }


def _tokenizer(architecture: str) -> Tokenizer:
    robertas = architecture in _ROBERTAS
    specials = _PAD_FIRST if robertas else _BERT_LIKE
    pieces = [*specials, *_WORDS, *(letter for letter in _LETTERS if letter not in _WORDS)]
    pieces += [f"##{letter}" for letter in _LETTERS]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    named = _specials(architecture)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=named["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    start, end = named["cls_token"], named["sep_token"]
    pair = f"{start} $A {end} {end} $B {end}" if robertas else f"{start} $A {end} $B:1 {end}:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=pair,
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return tokenizer


def _save_tokenizer(tokenizer: Tokenizer, architecture: str, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask"]
    if architecture not in (*_ROBERTAS, *_UNTYPED):
        names.insert(1, "token_type_ids")
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "model_input_names": names,
        **_specials(architecture),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
