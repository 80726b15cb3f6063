"""What app.py runs: find Node, read context, settings and lock, build, synthesise.

-c settings=PATH     default traceship.toml beside cdk.json; the locks lie beside it
-c stage=NAME        applies [stage.NAME]
-c service=NAME      only the stacks of [service.NAME], and those that all services share
-c foundation=true   only the stacks that need no release
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from artifact.errors import TraceshipError
from settings.load import SETTINGS_FILE, load_all

EXAMPLE = Path("examples/inf1") / SETTINGS_FILE


def main() -> int:
    """Synthesise; return the exit code. Errors of ours are three lines, never a traceback."""
    use_pinned_node()
    import aws_cdk as cdk

    from infra.app import Service, build
    from infra.canary import read_canary
    from infra.lock import read_lock, seen_by
    from infra.names import lock_file
    from infra.policy import synthesise

    app = cdk.App()
    path = settings_path(app.node.try_get_context("settings"))
    try:
        stage, only = (app.node.try_get_context(name) for name in ("stage", "service"))
        settings = load_all(path, stage=stage)
        if only is not None:
            load_all(path, stage=stage, service=only)  # refuses one that there is not
        services = [
            Service(
                each,
                seen_by(each, read_lock(path.parent / lock_file(each))),
                read_canary(each, path.parent),
            )
            for each in settings
        ]
        build(app, services, foundation=_is_true(app.node.try_get_context("foundation")), only=only)
        synthesise(app, settings)
    except TraceshipError as error:
        print(f"error: {error.what}\nwhy:   {error.why}\nfix:   {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


def settings_path(asked: str | None) -> Path:
    """The file asked for, the checkout's own, or, before there is one, the example."""
    own = Path(SETTINGS_FILE)
    if asked is not None or own.exists():
        return Path(asked or own)
    print(f"there is no {own} here: synthesising {EXAMPLE}; `traceship init` writes one", file=sys.stderr)
    return EXAMPLE


def use_pinned_node() -> None:
    """Let the CDK's library find the Node that the set-up installed, with nothing activated."""
    pinned = Path(sys.prefix) / "bin" / "node"
    if "JSII_NODE" not in os.environ and pinned.exists():
        os.environ["JSII_NODE"] = str(pinned)


def _is_true(value: object) -> bool:
    """Context is text from the command line and may be a boolean from cdk.json."""
    return str(value).lower() == "true"
