"""What guards the stock container's toolkit, under a double of it; tests/stock has the real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inference_code.toolkit import PackagesMissing, ToolkitUnknown, add_packages, shield
from tests.inference_code.test_inference import Context as Plain

OWN = f"cp{sys.version_info.major}{sys.version_info.minor}"


class Context(Plain):
    """With the content type that an answer outside of the hooks must set itself."""

    def __init__(self) -> None:
        super().__init__()
        self.content_types: dict[int, str] = {}

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value


def _toolkit() -> tuple[Any, Any]:
    """content_types and Transformer as far as 1.10.1 has what is replaced."""

    class Transformer:
        @staticmethod
        def handle_error(context: Any, error: Exception, trace: str) -> list[str]:
            return [f"{context}{error}\n{trace}"]

    return SimpleNamespace(UTF8_TYPES=["application/json", "text/csv"]), Transformer


def test_no_body_is_decoded_before_our_hook_sees_it() -> None:
    """What is not UTF-8 then gets the answer that our server gives."""
    content_types, transformer = _toolkit()

    shield(content_types, transformer)

    assert "application/json" not in content_types.UTF8_TYPES


def test_an_error_outside_of_the_hooks_gets_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """And the log gets the trace."""
    content_types, transformer = _toolkit()
    shield(content_types, transformer)
    context = Context()

    (body,) = transformer().handle_error(context, ValueError("secret"), "Traceback: /opt/secret.py")

    assert context.request_processor[0].status == (500, "Internal Server Error")
    assert context.content_types == {0: "application/json"}
    assert json.loads(body)["error"] == "inference-failed"
    assert b"secret" not in body
    assert "Traceback: /opt/secret.py" in [vars(record).get("trace") for record in caplog.records]


@pytest.mark.parametrize("missing", ["UTF8_TYPES", "handle_error"])
def test_a_toolkit_that_is_not_known_gets_no_model(missing: str) -> None:
    """Another version may answer with traces from another place."""
    content_types, transformer = _toolkit()
    delattr(content_types if missing == "UTF8_TYPES" else transformer, missing)

    with pytest.raises(ToolkitUnknown, match=missing):
        shield(content_types, transformer)


def test_the_packages_of_this_python_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then those of any Python, then what the container has."""
    monkeypatch.setattr(sys, "path", ["before"])
    (tmp_path / OWN).mkdir()

    add_packages(tmp_path)

    assert sys.path == [str(tmp_path / OWN), str(tmp_path / "abi3"), "before"]


def test_a_python_without_packages_is_named(tmp_path: Path) -> None:
    """With those that there are; else it would be a module that is not found."""
    (tmp_path / "cp39").mkdir()

    with pytest.raises(PackagesMissing, match=f"it is {OWN}, the archive has packages for cp39"):
        add_packages(tmp_path)
