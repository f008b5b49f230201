"""Hooks as a body sees them: what has arrived for each, and who waits for it.

A payload is put into the hook when its event is delivered; whoever awaits takes it out. A waiting task that is
cancelled just then has taken nothing, so a hook that loses a race loses no payload.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import decode
from wdk_cloud.engine import events as ev
from wdk_cloud.errors import HookConflictError, HookDisposedError, SerializationError

if TYPE_CHECKING:
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.loop import BodyLoop


class BodyHook:
    """One hook of one body."""

    __slots__ = (
        "arrived",
        "conflict",
        "created_at",
        "digest",
        "disposed",
        "id",
        "recorded_at",
        "returns",
        "waiters",
        "webhook",
    )

    def __init__(
        self, id: str, digest: str, returns: object, created_at: float, webhook: ev.WebhookTerms | None = None
    ) -> None:
        self.id = id
        self.digest = digest
        self.returns = returns
        self.created_at = created_at
        self.webhook = webhook
        """As recorded."""
        self.recorded_at: int | None = None
        """The position of its creation in the log; None while that is new."""
        self.arrived: deque[tuple[str | None, ev.Raw]] = deque()
        """Keys and payloads that nobody has taken yet."""
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.disposed = False
        self.conflict: str | None = None
        """The run that owns the token."""

    def put(self, event: ev.HookReceived | ev.HookConflict) -> None:
        """What the log says has come."""
        if type(event) is ev.HookReceived:
            if not self.disposed:
                self.arrived.append((event.key, event.payload))
                self._wake_one()
        else:
            assert isinstance(event, ev.HookConflict)  # there is no third kind
            self.conflict = event.run_id
            self._wake_all()

    def dispose(self) -> None:
        self.disposed = True
        self.arrived.clear()
        self._wake_all()

    def _wake_one(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def next(self, loop: BodyLoop, known: KnownTypes, run_id: str) -> Any:
        """The next payload, in the order of their arrival. Raises HookConflictError, HookDisposedError."""
        while not self.arrived:
            if loop.closed_inert:
                await loop.create_future()
            self._check(run_id)
            await self._arrival(loop)
        _, payload = self.arrived.popleft()
        if self.arrived:
            self._wake_one()
        try:
            return decode(bytes(payload), self.returns, known=known, path=f"the payload of {self.id}")
        except NewerFormatError:
            raise
        except SerializationError as error:
            error.add_note(f"a payload that run {run_id} has received; it is not offered again")
            raise

    def _check(self, run_id: str) -> None:
        if self.conflict is not None:
            raise HookConflictError(
                f"run {run_id}: the token of {self.id} belongs to a hook of run {self.conflict}; choose another token, "
                "or ask hook.get_conflict() first",
                self.conflict,
            )
        if self.disposed:
            raise HookDisposedError(f"run {run_id}: {self.id} was disposed of; make a new hook to receive more")

    async def _arrival(self, loop: BodyLoop) -> None:
        waiter: asyncio.Future[None] = loop.create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            elif self.arrived:  # it was woken for a payload that it does not take
                self._wake_one()
            raise
