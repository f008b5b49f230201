"""The keys that payloads of one run are sealed under: the run's own, and those of callers, which travel with what they
have sealed.

Whoever puts a payload into a run's inbox need not be able to open what the run holds. A caller therefore generates a
data key for what it puts, and sends it along wrapped; who works on the run unwraps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.errors import SerializationError, WorldConfigurationError

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService

HOW = "set WDK_ENCRYPTION_KEY to the key that it was started with, or the key service of its world"


class Keyring:
    """Of one run, in the hands of one process."""

    def __init__(
        self, run_id: str, key: bytes | None, service: KeyService | None = None, *, travelling: str | None = None
    ) -> None:
        self.run_id = run_id
        self.sealer = Sealer(run_id, key)
        self.travelling = travelling
        """The wrapped form of `key`, where that is a caller's and not the run's own."""
        self._service = service

    async def under(self, run_id: str, wrapped: str) -> Sealer:
        """What opens payloads that were sealed for this run, or one that it goes on for, under a caller's key.

        Raises WorldConfigurationError where this process cannot unwrap it: that is no fault of the run's.
        """
        if self._service is None:
            raise WorldConfigurationError(
                f"run {self.run_id}: a payload is encrypted under a key of its caller's, and this process has no key "
                f"to unwrap that; {HOW}"
            )
        try:
            return Sealer(run_id, await self._service.unwrap(run_id, wrapped))
        except SerializationError as error:
            raise WorldConfigurationError(
                f"run {self.run_id}: the key that came with a payload cannot be unwrapped here ({error}); give callers "
                "and workers the same key service"
            ) from error
