"""One file into S3: nothing is sent if the object is there *and* right, else exactly the file's bytes."""

from __future__ import annotations

from compile.cut import MAX_OBJECT_BYTES, in_one_piece
from compile.publish.bucket import Bucket
from compile.publish.errors import FileTooLarge
from compile.publish.multipart import send_parts
from compile.publish.pool import Pool
from compile.publish.progress import Meter
from compile.publish.source import Source, is_right, read


class Sender:
    """Puts files through a pool of threads and counts them."""

    def __init__(self, bucket: Bucket, pool: Pool, meter: Meter) -> None:
        self._bucket = bucket
        self._pool = pool
        self._meter = meter

    def send(self, source: Source, *, absent: bool) -> None:
        """See that ``source`` is in S3. Returns early; the pool does the rest.

        Args:
            absent: it was not there a moment ago, so it need not be asked for.

        Raises:
            FileTooLarge: more than an object holds.
            ArtifactChanged: the file is no longer what it was; from the pool too.
        """
        self._pool.check()
        if source.size > MAX_OBJECT_BYTES:
            raise FileTooLarge(path=source.shown, size=source.size)
        if in_one_piece(source.size):
            self._pool.submit(lambda: self._whole(source, absent=absent), holds=source.size)
        else:
            self._parts(source, absent=absent)

    def _whole(self, source: Source, *, absent: bool) -> None:
        head = None if absent else self._bucket.head(source.key)
        if head is not None and is_right(head, source):
            self._reused(source)
            return
        data, checksum = read(source)
        if not self._bucket.put(source.key, data, checksum, create=head is None):
            # Somebody was faster, or an earlier attempt of ours arrived and only its answer was lost.
            now = self._bucket.head(source.key)
            if now is not None and is_right(now, source):
                self._reused(source)
                return
            self._bucket.put(source.key, data, checksum, create=False)
        self._meter.sent(source.size)
        self._meter.finished(reused=False)

    def _parts(self, source: Source, *, absent: bool) -> None:
        head = None if absent else self._bucket.head(source.key)
        if head is not None and is_right(head, source):
            self._reused(source)
            return
        send_parts(self._bucket, self._pool, self._meter, source, create=head is None)

    def _reused(self, source: Source) -> None:
        self._meter.skipped(source.size)
        self._meter.finished(reused=True)
