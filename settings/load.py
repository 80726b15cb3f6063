"""Read traceship.toml, apply ``[stage.NAME]`` and ``[service.NAME]``, validate, and word what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import tomllib
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from artifact.errors import UsageError
from settings.model import Settings
from settings.services import Raw, RawService, ServiceNeeded, UnknownService, merged, split

SETTINGS_FILE = "traceship.toml"
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")


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


def load(path: Path, *, stage: str | None = None, service: str | None = None) -> Settings:
    """Return the settings of one service: the one named, or the only one that there is.

    Raises:
        ServiceNeeded: there are several, and none is named.
        SettingsMissing, SettingsInvalid, UnknownService, ServiceInvalid: see ``load_all``.
    """
    found = load_all(path, stage=stage, service=service)
    if len(found) > 1:
        raise ServiceNeeded(path=path, known=[str(each.service) for each in found])
    return found[0]


def load_all(path: Path, *, stage: str | None = None, service: str | None = None) -> tuple[Settings, ...]:
    """Return the settings of every service of ``path``, with the overrides of ``stage`` applied.

    Args:
        service: only this one.

    Raises:
        SettingsMissing: no such file.
        SettingsInvalid: not TOML, an unknown key (with the nearest valid one), a bad value,
            a stage that is no table or has no name for files, or one that the file does not define.
        ServiceInvalid: see services.py.
        UnknownService: the file does not define ``service``.
    """
    services = split(path, _read(path, stage))
    if service is not None:
        known = sorted(each.name for each in services if each.name is not None)
        services = [each for each in services if each.name == service]
        if not services:
            raise UnknownService(path=path, asked=service, known=known)
    return tuple(_validated(path, stage, each) for each in services)


def _read(path: Path, stage: str | None) -> Raw:
    """The file with the stage's overrides laid over it."""
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
        raw = merged(raw, stages[stage])
    return raw


def _validated(path: Path, stage: str | None, service: RawService) -> Settings:
    try:
        settings = Settings.model_validate(service.values)
        shared = None if service.shared is None else Settings.model_validate(service.shared)
    except ValidationError as error:
        raise _worded(path, _most_telling(error.errors()), service) from None
    if shared is not None:
        shared = shared.of(stage=stage, service=None, runs=None)
    return settings.of(stage=stage, service=service.name, runs=service.runs, shared=shared)


def _stages(path: Path, stages: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(stages, dict):
        raise _no_table(path, "stage", stages)
    for name, overrides in stages.items():
        if not isinstance(overrides, dict):
            raise _no_table(path, f"stage.{name}", overrides)
        if _STAGE.fullmatch(name) is None:
            raise SettingsInvalid(
                what=f"{path}: {name!r} cannot be a stage's name",
                why="files and tags are named after it: letters, digits, - and _, at most 30, a letter or"
                " digit first",
                fix="give the stage another name",
            )
    return stages


def _no_table(path: Path, place: str, found: Any) -> SettingsInvalid:
    return SettingsInvalid(
        what=f"{path}: `{place}` is not a stage",
        why=f"a stage is a table of settings, this is {found!r}",
        fix="write a [stage.NAME] table with the settings that differ there",
    )


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """A misspelt key explains the required key that is missing, so it goes first."""
    return min(errors, key=lambda error: error["type"] != "extra_forbidden")


def _worded(path: Path, error: ErrorDetails, service: RawService) -> SettingsInvalid:
    place = _place(error["loc"], service) or "the file"
    if error["type"] == "extra_forbidden":
        valid = _keys_beside(error["loc"])
        nearest = difflib.get_close_matches(str(error["loc"][-1]), valid, n=1)
        fix = f"did you mean `{nearest[0]}`?" if nearest else f"valid keys: {', '.join(valid)}"
        return SettingsInvalid(what=f"{path}: unknown key `{place}`", why="no such setting exists", fix=fix)
    reason = error["msg"].removeprefix("Value error, ")
    # A reason about a whole table names its keys; the table itself, or all of the file, would hide it.
    told = error["type"] == "missing" or isinstance(error["input"], dict)
    return SettingsInvalid(
        what=f"{path}: `{place}` cannot be used",
        why=reason if told else f"{reason} (found {error['input']!r})",
        fix="see docs/settings.md for the key's meaning and limits",
    )


def _place(location: tuple[int | str, ...], service: RawService) -> str:
    """Where the file has it: in the service's own table, or in the one that all share."""
    parts = [str(part) for part in location]
    table = service.said.get(parts[0]) if parts else None
    own = table is not None and (len(parts) == 1 or (isinstance(table, dict) and parts[1] in table))
    return ".".join(["service", str(service.name), *parts] if own else parts)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str):  # a number is a place in a list of tables
            model = next(_models_of(_fields(model)[part].annotation))
    return sorted(_fields(model))


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a table as the file spells them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_of(inner)
