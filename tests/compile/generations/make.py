"""``python -m tests.compile.generations.make FOLDER``: save each family with the transformers in use.

The kept folders beside this file were written by transformers 5.24. A family is a checkpoint of a
few kilobytes, its tokenizer from the family's own class, and ``answers.json``: what that
transformers made of some texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers

TEXTS = (
    "the cat sat on the mat",
    "The mill, it was HERE: for him!",
    "naïve café — Ünïcödé ß",
    "  two  spaces\tand tabs\n",
    "кот on the 猫 🐈",
    "mask [MASK] and <mask>.",
    "",
)
PAIR = ("is it the cat?", "it was on the mill")
_SIZE = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 66,
}
_DISTIL = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8, "max_position_embeddings": 66}
_WORDS = ("the", "a", "is", "and", "of", "in", "it", "to", "he", "was", "for", "on", "cat", "mill", "mat")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"$%()-_/#=&éöüïàкот猫"
_BERT_LIKE = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PAD_FIRST = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "[UNK]")


def _wordpiece(specials: tuple[str, ...]) -> dict[str, int]:
    pieces = [*specials, *_WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def _unigram(specials: tuple[str, ...]) -> list[tuple[str, float]]:
    pieces = ["▁", *(f"▁{word}" for word in _WORDS), *_LETTERS]
    scored = [(piece, -2.0 - index / 16) for index, piece in enumerate(dict.fromkeys(pieces))]
    return [*((special, 0.0) for special in specials), *scored]


def _bytes() -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "c"), ("a", "t")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces += ["".join(merge) for merge in merges]
    return {piece: index for index, piece in enumerate([*pieces, "<mask>"])}, merges


def _tokenizers() -> dict[str, Any]:
    vocabulary, merges = _bytes()
    bert = transformers.BertTokenizer
    made = {
        "albert": transformers.AlbertTokenizer(
            vocab=_unigram(("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"))
        ),
        "bert": bert(vocab=_wordpiece(_BERT_LIKE)),
        "camembert": transformers.CamembertTokenizer(vocab=_unigram(_PAD_FIRST[:5])),
        "distilbert": transformers.DistilBertTokenizer(vocab=_wordpiece(_BERT_LIKE), do_lower_case=False),
        "electra": bert(vocab=_wordpiece(_BERT_LIKE), strip_accents=False),
        "mpnet": transformers.MPNetTokenizer(vocab=_wordpiece(_PAD_FIRST)),
        "roberta": transformers.RobertaTokenizer(vocab=vocabulary, merges=merges),
        "xlm-roberta": transformers.XLMRobertaTokenizer(vocab=_unigram(_PAD_FIRST[:5])),
    }
    made["bert"].add_special_tokens({"additional_special_tokens": ["<extra>"]})
    # what transformers 5 calls every tokenizer that was saved as PreTrainedTokenizerFast
    generic = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made["electra"].backend_tokenizer,
        **{f"{key}_token": f"[{key.upper()}]" for key in ("pad", "unk", "cls", "sep", "mask")},
    )
    return {**made, "electra": generic, "bert-plain": bert(vocab=_wordpiece(_BERT_LIKE))}


def make(into: Path) -> None:
    """Save every family below ``into``."""
    for name, tokenizer in _tokenizers().items():
        family = "bert" if name == "bert-plain" else name
        size = _DISTIL if family == "distilbert" else dict(_SIZE)
        size |= {"embedding_size": 8} if family in ("albert", "electra") else {}
        config = transformers.AutoConfig.for_model(
            family, **size, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id
        )
        torch.manual_seed(7)
        model = transformers.AutoModel.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(8.0)
        if name == "bert-plain":
            model = model.half()
        folder = into / name
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "answers.json").write_text(json.dumps(_answers(model.float(), tokenizer)), encoding="utf-8")


def _answers(model: Any, tokenizer: Any) -> dict[str, Any]:
    ids = [tokenizer(text).input_ids for text in TEXTS]
    with torch.no_grad():
        states = model(torch.tensor(ids[:1])).last_hidden_state[0]
    return {
        "ids": ids,
        "pair": tokenizer(*PAIR).input_ids,
        "states": [[round(x, 6) for x in row] for row in states.tolist()],
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]))
