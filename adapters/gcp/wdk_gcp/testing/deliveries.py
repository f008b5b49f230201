"""Delivers tasks that are due by real HTTP: a thread with an event loop, one connection for each delivery."""

from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import httpx
from google.cloud.tasks_v2 import types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.world.ports import Clock, Handle
    from wdk_gcp.testing.mischief import Fault, Mischief
    from wdk_gcp.testing.queues import QueueState, TaskState
    from wdk_gcp.testing.tokens import TokenSigner

FAULTS: tuple[Fault, ...] = ("duplicated", "reordered", "unacknowledged")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery of a task, when it has ended."""

    task: str
    """Its full name."""
    url: str
    """Where it was sent."""
    retry_count: int
    """Of earlier deliveries that ended without success."""
    at: float
    """When it began, by the server's clock."""
    status: int | None
    """Of the answer; None: none came, or it was lost on purpose."""


class Deliveries:
    """Of all queues of a server. `lock` guards the queues; whoever changes one calls `look()` afterwards."""

    def __init__(
        self,
        queues: Mapping[str, QueueState],
        lock: threading.Condition,
        clock: Clock,
        signer: TokenSigner,
        mischief: Mischief,
    ) -> None:
        self.ended: list[Attempt] = []
        self._queues = queues
        self._lock = lock
        self._clock = clock
        self._signer = signer
        self._mischief = mischief
        self._running: set[asyncio.Task[Answer]] = set()
        self._timer: Handle | None = None
        self._moves: Handle | None = None
        self._over = asyncio.Event()

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wdk-deliveries", daemon=True)
        self._thread.start()
        if self._clock.still:  # each move of a virtual clock is due at once for a callback of every 0 seconds
            self._moves = self._clock.every(0.0, self.look)

    def stop(self) -> None:
        if self._moves is not None:
            self._moves.cancel()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def look(self) -> None:
        """Something has changed: deliver what is due now."""
        self._loop.call_soon_threadsafe(self._look)

    def cut(self) -> int:
        """End the connections of all deliveries that are under way, as their deadlines would. How many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def idle(self) -> bool:
        """Whether nothing is due or under way; ask with the lock."""
        now = self._clock.now()
        dues = (queue.next_due() for queue in self._queues.values())
        return not any(queue.running for queue in self._queues.values()) and all(
            due is None or due > now for due in dues
        )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._deliver_until_over())
        finally:
            self._loop.close()

    async def _deliver_until_over(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        # No timeout: each delivery has its deadline.
        async with httpx.AsyncClient(verify=_tls(), limits=limits, timeout=None, trust_env=False) as client:  # noqa: S113
            self._client = client
            self._look()
            await self._over.wait()
            if self._timer is not None:
                self._timer.cancel()
            await self._cut()

    async def _cut(self) -> int:
        running = list(self._running)
        for delivery in running:
            delivery.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return len(running)

    def _look(self) -> None:
        if self._over.is_set():
            return
        with self._lock:
            now = self._clock.now()
            for queue in self._queues.values():
                while (state := queue.take(now)) is not None:
                    self._begin(queue, state, now)
            dues = [due for queue in self._queues.values() if (due := queue.next_due()) is not None and due > now]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if dues and not self._clock.still:
            self._timer = self._loop.call_later(min(dues) - now, self._look)

    def _begin(self, queue: QueueState, state: TaskState, now: float) -> None:
        fault = self._mischief.draw("dispatch", FAULTS)
        if fault == "reordered" and not state.held_back:
            queue.hold_back(state, now)
            return
        headers = state.headers()
        retry_count = state.dispatched
        state.dispatched += 1
        state.first, state.last, state.delivered = state.first or now, now, False
        for _ in range(2 if fault == "duplicated" else 1):
            queue.running += 1
            state.running += 1
            sent = Sent(state, retry_count, headers, now, fault == "unacknowledged")
            delivery = self._loop.create_task(self._delivered(sent))
            self._running.add(delivery)
            delivery.add_done_callback(partial(self._ended, queue, sent))

    async def _delivered(self, sent: Sent) -> Answer:
        try:
            async with asyncio.timeout(sent.state.deadline):
                answer = await self._asked(sent)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return Answer()
        return Answer() if sent.unacknowledged else Answer(answer.status_code, _retry_after(answer))

    async def _asked(self, sent: Sent) -> httpx.Response:
        request = sent.state.task.http_request
        headers = dict(sent.headers)
        if request.HasField("oidc_token"):
            wanted = request.oidc_token
            token = self._signer.token(wanted.audience or request.url, wanted.service_account_email)
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            headers["Authorization"] = f"Bearer {token}"
        method = types.HttpMethod(request.http_method).name if request.http_method else "POST"
        return await self._request(method, request.url, headers, request.body)

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        return await self._client.request(method, url, headers=headers, content=body)

    def _ended(self, queue: QueueState, sent: Sent, delivery: asyncio.Task[Answer]) -> None:
        self._running.discard(delivery)
        answer = Answer() if delivery.cancelled() else delivery.result()
        state = sent.state
        with self._lock:
            now = self._clock.now()
            url = state.task.http_request.url
            self.ended.append(Attempt(state.name, url, sent.retry_count, sent.at, answer.status))
            queue.running -= 1
            state.running -= 1
            if answer.status is not None:
                state.answered += 1
                state.previous = answer.status
                state.delivered = state.delivered or 200 <= answer.status < 300
            if state.delivered:
                queue.remove(state, now)
            elif not state.running and not state.gone:
                queue.again(state, now, answer.after)
            self._lock.notify_all()
        self._look()


@cache
def _tls() -> ssl.SSLContext:
    """Loading its certificates takes longer than most tests do."""
    return ssl.create_default_context()


class Answer(NamedTuple):
    status: int | None = None
    """None: none came, or it was lost on purpose."""
    after: float = 0.0
    """Seconds until the next attempt at least, as the receiver asks for."""


class Sent(NamedTuple):
    state: TaskState
    retry_count: int
    headers: Mapping[str, str]
    at: float
    unacknowledged: bool


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the receiver asks for, as a number: "the Retry-After header is considered"."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else 0.0
