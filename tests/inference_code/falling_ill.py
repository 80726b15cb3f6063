"""Workers whose graphs fall ill, and are well again, when a test says so."""

from __future__ import annotations

from pathlib import Path

from tests.inference_code.test_proving_workers import changed

RAISES, NAN, HANGS = "raises", "nan", "hangs"
"""How: at every run; as an answer to every row; raises three times and then never comes back."""

_CODE = """\
import sys

if "inference_code.workers.program" in sys.orig_argv:
    import time
    from pathlib import Path

    import numpy

    from inference_code.graphs import Graphs
    from inference_code.rows import Outputs

    well, runs = Graphs.encode, []

    def encode(*given):
        name = Path("/proc/self/comm").read_text(encoding="ascii").strip()
        try:
            how = Path(f"{name}-is-ill").read_text(encoding="ascii")
        except FileNotFoundError:
            return well(*given)
        runs.append(how)
        if how == "nan":
            return [Outputs(tuple(numpy.full_like(array, numpy.nan) for array in row.arrays))
                    for row in well(*given)]
        if how == "hangs" and len(runs) > 3:
            time.sleep(3600)
        raise RuntimeError("the device is ill")

    Graphs.encode = encode
"""


def falling_ill(folder: Path) -> dict[str, str]:
    """An environment of a server that runs in ``folder``."""
    return changed(folder, _CODE)


def make_ill(folder: Path, how: str, worker: int = 0) -> None:
    """From the next batch on."""
    draft = folder / "draft"
    draft.write_text(how, encoding="ascii")
    draft.rename(_told(folder, worker))


def make_well(folder: Path, worker: int = 0) -> None:
    """A worker that is started now is well."""
    _told(folder, worker).unlink()


def _told(folder: Path, worker: int) -> Path:
    return folder / f"worker-{worker}-is-ill"
