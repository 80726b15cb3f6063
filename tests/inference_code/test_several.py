"""Several artifacts behind one port: asked by name, and none pays for another's trouble."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from artifact.golden import largest_difference
from inference_code.engine import Limits
from inference_code.option_values import OptionInvalid
from inference_code.options import serve_options
from inference_code.served import ModelsFileInvalid, ServedModel, read_models
from tests.inference_code.running import Reply, RunningServer
from tests.kit.handmade import Recipe, World

CLASSES = Recipe(task="text-classification")
SLOW = Recipe(buckets=((1, 8),), busy=300)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Several:
    """A server of ``vectors``, ``classes`` and ``slow``, whose queue holds one row."""

    server: RunningServer
    worlds: dict[str, World]

    def ask(self, model: str, text: Any, path: str = "invocations", **headers: str) -> Reply:
        body = json.dumps({"inputs": text}).encode()
        return self.server.call("POST", f"/models/{model}/{path}", body, {**JSON, **headers})

    def ping(self, model: str) -> int:
        return self.server.call("GET", f"/models/{model}/ping").status


@pytest.fixture(scope="module")
def several(worlds: Callable[..., World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    folder = tmp_path_factory.mktemp("several")
    made = {"vectors": worlds(), "classes": worlds(CLASSES), "slow": worlds(SLOW)}
    entries = [{"name": name, "path": str(one.root), "digest": one.digest} for name, one in made.items()]
    entries[2]["queue_limit"] = 1  # type: ignore[assignment]
    file = folder / "models.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    server = RunningServer(None, "--port", "0", "--models", str(file), cwd=folder)
    try:
        yield Several(server=server.await_ready(), worlds=made)
    finally:
        server.stop()


def test_each_is_asked_by_its_name(several: Several) -> None:
    """The right model's answers, in its own task's shape."""
    vector = several.ask("vectors", "w1 w2")
    label = several.ask("classes", "w1 w2")

    assert largest_difference(several.worlds["vectors"].answer("w1 w2"), vector.json) <= 1e-5
    assert label.json[0]["label"] in CLASSES.labels


def test_each_requests_line_has_its_own_models_release(several: Several) -> None:
    """What concerns them all is of none."""
    for model in ("vectors", "classes"):
        several.ask(model, "w1", **{"X-Request-Id": f"release-of-{model}"})
        line = several.server.await_line(lambda line: line.get("id") == f"release-of-{model}")  # noqa: B023
        assert (line["model"], line["release"]) == (model, several.worlds[model].digest[:12])

    assert "release" not in several.server.await_event("ready")


def test_sagemakers_names_for_it_work(several: Several) -> None:
    """/models/NAME/invoke, and the header of a client's TargetModel."""
    invoked = several.ask("classes", "w1", "invoke")
    body = b'{"inputs":"w1"}'
    named = several.server.call(
        "POST", "/invocations", body, {**JSON, "X-Amzn-SageMaker-Target-Model": "classes"}
    )

    assert invoked.status == named.status == 200
    assert invoked.json == named.json


@pytest.mark.parametrize(
    ("path", "headers", "status", "error"),
    [
        ("/invocations", {}, 400, "model-unnamed"),
        ("/models/none/invocations", {}, 404, "model-unknown"),
        ("/invocations", {"X-Amzn-SageMaker-Target-Model": "none"}, 404, "model-unknown"),
        ("/models/vectors/nothing", {}, 404, "not-found"),
        ("/models/vectors", {}, 400, "model-unnamed"),
        ("/models//invocations", {}, 404, "model-unknown"),
    ],
)
def test_who_is_meant_must_be_clear(
    several: Several, path: str, headers: dict[str, str], status: int, error: str
) -> None:
    """The names that there are stand in the answer; nothing is guessed."""
    reply = several.server.call("POST", path, b'{"inputs":"w1"}', {**JSON, **headers})

    assert (reply.status, reply.json["error"]) == (status, error)


def test_the_list_tells_who_is_there(several: Several) -> None:
    """With the state of each; the metrics have a label for each."""
    listed = several.server.call("GET", "/models").json
    page = several.server.call("GET", "/metrics").body.decode()

    assert [one["name"] for one in listed] == ["vectors", "classes", "slow"]
    assert all(f'model="{name}"' in page for name in several.worlds)


def test_one_full_queue_refuses_its_own_requests_only(several: Several) -> None:
    """Limits are each model's own."""
    with ThreadPoolExecutor(8) as clients:
        slow = [clients.submit(several.ask, "slow", "w1") for _ in range(6)]
        quick = [several.ask("vectors", "w1").status for _ in range(10)]
        statuses = {future.result().status for future in slow}

    assert statuses == {200, 429}
    assert quick == [200] * 10


def test_one_lost_worker_fails_its_own_ping_only(several: Several) -> None:
    """And the ping of the whole server, as long as not every model answers."""
    server = several.server
    assert several.ping("classes") == several.ping("vectors") == 200
    os.kill(_worker_of(server, "classes"), signal.SIGKILL)
    server.await_event("worker lost")
    during = (several.ping("classes"), several.ping("vectors"), server.call("GET", "/ping").status)
    answered = several.ask("vectors", "w1").status
    server.await_event("worker replaced")

    assert during == (503, 200, 503)
    assert answered == 200
    assert several.ask("classes", "w1").status == 200


def _worker_of(server: RunningServer, model: str) -> int:
    proven = next(line for line in server.log if line["event"] == "proven" and line["model"] == model)
    (pid,) = proven["pids"]
    return int(pid)


def test_one_bad_artifact_and_none_is_served(
    copied: World, worlds: Callable[..., World], tmp_path: Path
) -> None:
    """A server that left a model out would be found by its first caller."""
    (copied.root / "config.json").write_bytes(b"{}")
    entries = [{"name": "good", "path": str(worlds(CLASSES).root)}, {"name": "bad", "path": str(copied.root)}]
    file = tmp_path / "models.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    server = RunningServer(None, "--port", "0", "--models", str(file), cwd=tmp_path)
    try:
        assert server.wait() == 3
        assert server.await_event("refused")["error"] == "artifact-changed"
        assert server.await_event("model failed")["model"] == "bad"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "none"),
        ("[{", "truncated"),
        ('[{"name":"a"}]', "path"),
        ('[{"name":"a/b","path":"x"}]', "regex"),
        ('[{"name":"a","path":"x","nmae":1}]', "nmae"),
        ('[{"name":"a","path":"x","digest":"AB"}]', "digest"),
        ('[{"name":"a","path":"x","workers":0}]', "workers"),
        ('[{"name":"a","path":"x"},{"name":"a","path":"y"}]', "more than once"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, why: str) -> None:
    """Before anything is listened on."""
    file = tmp_path / "models.json"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ModelsFileInvalid, match=why) as refused:
        read_models(file, Limits(), ())

    assert refused.value.exit_code == 2


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """The same error as for its content."""
    with pytest.raises(ModelsFileInvalid, match="No such file"):
        serve_options({"TRACESHIP_MODELS": str(tmp_path / "none.json")})


def test_what_an_entry_leaves_out_is_as_for_one_model(tmp_path: Path) -> None:
    """Limits of the environment, unless the entry has its own."""
    file = tmp_path / "models.json"
    entries = [
        {"name": "a", "path": "/a"},
        {"name": "b", "path": "/b", "queue_limit": 3, "batch_window_ms": 1},
    ]
    file.write_text(json.dumps(entries), encoding="utf-8")

    options = serve_options({"TRACESHIP_DEADLINE_SECONDS": "5"}, models=str(file))

    assert options.models == (
        ServedModel(name="a", path=Path("/a"), limits=Limits(deadline=5.0)),
        ServedModel(name="b", path=Path("/b"), limits=Limits(queue=3, deadline=5.0, window=0.001)),
    )


def test_a_file_and_a_path_contradict_each_other(tmp_path: Path) -> None:
    """Which one is meant cannot be told."""
    with pytest.raises(OptionInvalid, match="--models"):
        serve_options({}, path="/m", models=str(tmp_path / "models.json"))
