"""Arguments first, then the environment, then the platform's defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_code.engine import Limits
from inference_code.option_values import OptionInvalid
from inference_code.options import ServeOptions, serve_options


def test_the_defaults_are_the_platforms() -> None:
    """Nothing set: SageMaker's folder and port; this machine only."""
    assert serve_options({}) == ServeOptions(
        path=Path("/opt/ml/model"),
        digest=None,
        host="127.0.0.1",
        port=8080,
        limits=Limits(queue=256, deadline=20.0, window=0.002),
        lame_duck=2.0,
    )


def test_the_environment_counts() -> None:
    """As the stacks write it."""
    options = serve_options(
        {
            "TRACESHIP_MODEL_DIR": "/m",
            "TRACESHIP_DIGEST": "a" * 64,
            "TRACESHIP_HOST": "0.0.0.0",
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "TRACESHIP_QUEUE_LIMIT": "10",
            "TRACESHIP_DEADLINE_SECONDS": "1.5",
            "TRACESHIP_BATCH_WINDOW_MS": "0",
            "TRACESHIP_OPENAI": "1",
        }
    )

    assert (options.path, options.digest, options.host, options.port) == (
        Path("/m"),
        "a" * 64,
        "0.0.0.0",
        9000,
    )
    assert options.limits == Limits(queue=10, deadline=1.5, window=0.0)
    assert options.openai


def test_arguments_win() -> None:
    """What was typed is what is meant."""
    environ = {"TRACESHIP_MODEL_DIR": "/m", "TRACESHIP_DIGEST": "a" * 64, "SAGEMAKER_BIND_TO_PORT": "9000"}

    options = serve_options(environ, path="/n", digest="b" * 64, port="0", host="::1", lame_duck="0")

    assert (options.path, options.digest, options.host, options.port) == (Path("/n"), "b" * 64, "::1", 0)
    assert options.lame_duck == 0


@pytest.mark.parametrize(
    ("environ", "arguments", "names"),
    [
        ({"SAGEMAKER_BIND_TO_PORT": "http"}, {}, "SAGEMAKER_BIND_TO_PORT"),
        ({}, {"port": "65536"}, "--port"),
        ({}, {"port": "-1"}, "--port"),
        ({}, {"digest": "A" * 64}, "--digest"),
        ({"TRACESHIP_DIGEST": "abc"}, {}, "TRACESHIP_DIGEST"),
        ({"TRACESHIP_OPENAI": "yes"}, {}, "TRACESHIP_OPENAI"),
        ({"TRACESHIP_QUEUE_LIMIT": "0"}, {}, "TRACESHIP_QUEUE_LIMIT"),
        ({"TRACESHIP_DEADLINE_SECONDS": "nan"}, {}, "TRACESHIP_DEADLINE_SECONDS"),
        ({"TRACESHIP_BATCH_WINDOW_MS": "1e9"}, {}, "TRACESHIP_BATCH_WINDOW_MS"),
        ({}, {"lame_duck": "60"}, "--lame-duck"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], arguments: dict[str, str], names: str) -> None:
    """By the name its author wrote it under."""
    with pytest.raises(OptionInvalid) as refused:
        serve_options(environ, **arguments)

    assert names in refused.value.what
