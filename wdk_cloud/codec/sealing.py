"""What lies in the log and in blobs for a payload: compressed when it saves, sealed when the run has a key.

Everything sealed is bound to its run, kind and id: it opens in no other place than the one it was made for.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from wdk_cloud.codec.limits import HARD_LIMIT, INLINE_LIMIT
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.errors import SerializationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["HARD_LIMIT", "INLINE_LIMIT", "BlobRef", "Sealer", "blob_reference", "is_blob", "pack", "unpack"]

# The first byte of packed data: the format version above, how it is packed below. No JSON text begins with one.
# A CRC-32 of it and all that follows comes next: not every storage has a sum, and a changed digit would pass as JSON.
_RAW, _DEFLATED = 0x10, 0x11
_SUM_BYTES = 4
# Below 1 KB a write costs the same unit either way; a saving under a twentieth is not worth a second's thought.
_COMPRESS_FROM = 1024
_COMPRESS_SAVES = 0.95
# Measured on JSON of orders: level 6 is 7 % smaller than level 1 at twice its time; 9 gains nothing more.
_LEVEL = 6
# Deflate without the header and sum of zlib, which the mark and the CRC replace.
_BARE = -15

# A sealed value at the hard limit is base64 of about 4/3 its size.
_MAX_INFLATED = 2 * HARD_LIMIT

_NONCE_BYTES = 12
_SEALED = b'{"$sealed":"'
_SEALED_END = b'"}'
_SEAL_VERSION = 1
_NO_KEY = "is encrypted, and this process has no key; set WDK_ENCRYPTION_KEY, or the key service of its world"


# packing --------------------------------------------------------------------------------------------------------------


def pack(data: bytes) -> bytes:
    """Data behind a byte that tells whether it is compressed, and a sum; it is from 1 KB up, when that saves."""
    if len(data) >= _COMPRESS_FROM:
        deflated = zlib.compress(data, _LEVEL, _BARE)
        if len(deflated) <= len(data) * _COMPRESS_SAVES:
            return _marked(_DEFLATED, deflated)
    return _marked(_RAW, data)


def _marked(kind: int, body: bytes) -> bytes:
    mark = bytes((kind,))
    return b"".join((mark, _sum(mark, body), body))


def _sum(mark: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(mark)).to_bytes(_SUM_BYTES, "big")


def unpack(data: bytes) -> bytes:
    """What was packed; never more than twice the hard limit, whatever the bytes claim."""
    kind = data[0] if data else None
    if kind not in (_RAW, _DEFLATED):
        if kind is not None and kind > _DEFLATED:
            raise NewerFormatError(f"a record has the packing {kind:#x}, which this version of wdk-cloud does not know")
        raise SerializationError("a record is damaged: it does not begin with the mark of its packing")
    body = data[1 + _SUM_BYTES :]
    if data[1 : 1 + _SUM_BYTES] != _sum(data[:1], body):
        raise SerializationError("a record is damaged: its bytes do not have the sum they were written with")
    return body if kind == _RAW else _inflated(body)


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj(_BARE)
    try:
        inflated = inflater.decompress(body, _MAX_INFLATED)
    except zlib.error as error:
        raise SerializationError(f"a record is damaged: it cannot be decompressed ({error})") from error
    if not inflater.eof or inflater.unused_data:
        raise SerializationError("a record is damaged: it was cut off, or is larger than any that is written")
    return inflated


# blobs ----------------------------------------------------------------------------------------------------------------


class BlobRef(NamedTuple):
    """Stands in the log for a payload that lies in a blob."""

    name: str
    size: int


def blob_reference(name: str, size: int) -> bytes:
    return msgspec.json.encode({"$blob": name, "size": size})


def is_blob(data: bytes) -> BlobRef | None:
    """The blob that a payload refers to, or None. A user's mapping never looks like this: its `$` is escaped."""
    if not data.startswith(b'{"$blob":'):
        return None
    try:
        reference: dict[str, Any] = msgspec.json.decode(data)
        name, size = reference["$blob"], reference["size"]
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError) as error:
        raise SerializationError(f"a reference to a blob cannot be read ({error})") from error
    if not isinstance(name, str) or type(size) is not int:
        raise SerializationError("a reference to a blob holds no name and size")
    return BlobRef(name, size)


# sealing --------------------------------------------------------------------------------------------------------------


class Sealer:
    """Seals and opens the payloads of one run. Without a key it hands everything through."""

    def __init__(self, run_id: str, key: bytes | None) -> None:
        self.run_id = run_id
        self._key = key
        self._made: AESGCM | None = None

    @property
    def encrypts(self) -> bool:
        return self._key is not None

    def seal(self, kind: str, id: str, data: bytes) -> bytes:
        """JSON text that only this run's key opens, and only under the same kind and id."""
        if self._key is None:
            return data
        context = self._context(kind, id)
        nonce = self._nonce(context, data)
        sealed = bytes((_SEAL_VERSION,)) + nonce + self._cipher.encrypt(nonce, pack(data), context)
        return _SEALED + binascii.b2a_base64(sealed, newline=False) + _SEALED_END

    def open(self, kind: str, id: str, data: bytes) -> bytes:
        """The JSON text that was sealed."""
        sealed = data.startswith(_SEALED)
        if self._key is None:
            if sealed:
                raise self._refused(
                    kind,
                    id,
                    _NO_KEY,
                )
            return data
        if not sealed or not data.endswith(_SEALED_END):
            raise self._refused(kind, id, "is not encrypted although the run is; it was damaged or put there by others")
        text = data[len(_SEALED) : -len(_SEALED_END)]
        try:
            content = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            content = b""
        last = content[-(len(content) % 3 or 3) :]
        if not content or not text.endswith(binascii.b2a_base64(last, newline=False)):  # spare bits may hold anything
            raise self._refused(kind, id, "is damaged: what is encrypted is no base64")
        return self._opened(kind, id, content)

    def seal_object(self, kind: str, id: str, data: bytes) -> bytes:
        """As `seal`, for bytes that lie in an object of their own: neither text nor compressed, which would take longer
        than writing them."""
        if self._key is None:
            return _marked(_RAW, data)
        context = self._context(kind, id)
        nonce = self._nonce(context, data)
        return bytes((_SEAL_VERSION,)) + nonce + self._cipher.encrypt(nonce, _marked(_RAW, data), context)

    def open_object(self, kind: str, id: str, data: bytes) -> bytes:
        """What `seal_object` made. Raises SerializationError."""
        if self._key is not None:
            return self._opened(kind, id, data or b"\0")
        if data and data[0] <= _SEAL_VERSION:
            raise self._refused(
                kind,
                id,
                _NO_KEY,
            )
        return unpack(data)

    def _opened(self, kind: str, id: str, content: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if content[0] != _SEAL_VERSION:
            if content[0] > _SEAL_VERSION:
                raise NewerFormatError(f"{self._place(kind, id)} is sealed in a newer format than this code knows")
            raise self._refused(kind, id, "is damaged: it is sealed in a format that never was")
        nonce, ciphertext = content[1 : 1 + _NONCE_BYTES], content[1 + _NONCE_BYTES :]
        try:
            packed = self._cipher.decrypt(nonce, ciphertext, self._context(kind, id))
        except (InvalidTag, ValueError):
            reason = "cannot be decrypted: WDK_ENCRYPTION_KEY is not the key it was written with, or it is damaged"
            raise self._refused(kind, id, reason) from None
        return unpack(packed)

    def blob_name(self, kind: str, id: str, data: bytes) -> str:
        """The name of a blob from its content; one that tells nothing about the content when the run has a key.

        Then it stands for the place as well, as the blob itself is sealed for its place: of the same value in two
        places one would replace the other, and could not be opened there.
        """
        if self._key is None:
            return hashlib.sha256(data).hexdigest()
        context = self._context(kind, id)
        name = hmac.new(self._subkey(b"blob name"), len(context).to_bytes(4, "big") + context, "sha256")
        name.update(data)
        return name.hexdigest()

    @property
    def _cipher(self) -> AESGCM:
        if self._made is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._made = AESGCM(self._key or b"")
        return self._made

    def _context(self, kind: str, id: str) -> bytes:
        return msgspec.json.encode(["wdk", _SEAL_VERSION, self.run_id, kind, id])

    def _nonce(self, context: bytes, data: bytes) -> bytes:
        """Random bytes, hedged with the content: in a workflow body `os.urandom` repeats itself at every replay, and
        two texts under one nonce would give the key stream away."""
        seed = hmac.new(self._subkey(b"nonce"), os.urandom(16), "sha256")
        seed.update(len(context).to_bytes(4, "big") + context)
        seed.update(data)
        return seed.digest()[:_NONCE_BYTES]

    def _subkey(self, purpose: bytes) -> bytes:
        return hmac.digest(self._key or b"", b"wdk " + purpose, "sha256")

    def _place(self, kind: str, id: str) -> str:
        return f"run {self.run_id}: the {kind} of {id}"

    def _refused(self, kind: str, id: str, reason: str) -> SerializationError:
        return SerializationError(f"{self._place(kind, id)} {reason}", kind)
