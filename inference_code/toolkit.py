"""What AWS's stock container and its toolkit lack; ``code/inference.py`` of the archive begins with it.

Nothing but the standard library is imported here: the rest is what ``add_packages`` brings.
"""

from __future__ import annotations

import http
import logging
import sys
from pathlib import Path
from typing import Any

from artifact.errors import TraceshipError
from inference_code.errors import InferenceFailed

logger = logging.getLogger("traceship.serve")
"""That of ``log.py``, which needs one of the packages."""

ANY_PYTHON = "abi3"
"""The folder of packages that every Python can load; the others are named as in ``cp310``."""


class PackagesMissing(TraceshipError):
    """The archive carries no packages for the container's Python."""

    id = "packages-missing"

    def __init__(self, *, wanted: str, found: str) -> None:
        super().__init__(
            what="this container's Python cannot load what the archive carries",
            why=f"it is {wanted}, the archive has packages for {found}",
            fix="use a container with one of those; docs/stock-container.md names it",
        )


class ToolkitUnknown(TraceshipError):
    """The toolkit differs from the one whose answers were proven not to leak."""

    id = "toolkit-unknown"

    def __init__(self, *, missing: str) -> None:
        super().__init__(
            what="this container's sagemaker-inference is not one that is known here",
            why=f"it has no {missing}",
            fix="use a container with sagemaker-inference 1.10.1; docs/stock-container.md names it",
        )


def prepare(packages: Path) -> None:
    """Make the container fit for our hooks, before anything else of ours is imported.

    Args:
        packages: the folder of what the container lacks (``compile/stock.py``).

    Raises:
        PackagesMissing, ToolkitUnknown: see below; no worker may come up.
    """
    add_packages(packages)
    from sagemaker_inference import content_types
    from sagemaker_inference.transformer import Transformer

    shield(content_types, Transformer)


def add_packages(folder: Path) -> None:
    """Let this process import what lies in ``folder``, before what the container has.

    Raises:
        PackagesMissing: there is nothing for this Python.
    """
    wanted = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if not (folder / wanted).is_dir():
        found = sorted(path.name for path in folder.glob("cp*"))
        raise PackagesMissing(wanted=wanted, found=", ".join(found) or "none")
    sys.path[:0] = [str(folder / wanted), str(folder / ANY_PYTHON)]


def shield(content_types: Any, transformer: Any) -> None:
    """Keep what the toolkit does around the hooks from the caller.

    It decodes JSON and CSV bodies before ``input_fn`` sees them and raises for what is not UTF-8;
    whatever it catches, it answers with the message and the whole traceback.

    Args:
        content_types: the module ``sagemaker_inference.content_types``.
        transformer: the class ``sagemaker_inference.transformer.Transformer``.

    Raises:
        ToolkitUnknown: it does not do these things where 1.10.1 does them.
    """
    for owner, name in ((content_types, "UTF8_TYPES"), (transformer, "handle_error")):
        if not hasattr(owner, name):
            raise ToolkitUnknown(missing=name)
    content_types.UTF8_TYPES = []
    transformer.handle_error = staticmethod(_answered)


def _answered(context: Any, error: Exception, trace: str) -> list[bytes]:
    """In place of ``Transformer.handle_error``: the trace goes to the log."""
    from inference_code.answering import error_body

    logger.error("the toolkit failed", extra={"why": str(error), "trace": trace})
    told = InferenceFailed(why="the container's toolkit raised an error")
    context.set_response_status(code=told.status, phrase=http.HTTPStatus(told.status).phrase)
    context.set_response_content_type(0, "application/json")
    return [error_body(told)]
