"""With a pinned key the server loads what that key signed, and refuses the rest before any loader call."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact import serving
from artifact.canonical import encode
from artifact.envelope import SignatureEmpty
from artifact.errors import TraceshipError
from artifact.keys import KeyUnusable
from artifact.manifest import MANIFEST
from artifact.release import blob_key, release_prefix
from artifact.trust import (
    AnotherRelease,
    SignatureMissing,
    SignatureWrong,
    SignedAnother,
    WrongKey,
    signature_path,
)
from artifact.verify import verify
from inference_code.fetch import FetchOptions, fetch, fetch_options
from inference_code.inference import model_fn
from inference_code.load import load
from inference_code.option_values import OptionInvalid
from inference_code.options import serve_options
from inference_code.place import CannotWrite
from tests.inference_code.running import running
from tests.inference_code.test_load import CountingLoader
from tests.kit.folders import CONTENT, write_folder
from tests.kit.handmade import World
from tests.kit.keys import Key

KEY, OTHER = Key(), Key()
BUCKET = "releases-of-a-test"


def _empty(digest: str) -> bytes:
    return encode({**json.loads(KEY.release(digest)), "signatures": []})


def _tampered(digest: str) -> bytes:
    envelope = json.loads(KEY.release(digest))
    statement = base64.b64decode(envelope["payload"]).replace(b"manifest.json", b"manifest.jsom")
    return encode({**envelope, "payload": base64.b64encode(statement).decode()})


ATTACKS: dict[str, tuple[Callable[[str], bytes | None], type[TraceshipError]]] = {
    "no signature": (lambda _digest: None, SignatureMissing),
    "an empty signature": (_empty, SignatureEmpty),
    "a stranger's signature": (OTHER.release, WrongKey),
    "another manifest's": (lambda _digest: KEY.release("ab" * 32), SignedAnother),
    "a changed one": (_tampered, SignatureWrong),
}
_attacks = pytest.mark.parametrize(("envelope", "error"), ATTACKS.values(), ids=ATTACKS)


def test_a_signed_artifact_is_loaded(copied: World) -> None:
    """The positive case of the tests below; the envelope lies beside the folder."""
    KEY.sign_folder(copied.root, copied.digest)
    loader = CountingLoader()

    load(copied.root, keys=[KEY.public], loader=loader)

    assert len(loader.calls) == 1


@_attacks
def test_what_the_key_did_not_sign_never_reaches_the_loader(
    copied: World, envelope: Callable[[str], bytes | None], error: type[TraceshipError]
) -> None:
    """Each with its own error, exit code 3."""
    data, loader = envelope(copied.digest), CountingLoader()
    if data is not None:
        signature_path(copied.root).write_bytes(data)

    with pytest.raises(error) as refused:
        load(copied.root, keys=[KEY.public], loader=loader)

    assert refused.value.exit_code == 3
    assert loader.calls == []


def test_an_older_signed_release_never_reaches_the_loader(copied: World) -> None:
    """The digest in the template beats a valid signature."""
    KEY.sign_folder(copied.root, copied.digest)
    loader = CountingLoader()

    with pytest.raises(AnotherRelease):
        load(copied.root, keys=[KEY.public], digest="ab" * 32, loader=loader)

    assert loader.calls == []


@pytest.mark.parametrize("signed", [False, True])
def test_an_artifact_that_nobody_vouches_for_is_served_with_one_warning(copied: World, signed: bool) -> None:
    """As long as no key and no digest is pinned."""
    if signed:
        KEY.sign_folder(copied.root, copied.digest)
    with running(copied.root, cwd=copied.root.parent) as server:
        server.await_ready()
        warnings = [line for line in server.log if line["level"] == "warning"]

    assert [line["event"] for line in warnings] == ["unproven origin"]
    assert ("no key is pinned" in warnings[0]["why"]) == signed


def test_a_pinned_server_serves_without_a_warning(copied: World, tmp_path: Path) -> None:
    """As the stacks start it: key and envelope in its environment, nothing beside the folder."""
    envelope = base64.b64encode(KEY.release(copied.digest)).decode()
    pinned = {
        serving.ENV_PUBLIC_KEYS: f"{OTHER.public.line},{KEY.public.line}",
        serving.ENV_SIGNATURE: envelope,
        serving.ENV_DIGEST: copied.digest,
    }
    with running(copied.root, cwd=tmp_path, env=pinned) as server:
        server.await_ready()
        assert [line for line in server.log if line["level"] != "info"] == []


def test_a_server_with_a_pinned_key_ends_with_3_and_never_answers(copied: World, tmp_path: Path) -> None:
    """A real process, told by a file on its command line."""
    OTHER.sign_folder(copied.root, copied.digest)
    public = KEY.write_public(tmp_path / "pub.pem")

    with running(copied.root, "--key", str(public), cwd=tmp_path) as server:
        assert server.wait() == 3

    assert server.await_event("refused")["error"] == "wrong-key"


def test_the_hooks_of_the_stock_container_ask_for_the_signature_too(
    copied: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchServe gets no model that the key did not sign."""
    copied.root.rename(tmp_path / "artifact")
    monkeypatch.setenv(serving.ENV_PUBLIC_KEYS, KEY.public.line)

    with pytest.raises(SignatureMissing):
        model_fn(str(tmp_path))
    monkeypatch.setenv(serving.ENV_SIGNATURE, base64.b64encode(KEY.release(copied.digest)).decode())
    assert model_fn(str(tmp_path)).model.artifact.digest == copied.digest


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        (serving.ENV_PUBLIC_KEYS, "no key", KeyUnusable),
        (serving.ENV_PUBLIC_KEYS, f"{KEY.public.line},", KeyUnusable),
        (serving.ENV_SIGNATURE, "no base64", OptionInvalid),
    ],
)
def test_a_variable_that_cannot_be_read_stops_the_server(
    variable: str, value: str, error: type[TraceshipError]
) -> None:
    """It does not mean that nothing was pinned."""
    with pytest.raises(error):
        serve_options({variable: value})


def test_arguments_go_before_the_environment(tmp_path: Path) -> None:
    """And a file that is not there is an error, not "no key"."""
    public = KEY.write_public(tmp_path / "pub.pem")

    options = serve_options({serving.ENV_PUBLIC_KEYS: OTHER.public.line}, keys=[str(public)])

    assert options.keys == (KEY.public,)
    assert serve_options({}).keys == ()
    with pytest.raises(OptionInvalid, match="--key"):
        serve_options({}, keys=[str(tmp_path / "nothing.pem")])
    with pytest.raises(SignatureMissing):
        serve_options({}, signature=str(tmp_path / "nothing.dsse.json"))


class Published:
    """A release in S3, of which a test notes what is asked for."""

    def __init__(self, s3: Any, folder: Path) -> None:
        self.s3, self.calls = s3, list[str]()
        self.digest = write_folder(folder, CONTENT)
        self.prefix = release_prefix("minilm", self.digest)
        for file in verify(folder).manifest.files:
            self.put(blob_key(file.sha256), (folder / file.path).read_bytes())
        self.put(f"{self.prefix}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def sign(self, envelope: bytes) -> None:
        self.put(f"{self.prefix}/manifest.dsse.json", envelope)

    def get_object(self, **request: Any) -> Any:
        self.calls.append(request["Key"])
        return self.s3.get_object(**request)

    def options(self, to: Path, **changed: Any) -> FetchOptions:
        fields: dict[str, Any] = {
            "bucket": BUCKET,
            "prefix": self.prefix,
            "digest": self.digest,
            "to": to,
            "owner": None,
            "keys": (KEY.public,),
        }
        return FetchOptions(**{**fields, **changed})


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Published]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        yield Published(s3, tmp_path / "published")


def test_fetch_puts_the_envelope_beside_the_folder(published: Published, tmp_path: Path) -> None:
    """So that `serve` finds it there, also after a second run that fetches nothing else."""
    envelope = KEY.release(published.digest)
    published.sign(envelope)
    to = tmp_path / "model"

    fetch(published.options(to), published)
    signature_path(to).unlink()
    published.calls.clear()
    fetch(published.options(to), published)

    assert signature_path(to).read_bytes() == envelope
    assert published.calls == [f"{published.prefix}/manifest.dsse.json"]


@_attacks
def test_fetch_refuses_before_anything_but_the_envelope_is_downloaded(
    published: Published,
    tmp_path: Path,
    envelope: Callable[[str], bytes | None],
    error: type[TraceshipError],
) -> None:
    """And leaves nothing behind."""
    data = envelope(published.digest)
    if data is not None:
        published.sign(data)
    (tmp_path / "there").mkdir()

    with pytest.raises(error):
        fetch(published.options(tmp_path / "there/model"), published)

    assert published.calls == [f"{published.prefix}/manifest.dsse.json"]
    assert list((tmp_path / "there").iterdir()) == []


def test_an_envelope_in_the_environment_is_not_fetched(published: Published, tmp_path: Path) -> None:
    """As on an instance, where nothing beside the folder can be written."""
    environment = {
        serving.ENV_RELEASE: f"s3://{BUCKET}/{published.prefix}",
        serving.ENV_PUBLIC_KEYS: KEY.public.line,
        serving.ENV_SIGNATURE: base64.b64encode(KEY.release(published.digest)).decode(),
    }
    to = tmp_path / "model"

    fetch(fetch_options(environment, to=str(to)), published)

    assert verify(to).digest == published.digest
    assert not [key for key in published.calls if key.endswith("dsse.json")]
    assert not signature_path(to).exists()


def test_a_place_that_cannot_be_written_is_said(published: Published, tmp_path: Path) -> None:
    """With the way out: give the envelope."""
    published.sign(KEY.release(published.digest))
    to = tmp_path / "model"
    signature_path(to).mkdir()

    with pytest.raises(CannotWrite, match=r"model\.dsse\.json"):
        fetch(published.options(to), published)
