"""What the servers share: gRPC and HTTP on 127.0.0.1 and a free port, from threads, until they are told to stop."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wdk_gcp.testing.mischief import Fault, Mischief

HOST = "127.0.0.1"

THREADS = 32
"""Requests at once of a gRPC server; what is beyond waits."""

CHARGED = "wdk-charged"
"""In the metadata of an answer: what the request costs, as `1 reads, 0 writes, 0 deletes`."""

BEFORE: tuple[Fault, ...] = ("throttled", "unavailable", "aborted")
"""Faults that refuse a request before anything is done."""

_CODES = {
    "throttled": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "aborted": grpc.StatusCode.ABORTED,
    "lost": grpc.StatusCode.UNAVAILABLE,
}


class Refused(Exception):
    """The answer to a gRPC request that is refused."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a gRPC service. `answer` raises Refused; of a streaming method it gives all answers, as a list."""

    answer: Callable[[Any], Any]
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    streaming: bool = False


class Context(Protocol):
    """The part of gRPC's that is needed here."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...

    def send_initial_metadata(self, initial_metadata: Any) -> None: ...


class GrpcServer:
    """Serves the methods of one gRPC service while it is entered as a context."""

    def __init__(
        self,
        service: str,
        methods: Mapping[str, Method],
        mischief: Mischief,
        charged: Callable[[], str] | None = None,
    ) -> None:
        """`charged` is asked after each request, in its thread, what that one costs; the answer says it beside itself
        (`CHARGED`)."""
        self.calls: Counter[str] = Counter()
        """How many requests of each method came, those that were refused included."""
        self.mischief = mischief
        self._charged = charged
        self._counting = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"wdk-{service.rpartition('.')[2]}")
        # A port is this server's alone, and the size of a request is for the service to judge.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        self._server = grpc.server(self._threads, options=options)
        self.methods = methods
        handlers = {name: self._handler(name, method) for name, method in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            return self.answered(name, method, request, context)

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from self.answered(name, method, request, context)

        if method.streaming:
            return grpc.unary_stream_rpc_method_handler(streaming, method.read, method.write)
        return grpc.unary_unary_rpc_method_handler(unary, method.read, method.write)

    def answered(self, name: str, method: Method, request: Any, context: Context) -> Any:
        """What the method answers; refusals and costs go to the context."""
        with self._counting:
            self.calls[name] += 1
        fault = self.mischief.draw(name, (*BEFORE, "lost"))
        if fault in BEFORE:
            _abort(context, _CODES[fault], f"{name} is {fault} on purpose; nothing was done")
        try:
            answer = method.answer(request)
        except Refused as refused:
            self._say_cost(context, lost=fault == "lost")
            if fault != "lost":
                _abort(context, refused.code, refused.message)
            answer = None
        else:
            self._say_cost(context, lost=fault == "lost")
        if fault == "lost":
            _abort(context, _CODES[fault], f"the answer to {name} is lost on purpose")
        return answer

    def _say_cost(self, context: Context, *, lost: bool) -> None:
        if self._charged is not None:
            charged = self._charged()
            if not lost:
                context.send_initial_metadata(((CHARGED, charged),))


def _abort(context: Context, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)
    raise AssertionError  # abort() raises


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    """As it was sent, with its escapes: a slash in an object's name is one."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    pairs: tuple[tuple[str, str], ...] = ()
    """The query as it was sent, where a name may come more than once."""

    def all(self, name: str) -> list[str]:
        """The values of what may be said several times."""
        return [value for each, value in self.pairs if each == name]

    @property
    def parts(self) -> tuple[str, ...]:
        """The segments of the path, without their escapes."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @staticmethod
    def of(content: object, status: int = 200, **headers: str) -> HttpAnswer:
        """An answer of JSON."""
        body = json.dumps(content, separators=(",", ":")).encode()
        return HttpAnswer(status, {"Content-Type": "application/json; charset=UTF-8", **headers}, body)


class HttpServer:
    """Serves HTTP while it is entered as a context. `answer` gives None for a connection that ends without one."""

    def __init__(self, answer: Callable[[HttpRequest], HttpAnswer | None]) -> None:
        self._server = _Listener((HOST, 0), _handling(answer))
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="wdk-http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()  # waits for the threads of its connections
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for them
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep for their next request."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # its client has ended it

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no matter of the server's; all else is a bug, and is shown."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handling(answer: Callable[[HttpRequest], HttpAnswer | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # the head and the body leave in one piece

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            target = urlsplit(self.path)
            request = HttpRequest(
                self.command,
                target.path,
                dict(parse_qsl(target.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
                tuple(parse_qsl(target.query, keep_blank_values=True)),
            )
            answered = answer(request)
            if answered is None:
                self.close_connection = True
                return
            self.send_response(answered.status)
            for name, value in answered.headers.items():
                self.send_header(name, value)
            if answered.status != 204:
                self.send_header("Content-Length", str(len(answered.body)))
            self.end_headers()
            self.wfile.write(answered.body)

        do_DELETE = do_GET = do_PATCH = do_POST = do_PUT = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: paths name runs, and the tests look at answers."""

    return Handler
