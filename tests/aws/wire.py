"""A short way to a DynamoDB on this machine, under boto3's clients: a third of what a request costs a test is urllib3's.

What boto3 sends is sent, and what comes back is handed to it, as it is. For tests that are about what a request does;
those of connections, time-outs and lost answers take boto3's own way.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from weakref import finalize

from wdk_aws.testing.inprocess import Answered, Asked

LEFT_OUT = frozenset(("content-length", "host", "user-agent"))
"""Headers that are said anew here, or that nobody reads."""


class Wire:
    """A service for `put_under`. From any thread: a connection has one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._idle: list[_Connection] = []
        finalize(self, _close_all, self._idle)

    def answer(self, asked: Asked) -> Answered:
        connection = self._connection()
        answered = connection.ask(asked)
        self._idle.append(connection)  # not one that failed
        return answered

    def _connection(self) -> _Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return _Connection(self._address)
            if connection.stands():
                return connection
            connection.close()


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._host = f"{address[0]}:{address[1]}"

    def stands(self) -> bool:
        """Whether the server has neither ended it nor said anything unasked."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def ask(self, asked: Asked) -> Answered:
        try:
            self._socket.sendall(_as_http(asked, self._host))
            return self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> Answered:
        status = self._answers.readline()
        if not status:
            raise ConnectionResetError("DynamoDB has ended the connection in a request")
        headers: dict[str, str] = {}
        while (line := self._answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Answered(int(status.split()[1]), headers, self._answers.read(int(headers["content-length"])))

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def _as_http(asked: Asked, host: str) -> bytes:
    target = urlsplit(asked.url)
    lines = [f"{asked.method} {target.path or '/'} HTTP/1.1", f"host: {host}", f"content-length: {len(asked.body)}"]
    lines += [f"{name}: {value}" for name, value in asked.headers.items() if name not in LEFT_OUT]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + asked.body


def _close_all(idle: list[_Connection]) -> None:
    for connection in idle:
        connection.close()
