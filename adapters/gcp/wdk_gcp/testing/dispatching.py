"""Deliveries on a test's own loop and clock: each goes to an ASGI app in this process, in the same order each time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from wdk_gcp.testing.deliveries import Answer, Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wdk_gcp.testing.deliveries import Sent


AGAIN = 1.0
"""Seconds until a task that its receiver failed is delivered again, where that does not say so itself."""


class Receiver:
    """An ASGI app that tasks and schedules are posted to."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False))

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        # A delivery has a deadline of its own.
        return await self._client.request(method, url, headers=headers, content=body, timeout=None)

    async def close(self) -> None:
        await self._client.aclose()


class Dispatcher(Deliveries):
    """Delivers to whoever has been there longest; while nobody is, tasks wait."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._there: list[Receiver] = []
        self._delivering: dict[asyncio.Task[Any] | None, Receiver] = {}

    def start(self) -> None:
        """No thread is needed."""

    def stop(self) -> None:
        """Whoever receives has left before."""

    def attach(self, receiver: Receiver) -> None:
        """From now on tasks come to it, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._there.append(receiver)
        self.look()

    def lose(self, receiver: Receiver) -> None:
        """Nothing comes to it from now on."""
        if receiver in self._there:
            self._there.remove(receiver)

    async def detach(self, receiver: Receiver) -> None:
        """It is taken away. What it worked on comes back at once to whoever is there."""
        self.lose(receiver)
        cut = [task for task, to in self._delivering.items() if to is receiver and task is not None]
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        if self._timer is not None and not self._there:
            self._timer.cancel()
            self._timer = None

    def working(self, receiver: Receiver) -> bool:
        return receiver in self._delivering.values()

    def look(self) -> None:
        if self._there:
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if not self._there:
            return
        super()._look()
        due = self._next_due()
        if due is not None:
            self._timer = self._clock.call_at(due, self.look)

    def _next_due(self) -> float | None:
        with self._lock:
            dues = [queue.next_due() for queue in self._queues.values()]
        return min((due for due in dues if due is not None and due > self._clock.now()), default=None)

    async def _delivered(self, sent: Sent) -> Answer:
        task = asyncio.current_task()
        if not self._there:  # it has left meanwhile
            return Answer()
        self._delivering[task] = self._there[0]
        try:
            answer = await super()._delivered(sent)
            if answer.status is None or answer.status < 500:
                return answer
            return Answer(answer.status, max(answer.after, AGAIN))  # at once it would fail for ever, and no test end
        except asyncio.CancelledError:
            raise
        except BaseException:  # so does a test have a process die: its connection ends
            return Answer(after=AGAIN)
        finally:
            del self._delivering[task]

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        return await self._delivering[asyncio.current_task()].request(method, url, headers, body)
