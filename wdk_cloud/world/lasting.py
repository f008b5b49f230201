"""The part of a store in which nothing goes by itself, and which sees a tombstone with each write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head


class Lasting:
    keeps: float | None = None

    async def aging(self, before: float, limit: int, after: Head | None = None) -> list[Head]:
        return []

    def sighted(self, run_id: str, birth: str) -> None:
        """Nothing to note."""

    async def refresh(self, run_id: str, birth: str) -> None:
        """Nothing to do."""
