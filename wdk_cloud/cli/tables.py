"""Runs, steps and events as tables for people. What a run carries is shown on one line and without control codes."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from wdk_cloud.cli.console import out
from wdk_cloud.codec.errors import error_summary
from wdk_cloud.engine import events as ev

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from wdk_cloud.cli.reading import Logged
    from wdk_cloud.cli.timeline import StepLine
    from wdk_cloud.client import RunInfo

LONGEST_VALUE = 200
"""Characters of a value that a table shows; `--json` has all of it."""

WIDTH_OF_A_FILE = 160

COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "retried": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "agrees": "green",
    "differs": "red",
}


def plain(text: str, longest: int = LONGEST_VALUE) -> str:
    """One line that no terminal obeys."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}…"


def state(word: str) -> Text:
    return Text(word, style=COLOURS.get(word, ""))


def short(name: str) -> str:
    """The function's name in the id of a step or workflow; an id that was chosen stays whole."""
    kind, _, rest = name.partition("//")
    return plain(rest.rpartition("//")[2] if kind in ("step", "workflow") and rest else name)


def name_of(step: StepLine) -> str:
    """Its name, with the number of the call where the run has several."""
    return f"{short(step.name)}#{step.call.rpartition('#')[2]}" if step.again else short(step.name)


def when(moment: float | datetime | None) -> str:
    if moment is None:
        return ""
    date = datetime.fromtimestamp(moment, UTC) if isinstance(moment, float | int) else moment.astimezone(UTC)
    return date.strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """A length of time in at most two units: "<1 ms", "3 ms", "5.02 s", "2 min 5 s", "3 d 4 h"."""
    seconds = max(0.0, seconds)
    if 0 < seconds < 0.0005:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{f'{seconds:.2f}'.rstrip('0').rstrip('.')} s"
    whole = round(seconds)
    for size, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {part_name}" if rest else "")
    raise AssertionError("a minute is the least of them")


def relative(moment: float, now: float) -> str:
    """A point in time, with how far it is from now."""
    distance = f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"
    return f"{when(moment)} UTC ({distance})"


def error_line(payload: bytes | None, longest: int = LONGEST_VALUE) -> str:
    if payload is None:
        return ""
    if payload.startswith(b'{"$encrypted"'):
        return "encrypted"
    summary = error_summary(payload)
    return plain(f"{summary.type_name}: {summary.message}", longest)


def value_line(payload: bytes | None) -> str:
    if payload is None:
        return ""
    if payload == b'{"$encrypted":true}':
        return "encrypted; --decrypt shows it"
    return plain(payload.decode("utf-8", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class Wide:
    """A table at a width of its own, whatever the console's is."""

    table: Table
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.table, options.update(max_width=self.width))


def table_of(*columns: str) -> Table:
    """A table whose last column may be folded; the others never are, so that ids can be copied and searched for."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number < len(columns) - 1, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """As wide as the terminal, but never cut: a narrower one wraps the lines itself. In a file no line ends blank."""
    endless = out.options.update(max_width=10_000)
    for column in table.columns[:-1]:  # what has a blank in it, as a time has, counts as one word
        column.min_width = max(Measurement.get(out, endless, each).maximum for each in (column.header, *column.cells))
    least = Measurement.get(out, endless, table).minimum
    known = out.is_terminal or "COLUMNS" in os.environ
    wide = Wide(table, max(least, out.width if known else WIDTH_OF_A_FILE))
    if out.is_terminal:
        out.print(wide, crop=False)
        return
    with out.capture() as capture:
        out.print(wide, crop=False)
    out.out("\n".join(line.rstrip() for line in capture.get().splitlines()), highlight=False)


def print_more(cursor: str | None) -> None:
    if cursor is not None:
        out.print(f"\nmore: --cursor {shlex.quote(cursor)}", soft_wrap=True)


def print_runs(runs: Sequence[RunInfo]) -> None:
    if not runs:
        out.print("no runs")
        return
    table = table_of("run", "workflow", "status", "created (UTC)", "took", "version", "error")
    for info in runs:
        took = "" if info.ended_at is None else span((info.ended_at - info.created_at).total_seconds())
        table.add_row(
            info.run_id,
            short(info.workflow_name),
            state(info.status),
            when(info.created_at),
            took,
            plain(info.version),
            info.error_code,
        )
    print_table(table)


def print_steps(steps: Sequence[StepLine]) -> None:
    if not steps:
        out.print("no steps")
        return
    table = table_of("step", "attempt", "state", "started (UTC)", "took", "result")
    for step in steps:
        begun = step.started_at if step.started_at is not None else step.created_at
        took = "" if step.ended_at is None else span(step.ended_at - begun)
        attempt = str(step.attempts[-1].number) if step.attempts else ""
        outcome = value_line(step.result) or error_line(step.error)
        table.add_row(name_of(step), attempt, state(step.state), when(begun), took, outcome)
    print_table(table)


def print_events(events: Sequence[Logged]) -> None:
    if not events:
        out.print("no events")
        return
    table = table_of("position", "event", "time (UTC)", "of", "what")
    for logged in events:
        event = logged.event
        kind = str(event.__struct_config__.tag)
        name, _, number = str(getattr(event, "id", "")).rpartition("#")
        of = f"{short(name)}#{number}" if name else plain(number)
        table.add_row(str(logged.position), kind, when(event.time), of, _what(event))
    print_table(table)


def _what(event: ev.AnyEvent) -> str:
    match event:
        case ev.StepRetrying() | ev.StepFailed() | ev.RunFailed() | ev.OperationFailed():
            return error_line(bytes(event.error))
        case ev.WaitCreated(due=due):
            return f"until {when(due)}"
        case ev.StepStarted(attempt=attempt) | ev.StepInterrupted(attempt=attempt):
            return f"attempt {attempt}"
        case ev.AttributesSet(changes=changes):
            return plain(msgspec.json.encode(changes).decode())
        case ev.CancelRequested(reason=reason) | ev.RunCancelled(reason=reason):
            return plain(reason or "")
        case ev.RunContinued(run_id=run_id):
            return f"as {plain(run_id)}"
        case _:
            return value_line(bytes(getattr(event, event.PAYLOAD))) if event.PAYLOAD else ""
