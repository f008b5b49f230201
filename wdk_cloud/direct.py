"""What a process that is pushed its messages is told by name: to start a run, the ticks of schedules, the sweep."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from wdk_cloud import client, sources
from wdk_cloud.errors import WorkflowNotRegisteredError, WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.app import Workflow, Workflows
    from wdk_cloud.engines import Engines
    from wdk_cloud.telemetry import Telemetry

T = TypeVar("T")

log = logging.getLogger("wdk_cloud")

Kind = Literal["start", "tick", "sweep"]

MINUTE = 60.0
"""Seconds: as exact as the schedulers of the clouds are, and no two ticks are nearer to each other."""


class StartOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to be started: `workflow` is the id, or the name of its function; `args` and `kwargs` its arguments."""

    workflow: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    run_id: str | None = None
    idempotency_key: str | None = None
    attributes: dict[str, str] = {}
    delay: str | float | None = None


class TickOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scheduled workflow is due: `workflow` is its id, `time` the tick as the provider's scheduler writes it. Without
    a workflow all of them are looked at, for the last tick of each. With `exact` a time that is none of the schedule's
    ticks means nothing, instead of the tick before it."""

    workflow: str | None = None
    time: str | None = None
    exact: bool = False


class SweepOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is to be said."""


async def obey(engines: Engines, telemetry: Telemetry, kind: Kind, order: object) -> dict[str, Any]:
    """The answer is JSON. Raises `ValueError`, `TypeError`, and what `start` does: the caller is told."""
    if kind == "start":
        return await _start(engines, _read(order, StartOrder))
    if kind == "tick":
        return await _tick(engines, _read(order, TickOrder))
    _read(order or {}, SweepOrder)
    return {"woken": await _sweep(engines, telemetry)}


def _read(order: object, type: type[T]) -> T:
    try:
        return msgspec.convert(order, type)
    except msgspec.ValidationError as error:
        raise ValueError(f"this event is not what is wanted here: {error}") from None


async def _start(engines: Engines, order: StartOrder) -> dict[str, Any]:
    from wdk_cloud.admission import check_start
    from wdk_cloud.codec.values import decode_arguments

    workflow = _workflow(engines.apps(), order.workflow)
    ready = workflow.with_options(
        run_id=order.run_id,
        idempotency_key=order.idempotency_key,
        attributes=order.attributes or None,
        delay=order.delay,
    )
    # A worker would find it out, and the run would fail: whoever calls can be told at once.
    data, _, _ = check_start(ready, tuple(order.args), order.kwargs)
    decode_arguments(data, workflow.annotations, known=workflow.app.known)
    run = await client.start(ready, *order.args, **order.kwargs)
    return {"run_id": run.run_id}


def _workflow(apps: Sequence[Workflows], name: str) -> Workflow[..., Any]:
    found = sources.named(apps, name)
    if len(found) > 1:
        ids = ", ".join(workflow.id for workflow in found)
        raise ValueError(f"{name!r} names several workflows; give the id: {ids}")
    if not found:
        raise WorkflowNotRegisteredError(
            f"cannot run {name!r:.200}: no such workflow is registered; give the id, or the function's name, of one"
        )
    return found[0]


async def _tick(engines: Engines, order: TickOrder) -> dict[str, Any]:
    from wdk_cloud import ticks

    if order.workflow is None:
        return await _look_at_all(engines)
    workflow = _workflow(engines.apps(), order.workflow)
    if workflow.schedule is None:
        raise ValueError(f"{workflow.id} has no schedule; declare one, or start it: {{'start': {{'workflow': …}}}}")
    moment = engines.world.clock.now() if order.time is None else _moment(order.time)
    tick = workflow.schedule.last_until(moment)
    if tick is None or (order.exact and moment - tick >= MINUTE):
        return {"tick": None}
    await ticks.start_tick(engines.any(workflow.app.namespace), workflow, tick)
    return {"tick": tick}


async def _look_at_all(engines: Engines) -> dict[str, Any]:
    """For one rule that comes every minute, whatever the schedules are: the last tick of each that has come since it
    was looked at before. One that cannot be started holds up no other."""
    from wdk_cloud import ticks

    now = int(engines.world.clock.now())
    failed: list[str] = []
    looked_at = 0
    for app in engines.apps():
        for workflow in list(app.workflows.values()):
            if workflow.schedule is None:
                continue
            looked_at += 1
            try:
                due = ticks.Due(workflow, workflow.schedule, now, missed=True)
                await ticks.deal_with(engines.any(app.namespace), due)
            except Exception:
                log.exception("schedule of %s: its tick is made up for when the next event comes", workflow.id)
                failed.append(workflow.id)
    return {"schedules": looked_at, "failed": failed}


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.utcoffset() is None:
        raise ValueError("time is what the scheduler says of the tick, with its zone: 2026-01-31T12:00:00Z")
    return when.timestamp()


async def _sweep(engines: Engines, telemetry: Telemetry) -> int:
    """Of every namespace that is served; where the code cannot be imported, of the one without a name."""
    from wdk_cloud.engine.sweep import sweep

    try:
        namespaces = list(dict.fromkeys(app.namespace for app in engines.apps())) or [""]
        swept = [engines.any(namespace) for namespace in namespaces]
    except WorldConfigurationError:
        log.exception("the code of WDK_APP cannot be imported; only runs of apps without a namespace are swept")
        telemetry.count("MissingCode")
        swept = [engines.without_code("")]
    woken = sum([await sweep(engine) for engine in swept])
    if woken:
        log.warning("the sweep woke %s run%s that showed no progress", woken, "s" * (woken != 1))
        telemetry.count("SweptRuns", woken)
    return woken
