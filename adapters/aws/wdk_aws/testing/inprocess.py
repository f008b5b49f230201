"""Services that answer inside the process: they stand under boto3's clients, where the network would be.

Everything above is real: signing, serializing, parsing, errors, retries. What a service is asked, it is asked through a
hook of botocore (`before-send`), which takes an answer instead of sending the request.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HTTPHeaders

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from boto3.session import Session


NOT_SENT = "http://not-sent.invalid/"
"""The URL of a request that somebody before us has answered (`faults.py`): there is nothing left to do."""


class Asked(NamedTuple):
    """A request as it would have gone out."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Service(Protocol):
    def answer(self, asked: Asked) -> Answered: ...


def put_under(session: Session, service_id: str, service: Service) -> None:
    """Have the service answer all clients of this session; `service_id` is botocore's (`sqs`, `s3`, `scheduler`).

    Clients copy what their session has registered when they are made: put services under it before."""

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if request.url == NOT_SENT:
            return None
        sent = {_text(name).lower(): _text(value) for name, value in request.headers.items()}
        answered = service.answer(Asked(request.method or "", str(request.url), sent, _bytes(request.body)))
        headers = HTTPHeaders.from_dict(dict(answered.headers))
        return AWSResponse(str(request.url), answered.status, headers, _Raw(answered.body))

    register: Any = session.events.register  # its types allow for no answer
    register(f"before-send.{service_id}", answer)


class _Raw(BytesIO):
    """The body as urllib3 gives it."""

    def stream(self, amt: int = 65536, **_: object) -> Generator[bytes, None, None]:
        while piece := self.read(amt):
            yield piece


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(body: object) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return cast("BytesIO", body).read()
