"""``[service.NAME]``: what services share, what they say for themselves, and how a mistake is worded."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib
from hypothesis import given
from hypothesis import strategies as st

from settings.load import SettingsInvalid, load, load_all
from settings.services import (
    NAME,
    RELEASE,
    TABLES,
    RawService,
    ServiceInvalid,
    ServiceNeeded,
    UnknownService,
    split,
)

TWO = """
[project]
name = "shop"

[serve]
deadline_seconds = 7
queue_limit = 50

[fleet]
instance_types = ["inf1.xlarge"]

[service.search]
model = { source = "search-model", task = "feature-extraction" }
fleet = {}

[service.answers]
model = { source = "qa-model", task = "question-answering" }
serve = { deadline_seconds = 30 }
endpoint = { instance_type = "ml.inf1.xlarge" }

[stage.prod.service.search]
fleet = { min_size = 3 }
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "traceship.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_without_services_is_one_service_without_a_name(tmp_path: Path) -> None:
    """Nobody needs to know of services who has one."""
    (only,) = load_all(_file(tmp_path, "[fleet]\ninstance_types = ['inf1.xlarge']\n"))

    assert (only.service, only.runs) == (None, None)
    assert only.fleet is not None


def test_services_share_what_is_outside_and_differ_in_what_they_repeat(tmp_path: Path) -> None:
    """A key beside the one that is repeated keeps its common value."""
    search, answers = load_all(_file(tmp_path, TWO))

    assert (search.service, answers.service) == ("search", "answers")
    assert search.project == answers.project
    assert (search.model.source, answers.model.source) == ("search-model", "qa-model")
    assert (search.serve.deadline_seconds, answers.serve.deadline_seconds) == (7, 30)
    assert answers.serve.queue_limit == 50


def test_a_service_has_a_fleet_or_an_endpoint_only_if_it_says_so(tmp_path: Path) -> None:
    """A table outside holds defaults; an empty one inside takes them."""
    search, answers = load_all(_file(tmp_path, TWO))

    assert search.fleet is not None
    assert search.fleet.instance_types == ("inf1.xlarge",)
    assert (search.endpoint, answers.fleet) == (None, None)


def test_a_stage_overrides_one_service(tmp_path: Path) -> None:
    """Stages are applied before services are told apart."""
    path = _file(tmp_path, TWO)

    plain, prod = load(path, service="search"), load(path, stage="prod", service="search")

    assert plain.fleet is not None
    assert prod.fleet is not None
    assert (plain.fleet.min_size, prod.fleet.min_size) == (1, 3)
    assert (plain.stage, prod.stage) == (None, "prod")


def test_one_service_can_run_the_release_of_another(tmp_path: Path) -> None:
    """Two fleets of one model compile it once."""
    text = TWO + '\n[service.batch]\nrelease = "search"\nfleet = { max_size = 9 }\n'

    batch = load(_file(tmp_path, text), service="batch")

    assert (batch.service, batch.runs) == ("batch", "search")


def test_a_command_for_one_service_must_be_told_which(tmp_path: Path) -> None:
    """Guessing would ship or deploy the wrong model."""
    with pytest.raises(ServiceNeeded) as refused:
        load(_file(tmp_path, TWO))

    assert "search, answers" in refused.value.why
    assert "--service search" in refused.value.fix
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(("text", "known"), [(TWO, "answers, search"), ("", "none")])
def test_a_service_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, text: str, known: str
) -> None:
    """A misspelt name must not deploy nothing."""
    with pytest.raises(UnknownService) as refused:
        load_all(_file(tmp_path, text), service="serach")

    assert refused.value.why.endswith(known)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("service = 3\n", "`service` is not a service", "[service.NAME]"),
        ("[service]\n", "`service` is not a service", "[service.NAME]"),
        ("[service]\nqa = 1\n", "`service.qa` is not a service", "[service.NAME]"),
        ("[service.Qa]\n", "'Qa' cannot be the name", "small letters"),
        ("[service.a-name-far-too-long]\n", "cannot be the name", "1 to 15"),
        ("[service.qa.modle]\n", "unknown key `service.qa.modle`", "did you mean `model`?"),
        ("[service.qa.project]\n", "unknown key `service.qa.project`", "a service may have"),
        ("[service.qa]\nrelease = 'x'\n", "`service.qa.release` cannot be used", "take it away"),
        (
            "[service.a]\n[service.b]\nrelease = ['x']\n",
            "`service.b.release` cannot be used",
            "name one of a",
        ),
        (
            "[service.a]\n[service.b]\nrelease = 'a'\nmodel = {}\n",
            "`service.b.release` cannot be used",
            "take away release or [service.b.model]",
        ),
        ("[endpoint]\ninstance_type = 'x'\n[service.a]\n", "nobody has the [endpoint]", "service.a.endpoint"),
    ],
)
def test_a_service_that_cannot_be_used_is_refused_in_words(
    tmp_path: Path, text: str, what: str, fix: str
) -> None:
    """What, why and how to fix it, never a traceback."""
    with pytest.raises(ServiceInvalid) as refused:
        load_all(_file(tmp_path, text))

    assert what in refused.value.what
    assert fix in refused.value.fix
    assert refused.value.why


def test_a_chain_of_releases_is_refused(tmp_path: Path) -> None:
    """b runs what a compiles, but a compiles nothing of its own."""
    text = "[service.a]\nrelease = 'c'\n[service.b]\nrelease = 'a'\n[service.c]\n"

    with pytest.raises(ServiceInvalid, match=r"service\.b\.release"):
        load_all(_file(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[serve]\ndeadline_seconds = 0\n[service.a]\n", "`serve.deadline_seconds`"),
        ("[service.a.serve]\ndeadline_seconds = 0\n", "`service.a.serve.deadline_seconds`"),
        ("[service.a.serve]\ndedline_seconds = 3\n", "`service.a.serve.dedline_seconds`"),
        ("[serve]\ndedline_seconds = 3\n[service.a.serve]\n", "`serve.dedline_seconds`"),
    ],
)
def test_a_bad_value_is_told_where_it_was_written(tmp_path: Path, text: str, place: str) -> None:
    """In the service's own table, or in the one that all share."""
    with pytest.raises(SettingsInvalid) as refused:
        load_all(_file(tmp_path, text))

    assert place in refused.value.what


WORDS = st.text("abc-0", min_size=1, max_size=16)
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | WORDS | st.lists(WORDS, max_size=2),
    lambda deeper: st.dictionaries(st.sampled_from([*TABLES, RELEASE, "project", "x"]), deeper, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(WORDS, VALUES, max_size=3), st.dictionaries(st.sampled_from(TABLES), VALUES, max_size=3)
)
def test_any_services_are_split_or_refused_in_words(
    tables: dict[str, object], common: dict[str, object]
) -> None:
    """No file is a traceback, and whatever is accepted keeps to the rules above."""
    try:
        found = split(Path("traceship.toml"), {**common, "service": tables})
    except ServiceInvalid:
        return

    assert [service.name for service in found] == list(tables)
    for service in found:
        _keeps_to_the_rules(service, common)


def _keeps_to_the_rules(service: RawService, common: dict[str, object]) -> None:
    assert service.name is not None
    assert NAME.fullmatch(service.name)
    assert len(service.name) <= 15
    for section in ("fleet", "endpoint"):
        assert (section in service.values) == (section in service.said)
    for key, value in common.items():
        if key not in service.said and key not in ("fleet", "endpoint"):
            assert service.values[key] == value


def test_the_order_of_the_file_is_the_order_of_the_services() -> None:
    """Stacks are deployed in it."""
    names = [str(s.name) for s in split(Path("x"), tomllib.loads(TWO))]

    assert names == ["search", "answers"]


def test_the_compile_stack_belongs_to_the_project(tmp_path: Path) -> None:
    """A service cannot say what it runs on; the tables outside can, for all of them."""
    path = tmp_path / "traceship.toml"
    path.write_text("[compile.aws]\nmax_parallel = 3\n[service.a.compile]\njobs = 2\n[service.b]\n")

    assert {found.compile.aws.max_parallel for found in load_all(path)} == {3}

    path.write_text("[service.a.compile.aws]\nmax_parallel = 3\n")
    with pytest.raises(ServiceInvalid) as refused:
        load_all(path)
    assert "[compile.aws]" in refused.value.fix
