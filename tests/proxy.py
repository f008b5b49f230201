"""A proxy between a client and one server, which loses requests and answers on the wire.

What a client does then is its own: boto3 repeats a request whose answer did not come, and meets what it wrote itself.
Requests are counted as they arrive, from 1 since the fault was planned; one that a client repeats is another request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Loss = Literal["request", "answer", "unavailable"]
"""The request is dropped; it is done and its answer dropped; or it is not done and answered with 503."""


@dataclass
class _Plan:
    loss: Loss
    number: int
    words: str
    times: int


@dataclass(frozen=True)
class Request:
    """One that arrived."""

    name: str
    """Its operation where a header says it, such as `PutItem`; else its method and path."""
    lost: Loss | None


class Proxy:
    def __init__(self, url: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.server = urlsplit(url)
        self.requests: list[Request] = []
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()

    def lose(self, loss: Loss, *, number: int = 1, words: str = "", times: int = 1) -> None:
        """The request of this number from now, among those in whose name these words occur, and the ones after it, so
        many in all."""
        with self._lock:
            self._plans.append(_Plan(loss, number, words, times))

    def clear(self) -> None:
        with self._lock:
            self._plans.clear()
            self.requests.clear()

    def arrived(self, name: str) -> Loss | None:
        with self._lock:
            lost: Loss | None = None
            for plan in self._plans:
                if plan.words in name:
                    plan.number -= 1
                    if plan.number <= 0 < plan.times:
                        plan.times -= 1
                        lost = plan.loss
            self.requests.append(Request(name, lost))
            return lost


@contextmanager
def proxy_to(url: str) -> Iterator[Proxy]:
    """A proxy to this endpoint, on a free port of this machine."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.proxy = Proxy(url, server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as by the servers behind
    wbufsize = -1  # head and body in one write: two of them wait 40 ms for an acknowledgement
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _forward(self) -> None:
        body = self._body()
        target = self.headers.get("X-Amz-Target", "")
        lost = self.server.proxy.arrived(target.rpartition(".")[2] or f"{self.command} {self.path}")
        if lost == "unavailable":
            self.send_response_only(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if lost == "request":
            self.close_connection = True
            return
        upstream = HTTPConnection(self.server.proxy.server.hostname or "", self.server.proxy.server.port)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if lost == "answer":
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.flush()
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `requests` says it."""
