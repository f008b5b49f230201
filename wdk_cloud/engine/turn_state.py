"""What a turn is made of, and how it is woken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.engine.history import History
from wdk_cloud.engine.inbox import Inbox
from wdk_cloud.engine.inline import InlineSteps
from wdk_cloud.engine.leasing import LeaseHold
from wdk_cloud.engine.schedule import Schedule

if TYPE_CHECKING:
    import asyncio

    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.attempt import Attempt, Ending
    from wdk_cloud.engine.operations import Operations
    from wdk_cloud.engine.payloads import Payloads
    from wdk_cloud.engine.replay import Body
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Delivery, Head, Lease

LEAST = 0.1
"""Share of a delivery's limit under which not even the first step of a delivery begins, and no end is waited for."""


class TurnState:
    """Holds the lease of one run. `intake`, `waiting` and `turn` each add a part of what a turn does."""

    def __init__(self, engine: Engine, delivery: Delivery, lease: Lease) -> None:
        self.engine = engine
        self.delivery = delivery
        self.head: Head = lease.head
        self.fence = lease.head.fence
        self.unclean = lease.unclean
        self.doubtful = lease.unclean
        """A message that was on its way may be gone, seen by nobody: the lease was not released, or `dirty` was set."""
        self.armed: float | None = lease.head.armed
        self.hold = LeaseHold(engine, delivery, lease.head, self._wake)
        self.batch: list[ev.AnyEvent] = []
        self.history = History(lease.head.run_id)
        """Empty until the log was read; `steps` belongs to it, and none of them runs before that."""
        self.payloads: Payloads
        self.body: Body | None = None
        self.steps = InlineSteps(engine, self.history, self.step_ended)
        self.schedule = Schedule()
        self.operations: Operations
        self.inbox = Inbox(self)  # pyright: ignore[reportArgumentType] -- a turn is all of its parts
        self._ended: list[tuple[str, Ending]] = []
        self._uncommitted: list[tuple[str, Ending, Attempt]] = []
        """Ends that are in the batch, with their attempts: if the batch is dropped they are offered again."""
        self.conflicts: list[ev.HookConflict] = []
        """Tokens that were found to belong to others; their events are in no batch yet."""
        self._told = False
        self._waker: asyncio.Future[None] | None = None
        self._linger = self._gap = 0.0
        self._polling = False
        self._finishing = False
        self._diverged = False
        self._begun = False
        self._labels_written = 0
        self._out_of_time = self._worked = False
        self.over = False
        """The batch ends the run: nothing more is taken in."""

    @property
    def key(self) -> tuple[str, str]:
        return self.head.run_id, self.head.birth

    def now(self) -> float:
        """The time of the next event: never before the last one's."""
        last = self.batch[-1].time if self.batch else self.history.last_time
        return max(self.engine.world.clock.now(), last)

    def valid(self, kind: str, id: str) -> bool:
        """Whether a scheduled entry still matters: retried steps always, waits while the body waits for them."""
        if kind == "retry":
            return True
        if not id:
            return not self._begun
        return self.body is not None and id in self.body.timers

    # -- being woken ------------------------------------------------------------------------------------------------

    def told(self) -> None:
        """`dirty` was set while this turn holds the lease."""
        self._told = True
        self._wake()

    def lapsed(self) -> bool:
        return self.hold.left() <= 0

    def step_ended(self, id: str, result: Ending) -> None:
        self._ended.append((id, result))
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)
