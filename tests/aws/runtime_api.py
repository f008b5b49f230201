"""A Lambda Runtime API of the tests' own: it hands events to a runtime client and keeps what comes back, byte by byte.

What it speaks is the interface that AWS documents for custom runtimes: `next`, `response`, `error`, `init/error`, and a
response in chunks with trailers where the client asks for the streaming mode.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any

BASE = "/2018-06-01/runtime"

PATIENCE = 30.0
"""Seconds after which an answer counts as one that never comes."""


@dataclass
class Answer:
    """What a client has said to one event, or about its own start."""

    kind: str
    """`response`, `error` or `init`."""
    headers: dict[str, str]
    chunks: list[bytes]
    trailers: dict[str, str]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def streamed(self) -> bool:
        return self.headers.get("lambda-runtime-function-response-mode") == "streaming"

    def http(self) -> tuple[dict[str, Any], bytes]:
        """Of a streamed HTTP answer what precedes it, and its body."""
        prelude, zeros, body = self.body.partition(b"\0" * 8)
        assert zeros, self.body
        return json.loads(prelude), body


@dataclass
class Invocation:
    """One event; `deadline` is in seconds from the moment at which it is taken."""

    id: str
    event: Any
    deadline: float = 30.0
    chunks: SimpleQueue[bytes | None] = field(default_factory=SimpleQueue)
    """As they come in; None is the end."""
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None

    def wait(self, patience: float = PATIENCE) -> Answer:
        assert self.answered.wait(patience), f"invocation {self.id} was not answered"
        assert self.answer is not None
        return self.answer


class RuntimeApi:
    """At `address`, for one client at a time."""

    def __init__(self) -> None:
        self._events: SimpleQueue[Invocation | None] = SimpleQueue()
        self._taken: dict[str, Invocation] = {}
        self.started = Invocation("init", None)
        """Answered when the client says that it cannot start."""
        self.idle = threading.Event()
        """Set when the client has asked for its first event."""
        self._server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"api": self}))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def begin(self, event: Any, deadline: float = 30.0) -> Invocation:
        """Hand in an event; the client may still be at another one."""
        invocation = Invocation(f"invocation-{len(self._taken) + self._events.qsize()}", event, deadline)
        self._events.put(invocation)
        return invocation

    def invoke(self, event: Any, deadline: float = 30.0) -> Answer:
        return self.begin(event, deadline).wait()

    def ask(self, event: Any) -> Any:
        """What the function returns."""
        answer = self.invoke(event)
        assert answer.kind == "response", answer.body
        return answer.document

    def take(self) -> Invocation | None:
        self.idle.set()
        invocation = self._events.get()
        if invocation is not None:
            self._taken[invocation.id] = invocation
        return invocation

    def invocation(self, id: str) -> Invocation:
        return self.started if id == "init" else self._taken[id]

    @contextmanager
    def serving(self) -> Iterator[RuntimeApi]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._events.put(None)
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that is killed says no good-bye
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    api: RuntimeApi  # one class for each server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        assert self.path == f"{BASE}/invocation/next", self.path
        invocation = self.api.take()
        if invocation is None:
            self._answer(410, b"")
            return
        self._answer(
            200,
            json.dumps(invocation.event).encode(),
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invocation.deadline) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:worker",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        *_, id, kind = self.path.removeprefix(BASE).split("/")
        invocation = self.api.invocation(id)
        chunks: list[bytes] = []
        for chunk in self._chunks():
            chunks.append(chunk)
            invocation.chunks.put(chunk)
        headers = {name.lower(): value for name, value in self.headers.items()}
        trailers = self._trailers() if "transfer-encoding" in headers else {}
        invocation.answer = Answer("init" if id == "init" else kind, headers, chunks, trailers)
        self._answer(202, b'{"status":"OK"}')
        invocation.chunks.put(None)
        invocation.answered.set()

    def _chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", "0")))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            assert self.rfile.readline() == b"\r\n"

    def _trailers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            found[name.lower()] = value.strip()
        return found

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self._headers_buffer.append(b"\r\n" + body)  # in one write: a second one waits 40 ms for an acknowledgement
        self.flush_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: the answers say what happened."""
