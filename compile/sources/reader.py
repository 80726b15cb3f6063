"""The same checkpoint for each generation of transformers.

transformers 5 writes tokenizers that 4.36, the container's, cannot read: classes that it does not
have (``TokenizersBackend``), BPE merges as pairs, a ``Metaspace`` without ``add_prefix_space``.
What is rewritten here says the same in the older words; the model's identity stays that of the
files as they are. Found by saving and loading each family with both generations
(tests/compile/generations).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from compile.sources.errors import TokenizerTooNew
from compile.sources.folder import read
from compile.sources.remote_code import class_names
from compile.sources.selection import TOKENIZER, TOKENIZER_CONFIG

_GENERIC = "PreTrainedTokenizerFast"
"""The class of both generations that takes tokenizer.json as it is."""
_ONLY_IN_5 = ("backend", "is_local", "local_files_only")
"""Keys that tell how transformers 5 came by the tokenizer."""


@dataclass(frozen=True)
class Reader:
    """The versions that will read the files, as numbers."""

    transformers: tuple[int, ...]
    tokenizers: tuple[int, ...]

    @classmethod
    def installed(cls) -> Reader:
        """Those of this Python, without importing them."""
        return cls(
            transformers=_numbers(metadata.version("transformers")),
            tokenizers=_numbers(metadata.version("tokenizers")),
        )

    @property
    def _before_5(self) -> bool:
        return self.transformers < (5,)

    @property
    def _merges_are_text(self) -> bool:
        return self.tokenizers < (0, 20)

    @property
    def makes_types_unasked(self) -> bool:
        """Whether a tokenizer whose class and files do not name its outputs makes token types."""
        return self._before_5

    def rewritten(self, folder: Path, names: Collection[str]) -> dict[str, bytes]:
        """New contents by name, for those of ``names`` that this reader would misread.

        Raises:
            TokenizerTooNew: tokenizer.json says what the older library has no words for.
            SourceUnreadable: a file cannot be opened.
        """
        found: dict[str, bytes] = {}
        for name, rewrite in ((TOKENIZER_CONFIG, self._config), (TOKENIZER, self._tokenizer)):
            if name not in names:
                continue
            before = _json(read(folder / name))
            after = before if before is None else rewrite(before, TOKENIZER in names)
            if after != before:
                found[name] = json.dumps(after, ensure_ascii=False).encode()
        return found

    def _config(self, config: dict[str, Any], has_tokenizer: bool) -> dict[str, Any]:
        """Name a class that this reader has; tokenizer.json holds all the rest."""
        named = config.get("tokenizer_class")
        kept = {key: value for key, value in config.items() if key != "auto_map"}
        if self._before_5 and isinstance(kept.get("extra_special_tokens"), list):
            kept["additional_special_tokens"] = kept.pop("extra_special_tokens")
        if not has_tokenizer:
            return kept
        custom = class_names(config.get("auto_map"))
        if named in custom or f"{named}Fast" in custom:
            kept["tokenizer_class"] = _GENERIC
        if not self._before_5 or "backend" not in config:
            return kept
        kept = {key: value for key, value in kept.items() if key not in _ONLY_IN_5}
        kept["tokenizer_class"] = _GENERIC
        return kept

    def _tokenizer(self, tokenizer: dict[str, Any], _has_tokenizer: bool) -> dict[str, Any]:
        if not self._merges_are_text:
            return tokenizer
        parts = {key: _older(tokenizer[key]) for key in _PARTS if key in tokenizer}
        return {**tokenizer, **parts}


_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "model")


def _older(part: Any) -> Any:
    """A part of tokenizer.json, with those that it is made of, in the words of tokenizers 0.15."""
    if not isinstance(part, dict):
        return part
    nested = {
        key: [_older(item) for item in part[key]]
        for key in ("normalizers", "pretokenizers", "processors", "decoders")
        if isinstance(part.get(key), list)
    }
    part = {**part, **nested}
    if part.get("type") == "Metaspace":
        return _older_metaspace(part)
    if part.get("type") == "BPE":
        return {**part, "merges": [_older_merge(merge) for merge in part.get("merges", ())]}
    return part


def _older_metaspace(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("split") is False:
        raise TokenizerTooNew(why="its Metaspace does not split, which tokenizers before 0.20 always does")
    if "add_prefix_space" in part:
        return part
    return {**part, "add_prefix_space": part.get("prepend_scheme", "always") != "never"}


def _older_merge(merge: Any) -> Any:
    if not isinstance(merge, list):
        return merge
    if any(" " in piece for piece in merge):
        raise TokenizerTooNew(why=f"it merges {merge!r}, and before 0.20 a merge is written with a space")
    return " ".join(merge)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _json(data: bytes) -> dict[str, Any] | None:
    """A JSON object; ``None`` for anything else, which its reader will complain of in its own words."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
