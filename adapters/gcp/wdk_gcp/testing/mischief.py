"""What a server does wrong on purpose: by a plan, one request after the other, and beyond it by chance, from a seed."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Fault = Literal[
    "throttled",  # refused before anything is done: RESOURCE_EXHAUSTED, 429
    "unavailable",  # refused before anything is done: UNAVAILABLE, 503
    "aborted",  # refused before anything is done: ABORTED; Firestore's word for contention
    "lost",  # done, but the answer does not arrive: UNAVAILABLE, or the connection ends
    "duplicated",  # a task is delivered to two receivers at the same moment
    "reordered",  # a task that is due is delivered after others that are due later
    "unacknowledged",  # the answer to a delivery does not arrive, so that the task comes back
]
"""What may go wrong; docs/gcp-testing.md has what each does."""

FAULTS: tuple[Fault, ...] = get_args(Fault)


class Mischief:
    """The faults of a server. `rates` says how often each happens to each request that it can happen to, from 0 to 1.

    Chance comes from `seed`, so that it can be repeated. It is drawn for each kind of request apart, so that more
    requests of one kind do not change what others meet; within a kind it goes by the order in which they arrive.
    """

    def __init__(self, seed: int = 0, rates: Mapping[Fault, float] | None = None) -> None:
        self.rates: dict[Fault, float] = dict(rates or {})
        self.met: Counter[tuple[str, Fault]] = Counter()
        """How often each kind of request met each fault."""
        self._seed = seed
        self._lock = threading.Lock()
        self._planned: defaultdict[str, deque[Fault | None]] = defaultdict(deque)
        self._chances: dict[str, Random] = {}

    def plan(self, call: str, *faults: Fault | None) -> None:
        """The next requests of the kind `call` meet these `faults`, one each; None: a request that goes well.

        The kinds are the servers' `calls`: `CreateTask`, `Commit`, `objects.insert`, and `dispatch` for a delivery.
        """
        with self._lock:
            self._planned[call].extend(faults)

    def draw(self, call: str, among: tuple[Fault, ...]) -> Fault | None:
        """The fault, of those `among` which it may be, that this request of the kind `call` meets."""
        with self._lock:
            planned = self._planned[call]
            fault = planned.popleft() if planned else self._by_chance(call, among)
            if fault is not None:
                self.met[call, fault] += 1
            return fault

    def left(self) -> dict[str, int]:
        """How many requests of each kind are planned for and have not come."""
        with self._lock:
            return {call: len(planned) for call, planned in self._planned.items() if planned}

    def _by_chance(self, call: str, among: tuple[Fault, ...]) -> Fault | None:
        if not self.rates:
            return None
        chance = self._chances.setdefault(call, Random(f"{self._seed}/{call}"))  # noqa: S311 - nothing secret
        drawn = {fault: chance.random() < rate for fault, rate in sorted(self.rates.items())}
        return next((fault for fault in among if drawn.get(fault)), None)
