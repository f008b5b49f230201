"""S3 in this process, under boto3's clients: one bucket's objects, with the conditional writes that streams rest on."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from wdk_aws.testing.inprocess import Answered, Asked, put_under

if TYPE_CHECKING:
    from boto3.session import Session

    from wdk_cloud.world.ports import Clock

PAGE = 1000

KEPT = ("content-type", "content-encoding")
"""Headers of a PUT that come back with the object, besides its metadata."""


class Stored(NamedTuple):
    data: bytes
    headers: dict[str, str]
    written: float


class Objects:
    """All buckets exist, and are empty at first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.stored: dict[tuple[str, str], Stored] = {}
        self._lock = threading.Lock()

    def put_under(self, session: Session) -> None:
        put_under(session, "s3", self)

    def answer(self, asked: Asked) -> Answered:
        parts = urlsplit(asked.url)
        bucket, key = _place(parts.netloc, unquote(parts.path))
        query = parse_qs(parts.query, keep_blank_values=True)
        with self._lock:
            if not key:
                return self._of_bucket(asked, bucket, query)
            return self._of_object(asked, (bucket, key))

    def _of_object(self, asked: Asked, at: tuple[str, str]) -> Answered:
        there = self.stored.get(at)
        if asked.method == "PUT":
            if asked.headers.get("if-none-match") == "*" and there is not None:
                return _error(
                    412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"
                )
            headers = {
                name: value for name, value in asked.headers.items() if name in KEPT or name.startswith("x-amz-meta-")
            }
            if (source := asked.headers.get("x-amz-copy-source")) is not None:
                return self._copy(unquote(source), at, headers)
            self.stored[at] = there = Stored(_unchunked(asked), headers, self._clock.now())
            return Answered(200, {"etag": _etag(there.data)})
        if asked.method == "DELETE":
            self.stored.pop(at, None)
            return Answered(204, {})
        if there is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {**there.headers, "etag": _etag(there.data), "content-length": str(len(there.data))}
        return Answered(200, headers, b"" if asked.method == "HEAD" else there.data)

    def _copy(self, source: str, at: tuple[str, str], headers: dict[str, str]) -> Answered:
        bucket, _, key = source.removeprefix("/").partition("/")
        there = self.stored.get((bucket, key))
        if there is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        self.stored[at] = copied = Stored(there.data, headers, self._clock.now())
        return _xml(f"<CopyObjectResult><ETag>{escape(_etag(copied.data))}</ETag></CopyObjectResult>")

    def _of_bucket(self, asked: Asked, bucket: str, query: dict[str, list[str]]) -> Answered:
        if asked.method == "POST" and "delete" in query:
            return self._delete_many(asked, bucket)
        if asked.method == "GET":
            return self._list(bucket, query)
        return Answered(200, {})

    def _list(self, bucket: str, query: dict[str, list[str]]) -> Answered:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        most = int(query.get("max-keys", [str(PAGE)])[0])
        keys = sorted(key for place, key in self.stored if place == bucket and key.startswith(prefix) and key > after)
        page = keys[:most]
        contents = "".join(_entry(key, self.stored[bucket, key]) for key in page)
        more = len(keys) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{escape(bucket)}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )

    def _delete_many(self, asked: Asked, bucket: str) -> Answered:
        from xml.etree import ElementTree

        # What comes here was written by botocore in this process.
        for found in ElementTree.fromstring(asked.body).iter():  # noqa: S314
            if found.tag.endswith("Key"):
                self.stored.pop((bucket, found.text or ""), None)
        return _xml("<DeleteResult></DeleteResult>")


def _place(host: str, path: str) -> tuple[str, str]:
    """Bucket and key: the bucket stands in the host's name, or first in the path."""
    first, _, rest = host.partition(".")
    if rest.startswith("s3"):
        return first, path.removeprefix("/")
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key


def _unchunked(asked: Asked) -> bytes:
    """A body in chunks with a checksum behind them (`aws-chunked`) is what botocore sends where it may stream."""
    if "aws-chunked" not in asked.headers.get("content-encoding", ""):
        return asked.body
    data, rest = bytearray(), asked.body
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            return bytes(data)
        data += rest[:size]
        rest = rest[size + 2 :]


def _entry(key: str, object: Stored) -> str:
    written = datetime.fromtimestamp(object.written, UTC).isoformat(timespec="milliseconds")
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{written}</LastModified><Size>{len(object.data)}</Size>"
        "</Contents>"
    )


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _xml(text: str, status: int = 200) -> Answered:
    return Answered(status, {"content-type": "application/xml"}, f'<?xml version="1.0"?>{text}'.encode())


def _error(status: int, code: str, message: str) -> Answered:
    return _xml(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", status)
