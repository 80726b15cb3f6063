"""The server process: ministack with our extension in it, on loopback.

Started by ``launcher.py`` as ``.venv-aws/bin/python -m local_aws.server`` with the checkout as
PYTHONPATH. Runs in the foreground until SIGTERM or SIGINT, then stops what it started and
saves its state.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from local_aws import names

LOCK_SECONDS = 2.0
"""``status`` tries the lock too, for an instant."""

logger = logging.getLogger("traceship.local_aws")


def prepare_environment(state: Path, port: int) -> None:
    """Set what ministack reads when it is imported.

    Nothing but the one port on loopback is opened, and no container engine is touched:
    ministack would otherwise remove containers that it takes for its own.
    """
    os.environ.update(
        {
            "BIND_HOST": names.LOOPBACK,
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "localhost",
            "MINISTACK_ACCOUNT_ID": names.ACCOUNT,
            "MINISTACK_REGION": names.REGION,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{state / 'no-container-engine'}",
        }
    )


def hold_lock(state: Path, port: int) -> IO[str]:
    """Take the state folder's lock for the life of the process and write the record beside it."""
    handle = names.lock(state).open("w")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    draft = names.record(state).with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "port": port}))
    draft.replace(names.record(state))
    return handle


async def serve(port: int, state: Path) -> bool:
    """Serve until a stop signal; whether everything that was started could be stopped."""
    from hypercorn.asyncio import serve as serve_asgi  # type: ignore[import-not-found]
    from hypercorn.config import Config  # type: ignore[import-not-found]
    from ministack.app import app as ministack_app

    from local_aws.extension import install
    from local_aws.extension.registry import Registry, Server

    registry: Registry = install(
        Server(
            endpoint=names.endpoint(port),
            port=port,
            python=Path(os.environ[names.ENV_PYTHON]),
            state=state,
            checkout=Path(__file__).resolve().parent.parent,
        )
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clean = False

    async def until_stopped() -> None:
        nonlocal clean
        started = await asyncio.to_thread(registry.start)
        if started:
            await stop.wait()
        clean = await asyncio.to_thread(registry.stop) and started

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(names.INTERNAL_PREFIX):
            await registry.answer_internal(scope, receive, send)
        else:
            await ministack_app(scope, receive, send)

    config = Config()
    config.bind = [f"{names.LOOPBACK}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 3
    await serve_asgi(app, config, shutdown_trigger=until_stopped)
    return clean


def main() -> int:
    """Entry point of the process; its settings come from the environment (``names.ENV_*``)."""
    state = Path(os.environ[names.ENV_STATE])
    port = int(os.environ[names.ENV_PORT])
    prepare_environment(state, port)
    with hold_lock(state, port):
        clean = asyncio.run(serve(port, state))
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
