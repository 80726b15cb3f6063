"""Where what was fetched is kept: ``$XDG_CACHE_HOME/traceship``, which may be deleted at any time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of our cache that can be written to.

    A container's user may have no home; then it is a private folder that ends with this process.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "traceship" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _passing_folder()
    return folder if os.access(folder, os.W_OK | os.X_OK) else _passing_folder()


def _passing_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="traceship-models-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
