"""Java for TorchServe: the one on PATH, or Debian's, unpacked into a folder without root.

``python -m tests.stock.java FOLDER`` leaves a Java in FOLDER where PATH has none of 11 or later.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = 11
PACKAGES = ("openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-11-jre-headless")
"""The first that this Debian has."""
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def java_home(folder: Path) -> str | None:
    """What to set JAVA_HOME to: the Java in ``folder``, or ``None`` where PATH has one that will do.

    Raises:
        RuntimeError: there is neither.
    """
    if new_enough(_asked("java")):
        return None
    for java in sorted(folder.glob("usr/lib/jvm/*/bin/java")):
        if new_enough(_asked(str(java))):
            return str(java.parents[1])
    raise RuntimeError(f"no Java {OLDEST} or later on PATH or in {folder}: run `make test`, it brings one")


def new_enough(told: str) -> bool:
    """Whether ``java -version`` tells of a Java that TorchServe starts on."""
    found = _VERSION.search(told)
    return found is not None and int(found[1]) >= OLDEST


def obtain(folder: Path) -> None:
    """Unpack Debian's package into ``folder``. apt keeps its lists there too, so that nobody need be root."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    own = {"Dir::State": folder / "state", "Dir::Cache": folder / "cache"}
    own["Dir::State::status"] = Path("/var/lib/dpkg/status")
    apt = ["apt-get", "-qq", *(word for key, place in own.items() for word in ("-o", f"{key}={place}"))]
    subprocess.run([*apt, "update"], check=True)
    for package in PACKAGES:
        if subprocess.run([*apt, "download", package], cwd=folder, check=False).returncode == 0:
            break
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    relink(folder)
    for used in (archive, folder / "state", folder / "cache"):
        shutil.rmtree(used) if used.is_dir() else used.unlink()


def relink(root: Path) -> None:
    """Let links that mean the root of the file system mean ``root``, where the target is there."""
    for link in (Path(at, name) for at, folders, files in os.walk(root) for name in (*folders, *files)):
        if link.is_symlink() and link.readlink().is_absolute():
            target = root / link.readlink().relative_to("/")
            if target.exists():
                link.unlink()
                link.symlink_to(target)


def _asked(java: str) -> str:
    try:
        ended = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ended.stderr + ended.stdout


def main(folder: Path) -> None:
    """Obtain a Java unless there is one."""
    try:
        java_home(folder)
    except RuntimeError:
        obtain(folder)
        java_home(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
