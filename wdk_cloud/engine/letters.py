"""Payloads that come to a run from somebody without its key: sealed under another key, which travels with them.

A letter to a run may go on, closed as it is, to the run that goes on for it: a caller who passes it on cannot open it.
It then says which runs it came through. They are believed because the id of each follows from the one before it, so
that a letter to one run is never opened in another that has nothing to do with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = b'{"$key":'
"""A user's mapping never begins like this: its `$` is escaped."""


class Letter(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str = msgspec.field(name="$key")
    """Wrapped; for the first run that it came to."""
    sealed: msgspec.Raw = msgspec.Raw()
    through: tuple[tuple[str, str], ...] = ()
    """The runs (id and birth) that it came through, from the first on, up to the one before this."""
    id: str = ""
    """What it is bound to besides its kind, where that is not what this run would bind it to."""


_decoder = msgspec.json.Decoder(Letter)


def closed(key: str, sealed: bytes, *, through: Sequence[tuple[str, str]] = (), id: str = "") -> bytes:
    return msgspec.json.encode(Letter(key, msgspec.Raw(sealed), tuple(through), id))


def is_letter(data: bytes) -> Letter | None:
    """The letter that a record is, or None. Raises SerializationError for a damaged one."""
    if not data.startswith(MARK):
        return None
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise SerializationError(f"what a caller has sealed cannot be read ({error})") from error


def passed_on(data: bytes, *, key: str, run: tuple[str, str], id: str) -> bytes:
    """A record of an ended run, closed as it is, for the run that goes on for it. `key` is the wrapped key of the run
    that has it, and `id` what that has bound it to."""
    there = is_letter(data)
    if there is None:
        return closed(key, data, through=[run], id=id)
    return closed(there.key, bytes(there.sealed), through=[*there.through, run], id=there.id or id)
