"""traceship.toml: what is accepted, and how a mistake is worded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.load import SettingsInvalid, SettingsMissing, load
from settings.model import Settings


def _file(folder: Path, text: str) -> Path:
    path = folder / "traceship.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """Nothing needs to be said; no fleet and no endpoint exist then."""
    settings = load(_file(tmp_path, ""))

    assert settings == Settings()
    assert settings.fleet is None
    assert settings.endpoint is None


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ('[project]\nnmae = "x"\n', "project.nmae", "name"),
        ("[compile]\nbukets = []\n", "compile.bukets", "buckets"),
        ("[fleet]\ninstance_type = []\n", "fleet.instance_type", "instance_types"),
        ('[flet]\nami = "x"\n', "flet", "fleet"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_valid_one(
    tmp_path: Path, text: str, place: str, nearest: str
) -> None:
    """A setting that would be ignored is worse than an error."""
    with pytest.raises(SettingsInvalid, match=place) as refused:
        load(_file(tmp_path, text))

    assert f"did you mean `{nearest}`?" in refused.value.fix
    assert refused.value.exit_code == 2


def test_a_misspelt_key_in_a_list_of_tables_is_refused_with_the_nearest_valid_one(tmp_path: Path) -> None:
    """The place says which of them."""
    path = tmp_path / "traceship.toml"
    path.write_text('[fleet]\ninstance_types = ["c5.large"]\n[[fleet.schedule]]\nname = "a"\nmni = 1\n')

    with pytest.raises(SettingsInvalid) as refused:
        load(path)

    assert "`fleet.schedule.0.mni`" in refused.value.what
    assert refused.value.fix == "did you mean `min`?"


def test_a_key_like_no_other_lists_the_valid_ones(tmp_path: Path) -> None:
    """Where nothing is near, everything valid is named."""
    with pytest.raises(SettingsInvalid) as refused:
        load(_file(tmp_path, "[serve]\nzzzz = 1\n"))

    assert "deadline_seconds" in refused.value.fix


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        ('[project]\nname = "Has Spaces"\n', "project.name", "Has Spaces"),
        ('[project]\naccount = "123"\n', "project.account", "123"),
        ('[compile]\nbuckets = ["8*128"]\n', "compile.buckets.0", "8*128"),
        ("[compile]\nbuckets = []\n", "compile.buckets", r"\(\)|\[\]"),
        ('[compile]\ntarget = "inf2"\n', "compile.target", "inf2"),
        ("[serve]\ndeadline_seconds = 0\n", "serve.deadline_seconds", "0"),
        ('[fleet]\ninstance_types = ["x"]\nmin_size = 5\nmax_size = 2\n', "fleet", "min_size 5"),
        ('[endpoint]\ninstance_type = "x"\nmin_count = 5\nmax_count = 2\n', "endpoint", "min_count 5"),
        ("[model]\nnormalize = true\n", "file", "pooling"),
        ('[fleet]\ninstance_types = ["x"]\nami = "latest"\n', "fleet.ami", "latest"),
        ('[fleet]\ninstance_types = ["x"]\n[tags]\n"Cost Center" = "7"\n', "file", "Cost Center"),
        ('[fleet]\ninstance_types = ["x"]\n[tags]\n"a/b" = "7"\n', "file", "a/b"),
        ('[tags]\n"traceship:stage" = "dev"\n', "file", "traceship:stage"),
        ('[tags]\n"Traceship:project" = "other"\n', "file", "Traceship:project"),
        ('[tags]\n"aws:x" = "7"\n', "file", "aws:x"),
        ('[fleet]\ninstance_types = ["x"]\n[tags]\n"_index" = "7"\n', "file", "_index"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_place(
    tmp_path: Path, text: str, place: str, value: str
) -> None:
    """The error says which key and what was found."""
    with pytest.raises(SettingsInvalid, match=place) as refused:
        load(_file(tmp_path, text))

    assert refused.match(value)
    assert refused.value.exit_code == 2


def test_tags_with_spaces_are_fine_where_no_instance_tells_them(tmp_path: Path) -> None:
    """An endpoint's are."""
    text = '[endpoint]\ninstance_type = "ml.c5.large"\n[tags]\n"Cost Center" = "7"\n"a.b:c" = "8"\n'
    assert load(_file(tmp_path, text)).tags == {"Cost Center": "7", "a.b:c": "8"}
    text = '[fleet]\ninstance_types = ["x"]\n[tags]\n"a.b:c" = "8"\n'
    assert load(_file(tmp_path, text)).tags == {"a.b:c": "8"}


@pytest.mark.parametrize("content", [b"not toml", b"[project\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever the bytes, the answer is one of our errors."""
    path = tmp_path / "traceship.toml"
    path.write_bytes(content)

    with pytest.raises(SettingsInvalid):
        load(path)


def test_buckets_can_be_left_to_the_planner(tmp_path: Path) -> None:
    """`"auto"` with the file of lengths; an empty list is still no list of buckets."""
    settings = load(_file(tmp_path, '[compile]\nbuckets = "auto"\nlengths = "lengths.csv"\n'))

    assert settings.compile.planned
    assert settings.compile.lengths == "lengths.csv"
    assert not Settings().compile.planned


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[compile]\nbuckets = "auto"\n', "needs lengths"),
        ('[compile]\nlengths = "lengths.csv"\n', 'with buckets = "auto" only'),
        ('[compile]\nbuckets = "automatic"\nlengths = "x"\n', "tuple"),
    ],
)
def test_auto_and_lengths_need_each_other(tmp_path: Path, text: str, why: str) -> None:
    """A file that would not be read, or a plan from nothing, is an error."""
    with pytest.raises(SettingsInvalid, match="compile") as refused:
        load(_file(tmp_path, text))

    assert why in refused.value.why


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    """The first command in an empty folder ends with its fix."""
    with pytest.raises(SettingsMissing) as refused:
        load(tmp_path / "traceship.toml")

    assert "traceship init" in refused.value.fix


def test_a_stage_overrides_single_keys_and_keeps_the_rest(tmp_path: Path) -> None:
    """Tables are merged, values replaced."""
    text = """
    [project]
    name = "search"
    [fleet]
    instance_types = ["inf1.xlarge"]
    max_size = 2
    [stage.prod.fleet]
    max_size = 20
    """

    settings = load(_file(tmp_path, text), stage="prod")

    assert settings.project.name == "search"
    assert settings.fleet is not None
    assert (settings.fleet.instance_types, settings.fleet.max_size) == (("inf1.xlarge",), 20)


@pytest.mark.parametrize("stage", [None, "prod"])
@pytest.mark.parametrize(
    ("text", "place"), [('stage = "prod"\n', "stage"), ("[stage]\nprod = 1\n", "stage.prod")]
)
def test_a_stage_that_is_no_table_is_refused(
    tmp_path: Path, text: str, place: str, stage: str | None
) -> None:
    """Whether it is asked for or not, it is shown how one is written."""
    with pytest.raises(SettingsInvalid, match=f"`{place}`") as refused:
        load(_file(tmp_path, text), stage=stage)

    assert "[stage.NAME]" in refused.value.fix


@pytest.mark.parametrize("name", ["../prod", "prod/eu", "", "-prod", "pröd", "a" * 31, "prod\n"])
def test_a_stages_name_is_fit_for_files_and_tags(tmp_path: Path, name: str) -> None:
    """Also when another stage is asked for: the file is wrong."""
    text = f"[stage.prod]\n[stage.{json.dumps(name, ensure_ascii=False)}]\n"

    with pytest.raises(SettingsInvalid, match="cannot be a stage's name"):
        load(_file(tmp_path, text), stage="prod")


def test_a_stage_that_is_not_defined_lists_those_that_are(tmp_path: Path) -> None:
    """A typo never silently means the defaults."""
    text = '[stage.prod.project]\nname = "p"\n[stage.dev.project]\nname = "d"\n'

    with pytest.raises(SettingsInvalid, match="dev, prod"):
        load(_file(tmp_path, text), stage="prdo")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_nothing_but_the_documented_keys_is_ever_accepted(value: object) -> None:
    """Any other data is refused by validation, never by a crash."""
    try:
        Settings.model_validate(value)
    except ValueError:
        return
    assert isinstance(value, dict)
    assert set(value) <= set(Settings.model_fields)


SUBNETS = """
[[network.subnets]]
id = "subnet-0000000a"
zone = "eu-west-1a"
route_table = "rtb-00000001"
[[network.subnets]]
id = "subnet-0000000b"
zone = "eu-west-1b"
route_table = "rtb-00000001"
"""
VPC = '[network]\nvpc_id = "vpc-0123abcd"\ncidr = "10.1.0.0/16"\n'


def _refused(tmp_path: Path, text: str) -> SettingsInvalid:
    path = tmp_path / "traceship.toml"
    path.write_text(text)
    with pytest.raises(SettingsInvalid) as refused:
        load(path)
    return refused.value


def test_an_existing_network_is_read(tmp_path: Path) -> None:
    """Ids, zones and route tables."""
    path = tmp_path / "traceship.toml"
    path.write_text(VPC + SUBNETS)

    network = load(path).network

    assert [(s.id, s.zone) for s in network.subnets] == [
        ("subnet-0000000a", "eu-west-1a"),
        ("subnet-0000000b", "eu-west-1b"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (VPC, "go together"),
        (SUBNETS, "go together"),
        (VPC + SUBNETS.replace("eu-west-1b", "eu-west-1a"), "one zone"),
        (VPC + SUBNETS.replace("eu-west-1b", "eu-west-2b"), "different regions"),
        (VPC + SUBNETS.replace("0000000b", "0000000a"), "named twice"),
        (VPC + SUBNETS.replace("subnet-0000000b", "sub-1"), "pattern"),
        (VPC + SUBNETS.replace("rtb-00000001", "main"), "pattern"),
        (VPC.replace("vpc-0123abcd", "mine") + SUBNETS, "pattern"),
        ('[network]\ncidr = "10.0.0.0/99"\n', "10.0.0.0/99"),
        ('[network]\ncidr = "10.0.0.1/16"\n', "host bits"),
        ("[network]\nmake_endpoints = false\n", "goes with vpc_id"),
        ('[project]\nzones = ["eu-west-1a", "eu-west-1b"]\n' + VPC + SUBNETS, "project.zones"),
        ('[compile.aws]\ncompute = "ec2"\n', "needs it"),
        ('[compile.aws]\nami = "ami-0123abcd"\n', "needs it"),
        ('[compile.aws]\ncompute = "ec2"\nami = "resolve:ssm:/latest"\n', "pattern"),
    ],
)
def test_a_network_or_compute_that_cannot_be_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """Before anything is synthesised, with what is wrong."""
    assert why in _refused(tmp_path, text).why


def test_a_reason_about_a_table_does_not_repeat_the_table(tmp_path: Path) -> None:
    """One about the whole file would print all of it; one about a value shows the value."""
    table = _refused(tmp_path, '[fleet]\ninstance_types = ["inf1.xlarge"]\nmin_size = 9\nmax_size = 3\n')
    file = _refused(tmp_path, '[tags]\n"aws:x" = "7"\n')
    value = _refused(tmp_path, "[serve]\ndeadline_seconds = 99\n")

    assert table.why == "min_size 9 is above max_size 3"
    assert file.why == "the tag 'aws:x' is set by traceship or AWS; take another name"
    assert "(found 99)" in value.why


def test_an_unknown_key_in_a_list_of_tables_gets_its_nearest(tmp_path: Path) -> None:
    """As one in any other table."""
    refused = _refused(tmp_path, VPC + SUBNETS.replace("zone =", "zoen ="))

    assert refused.fix == "did you mean `zone`?"
