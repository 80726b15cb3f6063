"""A file of many parts, sent in parallel, continued where an earlier process stopped.

One thread, the owner's, reads the file from front to back; the pool's threads hash and send the parts
that it read. A part must have the digest that it had when the file was verified; where nobody cut the
file then, the owner's thread hashes the whole of it beside. The upload is completed only when every
part is confirmed and nothing was another. What earlier processes sent is asked of S3 itself
(ListMultipartUploads, ListParts), so nothing on this machine has to be right for that.
"""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import Any

from compile.cut import Part, composite, encoded, parts_of
from compile.publish.bucket import Bucket, StoredPart, lost_race
from compile.publish.errors import StoredWrong, UploadVanished
from compile.publish.parts import HELD_PART_BYTES, FilePart, chunks, hold
from compile.publish.pool import Pool
from compile.publish.progress import Meter
from compile.publish.source import Source, changed, is_right, opened


def send_parts(bucket: Bucket, pool: Pool, meter: Meter, source: Source, *, create: bool) -> None:
    """Read ``source`` and hand its parts to the pool, whose last one completes the upload.

    Args:
        create: the object must not exist yet; False replaces one that is wrong.

    Raises:
        ArtifactChanged: the file is not what was verified; the upload is removed. From the pool too.
    """
    sending = _Sending(bucket, pool, meter, source, create=create)
    try:
        sending.run()
    except BaseException:
        sending.close()
        raise


class _Sending:
    """One upload. ``_open`` counts what is still to be done: each part, and the reading itself."""

    def __init__(self, bucket: Bucket, pool: Pool, meter: Meter, source: Source, *, create: bool) -> None:
        self._bucket = bucket
        self._pool = pool
        self._meter = meter
        self._source = source
        self._create = create
        self._cut = parts_of(source.size)
        self._lock = threading.Lock()
        self._open = len(self._cut) + 1
        self._digests: dict[int, bytes] = {}
        self._done: dict[int, StoredPart] = {}
        self._vanished = self._changed = False
        self._file = opened(source)
        self._upload, self._stored = self._find()

    def run(self) -> None:
        """Hand every part to the pool, and count the reading as done."""
        expected = self._source.digests
        whole = hashlib.sha256()
        for part in self._cut:
            digest = None if expected is None else expected[part.number - 1]
            if self._changed or self._is_stored(part, digest):
                self._one_less()
                continue
            digest, body = self._take(part, digest, whole)
            holds = part.size if isinstance(body, bytearray) else 0
            self._pool.submit(partial(self._send, part, digest, body), holds=holds)
            del body  # the pool counts it, so nobody else may hold it
        if expected is None and whole.hexdigest() != self._source.sha256:
            self._changed = True
        self._one_less()

    def close(self) -> None:
        """Give the file back; threads that still send from it fail, as they must."""
        self._file.close()

    def _find(self) -> tuple[str, dict[int, StoredPart]]:
        """The upload to continue and the parts that S3 has of it, or a new one."""
        from botocore.exceptions import ClientError

        there = self._bucket.unfinished_upload(self._source.key)
        if there is not None:
            try:
                return there, self._bucket.stored_parts(self._source.key, there)
            except ClientError as error:
                if not lost_race(error):
                    raise
        return self._bucket.begin(self._source.key), {}

    def _is_stored(self, part: Part, digest: bytes | None) -> bool:
        """Whether S3 has the part already. Without its digest nobody knows before it is read."""
        stored = self._stored.get(part.number)
        if stored is None or digest is None or (stored.size, stored.checksum) != (part.size, encoded(digest)):
            return False
        with self._lock:
            self._digests[part.number], self._done[part.number] = digest, stored
        self._meter.skipped(part.size)
        return True

    def _take(
        self, part: Part, digest: bytes | None, whole: Any
    ) -> tuple[bytes | None, bytearray | FilePart]:
        """The part's body and, where it is known by now, its digest.

        Args:
            digest: that it must have; ``None``: nobody knows, and ``whole`` gets its bytes.
        """
        if part.size <= HELD_PART_BYTES:
            held = hold(self._file, part)
            if digest is None:
                whole.update(held)
            return digest, held
        if digest is not None:  # S3 compares what arrives with it
            return digest, FilePart(self._file, part)
        found = hashlib.sha256()
        for chunk in chunks(self._file, part):
            found.update(chunk)
            whole.update(chunk)
        return found.digest(), FilePart(self._file, part)

    def _send(self, part: Part, digest: bytes | None, body: bytearray | FilePart) -> None:
        from botocore.exceptions import ClientError

        if isinstance(body, bytearray):
            found = hashlib.sha256(body).digest()
            self._changed |= digest not in {None, found}
            digest = found
        assert digest is not None
        with self._lock:
            self._digests[part.number] = digest
        if not self._changed and not self._vanished and not self._is_stored(part, digest):
            checksum = encoded(digest)
            try:
                etag = self._bucket.put_part(self._source.key, self._upload, part.number, body, checksum)
            except ClientError as error:
                if not lost_race(error):
                    raise
                self._vanished = True
            else:
                with self._lock:
                    self._done[part.number] = StoredPart(size=part.size, etag=etag, checksum=checksum)
                self._meter.sent(part.size)
        self._one_less()

    def _one_less(self) -> None:
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last:
            self.close()
            self._finish()

    def _finish(self) -> None:
        from botocore.exceptions import ClientError

        if self._changed:
            self._bucket.abort(self._source.key, self._upload)
            raise changed(self._source)
        expected = composite([self._digests[part.number] for part in self._cut])
        found: str | None = None
        if not self._vanished:
            try:
                found = self._bucket.complete(self._source.key, self._upload, self._done, create=self._create)
            except ClientError as error:
                if not lost_race(error):
                    raise
                self._vanished = True
        if self._vanished:
            self._after_another()
        elif found is not None and found != expected:
            raise StoredWrong(file=self._source.shown, expected=expected, found=found)
        self._meter.finished(reused=self._vanished)

    def _after_another(self) -> None:
        """Somebody else completed or removed the upload, or wrote the object: theirs counts, if right."""
        there = self._bucket.head(self._source.key)
        if there is None or not is_right(there, self._source):
            raise UploadVanished(file=self._source.shown)
        self._bucket.abort(self._source.key, self._upload)
