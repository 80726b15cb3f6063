"""The last Deep Learning Container with Inf1, in the registry of one's own region.

``python -m fleet.base_image REGION`` prints the value for both Dockerfiles' ``--build-arg BASE=``:
a pull from the region's registry needs no way to the public one. Which account holds a region's
Deep Learning Containers comes from sagemaker-core's table, asked for a neighbour of the same
PyTorch (the table lists no Inf1 image of this age); the image's name and tag are those of
``aws-neuron/deep-learning-containers`` 2.20.2, after which no image has Inf1.
"""

from __future__ import annotations

import argparse
import sys

from artifact.errors import UsageError

NAME = "pytorch-inference-neuron:1.13.1-neuron-py310-sdk2.20.2-ubuntu20.04"


class NoRegistry(UsageError):
    """AWS publishes no Inf1 containers in the region."""

    id = "no-registry"

    def __init__(self, *, region: str, why: str) -> None:
        super().__init__(
            what=f"no registry of Inf1 containers is known in {region!r}",
            why=why,
            fix="build from the public image, which the Dockerfiles name",
        )


def base_image(region: str) -> str:
    """The image's URI in ``region``'s registry.

    Raises:
        NoRegistry: sagemaker-core's table does not list the region.
    """
    from sagemaker.core import image_uris

    try:
        neighbour: str = image_uris.retrieve(
            framework="pytorch",
            region=region,
            version="1.13.1",
            py_version="py39",
            instance_type="ml.c5.large",
            image_scope="inference",
        )
    except ValueError as error:
        raise NoRegistry(region=region, why=str(error).split(".")[0]) from None
    return f"{neighbour.split('/', maxsplit=1)[0]}/{NAME}"


def main() -> int:
    """Print the image or what is wrong, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fleet.base_image")
    parser.add_argument("region", metavar="REGION")
    try:
        print(base_image(parser.parse_args().region))
    except NoRegistry as error:
        print(f"error: {error.what}\nwhy:   {error.why}\nfix:   {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
