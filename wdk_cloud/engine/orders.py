"""The order that a step message carries: what a worker needs to run a step without reading the run's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wdk_cloud import durations
from wdk_cloud.engine import outgoing
from wdk_cloud.options import RetryPolicy, StepOptions

if TYPE_CHECKING:
    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.world.ports import Message


class StepOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A queue-dispatched step; durations in seconds."""

    name: str
    input: msgspec.Raw
    """Sealed."""
    workflow: str
    run_started: float
    made: float = 0.0
    """When, by the clock of who held the run then; a copy keeps it."""
    data_key: str | None = None
    version: str = ""
    """Of the code that asks for the step; no word from before it was told."""
    max_retries: int = 3
    delay: float = 0.0
    backoff: float = 2.0
    max_delay: float | None = None
    jitter: float = 0.0
    timeout: float | None = None
    cancellable: bool = False

    @property
    def options(self) -> StepOptions:
        retry = RetryPolicy(self.delay, self.backoff, self.max_delay, self.jitter)
        return StepOptions(self.max_retries, retry, self.timeout, "queue", self.cancellable)


_decoder = msgspec.json.Decoder(StepOrder)


def decode_order(data: bytes) -> StepOrder:
    return _decoder.decode(data)


async def step_message(turn: Turn, created: ev.StepCreated) -> Message:
    """The message that has the step run elsewhere; sending it twice is harmless, its claim is taken once."""
    call = turn.body.calls.get(created.id) if turn.body is not None else None
    step = call.step if call is not None else turn.engine.step(created.name)
    options = step.options if step is not None else StepOptions()
    retry = options.retry
    order = StepOrder(
        name=created.name,
        input=msgspec.Raw(await turn.payloads.seal("input", created.id, bytes(created.input))),
        workflow=turn.head.workflow,
        run_started=turn.history.started_at or created.time,
        made=turn.engine.world.clock.now(),
        data_key=turn.head.data_key,
        version=turn.engine.version,
        max_retries=options.max_retries,
        delay=durations.seconds(retry.delay),
        backoff=retry.backoff,
        max_delay=None if retry.max_delay is None else durations.seconds(retry.max_delay),
        jitter=retry.jitter,
        timeout=options.timeout_seconds,
        cancellable=options.cancellable,
    )
    return outgoing.message(turn.engine, "step", turn.head, step_id=created.id, order=msgspec.json.encode(order))
