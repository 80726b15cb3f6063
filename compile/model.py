"""The untraced model and its tokenizer, loaded offline and checked for invented weights."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from artifact.errors import UsageError
from artifact.tokenization import marian_file
from compile.architectures import ARCHITECTURES
from compile.moses import is_moses, moses_file
from compile.preflight import HeadMissing, TaskUnavailable
from compile.seq2seq import Encoder
from compile.source import CONFIG, TokenizerMissing, WeightsCorrupted
from compile.wrapper import Wrapper, untie, used_inputs

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer
    from compile.jobs import ModelJob


class MaskTokenMissing(UsageError):
    """fill-mask with a tokenizer that has no mask."""

    id = "mask-token-missing"

    def __init__(self, *, folder: str) -> None:
        super().__init__(
            what=f"the tokenizer in {folder} has no mask token",
            why="fill-mask asks for the word behind it, and no request could hold it",
            fix="set `mask_token` in tokenizer_config.json, or compile for another task",
        )


class LabelsDoNotFit(UsageError):
    """The checkpoint names another number of labels than its head has."""

    id = "labels-do-not-fit"

    def __init__(self, *, named: int, outputs: int) -> None:
        super().__init__(
            what=f"the model has {outputs} outputs and names for {named}",
            why="id2label and num_labels of config.json do not agree",
            fix="correct them in the model's config.json",
        )


class ArchitectureTooNew(UsageError):
    """The installed transformers does not know the model's family."""

    id = "architecture-too-new"

    def __init__(self, *, architecture: str, installed: str, since: str | None) -> None:
        super().__init__(
            what=f"transformers {installed} does not know {architecture} models",
            why=f"they came with version {since}" if since else "its model_type is in none of its tables",
            fix="compile it with a newer transformers, or take a model of another type",
        )


def load_model(job: ModelJob) -> Any:
    """Load body and head as float32, eager attention, in eval mode, from the exposed folder.

    Eager attention because ``scaled_dot_product_attention`` does not exist in torch 1.13, which
    then refuses the whole archive.

    Raises:
        ArchitectureTooNew, TaskUnavailable: transformers has no class for it.
        HeadMissing: transformers initialised a weight at random that the task uses.
        WeightsCorrupted: the weights do not have the shapes that the config gives them.
    """
    _quiet()
    loader = getattr(transformers, job.auto_class)
    own = _brings_its_class(job)
    if not own:
        _check_class(loader, job)
    options: dict[str, Any] = {"add_pooling_layer": False} if job.without_pooler and not own else {}
    try:
        model, info = loader.from_pretrained(
            job.folder,
            local_files_only=True,
            trust_remote_code=job.remote_code,
            use_safetensors=True,
            attn_implementation="eager",
            torch_dtype=torch.float32,  # transformers 5 follows the checkpoint, and rounds what it computes
            output_loading_info=True,
            **options,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise WeightsCorrupted(file=job.folder, why=_first_line(error)) from error
    invented = sorted(info["missing_keys"])
    if invented:
        raise HeadMissing(
            task=job.task,
            why=f"the checkpoint lacks {', '.join(invented[:4])}, transformers would fill it at random",
        )
    if own:
        _rename_own_classes(model)
    return model.float().eval().requires_grad_(False)


def _brings_its_class(job: ModelJob) -> bool:
    """Whether the checkpoint has a class of its own for the task, which the user allowed."""
    return job.remote_code and job.auto_class in _config(job).get("auto_map", {})


def _rename_own_classes(model: torch.nn.Module) -> None:
    """Give the checkpoint's own classes module names that TorchScript can read back.

    transformers puts them below a folder named by a digest, and a name that begins with a figure
    is written to the graph and then is a syntax error.
    """
    for owner in {type(module) for module in model.modules()}:
        if owner.__module__.startswith("transformers_modules."):
            name = f"checkpoint.{owner.__module__.rpartition('.')[2]}"
            sys.modules.setdefault(name, sys.modules[owner.__module__])
            owner.__module__ = name


def _config(job: ModelJob) -> dict[str, Any]:
    with (Path(job.folder) / CONFIG).open(encoding="utf-8") as file:
        config: dict[str, Any] = json.load(file)
    return config


def _check_class(loader: Any, job: ModelJob) -> None:
    architecture = str(_config(job)["model_type"])
    if architecture not in transformers.CONFIG_MAPPING:
        row = ARCHITECTURES.get(architecture)
        raise ArchitectureTooNew(
            architecture=architecture,
            installed=transformers.__version__,
            since=row.since if row else None,
        )
    if transformers.CONFIG_MAPPING[architecture] not in loader._model_mapping:
        raise TaskUnavailable(architecture=architecture, task=job.task)


def wrap(model: Any, job: ModelJob) -> Wrapper | Encoder:
    """The model as it is traced: untied, inputs by position, a tuple out; of a translation the encoder.

    The outer module is put in eval mode too, or ``jit`` keeps the training flag in the graph.
    """
    untie(model)
    wrapper: Wrapper | Encoder
    if job.seq2seq:
        wrapper = Encoder(model)
    else:
        names = used_inputs(model, typed=job.token_types)
        wrapper = Wrapper(model, names, job.fields, job.pooling, job.normalize)
    wrapper.eval()
    return wrapper.requires_grad_(False)


def load_tokenizer(folder: str) -> Any:
    """transformers' own tokenizer of the model, the reference for ours.

    Raises:
        TokenizerMissing: none can be made from the files, or one that has no fast form and is not ours.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # a dozen kinds, from KeyError to pyo3's, one meaning
        raise TokenizerMissing(
            folder=folder, why=f"its files cannot be read: {_first_line(error)}"
        ) from error
    if not (tokenizer.is_fast or _is_marian(tokenizer) or is_moses(tokenizer)):
        raise TokenizerMissing(folder=folder, why="its tokenizer has no tokenizer.json form")
    return tokenizer


def _is_marian(tokenizer: Any) -> bool:
    """Marian's has no fast form, and two vocabularies only where ``separate_vocabs`` says so."""
    return type(tokenizer).__name__ == "MarianTokenizer" and not tokenizer.separate_vocabs


def portable_tokenizer(tokenizer: Any) -> AnyTokenizer:
    """The tokenizer by itself, without padding and truncation: the server sets those.

    Raises:
        TokenizerUnsupported: it does what ours does not.
    """
    from tokenizers import Tokenizer

    if is_moses(tokenizer):
        return moses_file(tokenizer)
    if not tokenizer.is_fast:
        return marian_file(
            Path(tokenizer.spm_files[0]).read_bytes(),
            tokenizer.encoder,
            unknown=str(tokenizer.unk_token),
            end=str(tokenizer.eos_token),
            padding=str(tokenizer.pad_token),
        )
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def save_tokenizer(tokenizer: AnyTokenizer, path: Path) -> None:
    """Write ``tokenizer.json``; key order and spelling are the library's own, hence stable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tokenizer.to_str(pretty=False), encoding="utf-8")


def vocabulary(model: Any) -> int:
    """Number of rows of the embedding table."""
    rows: int = model.get_input_embeddings().weight.shape[0]
    return rows


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _quiet() -> None:
    """Loading bars and hints of transformers do not belong in our log."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("transformers").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
