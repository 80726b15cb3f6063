"""What a user of the whole SageMaker SDK does with our endpoint and our archive.

    python sagemaker_user.py release.lock.json TEXT...

Runs in an environment that has the SDK and nothing of ours, against the AWS of AWS_ENDPOINT_URL.
Prints one JSON object; whatever the SDK prints goes to standard error.

``ModelBuilder`` takes an archive as it is when it gets an image and neither a model object nor
source code. It then repacks and uploads nothing and asks no model hub.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sagemaker.core import image_uris
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.serve import ModelBuilder

NAME = "sdk-user"
WAIT_SECONDS = 180


def model_of(endpoint: Endpoint) -> Model:
    """The model behind an endpoint's first variant: its image and role serve our own, too."""
    config = EndpointConfig.get(endpoint.endpoint_config_name)
    return Model.get(config.production_variants[0].model_name)


def embeddings(endpoint: Endpoint, texts: list[str]) -> list[list[float]]:
    """One row a text."""
    answer = endpoint.invoke(body=json.dumps({"inputs": texts}), content_type="application/json")
    found: list[list[float]] = json.loads(answer.body.read())
    return found


@contextlib.contextmanager
def deployed(lock: dict[str, Any], like: Model) -> Iterator[tuple[Model, Endpoint]]:
    """The lock's archive behind an endpoint of our own; endpoint, configuration and model go at the end.

    Raises:
        FailedStatusError: the container did not come up, with the platform's reason.
    """
    where = lock["location"]
    with tempfile.TemporaryDirectory() as scratch:  # unset, the builder leaves a folder in /tmp
        builder = ModelBuilder(
            s3_model_data_url=f"s3://{where['bucket']}/{where['prefix']}/model.tar.gz",
            model_path=scratch,
            image_uri=like.primary_container.image,
            role_arn=like.execution_role_arn,
            env_vars={"TRACESHIP_DIGEST": lock["digest"]},
            log_level=logging.WARNING,
        )
        model = builder.build(model_name=NAME)
    try:
        # Its own wait looks every 30 seconds.
        endpoint = builder.deploy(
            endpoint_name=NAME, instance_type="ml.c5.large", initial_instance_count=1, wait=False
        )
        try:
            endpoint.wait_for_status("InService", poll=1, timeout=WAIT_SECONDS)
            yield model, endpoint
        finally:
            remove(endpoint)
    finally:
        model.delete()


def remove(endpoint: Endpoint) -> None:
    """Delete an endpoint and its configuration, and wait until it is gone."""
    config = EndpointConfig.get(endpoint.endpoint_config_name)
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=WAIT_SECONDS)
    config.delete()


def use(lock: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Everything that is shown, in the order in which a user would try it."""
    region = lock["location"]["region"]
    stock = image_uris.retrieve(
        framework="pytorch",
        region=region,
        version="1.13.1",
        py_version="py39",
        instance_type="ml.c5.large",
        image_scope="inference",
    )
    ready = Endpoint.get("demo")
    answers = embeddings(ready, texts)
    with deployed(lock, like=model_of(ready)) as (model, own):
        container = model.primary_container
        return {
            "sdk": version("sagemaker"),
            "stock_image": stock,
            "demo": answers,
            "own": embeddings(own, texts),
            "own_status": own.endpoint_status,
            "own_archive": container.model_data_url,
            "own_environment": container.environment,
        }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        shown = use(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2:])
    print(json.dumps(shown))
