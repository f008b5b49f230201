"""Runs and steps as JSON documents for programs, beside those of `wdk_cloud.documents`, and how they are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import out
from wdk_cloud.context import step_id
from wdk_cloud.documents import Document, error_of, iso, value_of
from wdk_cloud.engine import events as ev
from wdk_cloud.hooks import hook_id

if TYPE_CHECKING:
    from wdk_cloud.cli.reading import RunView
    from wdk_cloud.cli.timeline import Attempt, StepLine
    from wdk_cloud.world.ports import Trouble


def print_json(document: object) -> None:
    """One document on stdout, neither wrapped nor coloured."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character somewhere: no file could hold it but as an escape
        text = json.dumps(document, indent=2)
    out.out(text, highlight=False)


def step_document(run_id: str, step: StepLine) -> Document:
    return {
        "step_id": step_id(run_id, step.call),
        "step_name": step.name,
        "call": step.call,
        "state": step.state,
        "attempt": step.attempts[-1].number if step.attempts else 0,
        "queued": step.queued,
        "created_at": iso(step.created_at),
        "started_at": iso(step.started_at),
        "ended_at": iso(step.ended_at),
        "retry_at": iso(step.retry_at),
        "input": value_of(step.input),
        "result": value_of(step.result),
        "error": error_of(step.error),
        "attempts": [_attempt_document(attempt) for attempt in step.attempts],
    }


def _attempt_document(attempt: Attempt) -> Document:
    return {
        "attempt": attempt.number,
        "state": attempt.state,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "error": error_of(attempt.error),
    }


def run_document(view: RunView, steps: list[StepLine], cursor: str | None) -> Document:
    head, timeline = view.head, view.timeline
    end = timeline.end
    return {
        "run_id": head.run_id,
        "workflow_name": head.workflow,
        "status": head.status,
        "created_at": iso(head.created_at),
        "started_at": iso(timeline.started_at),
        "ended_at": iso(head.ended_at),
        "error_code": head.error_code,
        "error": error_of(bytes(end.error)) if isinstance(end, ev.RunFailed) else None,
        "cancel_reason": end.reason if isinstance(end, ev.RunCancelled) else None,
        "version": head.version,
        "last_version": head.last_version,
        "parent": head.parent.partition("/")[0] if head.parent else None,
        "root": head.root,
        "idempotency_key": head.idempotency_key,
        "continued_from": head.continued_from,
        "continued_to": head.continued_to,
        "encrypted": head.data_key is not None,
        "attributes": view.labels,
        "input": value_of(view.input),
        "result": value_of(bytes(end.result)) if isinstance(end, ev.RunCompleted) else None,
        "events": timeline.length,
        "steps": [step_document(head.run_id, step) for step in steps],
        "cursor": cursor,
        "waits_for": _waits_document(view),
        "lease": _lease_document(view),
        "trouble": None if head.trouble is None else _trouble_document(head.trouble),
    }


def _waits_document(view: RunView) -> Document | None:
    head, timeline = view.head, view.timeline
    if head.ended:
        return None
    steps: list[Document] = []
    for step in timeline.open_steps():
        item = view.queued.get(step.call)
        attempt = item.attempt if item is not None else (step.attempts[-1].number if step.attempts else 0)
        retry_at = (item.retry_at or None) if item is not None else step.retry_at
        steps.append(
            {
                "step_id": step_id(head.run_id, step.call),
                "step_name": step.name,
                "state": step.state if item is None else ("running" if item.holder is not None else "retrying"),
                "attempt": attempt,
                "next_try_at": iso(retry_at),
            }
        )
    return {
        "start": iso(head.not_before) if head.status == "pending" and head.not_before else None,
        "steps": steps,
        "timers": [{"id": timer.id, "due": iso(timer.due)} for timer in timeline.open_timers()],
        "operations": [
            {"id": operation.id, "name": operation.name, "input": value_of(operation.input)}
            for operation in timeline.open_operations()
        ],
        "runs": [
            {"id": id, "run_id": awaited.run_id, "workflow_name": awaited.workflow, "status": awaited.status}
            for id, awaited in view.awaited.items()
        ],
        "hooks": [
            {
                "hook_id": hook_id(head.run_id, hook.id),
                "kind": hook.kind,
                "created_at": iso(hook.created_at),
                "received": hook.received,
            }
            for hook in timeline.open_hooks()
        ],
        "asked": list(view.asked),
        "payloads": view.arrived,
    }


def _lease_document(view: RunView) -> Document | None:
    head = view.head
    if head.holder is None or head.ended:
        return None
    return {"holder": head.holder, "until": iso(head.until), "fence": head.fence, "run_out": head.until <= view.now}


def _trouble_document(trouble: Trouble) -> Document:
    return {
        "reason": trouble.reason,
        "since": iso(trouble.since),
        "count": trouble.count,
        "interrupt": trouble.interrupt,
        "pending": bool(trouble.onward),
    }
