"""A worker as the server sees it: a child process, a channel, a few slots. Lives on the event loop.

It ends in one way: its channel closes, because the process ended, was killed, or was killed by
``end`` since it hung. Then every batch that it had fails, and ``lost`` is called once.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from artifact.manifest import Bucket, Manifest
from inference_code.encoding import fill
from inference_code.errors import InferenceFailed, WorkerLost
from inference_code.lanes import Done
from inference_code.log import logger
from inference_code.rows import Outputs, Row
from inference_code.workers.beginning import BUFFER, Begun
from inference_code.workers.cores import Share
from inference_code.workers.faults import GraphRaised, WorkerEnded, WorkerRefused
from inference_code.workers.messages import MAX_BYTES, Beat, Failed, FromWorker, Ran, Ready, Run

_EXIT_SECONDS = 2.0
_REAP_SECONDS = 0.02
_END_SECONDS = 1.0
"""Nothing is in flight by then: a worker that does not end at once hangs. The drain keeps a second for it."""


@dataclass(frozen=True)
class _Batch:
    bucket: Bucket
    done: Done


class WorkerProcess:
    """A ``Lane`` for the engine, once it is ready.

    ``progress`` is when it last had nothing to do or finished something, on the clock of ``time.monotonic``.
    """

    def __init__(
        self,
        manifest: Manifest,
        share: Share,
        begun: Begun,
        lost: Callable[[WorkerProcess], None],
        bearable: Callable[[Bucket], float],
    ) -> None:
        """
        Args:
            bearable: seconds after which a batch of that shape is late.
            lost: called with this object, once, when the process is gone.
        """
        self.share = share
        self.manifest = manifest
        self.threads = share.threads
        self._loop = asyncio.get_running_loop()
        self.progress = time.monotonic()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[int] = self._loop.create_future()
        self._lost = lost
        self._bearable = bearable
        self._process, self._channel, self._arena = begun.process, begun.channel, begun.arena
        self._batches: dict[int, _Batch] = {}
        self._free = list(range(share.slots))
        self._ended = False
        self._beats = 0
        self._beat_sent: float | None = None
        self._decoder = msgspec.msgpack.Decoder(FromWorker)
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._readable)

    @property
    def name(self) -> str:
        return str(self.share.number)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def serves(self) -> bool:
        """Whether its graphs are loaded and it is there."""
        return self.ready.done() and self.ready.exception() is None and not self._ended

    @property
    def load(self) -> int:
        return len(self._batches)

    @property
    def room(self) -> int:
        return 0 if self._ended else len(self._free)

    @property
    def late(self) -> bool:
        # The oldest is the one that it runs.
        for batch in self._batches.values():
            return time.monotonic() - self.progress > self._bearable(batch.bucket)
        return False

    def start(self, bucket: Bucket, rows: Sequence[Row], done: Done) -> None:
        self._run(bucket, rows, done, encode=False)

    async def run(self, bucket: Bucket, rows: Sequence[Row], *, encode: bool) -> list[Outputs]:
        """One batch by itself, see ``load.Runner``.

        Raises:
            WorkerLost: the process is gone, or ended meanwhile.
            GraphRaised, InferenceFailed: the graph raised, or met NaN or infinity.
        """
        found: asyncio.Future[list[Outputs]] = self._loop.create_future()

        def done(outputs: list[Outputs] | Exception, _seconds: float) -> None:
            if found.done():
                return
            if isinstance(outputs, Exception):
                found.set_exception(outputs)
            else:
                found.set_result(outputs)

        self._run(bucket, rows, done, encode=encode)
        return await found

    def hangs(self, batch_seconds: float, beat_seconds: float) -> bool:
        """Whether it takes longer than that for a batch, or, idle, to say that it is there.

        Asks it to say so; call this every now and then.
        """
        now = time.monotonic()
        if self._batches:
            return now - self.progress > batch_seconds
        if self._beat_sent is None:
            self._beats += 1
            self._beat_sent = now
            self._send(msgspec.msgpack.encode(Beat(self._beats)))
        return now - self._beat_sent > beat_seconds

    def end(self) -> None:
        """Kill it; ``lost`` follows."""
        if self._process.poll() is None:
            self._process.kill()

    async def close(self) -> None:
        """Let it finish, then end: closing the channel is the sign. Killed if it does not."""
        if not self._ended:
            self._channel.shutdown(socket.SHUT_WR)
        try:
            await asyncio.wait_for(asyncio.shield(self.gone), _END_SECONDS)
        except asyncio.TimeoutError:
            self.end()
            await self.gone

    def _run(self, bucket: Bucket, rows: Sequence[Row], done: Done, *, encode: bool) -> None:
        if self._ended or not self._free:
            self._loop.call_soon(done, WorkerLost(), 0.0)
            return
        asked = Run(slot=self._free[-1], shape=bucket, wanted=[row.wanted for row in rows], encode=encode)
        packet = msgspec.msgpack.encode(asked)
        if len(packet) > MAX_BYTES:
            # It would reach the worker cut, and end it with every other request that it has.
            why = "its batch asks for more places at once than fit"
            self._loop.call_soon(done, InferenceFailed(why=why), 0.0)
            return
        slot = self._free.pop()
        if not self._batches:
            self.progress = time.monotonic()
        self._batches[slot] = _Batch(bucket=bucket, done=done)
        fill(rows, bucket, self.manifest, self._arena.inputs(slot, bucket))
        self._send(packet)

    def _send(self, packet: bytes) -> None:
        try:
            self._channel.send(packet)
        except ConnectionError:
            pass  # its end is being read; ``_gone`` fails the batch
        except BlockingIOError:
            self.end()

    def _readable(self) -> None:
        try:
            packet = self._channel.recv(BUFFER)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = b""
        if not packet:
            self._gone()
            return
        try:
            self._heard(self._decoder.decode(packet))
        except (msgspec.DecodeError, LookupError, ValueError, TypeError):
            # A worker that talks nonsense has lost its mind, not a request's fault.
            logger.exception("a worker's message cannot be read", extra={"worker": self.share.number})
            self.end()

    def _heard(self, message: FromWorker) -> None:
        if isinstance(message, Ran):
            found = self._arena.read(message.slot, message.rows)
            for at in message.not_finite:
                found[at] = Outputs(arrays=found[at].arrays, finite=False)
            self._finished(message.slot, found, message.seconds)
        elif isinstance(message, Failed):
            self._finished(message.slot, self._reason(message), message.seconds)
        elif isinstance(message, Beat):
            self._beat_sent = None
        elif isinstance(message, Ready):
            self.threads = message.threads
            if not self.ready.done():
                self.ready.set_result(None)
        elif not self.ready.done():
            self.ready.set_exception(WorkerRefused(message))

    def _finished(self, slot: int, found: list[Outputs] | Exception, seconds: float) -> None:
        batch = self._batches.pop(slot)
        self._free.append(slot)
        self.progress = time.monotonic()
        batch.done(found, seconds)

    def _reason(self, failed: Failed) -> Exception:
        if failed.known:
            return InferenceFailed(why=failed.error)
        facts = {"error": failed.error, "worker": self.share.number, "trace": failed.trace}
        logger.error("a graph raised an error", extra=facts)
        return GraphRaised(number=self.share.number, error=failed.error)

    def _gone(self) -> None:
        self._ended = True
        self._loop.remove_reader(self._channel)
        self._channel.close()
        batches, self._batches = list(self._batches.values()), {}
        seconds = time.monotonic() - self.progress
        for batch in batches:
            batch.done(WorkerLost(), seconds)
            # It runs the oldest; what waited for that took no time of its graphs.
            seconds = 0.0
        self._reap(time.monotonic() + _EXIT_SECONDS)

    def _reap(self, until: float) -> None:
        """Take the exit code: its own, if it comes to its end in time, which tells more than ours."""
        if self._process.poll() is None and time.monotonic() < until:
            self._loop.call_later(_REAP_SECONDS, self._reap, until)
            return
        self.end()
        code = self._process.wait()
        self._arena.close()
        self.gone.set_result(code)
        if not self.ready.done():
            self.ready.set_exception(WorkerEnded(number=self.share.number, code=code))
            # Nobody may have come to await it: that is no error of its own.
            self.ready.exception()
        self._lost(self)
