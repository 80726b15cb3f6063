"""A verified artifact in, a release in S3 out: blobs, archive, signatures, then the manifest.

    release.py     the order of things: what makes a release, and who made it
    files.py       one file: is it there and right, else send it
    source.py      that file, and when an object is it
    multipart.py   a file of many parts, continued where an earlier process stopped
    parts.py       a part's bytes, in memory or as a request's body; its cut is compile/cut.py
    bucket.py      every call to S3, with owner, key and checksum, repeated where that helps
    pool.py        a few threads with a bounded queue
    progress.py    bytes, rate and time left
    errors.py      what may go wrong here and nowhere else

Content-addressed blobs first, ``manifest.json`` last with ``If-None-Match: *``: the release
exists iff its manifest does, so a reader never meets half of one, and whoever runs this again
after an interruption sends only the parts that are missing. Pairs with ``inference_code/fetch.py``.
What it costs and what lost: docs/decisions/0012-uploads.md.
"""

from __future__ import annotations

from compile.publish.bucket import Destination
from compile.publish.errors import BucketForeign, FileTooLarge, NameReserved, ReleaseTaken, ScratchUnusable
from compile.publish.progress import Progress
from compile.publish.release import Published, Publisher, check_bucket, find_release, publish

__all__ = [
    "BucketForeign",
    "Destination",
    "FileTooLarge",
    "NameReserved",
    "Progress",
    "Published",
    "Publisher",
    "ReleaseTaken",
    "ScratchUnusable",
    "check_bucket",
    "find_release",
    "publish",
]
