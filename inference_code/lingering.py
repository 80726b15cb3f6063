"""Close a connection so that the answer already written survives.

A socket closed with unread bytes in its buffer is reset (RFC 1122, 4.2.2.13), and the reset may
destroy an answer that the client has not read yet; a client that is still sending then sees a
broken connection where a 408 or 413 was meant. RFC 9112, 9.6: close the sending side first, read
on until the client has closed too or some time has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class LingeringTransport(asyncio.Transport):
    """A socket's transport that closes as above; its protocol drops what it reads from then on.

    ``idle`` tells whether the client owes nothing: then it is closed at once, so that a client that
    just wakes the connection up is told so by a reset and sends its request again elsewhere.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        seconds: float,
        idle: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._idle = idle
        self._timer: asyncio.TimerHandle | None = None

    def linger(self) -> None:
        """End the answer now, the connection when the client has ended or the time is over."""
        if self.is_closing():
            return
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._timer = self._loop.call_later(self._seconds, self._transport.abort)
        self._transport.write_eof()
        self._transport.resume_reading()

    def lost(self) -> None:
        """The connection is gone: nothing is left to wait for."""
        if self._timer is not None:
            self._timer.cancel()

    def is_closing(self) -> bool:
        return self._timer is not None or self._transport.is_closing()

    def close(self) -> None:
        if self._idle():
            self._transport.close()
        else:
            self.linger()

    def abort(self) -> None:
        self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._timer is None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        if self._timer is None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
