"""What `wdk inspect run` prints: the run's fields, its timeline, and what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from wdk_cloud.cli import tables
from wdk_cloud.cli.console import out
from wdk_cloud.cli.tables import error_line, name_of, plain, relative, short, span, state, value_line, when
from wdk_cloud.cli.timeline import HookLine, TimerLine
from wdk_cloud.codec.errors import error_summary
from wdk_cloud.engine import events as ev
from wdk_cloud.hooks import hook_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wdk_cloud.cli.reading import RunView
    from wdk_cloud.cli.timeline import StepLine

Line = tuple[str, str | Text]
Row = tuple[str | Text, ...]

ASKED = {"cancel": "end", "wake_up": "wake"}

LONGEST_MESSAGE = 2000
"""Characters of what failed the run: there it is cut only when it would bury all the rest."""


def print_run(view: RunView, steps: Sequence[StepLine]) -> None:
    """All of it; `steps` are those of the page."""
    out.print(f"run {view.head.run_id}", style="bold", soft_wrap=True)
    _print_lines(_fields(view))
    _print_timeline(view, steps)
    if not view.head.ended:
        out.print("\nwaits for", style="bold")
        _print_lines(_waits(view))
    if view.head.trouble is not None:
        out.print("\ntrouble", style="bold")
        _print_lines(_trouble(view))
    if isinstance(view.timeline.end, ev.RunFailed):
        _print_traceback(bytes(view.timeline.end.error))


def _print_lines(lines: Iterator[Line]) -> None:
    shown = [(name, text) for name, text in lines if text]
    width = max((len(name) for name, _ in shown), default=0)
    for name, text in shown:
        out.print(Text(f"  {name:<{width}}  ") + (text if isinstance(text, Text) else Text(text)), soft_wrap=True)


def _print_traceback(payload: bytes) -> None:
    """Of the exception that failed the run, with its causes, as the worker had it."""
    if not payload.startswith(b'{"$encrypted"') and (text := error_summary(payload).traceback):
        out.print("\ntraceback", style="bold")
        for line in text.splitlines():
            out.print(f"  {plain(line, LONGEST_MESSAGE)}", soft_wrap=True)


def _fields(view: RunView) -> Iterator[Line]:
    head, timeline = view.head, view.timeline
    yield "workflow", plain(head.workflow)
    yield "status", state(head.status)
    yield "created", f"{when(head.created_at)} UTC"
    if head.ended_at is not None:
        yield "ended", f"{when(head.ended_at)} UTC, after {span(head.ended_at - head.created_at)}"
    yield "continues", plain(head.continued_from or "")
    yield "parent", plain(head.parent.partition("/")[0] if head.parent else "")
    yield "idempotency key", plain(head.idempotency_key or "")
    yield "version", plain(head.version)
    yield "last version", plain("" if head.last_version == head.version else head.last_version)
    yield "labels", ", ".join(plain(f"{name}={value}") for name, value in view.labels.items())
    yield "input", value_line(view.input)
    match timeline.end:
        case ev.RunCompleted(result=result):
            yield "result", value_line(bytes(result))
        case ev.RunFailed(code=code, error=error):
            yield "error", Text(f"{code}: {error_line(bytes(error), LONGEST_MESSAGE)}", style="red")
        case ev.RunCancelled(reason=reason):
            yield "reason", plain(reason or "")
        case ev.RunContinued(run_id=run_id):
            yield "continued as", plain(run_id)
        case None:
            yield "error", Text(head.error_code or "", style="red")


# --- the timeline -----------------------------------------------------------------------------------------------------


def _print_timeline(view: RunView, steps: Sequence[StepLine]) -> None:
    """A row for each attempt of a step, each timer and each hook, in the order in which the body asked for them."""
    others = [*view.timeline.timers.values(), *view.timeline.hooks.values()]
    first, last = (steps[0].position, steps[-1].position) if steps else (0, 0)
    everything = len(steps) == len(view.timeline.steps)
    shown = [other for other in others if everything or first <= other.position <= last]
    lines = sorted([*steps, *shown], key=lambda line: line.position)
    if not lines:
        return
    table = tables.table_of("step", "attempt", "state", "started", "took", "")
    for line in lines:
        match line:
            case TimerLine():
                table.add_row(*_timer_row(view, line))
            case HookLine():
                table.add_row(*_hook_row(view, line))
            case _:
                for row in _step_rows(view, line):
                    table.add_row(*row)
    out.print()
    tables.print_table(table)


def _step_rows(view: RunView, step: StepLine) -> Iterator[Row]:
    zero, name = view.head.created_at, name_of(step)
    for attempt in step.attempts:
        # Of an attempt that ran in a delivery of its own, the log knows the end only.
        begun = attempt.started_at if attempt.started_at is not None else step.created_at
        took = "" if attempt.ended_at is None else span(attempt.ended_at - begun)
        yield (
            name,
            str(attempt.number),
            state(attempt.state),
            f"+{span(begun - zero)}",
            took,
            Text(error_line(attempt.error), style="red" if attempt.state == "failed" else "yellow"),
        )
    if not step.attempts:
        item = view.queued.get(step.call)
        number = str(item.attempt) if item is not None else ""
        yield name, number, state(step.state), f"+{span(step.created_at - zero)}", "", ""


def _timer_row(view: RunView, timer: TimerLine) -> Row:
    took = "" if timer.ended_at is None else span(timer.ended_at - timer.created_at)
    name = f"{timer.id.rpartition('#')[0]} {span(timer.due - timer.created_at)}"
    return name, "", state(timer.state), f"+{span(timer.created_at - view.head.created_at)}", took, ""


def _hook_row(view: RunView, hook: HookLine) -> Row:
    took = "" if hook.ended_at is None else span(hook.ended_at - hook.created_at)
    open_until_the_end = "over" if view.timeline.end is not None else "waiting"
    became = "disposed" if hook.ended_at is not None else open_until_the_end
    told = f"{hook.received} received" if hook.conflict is None else f"run {plain(hook.conflict)} has its token"
    begun = f"+{span(hook.created_at - view.head.created_at)}"
    return hook.kind, "", state(became if hook.conflict is None else "refused"), begun, took, told


# --- what it waits for ------------------------------------------------------------------------------------------------


def _waits(view: RunView) -> Iterator[Line]:
    head = view.head
    outstanding = list(_outstanding(view))
    if head.status == "pending":
        delayed = head.not_before > view.now
        yield "start", relative(head.not_before, view.now) if delayed else "a worker: wdk dev"
    elif not outstanding and head.free_at(view.now):
        yield "turn", "a worker: wdk dev" if head.trouble is None else "a worker that can go on with it"
    yield from outstanding
    for kind in view.asked:
        yield ASKED[kind], "asked for; the next worker sees to it"
    if view.arrived:
        yield "payloads", f"{view.arrived} sent; the next worker takes {'it' if view.arrived == 1 else 'them'} in"
    yield "lease", _lease(view)


def _outstanding(view: RunView) -> Iterator[Line]:
    timeline = view.timeline
    for step in timeline.open_steps():
        yield f"step {name_of(step)}", _step_wait(view, step)
    for timer in timeline.open_timers():
        yield f"timer {plain(timer.id)}", f"until {relative(timer.due, view.now)}"
    for operation in timeline.open_operations():
        awaited = view.awaited.get(operation.id)
        if awaited is not None:
            yield f"run {awaited.run_id}", f"the result of {short(awaited.workflow)}; it is {awaited.status}"
        else:
            yield f"operation {plain(operation.id)}", value_line(operation.input)
    for hook in timeline.open_hooks():
        received = f"{hook.received} received" if hook.received else "nothing received yet"
        yield f"{hook.kind} {hook_id(view.head.run_id, hook.id)}", f"since {when(hook.created_at)} UTC; {received}"


def _step_wait(view: RunView, step: StepLine) -> str:
    item = view.queued.get(step.call)
    number = item.attempt if item is not None else (step.attempts[-1].number if step.attempts else 0)
    if item is not None and item.holder is not None:
        return f"attempt {number} running, claimed until {relative(item.until, view.now)}"
    retry_at = item.retry_at if item is not None else step.retry_at
    if retry_at:
        return f"attempt {number} failed, next try {relative(retry_at, view.now)}"
    if step.state == "running" and not step.queued and view.head.free_at(view.now):
        return f"attempt {number} was interrupted; the next worker sees to it"
    return f"attempt {number} {step.state}" if number else ("in the queue" if step.queued else "its first attempt")


def _lease(view: RunView) -> str:
    head = view.head
    if head.holder is None:
        return "nobody holds it"
    holder = f"message {head.holder}, fence {head.fence}"
    if head.until <= view.now:
        return f"ran out {relative(head.until, view.now)}; its holder is gone ({holder})"
    return f"held until {relative(head.until, view.now)} ({holder})"


def _trouble(view: RunView) -> Iterator[Line]:
    trouble = view.head.trouble
    if trouble is None:
        return
    yield "reason", Text(plain(trouble.reason, 500), style="red")
    yield "since", relative(trouble.since, view.now)
    yield "met", f"{trouble.count} time{'s' * (trouble.count != 1)}"
    yield "what", "an interrupt inside the body" if trouble.interrupt else "handed on until a worker can go on with it"
