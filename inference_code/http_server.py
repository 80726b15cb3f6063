"""Accept connections, and close them in an order that loses no answer."""

from __future__ import annotations

import asyncio
import socket

from inference_code.protocol import Connections, GuardedProtocol

BACKLOG = 2048
_CANCELLED_SECONDS = 0.5
"""Until an answer that was given up has come to its end."""


class HttpServer:
    """Serves one listening socket on the running loop. ``protocol``: of each connection."""

    def __init__(self, connections: Connections, protocol: type[GuardedProtocol] = GuardedProtocol) -> None:
        self._connections = connections
        self._protocol = protocol
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on; ``close`` closes the socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._protocol(self._connections), sock=listener, backlog=BACKLOG
        )

    async def close(self, patience: float) -> bool:
        """Accept nothing more, let open requests be answered, close the rest.

        Args:
            patience: seconds after which what is still open is given up.

        Returns:
            Whether everything was answered.
        """
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.open):
            connection.close_soon()
        try:
            await asyncio.wait_for(self._emptied(), patience)
        except asyncio.TimeoutError:
            await self._give_up()
            return False
        return True

    async def _emptied(self) -> None:
        shared = self._connections
        while shared.open or shared.tasks:
            shared.changed.clear()
            await shared.changed.wait()

    async def _give_up(self) -> None:
        tasks = list(self._connections.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCELLED_SECONDS)
        for connection in list(self._connections.open):
            connection.abort()
