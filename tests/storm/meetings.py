"""Calls that meet: on a virtual clock a worker's calls take no time, so that one falls between two of another worker only
if it waits for them. A meeting is such a wait: until so many calls have been made elsewhere, or for some seconds at most.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wdk_cloud.world.ports import Lease

if TYPE_CHECKING:
    from tests.faults import Call

NOBODY = 20.0
"""Seconds after which a call that only waits for others goes on all the same."""

STANDSTILL = 240.0
"""Seconds after which a worker goes on that nobody has overtaken: the lease is over, and its message has come back."""

ASIDE = 0.001
"""Seconds for which the last of the others steps aside, so that the call that has waited is the next."""

CALLS = (4, 14, 60)
"""Others' calls that are waited for: up to so many. A turn makes about a dozen."""

SOME_TURNS = (15, 90)
"""As many as it takes until another turn than that of the exchanged message has released the run."""


@dataclass
class Meeting:
    """One call that waits."""

    worker: int
    call: Call
    calls: int
    """That are still to be made elsewhere."""
    first: str = ""
    """What must have happened before they count: it was overtaken, or its message exchanged."""
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def noted(self, worker: int, call: Call, answer: Any) -> bool:
        """One call has been made. Whether that was the last."""
        if self.over.done() or call is self.call:
            return False
        if self.first:
            if self._is_first(worker, call, answer):
                self.first = ""
        else:
            self.calls -= 1
        if self.first or self.calls > 0:
            return False
        self.over.set_result(None)
        return True

    def _is_first(self, worker: int, call: Call, answer: Any) -> bool:
        if self.first == "exchanged":
            return call.method == "retire" and call.args[0] == self.call.args[0]
        if worker == self.worker:
            return False
        if self.call.method == "claim_step":
            return call.method == "claim_step" and call.args[:3] == self.call.args[:3] and answer[0]
        return call.method == "acquire" and call.args[0] == _run_of(self.call) and isinstance(answer, Lease)


def _run_of(call: Call) -> str:
    return call.args[0].run_id if call.method in ("claim_token", "free_token") else call.args[0]


class Meetings:
    """Of one execution."""

    def __init__(self) -> None:
        self._waiting: list[Meeting] = []

    def add(self, meeting: Meeting) -> None:
        self._waiting.append(meeting)

    def remove(self, meeting: Meeting) -> None:
        self._waiting.remove(meeting)

    def noted(self, worker: int, call: Call, answer: Any) -> bool:
        """One call has been made. Whether its maker is to step aside."""
        over = [meeting for meeting in self._waiting if meeting.noted(worker, call, answer)]  # each of them counts it
        return bool(over)
