"""The server process: ministack with our extension in it, on loopback.

Started by ``launcher.py`` as ``.venv-aws/bin/python -m local_aws.server`` with the checkout as
PYTHONPATH. Runs in the foreground until SIGTERM or SIGINT, then stops what it started and
saves its state.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
ENV_PORT = "TRACESHIP_LOCAL_PORT"
ENV_STATE = "TRACESHIP_LOCAL_STATE"
ENV_PYTHON = "TRACESHIP_PYTHON"
ACCOUNT = "000000000000"
REGION = "us-east-1"

logger = logging.getLogger("traceship.local_aws")


def prepare_environment(state: Path, port: int) -> None:
    """Set what ministack reads when it is imported.

    Nothing but the one port on loopback is opened, and no container engine is touched:
    ministack would otherwise remove containers that it takes for its own.
    """
    os.environ.update(
        {
            "BIND_HOST": LOOPBACK,
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "localhost",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{state / 'no-container-engine'}",
        }
    )


async def serve(port: int, state: Path) -> None:
    """Serve until a stop signal; returns when children have ended and the state is saved."""
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config
    from ministack.app import app

    from local_aws.extension import Server, install

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    registry = install(
        Server(
            endpoint=f"http://localhost:{port}",
            python=Path(os.environ[ENV_PYTHON]),
            state=state,
            checkout=Path(__file__).resolve().parent.parent,
            account=ACCOUNT,
            region=REGION,
        )
    )

    async def until_stopped() -> None:
        await asyncio.to_thread(registry.started)
        await stop.wait()
        await asyncio.to_thread(registry.stopping)

    config = Config()
    config.bind = [f"{LOOPBACK}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 3
    await serve_asgi(app, config, shutdown_trigger=until_stopped)  # type: ignore[arg-type]


def main() -> int:
    """Entry point of the process; settings come from the environment (see ``ENV_*``)."""
    state = Path(os.environ[ENV_STATE])
    port = int(os.environ[ENV_PORT])
    prepare_environment(state, port)
    asyncio.run(serve(port, state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
