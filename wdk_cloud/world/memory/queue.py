"""The queue of one namespace, in memory: delays on the clock, and messages that come back."""

from __future__ import annotations

import heapq
import threading
from itertools import count
from typing import TYPE_CHECKING

from wdk_cloud.world.memory.bell import Bell, resolve
from wdk_cloud.world.ports import Delivery, Message

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from wdk_cloud.world.ports import Clock

YEAR = 365 * 86_400.0

_COMPACT_FROM = 1_000  # stale entries of the schedule cost less than clearing them away below that


class MemoryQueue:
    """Both ends of the queue: what sends, and what a worker receives from.

    As at the providers, an acknowledgement counts even if the message became visible again since that delivery: the
    engine must not rely on a kinder queue.
    """

    def __init__(self, clock: Clock, visibility: float, longest_delay: float = YEAR) -> None:
        self.longest_delay = self.callers_delay = longest_delay
        self._clock = clock
        self._visibility = visibility
        self._lock = threading.Lock()
        self._bell = Bell()
        self._ids = count(1)
        self._entries: dict[str, _Entry] = {}
        self._held: set[str] = set()
        self._erased: set[tuple[str, str]] = set()
        # (visible from, order of entry, provider id); stale unless it is the entry's own `ticket`
        self._schedule: list[tuple[float, int, str]] = []

    # -- sending ----------------------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[tuple[Message, float]]) -> None:
        for message, delay in messages:
            if delay > self.longest_delay:
                raise ValueError(
                    f"run {message.run_id}: this queue delays by {self.longest_delay} s at most, not {delay} s"
                )
        now = self._clock.now()
        with self._lock:
            for message, delay in messages:
                if message.kind == "step" and (message.run_id, message.birth) in self._erased:
                    continue  # a copy that comes late would bring the step's input back
                provider_id = f"m{next(self._ids)}"
                entry = self._entries[provider_id] = _Entry(message)
                self._show_at(provider_id, entry, now + delay)
        self._bell.ring()

    def extend(self, delivery: Delivery, seconds: float) -> None:
        with self._lock:
            entry = self._entries.get(delivery.provider_id)
            if entry is None or entry.receipt != delivery.receipt:
                return
            self._show_at(delivery.provider_id, entry, self._clock.now() + seconds)
        self._bell.ring()  # it may be due sooner than the receivers reckon

    def erase(self, runs: Set[tuple[str, str]], *, for_ever: Set[tuple[str, str]]) -> None:
        """Drop the messages of these runs; of those in `for_ever` also the step messages that are sent from now on."""
        with self._lock:
            self._erased |= for_ever
            for provider_id, entry in list(self._entries.items()):
                if (entry.message.run_id, entry.message.birth) in runs:
                    del self._entries[provider_id]
                    self._held.discard(provider_id)
            # What is dropped must not stay in the schedule either.
            self._schedule = [ticket for ticket in self._schedule if self._valid(ticket)]
            heapq.heapify(self._schedule)

    def open_again(self, run_id: str, birth: str) -> None:
        """The run is forgotten: nothing of it comes any more."""
        with self._lock:
            self._erased.discard((run_id, birth))

    # -- receiving --------------------------------------------------------------------------------------------------

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            rung = self._bell.listen()
            timer = None
            try:
                # Taking and returning lie in one slice of the loop: a cancellation cannot come between them.
                if taken := self._take(limit):
                    return taken
                if (due := self._next_due()) is not None:
                    timer = self._clock.call_at(due, lambda rung=rung: resolve(rung))
                await rung
            finally:
                self._bell.forget(rung)
                if timer is not None:
                    timer.cancel()

    async def acknowledge(self, delivery: Delivery) -> None:
        with self._lock:
            self._entries.pop(delivery.provider_id, None)
            self._held.discard(delivery.provider_id)

    async def put_back(self, delivery: Delivery, delay: float) -> None:
        with self._lock:
            entry = self._entries.get(delivery.provider_id)
            if entry is None or entry.receipt != delivery.receipt:
                return
            entry.receipt = None
            self._held.discard(delivery.provider_id)
            self._show_at(delivery.provider_id, entry, self._clock.now() + delay)
        self._bell.ring()

    def busy(self) -> bool:
        if self._held:
            return True
        due = self._next_due()
        return due is not None and due <= self._clock.now()

    # -- the schedule -----------------------------------------------------------------------------------------------

    def _take(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        now = self._clock.now()
        with self._lock:
            while len(taken) < limit and (ticket := self._first()) is not None and ticket[0] <= now:
                provider_id = ticket[2]
                entry = self._entries[provider_id]
                entry.received += 1
                receipt = entry.receipt = f"{provider_id}.{entry.received}"
                self._held.add(provider_id)
                self._show_at(provider_id, entry, now + self._visibility)
                taken.append(
                    Delivery(message=entry.message, provider_id=provider_id, receipt=receipt, again=entry.received > 1)
                )
        return taken

    def _next_due(self) -> float | None:
        with self._lock:
            first = self._first()
            return None if first is None else first[0]

    def _first(self) -> tuple[float, int, str] | None:
        """The earliest ticket that is not stale."""
        schedule = self._schedule
        while schedule and not self._valid(schedule[0]):
            heapq.heappop(schedule)
        return schedule[0] if schedule else None

    def _show_at(self, provider_id: str, entry: _Entry, when: float) -> None:
        when = round(when, 6)  # as the clock is: or it would call back just before the message is due
        entry.ticket = (when, next(self._ids), provider_id)
        heapq.heappush(self._schedule, entry.ticket)
        if len(self._schedule) > _COMPACT_FROM + 2 * len(self._entries):
            self._schedule = [ticket for ticket in self._schedule if self._valid(ticket)]
            heapq.heapify(self._schedule)

    def _valid(self, ticket: tuple[float, int, str]) -> bool:
        entry = self._entries.get(ticket[2])
        return entry is not None and entry.ticket is ticket


class _Entry:
    """A message in the queue."""

    __slots__ = ("message", "receipt", "received", "ticket")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.received = 0
        self.receipt: str | None = None
        self.ticket: tuple[float, int, str] | None = None
