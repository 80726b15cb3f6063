"""A Marian checkpoint as published ones are: SentencePiece models and a vocabulary, no tokenizer.json."""

from __future__ import annotations

import io
import json
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from tests.kit.models import tiny_model

_TEXTS = Path(__file__).parents[2] / "compile/texts.json"
CODE = ">>fra<<"


def marian_tokenizer(folder: Path) -> int:
    """Write the tokenizer's files to ``folder``; return the size of its vocabulary.

    The vocabulary numbers pieces otherwise than SentencePiece does and lacks some of them, as
    published ones do; padding comes last.
    """
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(json.loads(_TEXTS.read_text(encoding="utf-8"))["texts"]),
        model_writer=model,
        vocab_size=160,
        character_coverage=0.98,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    pieces = SentencePieceProcessor(model_proto=model.getvalue())
    known = [pieces.id_to_piece(number) for number in range(3, pieces.get_piece_size())]
    tokens = ["</s>", "<unk>", CODE, *sorted(known)[::-1][5:], "<pad>"]
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model.getvalue())
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    described = {"tokenizer_class": "MarianTokenizer", "source_lang": "eng", "target_lang": "fra"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    return len(tokens)


def marian_model(folder: Path) -> Path:
    """A tiny random checkpoint with that tokenizer."""
    folder.mkdir(parents=True)
    size = marian_tokenizer(folder)
    tiny_model(
        folder,
        "marian",
        scale=6.0,
        vocab_size=size,
        eos_token_id=0,
        forced_eos_token_id=0,
        pad_token_id=size - 1,
        decoder_start_token_id=size - 1,
        tokenizer=False,
    )
    return folder
