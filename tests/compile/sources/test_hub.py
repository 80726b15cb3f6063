"""A model of the Hub is read at one commit, told and recorded; or an error says why it cannot be."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compile.source import Allowed, ModelSource, resolve
from compile.sources.errors import ConfigMissing, ModelNotFound, PickleRefused, WeightsMissing
from compile.sources.hub import (
    Hub,
    HubCacheUnusable,
    HubDenied,
    HubRefused,
    HubUnreachable,
    RevisionMissing,
)
from tests.kit.fake_hub import FakeHub, Repository, environment, folder_files, running_hub

ROOT = Path(__file__).resolve().parents[3]
Fetch = Callable[..., ModelSource]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def tiny(hub: FakeHub, tiny_bert: Path) -> Repository:
    """``org/tiny``, with files around it that no compile needs."""
    repository = hub.add("org/tiny")
    extra = {
        "README.md": b"hello",
        "tf_model.h5": b"x" * 99,
        "onnx/model.onnx": b"y",
        "pytorch_model.bin": b"z",
    }
    repository.commit({**folder_files(tiny_bert), **extra})
    return repository


@pytest.fixture
def fetch(hub: FakeHub, tmp_path: Path) -> Fetch:
    """``resolve`` against the running Hub, with a cache of the test's own."""
    at = Hub(endpoint=hub.endpoint, cache=tmp_path / "hf")
    return lambda source="hub:org/tiny", **options: resolve(source, the_hub=at, **options)


def test_a_branch_is_resolved_once_to_a_commit_that_is_told_and_recorded(
    fetch: Fetch, tiny: Repository
) -> None:
    """What is read is the commit, and the line says how to pin it."""
    lines: list[str] = []

    found = fetch(revision="main", report=lines.append)

    commit = tiny.refs["main"]
    assert (found.identity.id, found.identity.revision) == ("hub:org/tiny", commit)
    assert lines[0] == f"hub:org/tiny: main is at {commit}; pin it with `--revision {commit}`"


def test_without_a_revision_the_default_branch_is_told_with_advice_to_pin(
    fetch: Fetch, tiny: Repository
) -> None:
    """Nobody finds out later that the model had moved."""
    lines: list[str] = []

    found = fetch(report=lines.append)

    assert found.identity.revision == tiny.refs["main"]
    assert "its default branch is at" in lines[0]
    assert "--revision" in lines[0]


def test_a_tag_keeps_its_commit_when_the_branch_moves(
    fetch: Fetch, tiny: Repository, tiny_classifier: Path
) -> None:
    """Two revisions of one model are two models."""
    tiny.refs["v1"] = tiny.refs["main"]
    moved = tiny.commit(folder_files(tiny_classifier))

    old, new = fetch(revision="v1").identity, fetch().identity

    assert new.revision == moved != old.revision
    assert new.files != old.files


def test_only_what_a_compile_reads_is_downloaded(fetch: Fetch, tiny: Repository, hub: FakeHub) -> None:
    """No pickle beside safetensors, no other framework's weights, no readme."""
    found = fetch()

    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert hub.downloads() == wanted == {file.path for file in found.identity.files}


def test_the_files_are_those_of_a_folder_with_the_same_content(
    fetch: Fetch, tiny: Repository, tiny_bert: Path
) -> None:
    """The way here changes no byte."""
    assert fetch().identity.files == resolve(str(tiny_bert)).identity.files


def test_a_pinned_model_that_was_fetched_needs_no_network(
    fetch: Fetch, tiny: Repository, hub: FakeHub
) -> None:
    """Not one request, so it works offline and at once."""
    commit = tiny.refs["main"]
    before = fetch(revision=commit)
    hub.asked.clear()
    hub.broken = 503

    after = fetch(revision=commit)

    assert after == before
    assert hub.asked == []


def test_a_fetch_that_broke_off_goes_on_where_it_stopped(
    fetch: Fetch, tiny: Repository, hub: FakeHub, tmp_path: Path
) -> None:
    """A pinned model that is half there is completed, not taken for whole."""
    commit = tiny.refs["main"]
    folder = fetch(revision=commit).folder
    (folder / "tokenizer_config.json").unlink()
    hub.asked.clear()

    found = fetch(revision=commit)

    assert "tokenizer_config.json" in {file.path for file in found.identity.files}
    assert hub.downloads() <= {"tokenizer_config.json"}


def test_a_sharded_checkpoint_comes_with_every_shard(fetch: Fetch, hub: FakeHub, tiny_bert: Path) -> None:
    """The index says which."""
    files = folder_files(tiny_bert)
    weights = files.pop("model.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    files |= {"model-00001-of-00001.safetensors": weights, "other-00001-of-00001.safetensors": b"no"}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.add("org/sharded").commit(files)

    found = fetch("hub:org/sharded")

    assert found.weights == ("model-00001-of-00001.safetensors",)
    assert "other-00001-of-00001.safetensors" not in hub.downloads()


def test_a_plain_name_is_looked_up_on_the_hub_when_nothing_here_has_it(
    fetch: Fetch, tiny: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``org/tiny`` is ``hub:org/tiny``."""
    monkeypatch.chdir(tmp_path)

    assert fetch("org/tiny").identity.id == "hub:org/tiny"


def test_a_folder_of_that_name_wins(
    fetch: Fetch,
    tiny: Repository,
    hub: FakeHub,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies here is what is meant."""
    shutil.copytree(tiny_bert, tmp_path / "org" / "tiny")
    monkeypatch.chdir(tmp_path)

    assert fetch("org/tiny").identity.id.startswith("sha256:")
    assert hub.asked == []


def test_a_mistyped_path_is_never_looked_up_on_the_internet(
    fetch: Fetch, tiny: Repository, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is a folder ``org``, ``org/tiny`` is a path."""
    (tmp_path / "org").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelNotFound, match="no such file"):
        fetch("org/tiny")

    assert hub.asked == []


def test_a_model_that_the_hub_does_not_have_is_named(fetch: Fetch, hub: FakeHub) -> None:
    """Private ones look the same; the fix names the token."""
    with pytest.raises(ModelNotFound, match="no such model") as refused:
        fetch("hub:org/none")

    assert "HF_TOKEN" in refused.value.fix


@pytest.mark.parametrize("name", ["hub:", "hub:a/b/c", "hub:../x", "hub:a b/c", "hub:/etc"])
def test_what_is_no_name_of_a_model_is_refused_without_asking(fetch: Fetch, hub: FakeHub, name: str) -> None:
    """A path or a sentence never becomes a request."""
    with pytest.raises(ModelNotFound, match="not the name of a model"):
        fetch(name)

    assert hub.asked == []


def test_a_missing_revision_is_named(fetch: Fetch, tiny: Repository) -> None:
    """The model is there; the branch is not."""
    with pytest.raises(RevisionMissing, match="v9") as refused:
        fetch(revision="v9")

    assert refused.value.exit_code == 2


def test_a_gated_model_asks_for_a_token(fetch: Fetch, tiny: Repository) -> None:
    """Its list is public, its files are not."""
    tiny.gated = True

    with pytest.raises(HubDenied) as refused:
        fetch()

    assert refused.value.exit_code == 4
    assert "HF_TOKEN" in refused.value.fix


def test_a_hub_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    """A port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"

        with pytest.raises(HubUnreachable) as refused:
            resolve("hub:org/tiny", the_hub=Hub(endpoint=endpoint, cache=tmp_path))

    assert refused.value.exit_code == 1


@pytest.mark.parametrize(("status", "error"), [(500, HubRefused), (403, HubDenied)])
def test_an_error_of_the_hub_is_passed_on(fetch: Fetch, hub: FakeHub, status: int, error: type[Any]) -> None:
    """With its status, not as a missing model."""
    hub.broken = status

    with pytest.raises(error, match=str(status)):
        fetch()


def test_a_cache_that_cannot_be_written_is_named(hub: FakeHub, tiny: Repository, tmp_path: Path) -> None:
    """A file stands where the cache should be."""
    (tmp_path / "hf").write_text("in the way")

    with pytest.raises(HubCacheUnusable, match="hf"):
        resolve("hub:org/tiny", the_hub=Hub(endpoint=hub.endpoint, cache=tmp_path / "hf"))


def test_a_commit_in_the_answer_is_demanded(fetch: Fetch, hub: FakeHub, tiny: Repository) -> None:
    """A server that is no Hub cannot pin anything."""
    tiny.commits["nonsense"] = tiny.commits[tiny.refs["main"]]
    tiny.refs["main"] = "nonsense"

    with pytest.raises(HubRefused, match="no commit"):
        fetch()


def test_another_commit_than_the_pinned_one_is_refused(
    fetch: Fetch, tiny: Repository, tiny_classifier: Path
) -> None:
    """A pin is what the user says it is, whatever a server answers."""
    pinned = tiny.refs["main"]
    tiny.refs[pinned] = tiny.commit(folder_files(tiny_classifier))

    with pytest.raises(HubRefused, match=f"asked for {pinned}"):
        fetch(revision=pinned)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, ConfigMissing),
        ({"config.json": b'{"model_type": "bert"}'}, WeightsMissing),
        ({"config.json": b'{"model_type": "bert"}', "pytorch_model.bin": b"p"}, PickleRefused),
    ],
)
def test_a_repository_without_a_model_is_refused_before_weights_are_fetched(
    fetch: Fetch, hub: FakeHub, files: dict[str, bytes], error: type[Exception]
) -> None:
    """Its list of files tells."""
    hub.add("org/odd").commit(files)

    with pytest.raises(error, match="hub:org/odd"):
        fetch("hub:org/odd")

    assert hub.downloads() <= {"config.json"}


def test_a_pickle_is_fetched_only_when_it_is_allowed(fetch: Fetch, hub: FakeHub, tiny_bert: Path) -> None:
    """And only where there are no safetensors."""
    hub.add("org/both").commit({**folder_files(tiny_bert), "pytorch_model.bin": b"p"})

    found = fetch("hub:org/both", allowed=Allowed(pickle=True))

    assert found.weights == ("model.safetensors",)
    assert "pytorch_model.bin" not in hub.downloads()


def _command(hub: FakeHub, home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compile", "--model", "hub:org/tiny", "--task", "feature-extraction"]
    command += ["--target", "cpu", "--bucket", "1x16", "--out", str(home / "out"), "--json", *words]
    env = {**environment(hub.endpoint, home), **variables}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def _asked_for_the_model(hub: FakeHub) -> int:
    return len([line for line in hub.asked if line.startswith("GET /api/models/")])


def test_offline_without_a_copy_says_so_and_asks_nobody(
    hub: FakeHub, tiny: Repository, tmp_path: Path
) -> None:
    """``HF_HUB_OFFLINE`` is obeyed."""
    refused = _command(hub, tmp_path, HF_HUB_OFFLINE="1")

    assert refused.returncode == 2
    assert json.loads(refused.stderr.splitlines()[-1])["id"] == "hub-offline"
    assert hub.asked == []


def test_a_compile_from_the_hub_records_the_commit_and_its_children_stay_offline(
    hub: FakeHub, tiny: Repository, tmp_path: Path
) -> None:
    """The whole command, with the library's own environment variables."""
    done = _command(hub, tmp_path, "--revision", "main")

    assert done.returncode == 0, done.stderr
    source = json.loads((tmp_path / "out" / "manifest.json").read_text())["source"]
    assert (source["id"], source["revision"]) == ("hub:org/tiny", tiny.refs["main"])
    assert f"main is at {tiny.refs['main']}" in done.stderr
    assert _asked_for_the_model(hub) == 1
    assert len(hub.downloads()) == 4
