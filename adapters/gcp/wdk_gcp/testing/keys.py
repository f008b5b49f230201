"""A Cloud KMS that runs here: symmetric keys that encrypt and decrypt, with their versions and checksums."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import google_crc32c
import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud.kms_v1 import KeyManagementServiceClient, types
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from wdk_gcp.testing.messages import Message, raw
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.serving import GrpcServer, Method, Refused

if TYPE_CHECKING:
    from typing import Any

NONCE = 12
"""Bytes of an AES-GCM nonce."""


@dataclass
class CryptoKey:
    versions: list[bytes] = field(default_factory=lambda: [AESGCM.generate_key(256)])
    enabled: bool = True


class CloudKmsServer:
    """Cloud KMS on 127.0.0.1, while it is entered as a context.

        with CloudKmsServer() as kms:
            kms.create("projects/p/locations/l/keyRings/r/cryptoKeys/k")
            client = kms.client()

    Keys are made, rotated and disabled by the methods of the server, not by requests. `mischief` are its faults.
    """

    def __init__(self, *, mischief: Mischief | None = None) -> None:
        self.mischief = Mischief() if mischief is None else mischief
        self._keys: dict[str, CryptoKey] = {}
        self._lock = threading.Lock()
        methods = {
            "Encrypt": _method(self._encrypt, types.EncryptRequest, types.EncryptResponse),
            "Decrypt": _method(self._decrypt, types.DecryptRequest, types.DecryptResponse),
        }
        self._grpc = GrpcServer("google.cloud.kms.v1.KeyManagementService", methods, self.mischief)
        self.calls = self._grpc.calls
        self.address = self._grpc.address

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop()

    def client(self) -> KeyManagementServiceClient:
        """A new client of this server; close its transport after use."""
        channel = grpc.insecure_channel(self.address)
        return KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))

    def create(self, name: str) -> None:
        """Make the key of this full `name`, with one version."""
        with self._lock:
            self._keys[name] = CryptoKey()

    def rotate(self, name: str) -> None:
        """What is encrypted by the key `name` from now on is so by a new version; the others still decrypt."""
        with self._lock:
            self._keys[name].versions.append(AESGCM.generate_key(256))

    def enable(self, name: str, enabled: bool) -> None:
        """Whether the key `name` is `enabled`; one that is not refuses to decrypt, too."""
        with self._lock:
            self._keys[name].enabled = enabled

    def _encrypt(self, request: Message) -> Message:
        key = self._key(request.name)
        _check(request, "plaintext", "additional_authenticated_data")
        nonce, version = os.urandom(NONCE), len(key.versions) - 1
        sealed = AESGCM(key.versions[version]).encrypt(nonce, request.plaintext, request.additional_authenticated_data)
        data = bytes((version,)) + nonce + sealed
        answer = raw(types.EncryptResponse)(
            name=f"{request.name}/cryptoKeyVersions/{version + 1}",
            ciphertext=data,
            verified_plaintext_crc32c=request.HasField("plaintext_crc32c"),
            verified_additional_authenticated_data_crc32c=request.HasField("additional_authenticated_data_crc32c"),
        )
        answer.ciphertext_crc32c.value = _checksum(data)
        return answer

    def _decrypt(self, request: Message) -> Message:
        key = self._key(request.name)
        _check(request, "ciphertext", "additional_authenticated_data")
        blob: bytes = request.ciphertext
        nonce, sealed = blob[1 : NONCE + 1], blob[NONCE + 1 :]
        try:
            opener = AESGCM(key.versions[blob[0]])
            plain = opener.decrypt(nonce, sealed, request.additional_authenticated_data)
        except (IndexError, InvalidTag, ValueError):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.") from None
        answer = raw(types.DecryptResponse)(plaintext=plain)
        answer.plaintext_crc32c.value = _checksum(plain)
        return answer

    def _key(self, name: str) -> CryptoKey:
        with self._lock:
            key = self._keys.get(name)
        if key is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        if not key.enabled:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"{name} is not enabled, current state is: DISABLED.")
        return key


def _check(request: Message, *names: str) -> None:
    for name in names:
        checksum = f"{name}_crc32c"
        if request.HasField(checksum) and getattr(request, checksum).value != _checksum(getattr(request, name)):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"The checksum in field {checksum} did not match the data.")


def _checksum(data: bytes) -> int:
    found: Any = google_crc32c
    return found.value(data)


def _method(answer: Any, request: Any, response: Any) -> Method:
    return Method(answer, raw(request).FromString, raw(response).SerializeToString)
