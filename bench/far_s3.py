"""An S3 that costs next to nothing and is far away: for the bench of uploads.

The local AWS takes more processor time for a request than any client does, so it hides what the
clients cost and do. This one keeps nothing. It compares SHA-256 where a request names one, as S3
does, and answers as late as S3 would: after a round trip, and no faster on one connection than S3 is.

Source of the 90 MB/s: Amazon S3 user guide, "Performance guidelines for Amazon S3", 85-90 MB/s per
request. The round trip is that of a client in another availability zone or a nearby office.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import sys
import threading
import time
from typing import BinaryIO

ROUND_TRIP_SECONDS = 0.02
BYTES_PER_SECOND = 90e6


def main() -> None:
    """Serve on a free port of loopback, which is printed, until killed."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb", buffering=1 << 18) as file:
        while _one(connection, file):
            pass


def _one(connection: socket.socket, file: BinaryIO) -> bool:
    first = file.readline().decode().split(" ")
    if len(first) < 3:
        return False
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    began = time.monotonic()
    if headers.get("expect") == "100-continue":
        time.sleep(ROUND_TRIP_SECONDS)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = int(headers.get("content-length", 0))
    digest = hashlib.sha256()
    named, left = headers.get("x-amz-checksum-sha256"), size
    while left and (chunk := file.read(min(left, 1 << 18))):
        left -= len(chunk)
        if named:
            digest.update(chunk)
    if named and base64.b64encode(digest.digest()).decode() != named:
        connection.sendall(
            b"HTTP/1.1 400 X\r\ncontent-length: 38\r\n\r\n<Error><Code>BadDigest</Code> </Error>"
        )
        return True
    status, body = _answer(first[0], first[1])
    late = began + ROUND_TRIP_SECONDS + size / BYTES_PER_SECOND - time.monotonic()
    time.sleep(max(0.0, late))
    content = b"" if first[0] == "HEAD" else body
    head = f'HTTP/1.1 {status} X\r\netag: "e"\r\ncontent-length: {len(content)}\r\n\r\n'
    connection.sendall(head.encode() + content)
    return True


def _answer(method: str, target: str) -> tuple[int, bytes]:
    path, _, query = target.partition("?")
    names = {part.partition("=")[0] for part in query.split("&")}
    has_key = path.strip("/").count("/") > 0
    if method == "POST" and "uploads" in names:
        return 200, b"<R><UploadId>u</UploadId></R>"
    if method == "POST":
        return 200, b"<R><ETag>e</ETag></R>"
    if method in {"GET", "HEAD"} and has_key:
        return 404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
    return 200, b"<R></R>" if method == "GET" else b""


if __name__ == "__main__":
    sys.exit(main())
