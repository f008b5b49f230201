"""Data keys of runs from KMS: one per run, bound to the run's id by the encryption context.

A process that only puts things needs `kms:GenerateDataKey`; one that reads what runs hold needs `kms:Decrypt`. KMS
finds the key of a wrapped one by itself, so that a rotated key, and one that WDK_AWS_KMS_KEY_ID no longer names, opens
what it has wrapped.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from wdk_aws.failures import code
from wdk_cloud.codec.keys import DataKey, refuse_without_cryptography
from wdk_cloud.codec.unwrapped import UnwrappedKeys
from wdk_cloud.errors import SerializationError, WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings

_VARIABLE = "WDK_AWS_KMS_KEY_ID"

PREFIX = "kms:"
"""What tells a wrapped key of KMS from one of WDK_ENCRYPTION_KEY."""

# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html and …/API_GenerateDataKey.html, "Errors".
_DAMAGED = frozenset(("InvalidCiphertextException", "IncorrectKeyException"))
_UNUSABLE = frozenset(
    ("DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", "InvalidArnException")
)
_FOR_A_WHILE = frozenset(("KeyUnavailableException", "DependencyTimeoutException", "KMSInternalException"))


class KmsKeyService:
    """The key service of WDK_AWS_KMS_KEY_ID. One for each process, whatever namespaces it sees."""

    name = _VARIABLE

    def __init__(self, settings: AwsSettings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._kept = UnwrappedKeys()

    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey:
        """Whether who opens `beside` can open this one is for KMS to say: not to who only generates."""
        refuse_without_cryptography(_VARIABLE)
        if beside is not None:
            _blob(run_id, beside)
        try:
            answer = await self._clients.ask(
                _VARIABLE,
                self._clients.kms.generate_data_key,
                KeyId=self._settings.needed("kms_key_id"),
                KeySpec="AES_256",
                EncryptionContext=_context(run_id),
            )
        except ClientError as error:
            raise _meant(error, run_id) from error
        text = binascii.b2a_base64(answer["CiphertextBlob"], newline=False).decode()
        return DataKey(answer["Plaintext"], PREFIX + text)

    async def unwrap(self, run_id: str, wrapped: str) -> bytes:
        return await self._kept.get(run_id, wrapped, self._unwrapped)

    async def _unwrapped(self, run_id: str, wrapped: str) -> bytes:
        refuse_without_cryptography(_VARIABLE)
        blob = _blob(run_id, wrapped)
        try:
            answer = await self._clients.ask(
                _VARIABLE, self._clients.kms.decrypt, CiphertextBlob=blob, EncryptionContext=_context(run_id)
            )
        except ClientError as error:
            raise _meant(error, run_id) from error
        return answer["Plaintext"]


def _context(run_id: str) -> dict[str, str]:
    """What CloudTrail shows beside each use of the key, and what KMS asks for again."""
    return {"wdk:run": run_id}


def _blob(run_id: str, wrapped: str) -> bytes:
    if not wrapped.startswith(PREFIX):
        raise SerializationError(
            f"the data key of run {run_id} was not wrapped by KMS: unset {_VARIABLE}, and set WDK_ENCRYPTION_KEY to "
            "the key that the run was started with"
        )
    try:
        return binascii.a2b_base64(wrapped.removeprefix(PREFIX), strict_mode=True)
    except (binascii.Error, ValueError):
        raise _damaged(run_id, "no base64") from None


def _damaged(run_id: str, why: str) -> SerializationError:
    return SerializationError(
        f"the data key of run {run_id} cannot be unwrapped ({why}): it is damaged, was wrapped for another run, or by "
        f"a key of another account or region than this process asks; see {_VARIABLE}"
    )


def _meant(error: ClientError, run_id: str) -> Exception:
    """What `failures.translated` has left alone."""
    name, operation = code(error), error.operation_name
    if name in _DAMAGED:
        return _damaged(run_id, name)
    if name in _UNUSABLE:
        return WorldConfigurationError(
            f"the KMS key of run {run_id} cannot be used ({operation}: {name}); enable it, or set {_VARIABLE} to a "
            "symmetric key for encryption"
        )
    if name in _FOR_A_WHILE:
        return WorldUnavailableError(f"KMS cannot be asked now ({operation}: {name}); it is tried again")
    return WorldConfigurationError(f"KMS refuses {operation} ({error}); look at {_VARIABLE}")
