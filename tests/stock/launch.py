"""Start TorchServe as ``sagemaker_pytorch_serving_container`` does, but on loopback and at given ports.

    python launch.py FOLDER OVERRIDES     in the environment of requirements-stock.txt

The toolkit's own start writes below /etc, listens everywhere and looks for its Java in the whole
machine; its handler, its properties and its log configuration are taken from it. OVERRIDES is a file
of properties, of which Java takes the last. Nothing of ours is imported here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sagemaker_pytorch_serving_container import serving, torchserve
from ts.model_server import start


def main(folder: Path, overrides: Path) -> None:
    """Write the properties, start Java and wait for its end."""
    properties = folder / "ts.properties"
    own = torchserve._generate_ts_config_properties(serving.HANDLER_SERVICE)
    properties.write_text(own + overrides.read_text())
    store = folder / "store"
    store.mkdir()
    torchserve._set_python_path()
    sys.argv = ["torchserve", "--start", "--foreground", "--ncs", "--model-store", str(store)]
    sys.argv += ["--ts-config", str(properties), "--log-config", torchserve.DEFAULT_TS_LOG_FILE]
    sys.argv += ["--models", f"model={torchserve.environment.model_dir}"]
    start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
