"""A standard queue as SQS has them: what is in it, and when it is visible."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Letter:
    """A message in a queue."""

    __slots__ = ("body", "first_received", "id", "receipt", "received", "sent", "ticket")

    def __init__(self, id: str, body: str, sent: float) -> None:
        self.id = id
        self.body = body
        self.sent = sent
        self.received = 0
        self.first_received = 0.0
        self.receipt = ""
        self.ticket: tuple[float, int, str] | None = None


class Queue:
    """`received`: how often a message is given before it goes to the queue `dead` instead."""

    def __init__(self, name: str, visibility: float, dead: str | None, received: int, order: Iterator[int]) -> None:
        """`order` counts what any queue is given: of two messages that are due at once, the earlier one comes first."""
        self.name = name
        self.visibility = visibility
        self.dead = dead
        self.most_received = received
        self.letters: dict[str, Letter] = {}
        self._order = order
        # (visible from, order of entry, id); stale unless it is the letter's own `ticket`
        self._schedule: list[tuple[float, int, str]] = []

    def put(self, letter: Letter, when: float) -> None:
        self.letters[letter.id] = letter
        self._show_at(letter, when)

    def take(self, now: float, most: int, visibility: float) -> tuple[list[Letter], list[Letter]]:
        """Those that are given, and those that are dead now."""
        taken: list[Letter] = []
        dead: list[Letter] = []
        while len(taken) < most and (first := self._first()) is not None and first[0] <= now:
            letter = self.letters[first[2]]
            if self.dead is not None and letter.received >= self.most_received:
                del self.letters[letter.id]
                letter.received = 0
                dead.append(letter)
                continue
            letter.received += 1
            letter.first_received = letter.first_received or now
            letter.receipt = f"{letter.id}.{letter.received}"
            self._show_at(letter, now + visibility)
            taken.append(letter)
        return taken, dead

    def delete(self, receipt: str) -> None:
        self.letters.pop(receipt.rpartition(".")[0], None)

    def show_at(self, receipt: str, when: float, now: float) -> bool:
        """False: there is no such message, or it is visible, and not its receiver's any more."""
        letter = self.letters.get(receipt.rpartition(".")[0])
        if letter is None or letter.receipt != receipt or (letter.ticket is not None and letter.ticket[0] <= now):
            return False
        self._show_at(letter, when)
        return True

    def next_due(self) -> tuple[float, int] | None:
        """When the next message is visible, and which of all that is."""
        first = self._first()
        return None if first is None else first[:2]

    def counts(self, now: float) -> tuple[int, int]:
        """How many messages are visible, and how many are not."""
        visible = sum(letter.ticket is not None and letter.ticket[0] <= now for letter in self.letters.values())
        return visible, len(self.letters) - visible

    def _show_at(self, letter: Letter, when: float) -> None:
        letter.ticket = (round(when, 6), next(self._order), letter.id)
        heapq.heappush(self._schedule, letter.ticket)

    def _first(self) -> tuple[float, int, str] | None:
        schedule = self._schedule
        while schedule:
            letter = self.letters.get(schedule[0][2])
            if letter is not None and letter.ticket is schedule[0]:
                return schedule[0]
            heapq.heappop(schedule)
        return None
