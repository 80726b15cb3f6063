"""A pinned key travels in the template, with the signature that it must fit."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from artifact import serving
from artifact.envelope import EnvelopeUnreadable
from artifact.errors import TraceshipError
from artifact.release import ReleaseLock, Signed
from artifact.trust import SignatureMissing, SignedAnother, WrongKey
from infra.signing import TooManyKeys, signing_environment
from settings.model import Signing
from tests.infra.test_boot import _environment
from tests.infra.worlds import CPU, DIGEST, World, lock_of, settings_of, synthesise
from tests.kit.keys import Key

KEY, OTHER = Key(), Key()


def _pins(*keys: Key) -> Signing:
    return Signing(trusted_keys=tuple(key.public.line for key in keys))


def _lock(envelope: bytes, key: Key = KEY) -> ReleaseLock:
    signed = Signed(key=key.public.id, envelope=base64.b64encode(envelope).decode())
    return lock_of("cpu", signed=signed)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet and an endpoint with two pinned keys."""
    settings = settings_of(CPU, {"signing": {"trusted_keys": [OTHER.public.line, KEY.public.line]}})
    return synthesise(tmp_path_factory.mktemp("signed"), settings, _lock(KEY.release(DIGEST)))


def test_instances_and_containers_get_the_keys_and_the_signature(world: World) -> None:
    """The same for both: nothing is fetched for it, and the archive stays what it is."""
    instance: dict[str, Any] = _environment(world)
    container = world.properties("endpoint", "AWS::SageMaker::Model")["PrimaryContainer"]["Environment"]

    for environment in (instance, container):
        assert environment[serving.ENV_PUBLIC_KEYS] == f"{OTHER.public.line},{KEY.public.line}"
        assert base64.b64decode(environment[serving.ENV_SIGNATURE])
        assert all(len(value) <= serving.MAX_ENV_BYTES for value in environment.values())


def test_the_server_understands_what_the_template_says(world: World) -> None:
    """Its own reader, on the very lines."""
    from inference_code.options import serve_options

    options = serve_options(_environment(world))

    assert options.keys == (OTHER.public, KEY.public)
    assert options.signature == base64.b64decode(_environment(world)[serving.ENV_SIGNATURE])


def test_without_a_pinned_key_nothing_of_it_is_in_the_template(cpu: World) -> None:
    """Also if the release is signed."""
    assert not {serving.ENV_PUBLIC_KEYS, serving.ENV_SIGNATURE} & set(_environment(cpu))
    assert signing_environment(_pins(), _lock(KEY.release(DIGEST))) == {}


@pytest.mark.parametrize(
    ("lock", "error"),
    [
        (lock_of("cpu"), SignatureMissing),
        (_lock(OTHER.release(DIGEST)), WrongKey),
        (_lock(KEY.release("cd" * 32)), SignedAnother),
        (_lock(b"{}"), EnvelopeUnreadable),
        (lock_of("cpu", signed=Signed(key=KEY.public.id, envelope="?")), EnvelopeUnreadable),
    ],
)
def test_a_lock_that_no_pinned_key_vouches_for_never_becomes_a_template(
    lock: ReleaseLock, error: type[TraceshipError], tmp_path: Path
) -> None:
    """Refused at synth, where a person sees it, and not by a fleet that does not come up."""
    settings = settings_of(CPU, {"signing": {"trusted_keys": [KEY.public.line]}})

    with pytest.raises(error):
        synthesise(tmp_path, settings, lock)

    assert list(tmp_path.glob("*.template.json")) == []


def test_more_keys_than_a_container_s_environment_takes_are_refused() -> None:
    """Eight fit; nobody learns of the ninth from SageMaker."""
    keys = [KEY, *(Key() for _ in range(8))]

    assert signing_environment(_pins(*keys[:8]), _lock(KEY.release(DIGEST)))
    with pytest.raises(TooManyKeys):
        signing_environment(_pins(*keys), _lock(KEY.release(DIGEST)))
