"""Write the templates of the test worlds as they are now: ``python -m tests.infra.snapshots``

Look at the difference before committing it: each line is something that a deploy will change.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.infra.worlds import INF1, PINNED, World, lock_of, settings_of, synthesise

FOLDER = Path(__file__).parent / "snapshots"
WORLDS = {"inf1": (INF1, "inf1"), "pinned": (PINNED, "cpu")}


def taken(name: str, world: World) -> dict[str, str]:
    """File name to text, a file for each stack."""
    return {f"{name}-{role}.json": _text(template) for role, template in world.templates.items()}


def _text(template: dict[str, Any]) -> str:
    return json.dumps(template, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Replace every snapshot."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, (settings, target) in WORLDS.items():
        with tempfile.TemporaryDirectory() as folder:
            world = synthesise(Path(folder), settings_of(settings), lock_of(target))
        for file, text in taken(name, world).items():
            (FOLDER / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
