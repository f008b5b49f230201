"""Payloads on their way into the log and out of it: sealed, and moved to blobs when they are large."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, TypeVar

import msgspec

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import HARD_LIMIT, INLINE_LIMIT, BlobRef, blob_reference, is_blob, pack, unpack
from wdk_cloud.engine.events import RunCreated
from wdk_cloud.engine.letters import Letter, closed, is_letter
from wdk_cloud.engine.runids import follows
from wdk_cloud.errors import CorruptedEventLogError, SerializationError

if TYPE_CHECKING:
    from wdk_cloud.codec.keyring import Keyring
    from wdk_cloud.codec.sealing import Sealer
    from wdk_cloud.engine.events import AnyEvent
    from wdk_cloud.world.ports import BlobStore

E = TypeVar("E", bound="AnyEvent")


def check_size(data: bytes, what: str) -> bytes:
    """Raises SerializationError for a payload over the hard limit, before anything is written."""
    if len(data) > HARD_LIMIT:
        raise SerializationError(
            f"{what} is {len(data):,} bytes, more than the {HARD_LIMIT:,} that one value may have; put it into a file "
            "or an object store and pass its name"
        )
    return data


class Payloads:
    """Of one run."""

    def __init__(self, blobs: BlobStore, birth: str, keyring: Keyring, *, inline: int = INLINE_LIMIT) -> None:
        """What has more bytes than `inline` is a blob."""
        self._blobs = blobs
        self._inline = inline
        self._run_id = keyring.run_id
        self.birth = birth
        self._keyring = keyring
        self.sealer = keyring.sealer
        self._plain = not keyring.sealer.encrypts

    async def seal(self, kind: str, id: str, data: bytes) -> bytes:
        """What lies in a record for this payload: JSON text of at most about `inline` bytes; a letter where the key
        is a caller's."""
        if len(data) <= self._inline:
            sealed = data if self._plain else self.sealer.seal(kind, id, data)
        else:
            name = self.sealer.blob_name(kind, id, data)
            await self.put_blob(name, pack(self.sealer.seal(kind, id, data)))
            sealed = blob_reference(name, len(data))
        travelling = self._keyring.travelling
        return sealed if travelling is None else closed(travelling, sealed)

    async def open(self, kind: str, id: str, data: bytes) -> bytes:
        """The payload of a record. Raises CorruptedEventLogError when it, or its blob, is damaged or gone."""
        if self._plain and not data.startswith(b'{"$'):
            return data
        return await self._open(self.sealer, kind, id, data)

    async def open_letter(self, kind: str, id: str, data: bytes) -> bytes:
        """As `open`, of what anybody may have put who can generate keys for this run, or one that it goes on for.

        Raises WorldConfigurationError where this process cannot unwrap the key that came with it.
        """
        try:
            letter = is_letter(data)
            if letter is None:
                return await self.open(kind, id, data)
            self._check_way(letter)
        except SerializationError as error:
            raise self._unreadable(kind, id, error) from error
        run_id = letter.through[0][0] if letter.through else self._run_id
        sealer = await self._keyring.under(run_id, letter.key)
        return await self._open(sealer, kind, letter.id or id, bytes(letter.sealed))

    def _check_way(self, letter: Letter) -> None:
        runs = [*(id for id, _ in letter.through), self._run_id]
        for run, after in zip(letter.through, runs[1:], strict=True):
            if not follows(after, *run):
                raise SerializationError(f"it says that it came from run {run[0]}, for which {after} does not go on")

    async def _open(self, sealer: Sealer, kind: str, id: str, data: bytes) -> bytes:
        try:
            reference = is_blob(data)
            if reference is None:
                return sealer.open(kind, id, data)
            opened = sealer.open(kind, id, unpack(await self._blob(reference)))
            if sealer.blob_name(kind, id, opened) != reference.name:
                raise SerializationError(f"the blob {reference.name} does not hold what its name stands for")
            return opened
        except NewerFormatError:
            raise
        except SerializationError as error:
            raise self._unreadable(kind, id, error) from error

    def _unreadable(self, kind: str, id: str, error: SerializationError) -> CorruptedEventLogError:
        return CorruptedEventLogError(
            f"run {self._run_id}: the {kind} of {id or 'the run'} cannot be read ({error}); it was changed by "
            "something else than wdk-cloud, or its storage is damaged: restore it, or start the run again"
        )

    async def put_blob(self, name: str, data: bytes) -> None:
        await self._blobs.put_blob(self._run_id, self.birth, name, data)

    async def _blob(self, reference: BlobRef) -> bytes:
        blob = await self._blobs.get_blob(self._run_id, self.birth, reference.name)
        if blob is None:
            raise CorruptedEventLogError(
                f"run {self._run_id}: the blob {reference.name} that its log names is gone; it was deleted by "
                "something else than wdk-cloud: restore it, or start the run again"
            )
        return blob

    async def seal_secret(self, kind: str, secret: bytes) -> bytes:
        """A few bytes that are as confidential as the payloads."""
        if self._plain:
            return secret
        return await self.seal(kind, "", b'"' + b2a_base64(secret, newline=False) + b'"')

    async def open_secret(self, kind: str, data: bytes) -> bytes:
        if self._plain:
            return data
        return a2b_base64((await self.open(kind, "", data))[1:-1], strict_mode=True)

    def needs_sealing(self, event: AnyEvent) -> bool:
        """Whether `seal_event` would change anything."""
        field = event.PAYLOAD
        return field is not None and (not self._plain or len(memoryview(getattr(event, field))) > INLINE_LIMIT)

    async def seal_event(self, event: E) -> E:
        field = event.PAYLOAD
        if field is None:
            return event
        if isinstance(event, RunCreated):
            event = msgspec.structs.replace(event, seed=await self.seal_secret("seed", event.seed))
        data = bytes(getattr(event, field))
        sealed = await self.seal(*_place(event), data)
        return event if sealed is data else msgspec.structs.replace(event, **{field: msgspec.Raw(sealed)})

    async def open_event(self, event: E) -> E:
        field = event.PAYLOAD
        if field is None:
            return event
        if isinstance(event, RunCreated):
            event = msgspec.structs.replace(event, seed=await self.open_secret("seed", event.seed))
        data = bytes(getattr(event, field))
        opened = await self.open(*_place(event), data)
        return event if opened is data else msgspec.structs.replace(event, **{field: msgspec.Raw(opened)})


def _place(event: AnyEvent) -> tuple[str, str]:
    """What a sealed payload is bound to, besides its run: its field and the id of its call."""
    return event.PAYLOAD or "", getattr(event, "id", "")
