"""What belongs to one birth of a run, apart from its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Batch, InboxItem, Labels, StepItem


class Life:
    __slots__ = ("blobs", "inbox", "labels", "log", "marks", "positions", "steps", "streams")

    def __init__(self) -> None:
        self.log: dict[int, Batch] = {}
        self.positions: list[int] = []
        self.inbox: dict[str, InboxItem] = {}
        self.steps: dict[str, StepItem] = {}
        self.labels: Labels | None = None
        self.blobs: dict[str, bytes] = {}
        self.streams: dict[str, list[bytes]] = {}
        self.marks: dict[str, float] = {}
