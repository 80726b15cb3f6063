"""One JSON value out of a body; a key that comes twice is never overlooked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_code import strict_json
from inference_code.errors import NotJson

LONG = b"word " * 4096
"""So long that the quotes around it are few."""
CHARACTERS = ['"', '\\"', "\\u0022", "\\\\", "\\n", "\\u00e9", "a", "é", ":", ",", "{", "\\\\u0022"]
STRINGS = st.lists(st.sampled_from(CHARACTERS[1:]), max_size=4).map(lambda parts: '"' + "".join(parts) + '"')
VALUES = st.recursive(
    STRINGS | st.sampled_from(["1", "null", "[]", "{}", "-1.5e3"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[" + ",".join(values) + "]")
        | st.lists(st.tuples(STRINGS, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key} : {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None)
@given(VALUES)
def test_a_repeated_key_is_refused_however_it_is_spelled(text: str) -> None:
    """As Python's own parser sees it, pair by pair."""
    repeated = False

    def seen(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) != len(pairs)
        return dict(pairs)

    wanted = json.loads(text, object_pairs_hook=seen)

    if repeated:
        with pytest.raises(NotJson):
            strict_json.decode(text.encode())
    else:
        assert strict_json.decode(text.encode()) == wanted


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":"x","a":"y"}', id="plain"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="spelled by its number"),
        pytest.param(b'{"":"","b":"\\u0022\\u0022","":""}', id="quotes that are not told by their number"),
        pytest.param(b'[{"b":{"a":1,"a":1}}]', id="nested"),
        pytest.param(b'{"a":"' + LONG + b'","a":1}', id="beside a long text"),
        pytest.param(b'{"b":"' + LONG + b'\\n","a":"\\"","a":""}', id="beside a long text with escapes"),
        pytest.param(b'{"a":"","a":"' + LONG + b'"}', id="before a long text"),
    ],
)
def test_the_known_ways_to_hide_a_key(body: bytes) -> None:
    """What counting quotes could be led astray by."""
    with pytest.raises(NotJson, match="twice"):
        strict_json.decode(body)
