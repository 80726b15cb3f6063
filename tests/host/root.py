"""A root of its own for one boot: a private mount namespace, the host's programs read-only, stand-ins on top.

Nothing that the boot writes leaves the folder, and every mount goes with the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

from tests.kit.command import CHECKOUT

STAND_INS = ("docker", "aws", "journalctl", "systemctl", "cloud-init", "iptables")
UNSHARE = ["unshare", "--mount", "--propagation", "private"]
if os.geteuid() != 0:
    UNSHARE += ["--map-root-user"]


@cache
def reason_for_none() -> str | None:
    """Why this machine gives nobody a root of their own; None where it does."""
    try:
        command = [*UNSHARE, "sh", "-c", "mount -t tmpfs none /mnt && chroot / true"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()


@dataclass
class Root:
    """``devices``: how many chips have a node; ``driver``: the version that the kernel tells, None for none.

    ``disk``: bytes of the disk that the model goes to. ``faults``: what the stand-ins do wrong.
    """

    folder: Path
    devices: int = 0
    driver: str | None = None
    disk: int = 50_000_000
    faults: tuple[str, ...] = ()

    def boot(
        self, user_data: str, endpoint: str, *, starts: int = 3, limit: float = 60.0, failed: int = 0
    ) -> dict[str, Any]:
        """What machine.py tells of it. ``failed``: starts that failed on this boot before."""
        self._furnish(user_data, {"user_data": "/run/user-data", "starts": starts, "limit": limit}, failed)
        self._programs()
        machine = CHECKOUT / "tests/host/machine.py"
        environment = {
            "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin",
            "PYTHONPATH": str(CHECKOUT),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_RETRY_MODE": "standard",
        }
        inside = [sys.executable, str(machine), "/run/asked.json", "/run/told.json"]
        command = [*UNSHARE, "sh", "-eu", "-c", self._mounts(), "sh", *inside]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads((self.folder / "run/told.json").read_text())
        return told

    def _furnish(self, user_data: str, asked: dict[str, Any], failed: int) -> None:
        top = ("dev", "etc", "host-usr", "proc", "root", "run", "sys", "tmp", "var/lib/traceship")
        for name in (*top, "usr/bin", "usr/sbin", "usr/local/sbin"):
            (self.folder / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.folder / name).symlink_to(f"usr/{name}")
        (self.folder / "run/user-data").write_text(user_data)
        (self.folder / "run/asked.json").write_text(json.dumps(asked))
        (self.folder / "run/faults").write_text(" ".join(self.faults))
        if failed:
            (self.folder / "run/traceship").mkdir()
            (self.folder / "run/traceship/failures").write_text(f"{failed}\n")
        if self.driver is not None:
            place = self.folder / "sys/module/neuron"
            place.mkdir(parents=True)
            (place / "version").write_text(f"{self.driver}\n")

    def _programs(self) -> None:
        for folder in ("bin", "sbin"):
            for program in Path("/usr", folder).iterdir():
                if program.name not in STAND_INS:
                    (self.folder / "usr" / folder / program.name).symlink_to(
                        f"/host-usr/{folder}/{program.name}"
                    )
        program = quote(f"{CHECKOUT}/tests/host/standins.py")
        for name in STAND_INS:
            path = self.folder / "usr/bin" / name
            path.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} {program} {name} "$@"\n')
            path.chmod(0o755)

    def _mounts(self) -> str:
        """A script that mounts and then becomes its arguments, in the root."""
        root = self.folder
        parts = {"/usr": "/host-usr", "/usr/local/lib": "/usr/local/lib", "/proc": "/proc"}
        parts |= {f"/usr/{name}": f"/usr/{name}" for name in ("lib", "lib64", "share")}
        parts |= {
            f"/etc/{name}": f"/etc/{name}" for name in ("alternatives", "ld.so.cache", "passwd", "group")
        }
        own = {sys.prefix, sys.base_prefix, str(CHECKOUT)}
        parts |= {place: place for place in sorted(own) if not place.startswith("/usr")}
        lines = []
        for source, target in parts.items():
            if not Path(source).exists():
                continue
            make = "mkdir -p" if Path(source).is_dir() else "touch"
            lines += [f"{make} '{root}{target}'", f"mount --rbind '{source}' '{root}{target}'"]
        lines += [f"mount -t tmpfs -o size={self.disk} none '{root}/var/lib/traceship'"]
        for name in ["null", "zero", "urandom", "random"]:
            lines += [f"touch '{root}/dev/{name}'", f"mount --bind /dev/{name} '{root}/dev/{name}'"]
        for chip in range(self.devices):  # any character device will do: nothing opens it
            lines += [f"touch '{root}/dev/neuron{chip}'", f"mount --bind /dev/null '{root}/dev/neuron{chip}'"]
        return "\n".join([*lines, f"exec chroot '{root}' \"$@\""])
