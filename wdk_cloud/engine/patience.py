"""Asking a store that fails once more: for those who cannot begin anew.

A turn or a step that a store fails is delivered again. Who has begun to write or to read a stream goes on where it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from wdk_cloud.errors import WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds of a store that fails, which nobody notices: a lease's length."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between two tries, doubled each time


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the call gives, which is harmless when done twice: an answer that was lost is asked for again."""
    pause, waited = FIRST_PAUSE, 0.0
    while True:
        try:
            return await call()
        except WorldUnavailableError:
            if waited >= PATIENCE:
                raise
        await asyncio.sleep(pause)
        waited += pause
        pause = min(2 * pause, LONGEST_PAUSE)
