"""Who holds which key of a run: readers its own, callers one that they make for what they put."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.codec.keyring import HOW, Keyring
from wdk_cloud.engine.payloads import Payloads
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.world.ports import Head, World


async def payloads_of(world: World, keys: KeyService | None, head: Head) -> Payloads:
    """Opens and seals as the run does. Needs the right to unwrap its key."""
    key = None
    if head.data_key is not None:
        key = await _needed(keys, head).unwrap(head.run_id, head.data_key)
    return Payloads(world.blobs, head.birth, Keyring(head.run_id, key, keys))


async def sender_to(world: World, keys: KeyService | None, head: Head) -> Payloads:
    """Seals letters to the run, under a key of their own. Needs the right to generate keys, and no other."""
    if head.data_key is None:
        return Payloads(world.blobs, head.birth, Keyring(head.run_id, None, keys))
    key = await _needed(keys, head).generate(head.run_id, beside=head.data_key)
    return Payloads(world.blobs, head.birth, Keyring(head.run_id, key.plain, keys, travelling=key.wrapped))


def _needed(keys: KeyService | None, head: Head) -> KeyService:
    if keys is None:
        raise WorldConfigurationError(f"run {head.run_id} is encrypted; {HOW}")
    return keys
