"""A miss is explained by the nearest entry and by the fields that differ, no more and no fewer."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compile.cache.difference import differences, nearest, summary
from tests.compile.cache.world import document

_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)
_NAMES = st.text("abc", min_size=1, max_size=3)
_DOCUMENTS = st.dictionaries(
    _NAMES,
    st.recursive(_LEAVES, lambda inner: st.dictionaries(_NAMES, inner, min_size=1, max_size=3)),
    min_size=1,
)


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [found for key, inner in value.items() for found in _paths(inner, (*path, key))]


@given(one=_DOCUMENTS, data=st.data())
def test_one_leaf_changed_anywhere_is_the_one_difference(one: dict[str, Any], data: st.DataObject) -> None:
    """By its dotted name, with both values."""
    *folders, last = data.draw(st.sampled_from(_paths(one)))
    other = copy.deepcopy(one)
    place = other
    for name in folders:
        place = place[name]
    place[last] = "another value"

    (found,) = differences(one, other)

    assert found.field == ".".join([*folders, last])
    assert found.there == "another value"
    assert differences(one, one) == ()


def test_the_entry_with_the_fewest_differing_groups_is_the_nearest() -> None:
    """A hundred changed tensors are one reason, not a hundred."""
    wanted = document(weights={str(n): "a" for n in range(100)}, config={"x": 1}, task="t", tier="cpu")
    retrained = {**wanted, "weights": {str(n): "b" for n in range(100)}}
    elsewhere = {**wanted, "task": "u", "tier": "neuron-default"}

    found = nearest(wanted, [("elsewhere", elsewhere), ("retrained", retrained)])

    assert found is not None
    assert found.key == "retrained"
    assert summary(found) == "the nearest entry, retrained, differs in 100 of weights"


def test_entries_of_other_models_are_not_near() -> None:
    """The same options for something else explain nothing."""
    wanted = document(weights={"w": "a"}, config={"x": 1}, task="t")
    stranger = document(weights={"w": "b"}, config={"x": 2}, task="t")

    assert nearest(wanted, [("stranger", stranger)]) is None
    assert summary(None) == "no entry of this model"


def test_a_new_revision_of_a_named_source_is_the_same_model() -> None:
    """Everything in it may differ; the name says what it was meant to be."""
    wanted = document(source={"id": "pypi:m", "revision": "2"}, weights={"w": "a"}, config={"x": 1})
    before = document(source={"id": "pypi:m", "revision": "1"}, weights={"w": "b"}, config={"x": 2})

    found = nearest(wanted, [("before", before)])

    assert found is not None
    assert [difference.field for difference in found.differences] == [
        "config.x",
        "source.revision",
        "weights.w",
    ]


def test_a_difference_is_told_with_both_values() -> None:
    """Long ones by their beginning; a side without the field says so."""
    (found,) = differences({"versions": {"torch": "2.13.0"}}, {"versions": {}})
    (long,) = differences({"code": "a" * 64}, {"code": "b" * 64})

    assert str(found) == "versions.torch: 2.13.0 here, not set there"
    assert str(long).count("…") == 2
