"""Clients that exist, unchanged, against the real server on loopback."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from artifact.golden import largest_difference
from tests.inference_code.compared import close
from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import HIDDEN, Recipe, World

CLASSIFY = Recipe(task="text-classification")


@pytest.fixture(scope="module")
def classifier(
    worlds: Callable[..., World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Labels of texts."""
    with running(worlds(CLASSIFY).root, cwd=tmp_path_factory.mktemp("labels")) as started:
        yield started.await_ready()


def _hub(server: RunningServer, path: str = "") -> Any:
    """Given the server's own address, the client posts to it as it is: there is no path of a task."""
    hub = pytest.importorskip("huggingface_hub", minversion="0.30")
    return hub.InferenceClient(base_url=f"http://127.0.0.1:{server.port}{path}")


@pytest.mark.parametrize("path", ["", "/", "/invocations"])
def test_the_hubs_client_reads_embeddings(server: RunningServer, world: World, path: str) -> None:
    """Its parameters stand beside the inputs; older clients have no dimensions."""
    client = _hub(server, path)
    known = inspect.signature(client.feature_extraction).parameters
    sized = {"dimensions": HIDDEN} if "dimensions" in known else {}

    one = client.feature_extraction("w1 w2")
    cut = client.feature_extraction("w1 " * 99, truncate=True, truncation_direction="right", **sized)
    unit = client.feature_extraction(["w1 w2", "w3"], normalize=True)

    assert largest_difference(world.answer("w1 w2"), one.tolist()) <= 1e-5
    assert cut.shape == (HIDDEN,)
    assert np.linalg.norm(unit, axis=-1) == pytest.approx([1, 1], abs=1e-6)


def test_the_hubs_client_compares_sentences(server: RunningServer) -> None:
    """Cosines, in the order of the sentences."""
    found = _hub(server).sentence_similarity("w1 w2", other_sentences=["w3 w4", "w1 w2"])

    assert found[1] == pytest.approx(1, abs=1e-6)
    assert found[0] < found[1]


def test_the_hubs_client_reads_labels(classifier: RunningServer, worlds: Callable[..., World]) -> None:
    """Every label where it names no number, a list also where it names one."""
    client, expected = _hub(classifier), worlds(CLASSIFY).answer("w1")

    every = client.text_classification("w1")
    best = client.text_classification("w1", top_k=1)
    plain = client.text_classification("w1", top_k=2, function_to_apply="none")

    assert close(
        [[one["label"], one["score"]] for one in expected], [[one.label, one.score] for one in every]
    )
    assert [one.label for one in best] == [expected[0]["label"]]
    assert [one.label for one in plain] == [one["label"] for one in expected[:2]]


def test_the_hubs_client_raises_what_the_server_says(classifier: RunningServer) -> None:
    """A 4xx with the name of the field."""
    hub = pytest.importorskip("huggingface_hub", minversion="0.30")
    errors = pytest.importorskip("huggingface_hub.errors")

    with pytest.raises(errors.HfHubHTTPError) as refused:
        _hub(classifier).text_classification("w1", top_k=0)

    assert hub is not None
    assert refused.value.response.status_code == 400
    assert "parameters.top_k" in refused.value.response.text


def _session(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A boto3 session whose runtime calls go to the server, at the path the platform calls it by."""
    boto3 = pytest.importorskip("boto3")
    botocore = pytest.importorskip("botocore.session")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    session = botocore.Session()
    session.set_credentials("none", "none")
    session.set_config_variable("region", "us-east-1")

    def as_the_platform(request: Any, **_: Any) -> None:
        request.url = request.url.replace("/endpoints/demo/invocations", "/invocations")

    session.register("before-sign.sagemaker-runtime.InvokeEndpoint", as_the_platform)
    return boto3.Session(botocore_session=session)


LINES = b'"w1 w2"\n{"inputs": "w3"}\n'
ROWS = b'w1 w2\n"w3"\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"inputs": ["w1 w2", "w3"]}', "application/json"),
        (LINES, "application/jsonlines"),
        (ROWS, "text/csv"),
    ],
)
@pytest.mark.parametrize(
    "accept", ["application/json", "application/jsonlines", "text/csv", "application/x-npy"]
)
def test_boto3_sends_and_gets_every_form(
    server: RunningServer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    content_type: str,
    accept: str,
) -> None:
    """invoke_endpoint with what Batch Transform and the endpoint's users have."""
    client = _session(server, monkeypatch).client("sagemaker-runtime")

    answer = client.invoke_endpoint(EndpointName="demo", Body=body, ContentType=content_type, Accept=accept)
    found = answer["Body"].read()

    assert answer["ContentType"] == accept
    assert largest_difference([world.answer("w1 w2"), world.answer("w3")], _decoded(found, accept)) <= 1e-5


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"inputs": ["w1 w2", "w3"]}', "application/json", "application/json"),
        (LINES, "application/jsonlines", "application/jsonlines"),
        (ROWS, "text/csv", "application/jsonlines"),
    ],
)
def test_boto3_names_no_form_of_the_answer(
    server: RunningServer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    content_type: str,
    expected: str,
) -> None:
    """Lines in, lines out, which is what ``AssembleWith: Line`` puts together."""
    client = _session(server, monkeypatch).client("sagemaker-runtime")

    answer = client.invoke_endpoint(EndpointName="demo", Body=body, ContentType=content_type)

    assert answer["ContentType"] == expected
    found = _decoded(answer["Body"].read(), expected)
    assert largest_difference([world.answer("w1 w2"), world.answer("w3")], found) <= 1e-5


def test_sagemaker_cores_endpoint_invokes(
    server: RunningServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The typed endpoint, with a form of the answer and with none."""
    resources = pytest.importorskip("sagemaker.core.resources")
    session = _session(server, monkeypatch)
    endpoint = resources.Endpoint(endpoint_name="demo")

    plain = endpoint.invoke(body=b'{"inputs": "w1 w2"}', content_type="application/json", session=session)
    array = endpoint.invoke(
        body=LINES, content_type="application/jsonlines", accept="application/x-npy", session=session
    )

    assert largest_difference(world.answer("w1 w2"), json.loads(plain.body.read())) <= 1e-5
    assert _decoded(array.body.read(), "application/x-npy")[0] == pytest.approx(
        world.answer("w1 w2"), abs=1e-5
    )


def _decoded(body: bytes, form: str) -> Any:
    if form == "application/x-npy":
        return np.load(io.BytesIO(body), allow_pickle=False).tolist()
    if form == "text/csv":
        return [[float(cell) for cell in line.split(b",")] for line in body.splitlines()]
    return (
        json.loads(body) if form == "application/json" else [json.loads(line) for line in body.splitlines()]
    )
