"""Data keys of runs, wrapped by Cloud KMS: one per run, bound to the run's id as additional authenticated data.

A process that only puts things needs `cloudkms.cryptoKeyVersions.useToEncrypt`; one that reads what runs hold needs
`…useToDecrypt`. A wrapped key says which key has wrapped it, so that a rotated one, and one that WDK_GCP_KMS_KEY no
longer names, opens what it has wrapped.
"""

from __future__ import annotations

import binascii
import os
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import FailedPrecondition, InvalidArgument

from wdk_cloud.codec.keys import KEY_BYTES, DataKey, refuse_without_cryptography
from wdk_cloud.codec.unwrapped import UnwrappedKeys
from wdk_cloud.errors import SerializationError, WorldConfigurationError, WorldUnavailableError
from wdk_gcp.clients import RETRY, WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_gcp.clients import Clients
    from wdk_gcp.settings import GcpSettings

_VARIABLE = "WDK_GCP_KMS_KEY"

PREFIX = "gcpkms:"
"""What tells a wrapped key of Cloud KMS from one of WDK_ENCRYPTION_KEY. The name of the key follows, `#`, and what KMS
made of the data key."""

REFUSED = "Decryption failed"
"""How Cloud KMS says that what it is to open was not made by that key, for that run."""


class KmsKeyService:
    """The key service of WDK_GCP_KMS_KEY. One for each process, whatever namespaces it sees."""

    name = _VARIABLE

    def __init__(self, settings: GcpSettings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._kept = UnwrappedKeys()

    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey:
        """Whether who opens `beside` can open this one is for KMS to say: not to who only generates."""
        refuse_without_cryptography(_VARIABLE)
        if beside is not None:
            _parts(run_id, beside)
        name, plain = self._settings.needed("kms_key"), os.urandom(KEY_BYTES)
        blob = await self._clients.ask(_VARIABLE, _meant, run_id, self._encrypted, name, run_id, plain)
        return DataKey(plain, f"{PREFIX}{name}#{binascii.b2a_base64(blob, newline=False).decode()}")

    async def unwrap(self, run_id: str, wrapped: str) -> bytes:
        return await self._kept.get(run_id, wrapped, self._unwrapped)

    async def _unwrapped(self, run_id: str, wrapped: str) -> bytes:
        refuse_without_cryptography(_VARIABLE)
        name, blob = _parts(run_id, wrapped)
        return await self._clients.ask(_VARIABLE, _meant, run_id, self._decrypted, name, run_id, blob)

    # The checksums are what https://cloud.google.com/kms/docs/data-integrity-guidelines asks for: a key that was
    # damaged on its way would leave a run that nobody can read.

    def _encrypted(self, name: str, run_id: str, plain: bytes) -> bytes:
        context = _context(run_id)
        asked = {
            "name": name,
            "plaintext": plain,
            "plaintext_crc32c": _checksum(plain),
            "additional_authenticated_data": context,
            "additional_authenticated_data_crc32c": _checksum(context),
        }
        answer = self._client.encrypt(request=asked, retry=RETRY, timeout=WITHIN)
        if not (
            answer.verified_plaintext_crc32c
            and answer.verified_additional_authenticated_data_crc32c
            and answer.ciphertext_crc32c == _checksum(answer.ciphertext)
        ):
            raise _garbled()
        return answer.ciphertext

    def _decrypted(self, name: str, run_id: str, blob: bytes) -> bytes:
        context = _context(run_id)
        asked = {
            "name": name,
            "ciphertext": blob,
            "ciphertext_crc32c": _checksum(blob),
            "additional_authenticated_data": context,
            "additional_authenticated_data_crc32c": _checksum(context),
        }
        answer = self._client.decrypt(request=asked, retry=RETRY, timeout=WITHIN)
        if answer.plaintext_crc32c != _checksum(answer.plaintext):
            raise _garbled()
        return answer.plaintext

    @property
    def _client(self) -> Any:
        """The types of its methods are partly unknown."""
        return self._clients.kms


def _context(run_id: str) -> bytes:
    return f"wdk:run={run_id}".encode()


def _checksum(data: bytes) -> int:
    import google_crc32c  # it comes with the client of Cloud Storage

    found: Any = google_crc32c
    return found.value(data)


def _parts(run_id: str, wrapped: str) -> tuple[str, bytes]:
    if not wrapped.startswith(PREFIX):
        raise SerializationError(
            f"the data key of run {run_id} was not wrapped by Cloud KMS: unset {_VARIABLE}, and set WDK_ENCRYPTION_KEY "
            "to the key that the run was started with"
        )
    name, _, text = wrapped.removeprefix(PREFIX).partition("#")
    try:
        return name, binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise _damaged(run_id, "no base64") from None


def _meant(run_id: str, call: Callable[[str, str, bytes], bytes], name: str, context: str, data: bytes) -> bytes:
    """The answer of Cloud KMS; what it refuses for the key's or the run's sake, in words that say so."""
    try:
        return call(name, context, data)
    except InvalidArgument as error:
        if REFUSED in str(error):
            raise _damaged(run_id, REFUSED) from error
        raise WorldConfigurationError(f"Cloud KMS refuses what was asked ({error}); look at {_VARIABLE}") from error
    except FailedPrecondition as error:
        raise WorldConfigurationError(
            f"the key of run {run_id} cannot be used ({error}); enable it, or set {_VARIABLE} to a symmetric key for "
            "encryption"
        ) from error


def _damaged(run_id: str, why: str) -> SerializationError:
    return SerializationError(
        f"the data key of run {run_id} cannot be unwrapped ({why}): it is damaged, or was wrapped for another run; see "
        f"{_VARIABLE}"
    )


def _garbled() -> WorldUnavailableError:
    return WorldUnavailableError(f"an answer of Cloud KMS for {_VARIABLE} was damaged on its way; it is tried again")
