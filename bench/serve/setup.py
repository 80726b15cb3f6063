"""``python -m bench.serve.setup [NAME…]``: the peers' environments, each of its pinned requirements.

They come to lie beside the project's own (``.venv-bench-NAME``, some 1.5 GB each). TORCH_INDEX names an
index of CPU builds of torch, as for ``make``. What is not Python is looked for and named where it is
missing: Java for torchserve and for AWS's toolkit, and wrk, without which a client of our own loads.
Both can be unpacked without installing: ``apt-get download PACKAGE``, ``dpkg-deb -x FILE FOLDER``,
and FOLDER/usr/bin in PATH.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

from bench.serve.load import wrk
from bench.serve.servers import ENVIRONMENTS, PEERS, environment_folder


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ENVIRONMENTS)} (all)")
    for name in parser.parse_args().names or ENVIRONMENTS:
        if name not in ENVIRONMENTS:
            sys.exit(f"{name} is none of {', '.join(ENVIRONMENTS)}")
        _make(name)
    if shutil.which("java") is None:
        print("java is missing (17 or newer, Debian: openjdk-17-jre-headless): no torchserve, no toolkit")
    if wrk() is None:
        print("wrk is missing: bench/serve/client.py loads in its place")


def _make(name: str) -> None:
    folder = environment_folder(name)
    print(f"> {folder.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    index = os.environ.get("TORCH_INDEX")
    more = ["--extra-index-url", index] if index else []
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *more]
    subprocess.run([*pip, "-r", str(PEERS / ENVIRONMENTS[name])], check=True)


if __name__ == "__main__":
    main()
