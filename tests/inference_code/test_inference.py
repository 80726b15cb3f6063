"""The four hooks under a double of AWS's toolkit, called as sagemaker-inference 1.10.1 calls them."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact.errors import TraceshipError
from artifact.golden import largest_difference
from inference_code import inference
from inference_code.inference import StockModel, input_fn, model_fn, output_fn, predict_fn
from inference_code.option_values import OptionInvalid
from inference_code.selfcheck import SelfCheckFailed
from tests.kit.handmade import Recipe, World


class RequestProcessor:
    """ts.context.RequestProcessor: what a status is reported to."""

    def __init__(self) -> None:
        self.status: tuple[int, str] = (200, "")

    def report_status(self, code: int, reason_phrase: str = "") -> None:
        self.status = (code, reason_phrase)


class Context:
    """ts.context.Context as far as the toolkit and the hooks use it."""

    def __init__(self) -> None:
        self.request_processor = [RequestProcessor()]
        self.system_properties = {"batch_size": 1}
        self.headers: dict[str, str] = {}

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        assert idx == 0
        return self.headers

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.request_processor[idx].report_status(code, reason_phrase=phrase)


class Toolkit:
    """sagemaker_inference.transformer.Transformer, cut down to its calls."""

    def __init__(self, model_dir: Path) -> None:
        self.context = Context()
        self.model = self._run(model_fn, str(model_dir))

    def transform(self, body: bytes, content_type: str | None, accept: str = "application/json") -> Any:
        data: Any = body.decode("utf-8") if content_type in {"application/json", "text/csv"} else body
        request = self._run(input_fn, data, content_type)
        prediction = self._run(predict_fn, request, self.model)
        return self._run(output_fn, prediction, accept)

    @property
    def status(self) -> tuple[int, str]:
        return self.context.request_processor[0].status

    def _run(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        takes = len(signature(hook).parameters)
        assert takes in {len(arguments), len(arguments) + 1}, "the toolkit would refuse this hook"
        return hook(*arguments) if takes == len(arguments) else hook(*arguments, self.context)


@pytest.fixture(scope="session")
def unpacked(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as the platform unpacks it, reached through TorchServe's link."""
    folder = tmp_path_factory.mktemp("opt")
    shutil.copytree(world.root, folder / "model/artifact")
    (folder / "model/code").mkdir()
    (folder / "hash").mkdir()
    (folder / "hash/model").symlink_to(folder / "model")
    return folder / "hash/model"


@pytest.fixture(scope="session")
def loaded(unpacked: Path) -> Any:
    return Toolkit(unpacked).model


@pytest.fixture
def toolkit(unpacked: Path, loaded: Any) -> Toolkit:
    made = Toolkit.__new__(Toolkit)
    made.context, made.model = Context(), loaded
    return made


def test_the_answers_are_the_servers(toolkit: Toolkit, world: World) -> None:
    """A list longer than any batch, and its content type."""
    body, content_type = toolkit.transform(
        json.dumps({"inputs": [f"w{n}" for n in range(9)]}).encode(), "application/json"
    )

    assert content_type == "application/json"
    assert largest_difference([world.answer(f"w{n}") for n in range(9)], json.loads(body)) <= 1e-5
    assert toolkit.status[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "error"),
    [
        (b"{", "application/json", "*/*", 400, "not-json"),
        (b"5", "application/json", "*/*", 400, "bad-request"),
        (b"\xff", "application/json; charset=utf-8", "*/*", 400, "not-json"),
        (b'{"inputs":"w1","parameters":{"x":1}}', "application/json", "*/*", 400, "bad-request"),
        (b'{"inputs":"' + b"w1 " * 50 + b'"}', "application/json", "*/*", 400, "input-too-long"),
        (json.dumps({"inputs": [""] * 16_385}).encode(), "application/json", "*/*", 413, "too-many-inputs"),
        (b" " * 6_291_457, "application/json", "*/*", 413, "body-too-large"),
        (b"a,b,c", "text/csv", "*/*", 400, "not-csv"),
        (b"a", "text/plain", "*/*", 415, "unsupported-media-type"),
        (b"x", None, "*/*", 415, "unsupported-media-type"),
        (b'{"inputs":"w1"}', "application/json", "image/png", 406, "not-acceptable"),
    ],
)
def test_refusals_are_answers_with_a_status(
    toolkit: Toolkit, body: bytes, content_type: str | None, accept: str, status: int, error: str
) -> None:
    """An exception would reach the caller as a 500 with the whole traceback."""
    answer, found_type = toolkit.transform(body, content_type, accept)

    assert toolkit.status[0] == status
    assert toolkit.status[1]
    assert found_type == "application/json"
    assert json.loads(answer)["error"] == error


@pytest.mark.parametrize(
    "form", ["application/json", "application/jsonlines", "text/csv", "application/x-npy"]
)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"inputs": ["w1 w2", "w3"]}', "application/json"),
        (b'"w1 w2"\n{"inputs": "w3"}\n', "application/jsonlines"),
        (b'w1 w2\n"w3"\n', "text/csv"),
    ],
)
def test_every_form_goes_through_the_hooks(
    toolkit: Toolkit, world: World, body: bytes, content_type: str, form: str
) -> None:
    """CSV reaches them as text, lines as bytes; the answer's type is what Accept asked for."""
    answer, found_type = toolkit.transform(body, content_type, form)

    found = {
        "application/json": json.loads,
        "application/jsonlines": lambda data: [json.loads(line) for line in data.splitlines()],
        "text/csv": lambda data: [[float(cell) for cell in line.split(b",")] for line in data.splitlines()],
        "application/x-npy": lambda data: np.load(io.BytesIO(data), allow_pickle=False).tolist(),
    }[form](answer)
    assert (toolkit.status[0], found_type) == (200, form)
    assert largest_difference([world.answer("w1 w2"), world.answer("w3")], found) <= 1e-5


def test_a_compressed_body_is_refused_as_the_server_does(toolkit: Toolkit) -> None:
    """However the header is spelt."""
    toolkit.context.headers = {"content-Encoding": "gzip"}

    answer, _ = toolkit.transform(b'{"inputs":"w1"}', "application/json")

    assert toolkit.status[0] == 415
    assert "the encoding gzip" in json.loads(answer)["message"]


def test_no_body_is_no_json(toolkit: Toolkit) -> None:
    """The toolkit hands None on where TorchServe found nothing called body."""
    received = input_fn(None, "application/json", toolkit.context)

    assert isinstance(received, inference.Received)
    assert received.body == b""


def test_an_answer_that_would_end_the_worker_is_refused(
    toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchServe drops the worker's connection at a message above its limit."""
    monkeypatch.setenv("TS_MAX_RESPONSE_SIZE", str(inference.FRAME_HEADERS + 300))
    short, _ = toolkit.transform(b'{"inputs":"w1"}', "application/json")

    answer, _ = toolkit.transform(b'{"inputs":["w1","w2"]}', "application/json")

    assert len(short) < 300
    assert toolkit.status[0] == 413
    assert json.loads(answer)["error"] == "answer-too-large"


def test_a_torchserve_that_batches_gets_no_model(unpacked: Path) -> None:
    """The toolkit does not say whose request a hook is called for."""
    context = Context()
    context.system_properties["batch_size"] = 4

    with pytest.raises(OptionInvalid, match="SAGEMAKER_TS_BATCH_SIZE"):
        model_fn(str(unpacked), context)


class Bomb:
    """Unpickling this calls ``exploded.append``."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exploded.append, ("ran",)


exploded: list[str] = []


@pytest.mark.parametrize("content_type", ["application/x-npy", "application/x-npz", "application/pickle"])
def test_a_pickled_body_is_never_opened(toolkit: Toolkit, content_type: str) -> None:
    """The toolkit's own input_fn runs the code in such a body."""
    answer, _ = toolkit.transform(pickle.dumps(Bomb()), content_type)

    assert exploded == []
    assert toolkit.status[0] == 415
    assert json.loads(answer)["error"] == "unsupported-media-type"


def test_a_graph_that_raises_leaks_nothing(toolkit: Toolkit) -> None:
    """500 with a sentence; the trace goes to the log."""
    model = toolkit.model.model
    broken = type(model)(artifact=model.artifact, encoder=model.encoder, golden=model.golden, graphs={})
    toolkit.model = StockModel(model=broken, planner=toolkit.model.planner)

    answer, _ = toolkit.transform(b'{"inputs":"w1"}', "application/json")

    assert toolkit.status[0] == 500
    assert json.loads(answer)["error"] == "inference-failed"
    assert b"KeyError" not in answer


def test_the_code_folder_is_understood_too(unpacked: Path) -> None:
    """Where the archive's top holds nothing but code/, the toolkit passes that folder."""
    assert inference._artifact_folder(str(unpacked / "code")) == (unpacked / "artifact").resolve()


def test_a_changed_artifact_keeps_the_worker_down(world: World, tmp_path: Path) -> None:
    """No model, no worker, no healthy ping."""
    shutil.copytree(world.root, tmp_path / "artifact")
    (tmp_path / "artifact/config.json").write_bytes(b"{}")

    with pytest.raises(TraceshipError, match=r"config\.json"):
        Toolkit(tmp_path)


def test_a_link_below_the_root_is_refused(world: World, tmp_path: Path) -> None:
    """The root itself may be a link, nothing inside may."""
    shutil.copytree(world.root, tmp_path / "artifact")
    (tmp_path / "elsewhere").write_bytes((tmp_path / "artifact/config.json").read_bytes())
    (tmp_path / "artifact/config.json").unlink()
    (tmp_path / "artifact/config.json").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(TraceshipError, match=r"config\.json"):
        Toolkit(tmp_path)


def test_the_golden_set_is_replayed_here_too(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Before the first request."""
    shutil.copytree(worlds(Recipe(wrong_by=0.01)).root, tmp_path / "artifact")

    with pytest.raises(SelfCheckFailed):
        Toolkit(tmp_path)


def test_the_pinned_digest_counts_here_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same variable as our own server."""
    shutil.copytree(world.root, tmp_path / "artifact")
    monkeypatch.setenv("TRACESHIP_DIGEST", "0" * 64)

    with pytest.raises(TraceshipError, match=r"manifest\.json"):
        Toolkit(tmp_path)
