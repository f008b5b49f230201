"""What goes over HTTP, as values: the request that a webhook receives, and the response to it, or that of a `fetch`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeGuard, cast

from wdk_cloud.codec.extensions import register_extension
from wdk_cloud.errors import WorkflowContextError

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""A token of RFC 9110, section 5.6.2: what a header may be called."""

_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
"""Of RFC 9110, section 5.5: no line may end in it, or it could begin a header, or a body, of somebody else's."""

FIRST_STATUS, LAST_STATUS = 200, 599
"""Of a whole response; 1xx only announce one."""

Pairs = Iterable[tuple[str, str]]


class Headers(Mapping[str, str]):
    """Header fields: names ignore case, and come in lower case. A name that is there more than once has its values
    joined by `", "`; `pairs` keeps them apart, as `Set-Cookie` needs."""

    __slots__ = ("_joined", "pairs")

    def __init__(self, fields: Mapping[str, str] | Pairs = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple(_checked(fields))
        self._joined: dict[str, str] = {}
        for name, value in self.pairs:
            there = self._joined.get(name)
            self._joined[name] = value if there is None else f"{there}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._joined

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self._joined)}>"  # values may be secrets


def _checked(fields: Mapping[str, str] | Pairs) -> Iterator[tuple[str, str]]:
    pairs = cast("Pairs", fields.items() if isinstance(fields, Mapping) else fields)
    for name, value in pairs:
        if not _is_text(name) or not re.fullmatch(_NAME, name):
            raise ValueError(f"a header cannot be called {name!r}: letters, digits and - are what to use")
        if not _is_text(value) or not re.fullmatch(_VALUE, value):
            raise ValueError(f"the header {name} has a value with a line break, or one that is not Latin-1 text")
        yield name.lower(), value.strip(" \t")


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


class _Message:
    """Headers and a body."""

    headers: Headers
    body: bytes

    def text(self) -> str:
        """The body as text, in the charset of its content type, else in UTF-8; what does not fit becomes U+FFFD."""
        charset = re.search(r"charset=\"?([\w.-]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        try:
            return self.body.decode(charset[1] if charset else "utf-8", "replace")
        except LookupError:  # no charset that Python knows
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body read as JSON. Raises `ValueError` for one that is none."""
        import json

        return json.loads(self.body)


class Response(_Message):
    """A response: `status`, `headers`, `body` (bytes), `text()` and `json()`.

    `body` may be given as text, then it is UTF-8 and, if no header says otherwise, `text/plain`. Raises `ValueError`
    for a status outside 200 to 599 and for a header that would break the message, `TypeError` for another kind of body.
    """

    def __init__(
        self, status: int = 200, body: str | bytes | None = None, headers: Mapping[str, str] | Pairs = ()
    ) -> None:
        if type(status) is not int or not FIRST_STATUS <= status <= LAST_STATUS:
            raise ValueError(f"a response has a status from {FIRST_STATUS} to {LAST_STATUS}, not {status!r}")
        if body is not None and not isinstance(body, str | bytes):
            raise TypeError(f"the body of a response is str or bytes, not {type(body).__name__}")
        self.status = status
        self.headers = Headers(headers)
        if isinstance(body, str) and "content-type" not in self.headers:
            self.headers = Headers((*self.headers.pairs, ("content-type", "text/plain; charset=utf-8")))
        self.body: bytes = body.encode() if isinstance(body, str) else body or b""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Response):
            return NotImplemented
        return (self.status, self.headers.pairs, self.body) == (other.status, other.headers.pairs, other.body)

    __hash__ = None  # pyright: ignore[reportAssignmentType] -- as of every value that may be compared and is mutable

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


class ReplyAddress(NamedTuple):
    """Where the answer to a request is put. It goes along with the request, to whichever run takes that."""

    namespace: str
    run_id: str
    birth: str
    """Of the run that received the request."""
    id: str
    key: str = ""
    """That the answer is sealed with, where the run is encrypted; base64. Its caller alone has it, and whoever opens
    the request."""

    def __repr__(self) -> str:
        return f"<the address of an answer to run {self.run_id}>"


class Request(_Message):
    """What a webhook received: `method`, `url` (whole, with its query), `headers`, `body` (bytes), `text()`, `json()`.

    One to a webhook made with `respond_with="manual"` waits for `respond_with(Response(…))`, which a step calls. Making
    one, for `resume_webhook`, raises `ValueError` for what is no request, `TypeError` for another kind of body.
    """

    def __init__(
        self,
        method: str = "POST",
        url: str = "",
        headers: Mapping[str, str] | Pairs = (),
        body: str | bytes | None = None,
    ) -> None:
        if not _is_text(method) or not re.fullmatch(_NAME, method):
            raise ValueError(f"{method!r} is no method of HTTP")
        if body is not None and not isinstance(body, str | bytes):
            raise TypeError(f"the body of a request is str or bytes, not {type(body).__name__}")
        self.method = method.upper()
        self.url = url
        self.headers = Headers(headers)
        self.body: bytes = body.encode() if isinstance(body, str) else body or b""
        self._reply: ReplyAddress | None = None

    @property
    def reply(self) -> ReplyAddress | None:
        """Where its answer goes; None: the webhook answers by itself."""
        return self._reply

    def with_reply(self, address: ReplyAddress) -> Request:
        """The same request, to be answered at that `address`; for the routes that receive requests."""
        twin = Request(self.method, self.url, self.headers.pairs, self.body)
        twin._reply = address
        return twin

    async def respond_with(self, response: Response) -> None:
        """Answer whoever sent it with this `response`, in a step. The first answer counts: a later one, as of a step
        that is tried again, changes nothing. Raises WorkflowContextError in a body, and for a request that needs no
        answer, `TypeError` for what is no Response."""
        from wdk_cloud.answering import answer

        if not isinstance(response, Response):
            raise TypeError(f"respond_with takes a Response, not {type(response).__name__}")
        if self._reply is None:
            raise WorkflowContextError(
                "this request has its answer already; make its webhook with "
                'create_webhook(respond_with="manual") to answer by respond_with()'
            )
        await answer(self._reply, response)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return parts_of_request(self) == parts_of_request(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType] -- as above

    def __repr__(self) -> str:
        return f"<Request {self.method}, {len(self.body)} bytes>"  # its URL holds a token


RespondWith = Response | Literal["manual"] | None


def _parts_of_response(response: Response) -> dict[str, object]:
    return {"status": response.status, "headers": _fields(response), "body": response.body}


def _response_from(parts: Any) -> Response:
    return Response(parts["status"], parts["body"], _pairs(parts["headers"]))


def parts_of_request(request: Request) -> dict[str, object]:
    """What a record of it holds."""
    parts: dict[str, object] = {
        "method": request.method,
        "url": request.url,
        "headers": _fields(request),
        "body": request.body,
    }
    reply = request.reply
    if reply is None:
        return parts
    # Without a key as before there were any: a body that passes on an older request asks for what was recorded.
    return {**parts, "reply": list(reply if reply.key else reply[:-1])}


def _request_from(parts: Any) -> Request:
    request = Request(parts["method"], parts["url"], _pairs(parts["headers"]), parts["body"])
    return request.with_reply(ReplyAddress(*parts["reply"])) if "reply" in parts else request


def _fields(message: _Message) -> list[list[str]]:
    return [list(pair) for pair in message.headers.pairs]


def _pairs(fields: list[list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in fields]


register_extension(Response, "response", _parts_of_response, _response_from)
register_extension(Request, "request", parts_of_request, _request_from)
