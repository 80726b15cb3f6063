"""What transformers 5 saves, compiles with transformers 4.36 too. Runs in both; the fixtures are kept."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from compile.model import load_model, load_tokenizer
from compile.source import TokenizerTooNew, resolve
from compile.sources.reader import Reader
from tests.compile.generations import make
from tests.compile.world import compare_in, failed_gates, make_request, make_world, trace_in

KEPT = Path(make.__file__).parent / "v5"
FAMILIES = sorted(path.name for path in KEPT.iterdir())
IN_5 = metadata.version("transformers").startswith("5.")
CONTAINER = Reader(transformers=(4, 36, 2), tokenizers=(0, 15, 2))


def _answers(family: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KEPT / family / "answers.json").read_text(encoding="utf-8"))
    return found


def _exposed_json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_token_ids_are_those_that_transformers_5_gave(family: str, tmp_path: Path) -> None:
    """Accents, bytes, special tokens, pairs and the empty text; through each family's own class."""
    exposed = resolve(str(KEPT / family)).expose(tmp_path / "exposed")

    tokenizer = load_tokenizer(str(exposed))

    answers = _answers(family)
    assert [tokenizer(text).input_ids for text in make.TEXTS] == answers["ids"]
    assert tokenizer(*make.PAIR).input_ids == answers["pair"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_answers_as_it_did_in_transformers_5(family: str, tmp_path: Path) -> None:
    """Every weight finds its place, also from a checkpoint of half precision."""
    model = load_model(make_world(make_request(KEPT / family, tmp_path / "out"), tmp_path / "w").model)

    answers = _answers(family)
    states = model(torch.tensor(answers["ids"][:1])).last_hidden_state[0]
    assert torch.allclose(states, torch.tensor(answers["states"]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_compiles_and_passes_every_gate(family: str, tmp_path: Path) -> None:
    """Traced, saved, loaded and compared."""
    world = make_world(make_request(KEPT / family, tmp_path / "out", "1x16", "2x32"), tmp_path / "w")

    result = compare_in(world, trace_in(world))

    assert failed_gates(result) == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_identity_is_that_of_the_files_as_they_are(family: str, tmp_path: Path) -> None:
    """Whoever reads it, it is one model; what the files say stays untouched."""
    found = resolve(str(KEPT / family))
    exposed = found.expose(tmp_path / "exposed", CONTAINER)

    assert found.identity == resolve(str(KEPT / family)).identity
    assert {path.name for path in exposed.iterdir()} == {file.path for file in found.identity.files}
    assert _exposed_json(exposed, "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.skipif(not IN_5, reason="only transformers 5 can save as transformers 5 does")
def test_the_kept_checkpoints_are_what_transformers_5_saves(tmp_path: Path) -> None:
    """A later transformers 5 that writes something else makes this fail, and is then looked at."""
    make.make(tmp_path)

    for family in FAMILIES:
        for name in ("tokenizer_config.json", "tokenizer.json", "config.json"):
            kept, made = (_exposed_json(root / family, name) for root in (KEPT, tmp_path))
            for config in (kept, made):
                config.pop("transformers_version", None)
            assert made == kept, f"{family}/{name}"
        assert {path.name for path in (tmp_path / family).iterdir()} == {
            path.name for path in (KEPT / family).iterdir()
        }


@pytest.mark.skipif(not IN_5, reason="the newer reader is here")
def test_the_newer_reader_gets_the_files_themselves(tmp_path: Path) -> None:
    """Nothing is rewritten that need not be."""
    exposed = resolve(str(KEPT / "roberta")).expose(tmp_path / "exposed")

    assert {path.name for path in exposed.iterdir() if not path.is_symlink()} == {"config.json"}


def test_special_tokens_stay_special_without_a_tokenizer_json(tmp_path: Path) -> None:
    """XLM's own tokenizer as transformers 5 saves it, which calls them otherwise."""
    described = {"tokenizer_class": "XLMTokenizer", "extra_special_tokens": ["<special0>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))

    rewritten = CONTAINER.rewritten(tmp_path, ["tokenizer_config.json", "vocab.json", "merges.txt"])

    assert json.loads(rewritten["tokenizer_config.json"]) == {
        "tokenizer_class": "XLMTokenizer",
        "additional_special_tokens": ["<special0>"],
    }


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(KEPT / "roberta", tmp_path / "roberta"))


def _change_tokenizer(folder: Path, **model: Any) -> None:
    tokenizer = _exposed_json(folder, "tokenizer.json")
    tokenizer["model"].update(model)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def test_a_merge_with_a_space_in_it_is_refused_for_the_older_reader(roberta: Path, tmp_path: Path) -> None:
    """Written as text it would be another merge."""
    _change_tokenizer(roberta, merges=[["a b", "c"]])

    with pytest.raises(TokenizerTooNew, match="a b") as refused:
        resolve(str(roberta)).expose(tmp_path / "exposed", CONTAINER)

    assert refused.value.exit_code == 2


def test_a_metaspace_that_does_not_split_is_refused_for_the_older_reader(
    roberta: Path, tmp_path: Path
) -> None:
    """It would split there."""
    tokenizer = _exposed_json(roberta, "tokenizer.json")
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [metaspace]}
    (roberta / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")

    with pytest.raises(TokenizerTooNew, match="Metaspace"):
        resolve(str(roberta)).expose(tmp_path / "exposed", CONTAINER)


@pytest.mark.parametrize(("scheme", "before"), [("always", True), ("first", True), ("never", False)])
def test_a_metaspace_says_in_the_older_words_whether_it_puts_a_space_first(
    roberta: Path, tmp_path: Path, scheme: str, before: bool
) -> None:
    """Also inside a sequence, and in the decoder."""
    tokenizer = _exposed_json(roberta, "tokenizer.json")
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [metaspace]}
    tokenizer["decoder"] = metaspace
    (roberta / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")

    exposed = resolve(str(roberta)).expose(tmp_path / "exposed", CONTAINER)

    made = _exposed_json(exposed, "tokenizer.json")
    assert made["decoder"]["add_prefix_space"] is before
    assert made["pre_tokenizer"]["pretokenizers"][0]["add_prefix_space"] is before


def test_words_of_the_older_library_are_left_as_they_are(roberta: Path, tmp_path: Path) -> None:
    """Merges that are text already."""
    _change_tokenizer(roberta, merges=["t h", "th e"])

    exposed = resolve(str(roberta)).expose(tmp_path / "exposed", CONTAINER)

    assert (exposed / "tokenizer.json").is_symlink()


def test_a_tokenizer_of_transformers_4_keeps_its_class(tiny_bert: Path, tmp_path: Path) -> None:
    """Only what transformers 5 wrote is renamed."""
    config = {**_exposed_json(tiny_bert, "tokenizer_config.json"), "tokenizer_class": "BertTokenizer"}
    old = Path(shutil.copytree(tiny_bert, tmp_path / "old"))
    (old / "tokenizer_config.json").write_text(json.dumps(config))

    exposed = resolve(str(old)).expose(tmp_path / "exposed", CONTAINER)

    assert _exposed_json(exposed, "tokenizer_config.json") == config


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_tokenizer_config_that_is_no_object_is_passed_on(roberta: Path, tmp_path: Path, text: str) -> None:
    """transformers will say what is wrong with it."""
    (roberta / "tokenizer_config.json").write_text(text)

    exposed = resolve(str(roberta)).expose(tmp_path / "exposed", CONTAINER)

    assert (exposed / "tokenizer_config.json").read_text() == text
