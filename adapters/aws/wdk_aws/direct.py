"""Events that ask for something by name: a run to be started, the ticks of schedules, the sweep."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from wdk_aws import events
from wdk_cloud import client, sources
from wdk_cloud.errors import WorkflowNotRegisteredError, WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_aws.serving import Instance
    from wdk_cloud.app import Workflow, Workflows
    from wdk_cloud.engine.service import Engine

T = TypeVar("T")

log = logging.getLogger("wdk_cloud")

MINUTE = 60.0
"""Seconds: as exact as Scheduler is, and no two ticks are nearer to each other."""


async def obey(instance: Instance, kind: events.Kind, order: object) -> dict[str, Any]:
    """The answer is JSON. Raises `ValueError`, `TypeError`, and what `start` does: the caller is told."""
    if kind == "start":
        return await _start(instance, _read(order, events.StartOrder))
    if kind == "tick":
        return await _tick(instance, _read(order, events.TickOrder))
    _read(order or {}, events.SweepOrder)
    return {"woken": await _sweep(instance)}


def _read(order: object, type: type[T]) -> T:
    try:
        return msgspec.convert(order, type)
    except msgspec.ValidationError as error:
        raise ValueError(f"this event is not what is wanted here: {error}") from None


async def _start(instance: Instance, order: events.StartOrder) -> dict[str, Any]:
    from wdk_cloud.admission import check_start
    from wdk_cloud.codec.values import decode_arguments

    workflow = _workflow(instance.apps(), order.workflow)
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
            f"workflow {name!r:.200} is not registered here; give the id, or the function's name, of one that is"
        )
    return found[0]


async def _tick(instance: Instance, order: events.TickOrder) -> dict[str, Any]:
    from wdk_cloud import ticks

    if order.workflow is None:
        return await _look_at_all(instance)
    workflow = _workflow(instance.apps(), order.workflow)
    if workflow.schedule is None:
        raise ValueError(f"{workflow.id} has no schedule; declare one, or start it: {{'start': {{'workflow': …}}}}")
    moment = instance.world.clock.now() if order.time is None else _moment(order.time)
    tick = workflow.schedule.last_until(moment)
    if tick is None or (order.exact and moment - tick >= MINUTE):
        return {"tick": None}
    await ticks.start_tick(_engine(instance, workflow.app.namespace), workflow, tick)
    return {"tick": tick}


async def _look_at_all(instance: Instance) -> dict[str, Any]:
    """For one rule that comes every minute, whatever the schedules are: the last tick of each that has come since it
    was looked at before. One that cannot be started holds up no other."""
    from wdk_cloud import ticks

    now = int(instance.world.clock.now())
    failed: list[str] = []
    looked_at = 0
    for app in instance.apps():
        for workflow in list(app.workflows.values()):
            if workflow.schedule is None:
                continue
            looked_at += 1
            try:
                due = ticks.Due(workflow, workflow.schedule, now, missed=True)
                await ticks.deal_with(_engine(instance, app.namespace), due)
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
        raise ValueError("time is <aws.scheduler.scheduled-time> of EventBridge Scheduler: 2026-01-31T12:00:00Z")
    return when.timestamp()


async def _sweep(instance: Instance) -> int:
    """Of every namespace that is served; where the code cannot be imported, of the one without a name."""
    from wdk_cloud.engine.sweep import sweep

    try:
        namespaces = list(dict.fromkeys(app.namespace for app in instance.apps())) or [""]
        engines = [_engine(instance, namespace) for namespace in namespaces]
    except WorldConfigurationError:
        log.exception("the code of WDK_APP cannot be imported; only runs of apps without a namespace are swept")
        instance.telemetry.count("MissingCode")
        engines = [instance.engine_without_code("")]
    woken = sum([await sweep(engine) for engine in engines])
    if woken:
        log.warning("the sweep woke %s runs that showed no progress", woken)
        instance.telemetry.count("SweptRuns", woken)
    return woken


def _engine(instance: Instance, namespace: str) -> Engine:
    return instance.engine(namespace) or instance.engine_without_code(namespace)
