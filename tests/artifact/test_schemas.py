"""The published JSON Schemas say what the types say."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from artifact.canonical import encode
from artifact.schemas import schemas
from tests.kit.folders import CONTENT, manifest_of

PUBLISHED = Path(__file__).resolve().parents[2] / "docs/schemas"


def test_the_published_files_are_those_that_the_types_generate() -> None:
    """Run `python -m artifact.schemas docs/schemas` after a change of the types."""
    found = {path.name: path.read_text(encoding="utf-8") for path in PUBLISHED.glob("*.schema.json")}

    assert found == schemas()


def test_another_implementation_accepts_a_manifest_and_refuses_an_unknown_key() -> None:
    """Whoever reads our files with a schema validator gets our strictness."""
    schema = json.loads(schemas()["manifest-1.schema.json"])
    manifest = json.loads(encode(manifest_of(CONTENT)))

    jsonschema.validate(manifest, schema)
    for kept in Path(__file__).parent.glob("manifest-v1*.json"):
        jsonschema.validate(json.loads(kept.read_bytes()), schema)
    with pytest.raises(jsonschema.ValidationError, match="promise"):
        jsonschema.validate({**manifest, "promise": True}, schema)
