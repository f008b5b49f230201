"""The datagrams by which processes wake each other: one byte that says what happened, then the marks of runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MESSAGES = 1
"""A message is visible, or soon will be."""
RUNS = 2
"""Runs have ended; their marks follow."""

MARKS_PER_DATAGRAM = 250  # about 1 KB: below every loopback's limit

LOOPBACK = "127.0.0.1"


class Bell:
    """A socket that other processes ring. `port` is 0 where none can be had: then the slow look finds everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rung: Callable[[int, Iterable[int]], None]) -> None:
        self._loop = loop
        self._rung = rung
        self._endpoint: asyncio.Task[asyncio.BaseTransport] | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        try:
            loop.add_reader(self._socket, self._read)
        except NotImplementedError:  # the proactor loop of Windows
            self._endpoint = loop.create_task(self._make_endpoint())

    async def _make_endpoint(self) -> asyncio.BaseTransport:
        transport, _ = await self._loop.create_datagram_endpoint(lambda: _Protocol(self._hear), sock=self._socket)
        return transport

    def close(self) -> None:
        if self._endpoint is None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        elif self._endpoint.done() and not self._endpoint.cancelled():
            self._endpoint.result().close()
        else:
            self._endpoint.cancel()
            self._socket.close()

    def _read(self) -> None:
        """Everything that has come, heard as one: a burst makes one look."""
        wants = 0
        marks: set[int] = set()
        # The socket has nothing more (BlockingIOError); on Windows an answer to what we sent may come as an error.
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            for _ in range(1000):  # a stranger who floods us does not get the whole loop
                kind, more = parse(self._socket.recv(2048))
                wants |= kind
                marks.update(more)
        self._rung(wants, marks)

    def _hear(self, data: bytes) -> None:
        self._rung(*parse(data))


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear = hear

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._hear(data)


def parse(data: bytes) -> tuple[int, Sequence[int]]:
    """What a datagram says; one of a stranger may hold anything and means nothing or a look too many."""
    if not data:
        return 0, ()
    count = (len(data) - 1) // 4
    return data[0], struct.unpack_from(f"<{count}I", data, 1)


def ring(ports: Sequence[int], wants: int, marks: Iterable[int]) -> None:
    """Tell the listeners at these ports. What cannot be sent is lost: they look by themselves."""
    if not ports:
        return
    listed = list(marks)
    datagrams = [
        struct.pack(f"<B{len(part)}I", wants, *part)
        for start in range(0, max(1, len(listed)), MARKS_PER_DATAGRAM)
        for part in (listed[start : start + MARKS_PER_DATAGRAM],)
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for port in ports:
            for datagram in datagrams:
                with contextlib.suppress(OSError):  # see above: full buffers, a listener that is gone
                    sender.sendto(datagram, (LOOPBACK, port))
