"""The ids of runs: random ones, and those that follow from something."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id(now: float) -> str:
    """Random first, so that no key range runs hot; then the time, which tells an expired id from an unknown one."""
    return "wrun_" + _text(int.from_bytes(os.urandom(10), "big"), 16) + _text(int(now * 1000), 10)


def derived_run_id(*parts: str) -> str:
    """The same parts give the same id: of a child from its parent and its call, of a run from its idempotency key."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return "wrun_" + _text(int.from_bytes(digest[:16], "big"), 26)


def successor_id(head: Head) -> str:
    """Of the run that goes on for this one."""
    return _derived_successor(head.run_id, head.birth)


def _derived_successor(run_id: str, birth: str) -> str:
    return derived_run_id("continued", run_id, birth)


def follows(run_id: str, before: str, birth: str) -> bool:
    """Whether the run goes on for the one before, as its id tells."""
    return run_id == _derived_successor(before, birth)


def time_of(run_id: str) -> float | None:
    """The time in a run id of ours; None where none can be told. A derived id looks like one once in thousands."""
    text = run_id.removeprefix("wrun_")
    if text == run_id or len(text) != 26 or not set(text) <= set(ALPHABET):
        return None
    number = 0
    for letter in text[16:]:
        number = number * 32 + ALPHABET.index(letter)
    return number / 1000


def _text(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
