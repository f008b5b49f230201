"""A Cloud Storage that runs here: the part of the JSON API that Google's client uses for objects and buckets."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, replace
from email.message import Message as Mail
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from wdk_cloud.world.clock import SystemClock
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.objects import Buckets, Conditions, Failed, StoredObject, crc32c, fail, md5
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.cloud.storage import Client  # pyright: ignore[reportMissingTypeStubs]

    from wdk_cloud.world.ports import Clock

BATCH = 100
"""Requests in a batch at most: https://cloud.google.com/storage/docs/batch."""

METHOD = "X-Wdk-Method"
"""A header of each answer: under which name of a method its request was counted."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SENT = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass
class Upload:
    """A resumable upload that is under way."""

    bucket: str
    name: str
    said: Mapping[str, Any]
    conditions: Conditions
    data: bytes = b""
    done: StoredObject | None = None


class CloudStorageServer:
    """Cloud Storage on 127.0.0.1, while it is entered as a context.

        with CloudStorageServer() as storage:
            bucket = storage.client().create_bucket("runs")

    `url` is also what `STORAGE_EMULATOR_HOST` wants. Writes are atomic and strongly consistent, with preconditions on
    generations; requests that come at the same time are served from threads. Times are those of `clock`, by default the
    machine's; `mischief` are its faults. It keeps live objects only (no earlier
    generations), and knows no access control, no signed URLs and no compose.
    """

    def __init__(self, *, clock: Clock | None = None, mischief: Mischief | None = None) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.mischief = Mischief() if mischief is None else mischief
        self.calls: Counter[str] = Counter()
        """How many requests of each method of the API came, those that were refused included: `objects.insert`,
        `objects.get` (of the content, too), `objects.list`, …; `objects.upload` is a piece of a resumable upload."""
        self.granted: frozenset[str] | None = None
        """The permissions that callers have, for those who ask which; None is all. No request is held to them."""
        self._buckets = Buckets(self.clock)
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._http = HttpServer(self._answer)
        self.url = self._http.url

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def client(self) -> Client:
        """A new client of this server; close it after use."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client  # pyright: ignore[reportMissingTypeStubs]

        return Client("wdk-testing", AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def expire(self) -> int:
        """Delete what the lifecycle rules of the buckets let go by now. How many objects that were."""
        return self._buckets.expire()

    # -- HTTP -------------------------------------------------------------------------------------------------------

    def _answer(self, request: HttpRequest) -> HttpAnswer | None:
        if request.parts[:2] == ("batch", "storage"):
            return self._batch(request)
        name, method = self._route(request)
        with self._lock:
            self.calls[name] += 1
        fault = self.mischief.draw(name, ("throttled", "unavailable", "lost"))
        if fault == "throttled":
            return _error(429, "rateLimitExceeded", "Refused on purpose; nothing was done")
        if fault == "unavailable":
            return _error(503, "backendError", "Refused on purpose; nothing was done")
        try:
            answer = method(request)
        except Failed as failed:
            answer = _error(failed.status, failed.reason, failed.message)
        return None if fault == "lost" else replace(answer, headers={**answer.headers, METHOD: name})

    def _route(self, request: HttpRequest) -> tuple[str, Callable[[HttpRequest], HttpAnswer]]:
        match request.method, request.parts:
            case "POST", ("upload", "storage", "v1", "b", _, "o"):
                return "objects.insert", self._insert
            case "PUT", ("upload", "storage", "v1", "b", _, "o"):
                return "objects.upload", self._upload
            case "GET", ("storage", "v1", "b", _, "o"):
                return "objects.list", self._list
            case "GET", ("storage" | "download", *_, "b", _, "o", _):
                return "objects.get", self._get
            case "PATCH" | "PUT", ("storage", "v1", "b", _, "o", _):
                return "objects.patch", self._patch
            case "DELETE", ("storage", "v1", "b", _, "o", _):
                return "objects.delete", self._delete
            case "POST", ("storage", "v1", "b", _, "o", _, "rewriteTo" | "copyTo", "b", _, "o", _):
                return "objects.rewrite", self._rewrite
            case "GET", ("storage", "v1", "b", _, "iam", "testPermissions"):
                return "buckets.testIamPermissions", self._test_permissions
            case method, ("storage", "v1", "b", *_) if len(request.parts) <= 4:
                return f"buckets.{method.lower()}", self._bucket
            case _:
                return "unknown", _unknown

    # -- objects ----------------------------------------------------------------------------------------------------

    def _insert(self, request: HttpRequest) -> HttpAnswer:
        bucket, kind = request.parts[4], request.query.get("uploadType")
        conditions = Conditions.of(request.query)
        if kind == "media":
            said: dict[str, Any] = {"contentType": request.headers.get("content-type"), **_hashes(request)}
            return self._stored(bucket, request.query.get("name", ""), request.body, said, conditions)
        if kind == "multipart":
            said, data = _related(request)
            name = request.query.get("name") or said.get("name", "")
            return self._stored(bucket, name, data, {**said, **_hashes(request)}, conditions)
        if kind != "resumable":
            fail(400, "invalidParameter", f"Invalid value for uploadType: {kind!r}")
        self._buckets.bucket(bucket)
        said = json.loads(request.body or b"{}")
        said.setdefault("contentType", request.headers.get("x-upload-content-type"))
        key = uuid4().hex
        name = request.query.get("name") or said.get("name", "")
        with self._lock:
            self._uploads[key] = Upload(bucket, name, said, conditions)
        where = f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        return HttpAnswer(200, {"Location": where, "X-GUploader-UploadID": key})

    def _upload(self, request: HttpRequest) -> HttpAnswer:
        """A piece of a resumable upload, or the question how far it has come."""
        with self._lock:
            upload = self._uploads.get(request.query.get("upload_id", ""))
            if upload is None:
                fail(404, "notFound", "There is no such upload")
            sent = _SENT.fullmatch(request.headers.get("content-range", ""))
            if upload.done is None:
                if sent and sent[1] is not None:  # a piece that begins before what we have repeats some of it
                    if int(sent[1]) > len(upload.data):
                        fail(503, "backendError", "A piece before this one is missing")
                    upload.data = upload.data[: int(sent[1])] + request.body
                elif not sent:
                    upload.data = request.body
                if not sent or sent[3] == str(len(upload.data)):
                    said = {**upload.said, **_hashes(request)}
                    upload.done = self._buckets.put(upload.bucket, upload.name, upload.data, said, upload.conditions)
        if upload.done is None:
            reached = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
            return HttpAnswer(308, reached)
        return HttpAnswer.of(upload.done.shown(self.url))

    def _stored(
        self, bucket: str, name: str, data: bytes, said: Mapping[str, Any], conditions: Conditions
    ) -> HttpAnswer:
        return HttpAnswer.of(self._buckets.put(bucket, name, data, said, conditions).shown(self.url))

    def _get(self, request: HttpRequest) -> HttpAnswer:
        *_, bucket, _, name = request.parts
        there = self._buckets.get(bucket, name, _generation(request), Conditions.of(request.query))
        if request.parts[0] != "download" and request.query.get("alt") != "media":
            return HttpAnswer.of(there.shown(self.url))
        return _media(there, request.headers.get("range", ""))

    def _patch(self, request: HttpRequest) -> HttpAnswer:
        *_, bucket, _, name = request.parts
        said = json.loads(request.body or b"{}")
        return HttpAnswer.of(self._buckets.patch(bucket, name, said, Conditions.of(request.query)).shown(self.url))

    def _delete(self, request: HttpRequest) -> HttpAnswer:
        *_, bucket, _, name = request.parts
        self._buckets.delete(bucket, name, _generation(request), Conditions.of(request.query))
        return HttpAnswer(204)

    def _list(self, request: HttpRequest) -> HttpAnswer:
        found, prefixes, token = self._buckets.list(request.parts[3], request.query)
        page: dict[str, Any] = {"kind": "storage#objects", "items": [item.shown(self.url) for item in found]}
        if prefixes:
            page["prefixes"] = prefixes
        if token:
            page["nextPageToken"] = token
        return HttpAnswer.of(page)

    def _rewrite(self, request: HttpRequest) -> HttpAnswer:
        _, _, _, bucket, _, name, verb, _, to_bucket, _, to_name = request.parts
        source = self._buckets.get(
            bucket, name, _generation(request, "sourceGeneration"), Conditions.of(request.query, "ifSource")
        )
        said = {**source.given, **json.loads(request.body or b"{}")}
        said = {key: value for key, value in said.items() if key not in ("crc32c", "md5Hash")}
        made = self._buckets.put(to_bucket, to_name, source.data, said, Conditions.of(request.query)).shown(self.url)
        if verb == "copyTo":
            return HttpAnswer.of(made)
        size = made["size"]
        done = {"kind": "storage#rewriteResponse", "done": True, "objectSize": size, "totalBytesRewritten": size}
        return HttpAnswer.of({**done, "resource": made})

    # -- buckets, batches -------------------------------------------------------------------------------------------

    def _bucket(self, request: HttpRequest) -> HttpAnswer:
        said = json.loads(request.body or b"{}")
        match request.method, request.parts[3:]:
            case "POST", ():
                return HttpAnswer.of(self._buckets.create(said))
            case "GET", ():
                found = [self._buckets.bucket(name) for name in self._buckets.names()]
                return HttpAnswer.of({"kind": "storage#buckets", "items": found})
            case "GET", (name,):
                return HttpAnswer.of(self._buckets.bucket(name))
            case "PATCH" | "PUT", (name,):
                return HttpAnswer.of(self._buckets.change(name, said))
            case "DELETE", (name,):
                self._buckets.drop(name)
                return HttpAnswer(204)
            case _:
                return _unknown(request)

    def _test_permissions(self, request: HttpRequest) -> HttpAnswer:
        self._buckets.bucket(request.parts[3])  # it has to be there
        has = [one for one in request.all("permissions") if self.granted is None or one in self.granted]
        return HttpAnswer.of({"kind": "storage#testIamPermissionsResponse", "permissions": has})

    def _batch(self, request: HttpRequest) -> HttpAnswer:
        """Each request on its own, in order; one whose answer is lost on purpose looks unavailable."""
        pieces = _pieces(request)
        if len(pieces) > BATCH:
            return _error(400, "badRequest", f"A batch may hold {BATCH} requests at most")
        boundary = f"batch_{uuid4().hex}"
        body = b""
        for number, (_, piece) in enumerate(pieces):
            answer = self._answer(_inner(piece)) or _error(503, "backendError", "The answer is lost on purpose")
            head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
            lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            outer = f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n"
            body += (outer + head + lines + "\r\n").encode() + answer.body + b"\r\n"
        kind = f"multipart/mixed; boundary={boundary}"
        return HttpAnswer(200, {"Content-Type": kind}, body + f"--{boundary}--\r\n".encode())


def _media(there: StoredObject, wanted: str) -> HttpAnswer:
    headers = {
        "Content-Type": there.given.get("contentType", "application/octet-stream"),
        "ETag": there.etag,
        "X-Goog-Generation": str(there.generation),
        "X-Goog-Metageneration": str(there.metageneration),
        "X-Goog-Hash": f"crc32c={crc32c(there.data)},md5={md5(there.data)}",
        "X-Goog-Stored-Content-Encoding": there.given.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(len(there.data)),
    }
    if "contentEncoding" in there.given:
        headers["Content-Encoding"] = there.given["contentEncoding"]
    size = len(there.data)
    asked = _RANGE.fullmatch(wanted)
    if not asked or asked[0] == "bytes=-":
        return HttpAnswer(200, headers, there.data)
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if first >= size or last < first:
        return HttpAnswer(416, {"Content-Range": f"bytes */{size}"}, b"Requested range not satisfiable")
    return HttpAnswer(206, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, there.data[first : last + 1])


def _unknown(request: HttpRequest) -> HttpAnswer:
    return _error(501, "notImplemented", f"{request.method} {request.path} is not here")


def _error(status: int, reason: str, message: str) -> HttpAnswer:
    if status == 304:
        return HttpAnswer(304)
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return HttpAnswer.of({"error": {"code": status, "message": message, "errors": errors}}, status)


def _generation(request: HttpRequest, name: str = "generation") -> int | None:
    said = request.query.get(name)
    return int(said) if said else None


def _hashes(request: HttpRequest) -> dict[str, str]:
    """What the header X-Goog-Hash says of the content."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    pairs = (part.strip().partition("=") for part in request.headers.get("x-goog-hash", "").split(","))
    return {names[key]: value for key, _, value in pairs if key in names}


def _related(request: HttpRequest) -> tuple[dict[str, Any], bytes]:
    """What a multipart upload says of the object, and the object."""
    pieces = _pieces(request)
    if len(pieces) != 2:
        fail(400, "badContent", "A multipart upload has two parts")
    (_, said), (headers, data) = pieces
    return {"contentType": headers.get("content-type"), **json.loads(said)}, data


def _pieces(request: HttpRequest) -> list[tuple[dict[str, str], bytes]]:
    """Headers and content of each part of a multipart body. Not by the email package, which changes line ends."""
    mail = Mail()
    mail["Content-Type"] = request.headers.get("content-type", "")
    boundary = mail.get_param("boundary")
    if not isinstance(boundary, str):
        fail(400, "badContent", "The body is not multipart")
    newline = b"\r\n" if b"\r\n--" + boundary.encode() in request.body else b"\n"
    parts = (newline + request.body).split(newline + b"--" + boundary.encode())[1:-1]
    found: list[tuple[dict[str, str], bytes]] = []
    for part in parts:
        head, _, content = part.removeprefix(newline).partition(newline * 2)
        lines = (line.partition(":") for line in head.decode().splitlines())
        found.append(({name.strip().lower(): value.strip() for name, _, value in lines}, content))
    return found


def _inner(piece: bytes) -> HttpRequest:
    """A request in a batch."""
    head, _, body = piece.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode().strip().splitlines()
    method, target, _ = first.split(" ", 2)
    parts = urlsplit(target)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return HttpRequest(method, parts.path, dict(parse_qsl(parts.query)), headers, body)
