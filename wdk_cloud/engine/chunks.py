"""What lies in the objects of a stream: chunks, or its end; each knows the index of its first chunk.

An object is a head of fixed size, the name of its producer, and a body: the chunks behind each other, packed or sealed
as a whole and bound to its place. The head is never sealed: who appends must know where the object before it ends.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import encode as encode_value
from wdk_cloud.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.codec.sealing import Sealer

VERSION = 1

Kind = Literal["chunks", "closed", "error", "cut"]
"""Ends: somebody closed it, its producer failed, its run ended before its producer did."""

_KINDS: tuple[Kind, ...] = ("chunks", "closed", "error", "cut")

# Version, kind, index of the first chunk, number of chunks, how many chunks the producer has written with these, a
# nonce by which a writer knows its own object, the length of the producer's name.
_HEAD = Struct(">BBQIQ12sH")

# Of a chunk: whether it is a value as JSON text or bytes as they are, and its length.
_CHUNK = Struct(">BI")
_BYTES, _VALUE = 0, 1

NONCE_BYTES = 12

MAX_CHUNK = 8 * 1024 * 1024
"""Bytes of a chunk, as it is stored. A writer, a store and a reader each hold some of them: more belongs into several
chunks."""


class Object(NamedTuple):
    kind: Kind
    first: int
    """Index of its first chunk; of an end the number of chunks before it."""
    chunks: int
    """How many it has."""
    body: bytes
    """Sealed; of an error the encoded exception, else chunks."""
    producer: str = ""
    """Who wrote it: the id of a step's call, the same for each attempt."""
    written: int = 0
    """How many chunks this producer has written, with these."""
    nonce: bytes = b""

    @property
    def next(self) -> int:
        """The index of the chunk that follows."""
        return self.first + self.chunks


class Chunk(NamedTuple):
    """`data` is the JSON text of a value, or bytes as they were written."""

    data: bytes
    is_value: bool


def encoded(chunk: object, known: KnownTypes) -> bytes:
    """A chunk as users write it, as it lies among others. Raises SerializationError."""
    if isinstance(chunk, bytes | bytearray | memoryview):
        return framed(bytes(cast("bytes", chunk)), is_value=False)
    return framed(encode_value(chunk, path="chunk", known=known), is_value=True)


def framed(data: bytes, *, is_value: bool) -> bytes:
    """One chunk as it lies among others. Raises SerializationError for one that is too large."""
    if len(data) > MAX_CHUNK:
        raise SerializationError(
            f"write() was given a chunk of {len(data):,} bytes, larger than the {MAX_CHUNK:,} that one may have; write "
            "it in parts"
        )
    return _CHUNK.pack(_VALUE if is_value else _BYTES, len(data)) + data


def unframed(frames: bytes) -> Iterator[Chunk]:
    view, at, end = memoryview(frames), 0, len(frames)
    while at < end:
        if at + _CHUNK.size > end:
            raise SerializationError("an object of a stream is damaged: it ends within a chunk")
        kind, length = _CHUNK.unpack_from(view, at)
        at += _CHUNK.size
        if at + length > end:
            raise SerializationError("an object of a stream is damaged: it ends within a chunk")
        yield Chunk(bytes(view[at : at + length]), kind == _VALUE)
        at += length


def new_nonce() -> bytes:
    return os.urandom(NONCE_BYTES)


def encode(object: Object) -> bytes:
    producer = object.producer.encode()
    head = _HEAD.pack(
        VERSION,
        _KINDS.index(object.kind),
        object.first,
        object.chunks,
        object.written,
        object.nonce or bytes(NONCE_BYTES),
        len(producer),
    )
    return b"".join((head, producer, object.body))


def decode(data: bytes) -> Object:
    """Raises SerializationError for what is no object, NewerFormatError for one of a newer version."""
    if data and data[0] > VERSION:
        raise NewerFormatError(
            f"an object of a stream has the format {data[0]}; this version of wdk-cloud knows {VERSION}"
        )
    if len(data) < _HEAD.size or data[0] != VERSION or data[1] >= len(_KINDS):
        raise SerializationError("an object of a stream is damaged: it does not begin as one")
    _, kind, first, count, written, nonce, length = _HEAD.unpack_from(data)
    begin = _HEAD.size + length
    if begin > len(data):
        raise SerializationError("an object of a stream is damaged: it is cut off")
    try:
        producer = data[_HEAD.size : begin].decode()
    except UnicodeDecodeError:
        raise SerializationError("an object of a stream is damaged: its producer has no name") from None
    return Object(_KINDS[kind], first, count, data[begin:], producer, written, cast("bytes", nonce))


def sealed(sealer: Sealer, stream: str, ordinal: int, frames: Iterable[bytes]) -> bytes:
    return sealer.seal_object("stream", _place(stream, ordinal), b"".join(frames))


def opened(sealer: Sealer, stream: str, ordinal: int, body: bytes) -> bytes:
    return sealer.open_object("stream", _place(stream, ordinal), body)


def _place(stream: str, ordinal: int) -> str:
    return f"{stream}\n{ordinal}"
