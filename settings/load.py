"""Read traceship.toml, apply ``[stage.NAME]``, validate, and word what is wrong for its author."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import tomllib
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from artifact.errors import UsageError
from settings.model import Settings

SETTINGS_FILE = "traceship.toml"


class SettingsMissing(UsageError):
    """There is no settings file."""

    id = "settings-missing"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            what=f"there is no {path}",
            why="every command that deploys reads its settings from that file",
            fix="run `traceship init` in the project's folder",
        )


class SettingsInvalid(UsageError):
    """The settings file says something that cannot be used."""

    id = "settings-invalid"


def load(path: Path, *, stage: str | None = None) -> Settings:
    """Return the settings of ``path`` with the overrides of ``stage`` applied.

    Raises:
        SettingsMissing: no such file.
        SettingsInvalid: not TOML, an unknown key (with the nearest valid one), a bad value,
            a stage that is no table, or one that the file does not define.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsMissing(path=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(what=f"{path} is not TOML", why=str(error), fix="correct that line") from None
    stages = _stages(path, raw.pop("stage", {}))
    if stage is not None:
        if stage not in stages:
            known = ", ".join(sorted(stages)) or "none"
            raise SettingsInvalid(
                what=f"{path} has no stage {stage!r}",
                why=f"the stages it defines are: {known}",
                fix=f"add a [stage.{stage}] table or name one of those",
            )
        raw = _merged(raw, stages[stage])
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise _worded(path, _most_telling(error.errors())) from None


def _stages(path: Path, stages: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(stages, dict):
        raise _no_table(path, "stage", stages)
    for name, overrides in stages.items():
        if not isinstance(overrides, dict):
            raise _no_table(path, f"stage.{name}", overrides)
    return stages


def _no_table(path: Path, place: str, found: Any) -> SettingsInvalid:
    return SettingsInvalid(
        what=f"{path}: `{place}` is not a stage",
        why=f"a stage is a table of settings, this is {found!r}",
        fix="write a [stage.NAME] table with the settings that differ there",
    )


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both_tables = isinstance(below, dict) and isinstance(value, dict)
        result[key] = _merged(below, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """A misspelt key explains the required key that is missing, so it goes first."""
    return min(errors, key=lambda error: error["type"] != "extra_forbidden")


def _worded(path: Path, error: ErrorDetails) -> SettingsInvalid:
    place = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        valid = _keys_beside(error["loc"])
        nearest = difflib.get_close_matches(str(error["loc"][-1]), valid, n=1)
        fix = f"did you mean `{nearest[0]}`?" if nearest else f"valid keys: {', '.join(valid)}"
        return SettingsInvalid(what=f"{path}: unknown key `{place}`", why="no such setting exists", fix=fix)
    reason = error["msg"].removeprefix("Value error, ")
    return SettingsInvalid(
        what=f"{path}: `{place}` cannot be used",
        why=reason if error["type"] == "missing" else f"{reason} (found {error['input']!r})",
        fix="see docs/settings.md for the key's meaning and limits",
    )


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        field = model.model_fields[str(part)]
        model = next(t for t in _models_of(field.annotation))
    return sorted(model.model_fields)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
