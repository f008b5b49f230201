"""What the key services of clouds have in common: a process opens a key once, and keeps it for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wdk_cloud.codec import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from wdk_cloud.codec.keys import DataKey


class Service(Protocol):
    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey: ...

    async def unwrap(self, run_id: str, wrapped: str) -> bytes: ...


class Frozen:
    """In the place of `time`."""

    def __init__(self, now: float) -> None:
        self.monotonic: Callable[[], float] = lambda: now


async def check_that_keys_are_kept(
    service: Service, opened: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`opened` says how often the cloud was asked to open one."""
    monkeypatch.setattr(unwrapped, "KEPT", 2)
    wrapped = {run: (await service.generate(run)).wrapped for run in "abc"}

    async def asked(*runs: str) -> int:
        before = opened()
        for run in runs:
            await service.unwrap(run, wrapped[run])
        return opened() - before

    assert await asked("a", "a", "b", "a", "b") == 2
    assert await asked("a", "c", "a", "c") == 1  # the one that was used longest ago made room
    assert await asked("b") == 1
    now = unwrapped.time.monotonic()
    monkeypatch.setattr(unwrapped, "time", Frozen(now + unwrapped.KEPT_FOR))
    assert await asked("b", "b") == 1
