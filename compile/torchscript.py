"""A TorchScript archive in, the same graph as canonical bytes out.

Saved as it comes, an archive holds source paths of the machine (``*.debug_pkl``), the example
inputs (``traced_inputs/``) and an id that changes each time. Without them, with sorted names,
a fixed date and no compression, equal graphs are equal bytes. Costs stack traces in errors.
"""

from __future__ import annotations

import io
import zipfile

_DROPPED_ENDING = ".debug_pkl"
_DROPPED_FOLDER = "traced_inputs/"
_DROPPED_RECORD = ".data/serialization_id"
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


def canonical(archive: bytes) -> bytes:
    """Rewrite an archive that ``torch.jit.save`` wrote to a ``BytesIO``.

    To a ``BytesIO`` and not to a file, because the file's stem becomes the archive's root folder.
    """
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target,
    ):
        for name in sorted(source.namelist()):
            if _belongs(name):
                info = zipfile.ZipInfo(name, _DATE)
                info.create_system = 3
                info.external_attr = _MODE
                target.writestr(info, source.read(name))
    return written.getvalue()


def _belongs(name: str) -> bool:
    record = name.partition("/")[2]
    return not (
        record.endswith(_DROPPED_ENDING) or record.startswith(_DROPPED_FOLDER) or record == _DROPPED_RECORD
    )
