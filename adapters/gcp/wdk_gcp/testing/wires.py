"""Looks on at what Google's clients send and get: gRPC through interceptors, HTTP through an adapter of `requests`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import grpc
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Look = Callable[["Exchange"], None]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt of a request, and what came of it."""

    method: str
    """As the service names it: `Commit`, `objects.insert`."""
    request: Any
    """The message; of HTTP, the object's name or the bucket's."""
    error: str = ""
    """The status; "" for a success."""
    said: Mapping[str, str] = field(default_factory=dict[str, str])
    """The metadata that came before the answer, or its headers, by their names in lower case."""
    documents: int = 0
    """Of a query: how many came."""


# -- gRPC -------------------------------------------------------------------------------------------------------------


def calling(client: Any, look: Look) -> Any:
    """A client of the same kind, on the same connection; `look` is handed each of its attempts."""
    channel = grpc.intercept_channel(client.transport.grpc_channel, _Looking(look))
    return type(client)(transport=type(client.transport)(channel=channel))


class _Looking(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, look: Look) -> None:
        self._look = look

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        self._look(_exchange(client_call_details, request, call, _status(call.code())))
        return call

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return _Answers(continuation(client_call_details, request), client_call_details, request, self._look)


class _Answers:
    """Those of a streaming method. Documents that were asked for by name are charged whether anybody takes them; a
    query when it has ended, since its answers are what it costs."""

    def __init__(self, call: Any, details: Any, request: Any, look: Look) -> None:
        self._call = call
        self._details, self._request = details, request
        self._look: Look | None = look
        self._documents = 0

    def __iter__(self) -> _Answers:
        return self

    def __next__(self) -> Any:
        try:
            answer = next(self._call)
        except StopIteration:
            self._tell("")
            raise
        except grpc.RpcError as error:
            code: Any = error  # a call that failed is its own error
            self._tell(_status(code.code()))
            raise
        if hasattr(_plain(answer), "found"):  # of documents by name
            self._tell("")
        else:
            self._documents += bool(answer.document.name)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _tell(self, error: str) -> None:
        look, self._look = self._look, None
        if look is not None:
            look(_exchange(self._details, self._request, self._call, error, self._documents))


def _exchange(details: Any, request: Any, call: Any, error: str, documents: int = 0) -> Exchange:
    method = details.method.rpartition("/")[2]
    said = {name: value for name, value in call.initial_metadata() or () if isinstance(value, str)}
    return Exchange(method, _plain(request), error, said, documents)


def _plain(message: Any) -> Any:
    """The protobuf message beneath the library's."""
    kind = cast("Any", type(message))
    return kind.pb(message) if hasattr(kind, "pb") else message


def _status(code: Any) -> str:
    return "" if code is grpc.StatusCode.OK else code.name


# -- HTTP -------------------------------------------------------------------------------------------------------------


def sending(session: Any, look: Look) -> None:
    """`look` is handed each request of the session to Cloud Storage."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _LookingAdapter(look))


class _LookingAdapter(HTTPAdapter):
    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        method, name = _named(request.method, urlsplit(str(request.url)).path)
        try:
            answer = super().send(request, *args, **kwargs)
        except OSError as error:
            self._look(Exchange(method, name, type(error).__name__))
            raise
        said = {header.lower(): value for header, value in answer.headers.items()}
        self._look(Exchange(method, name, "" if answer.ok else str(answer.status_code), said))
        return answer


def _named(method: str, path: str) -> tuple[str, str]:
    """As the reference of the JSON API names the request; and what it is about."""
    parts = path.strip("/").removeprefix("upload/").removeprefix("download/").split("/")
    match method, parts[3:]:
        case "POST", [bucket, "o"]:
            return "objects.insert", bucket
        case "PUT", [bucket, "o"]:
            return "objects.upload", bucket
        case "GET", [bucket, "o"]:
            return "objects.list", bucket
        case "POST", [_, "o", name, "rewriteTo" | "copyTo", *_]:
            return "objects.rewrite", unquote(name)
        case _, [_, "o", name]:
            return f"objects.{_VERBS.get(method, method.lower())}", unquote(name)
        case _:
            return f"buckets.{method.lower()}", "/".join(parts[3:])


_VERBS = {"PUT": "patch"}
