"""The data keys of runs. One key per run, generated fresh, lies in the run's first event, wrapped."""

from __future__ import annotations

import binascii
import hmac
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.errors import SerializationError, WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES = 32
_VARIABLE = "WDK_ENCRYPTION_KEY"
_HOW = "make one with: python -c 'import os, base64; print(base64.b64encode(os.urandom(32)).decode())'"


class DataKey(NamedTuple):
    """A run's key, and the form in which it may lie beside the data."""

    plain: bytes
    wrapped: str


class KeyService(Protocol):
    """Makes and opens data keys. A public receiver may be allowed to generate and not to unwrap."""

    name: str
    """What sets it up: the variable, for messages."""

    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey:
        """A new key for a run. `beside` is the wrapped key that the run has: a service that can tell by itself that
        who opens that one could not open the new one raises SerializationError."""
        ...

    async def unwrap(self, run_id: str, wrapped: str) -> bytes:
        """The key of a run again; `SerializationError` when it was wrapped for another run or under another key.

        Raises WorldConfigurationError when this process may not, WorldUnavailableError when nobody can now."""
        ...


class LocalKeyService:
    """Wraps data keys under a key that the process holds: for laptops and tests, and where no key service is."""

    name = _VARIABLE

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey:
        if beside is not None:
            await self.unwrap(run_id, beside)
        # Under our key, so that bytes which a workflow body makes repeatable are still nobody else's to know.
        plain = hmac.digest(self._key, b"wdk data key " + os.urandom(KEY_BYTES) + run_id.encode(), "sha256")
        text = binascii.b2a_base64(plain, newline=False)
        return DataKey(plain, self._wrapper(run_id).seal("data key", run_id, b'"' + text + b'"').decode("ascii"))

    async def unwrap(self, run_id: str, wrapped: str) -> bytes:
        if not wrapped.startswith("{"):
            raise SerializationError(
                f"the data key of run {run_id} was not wrapped by {_VARIABLE}: unset that, and give this process the "
                "key service that the run was started with"
            )
        text = self._wrapper(run_id).open("data key", run_id, wrapped.encode(errors="replace"))
        return binascii.a2b_base64(text[1:-1], strict_mode=True)

    def _wrapper(self, run_id: str) -> Sealer:
        return Sealer(run_id, self._key)


def key_service(environ: Mapping[str, str] = os.environ) -> LocalKeyService:
    """The service of WDK_ENCRYPTION_KEY. Raises `WorldConfigurationError` when that is missing or malformed, or when
    the package that encrypts is not installed."""
    key = _parse(environ.get(_VARIABLE, "").strip())
    refuse_without_cryptography(_VARIABLE)
    return LocalKeyService(key)


def refuse_without_cryptography(variable: str) -> None:
    """Asked before anything is written. `variable` has asked for encryption; raises `WorldConfigurationError`."""
    try:
        import cryptography  # noqa: F401 -- only whether it is there  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise WorldConfigurationError(
            f"{variable} is set, but this environment cannot encrypt ({error}); install wdk-cloud[crypto], or unset "
            "the variable"
        ) from error


def _parse(text: str) -> bytes:
    if not text:
        raise WorldConfigurationError(f"{_VARIABLE} is not set; {_HOW}")
    try:
        key = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise WorldConfigurationError(f"{_VARIABLE} is no base64 text of {KEY_BYTES} bytes; {_HOW}") from None
    if len(key) != KEY_BYTES:
        raise WorldConfigurationError(f"{_VARIABLE} holds {len(key)} bytes, not {KEY_BYTES}; {_HOW}")
    return key
