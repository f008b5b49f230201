"""The bills of runs on AWS: units, messages and invocations, counted, and dollars beside what others charge.

Every request is metered (`wdk_aws.testing.meter`), from the first of `start` to the last acknowledgement; a client that
waits for a result is not. What a row is *more than* another run costs is the difference of two bills.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import cloud_scenes as scenes
from benchmarks import cloud_workflows as flows
from benchmarks.aws_prices import OPERATION, TRANSITION, Bill, idle_month
from benchmarks.aws_stage import POLLERS, Part, theatre
from benchmarks.figures import Figure, Json, Report
from wdk_aws.testing.meter import Call, Tally

if TYPE_CHECKING:
    from benchmarks.aws_stage import Theatre
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

MILLION = 1_000_000


@dataclass(frozen=True)
class Row:
    """What one piece of work costs."""

    name: str
    write: float
    read: float
    messages: float
    """Those of schedules included."""
    invocations: float
    bill: Bill
    transitions: float
    """Of Step Functions, for the same work: the start and each state entered."""
    operations: float
    """Of Lambda durable functions: the start, each step and each wait."""
    calls: tuple[Call, ...] = ()
    """What was asked, the part that does not count included."""

    def to_json(self) -> Json:
        return {
            "write_units": self.write,
            "read_units": self.read,
            "messages": self.messages,
            "invocations": self.invocations,
            "dollars_per_million": {
                **{name: round(value * MILLION, 4) for name, value in vars(self.bill).items()},
                "total": round(self.bill.total * MILLION, 2),
                "step_functions": round(self.transitions * TRANSITION * MILLION, 2),
                "durable_functions": round(self.operations * OPERATION * MILLION, 2),
            },
        }


def row_of(name: str, part: Part, transitions: float, operations: float, *, over: Part | None = None) -> Row:
    """`over`: a run that is contained in this one, and does not count."""
    tally, invocations = part.tally, part.invocations
    if over is not None:
        tally, invocations = _more(tally, over.tally), invocations - over.invocations
    messages = tally.sent + tally.requests["scheduler.CreateSchedule"]
    bill = Bill.of(tally, invocations, pollers=POLLERS)
    return Row(name, tally.write, tally.read, messages, invocations, bill, transitions, operations, tuple(part.calls))


def _more(tally: Tally, than: Tally) -> Tally:
    requests, messages = tally.requests.copy(), tally.messages.copy()
    requests.subtract(than.requests)
    messages.subtract(than.messages)
    return Tally(tally.read - than.read, tally.write - than.write, requests, messages)


async def fan_out(theatre: Theatre, steps: int, over: float) -> tuple[Part, int]:
    """And its turns."""
    part = await scenes.fan_out(theatre, steps, over)
    flow = [call for call in part.calls if call.operation == "ReceiveMessage" and call.target.endswith("-flow")]
    return part, sum(call.messages for call in flow)


# --- rows -------------------------------------------------------------------------------------------------------------


async def exact_rows(theatre: Theatre) -> dict[str, Row]:
    """Those that come out the same each time, by a short name."""
    empty = await scenes.to_the_end(theatre, flows.empty, flows.DETAILS)
    ten = await scenes.to_the_end(theatre, flows.in_a_row, 10, flows.DETAILS)
    sealed = await scenes.to_the_end(theatre, flows.in_a_row, 10, flows.DETAILS, encrypted=True)
    eleven = await scenes.to_the_end(theatre, flows.in_a_row, 11, flows.DETAILS)
    minutes = await scenes.to_the_end(theatre, flows.sleeping, "10 minutes")
    days = await scenes.to_the_end(theatre, flows.sleeping, "2 days")
    month = await scenes.to_the_end(theatre, flows.sleeping, "30 days")
    hook = await scenes.with_a_payload(theatre)
    parked, cancel = await scenes.cancelled(theatre)
    child = await scenes.to_the_end(theatre, flows.parent, flows.DETAILS)
    one = await scenes.to_the_end(theatre, flows.in_a_row, 1, flows.DETAILS)
    retried = await scenes.to_the_end(theatre, flows.retried, 1)
    later = await scenes.to_the_end(theatre, flows.retried_later, 1)
    cold = await scenes.cold_turn(theatre, scenes.COLD_STEPS)
    return {
        "empty": row_of("a run that does nothing", empty, 1, 1),
        "ten": row_of("a run of 10 inline steps", ten, 11, 11),
        "sealed": row_of("the same, encrypted with KMS", sealed, 11, 11),
        "further": row_of("a further inline step", eleven, 1, 1, over=ten),
        "sleep": row_of("a sleep of 10 minutes", minutes, 1, 1, over=empty),
        "long_sleep": row_of("a sleep of 2 days", days, 1, 1, over=empty),
        "beyond": row_of("what a sleep beyond 900 s adds", days, 0, 0, over=minutes),
        "month": row_of("a run that sleeps for a month", month, 2, 2),
        "hook": row_of("a hook and one payload", hook, 1, 1, over=empty),
        "child": row_of("a child that is waited for", child, 2, 2, over=empty),
        "retry": row_of("a retry at once", retried, 1, 1, over=one),
        "later": row_of("a retry after a minute", later, 1, 1, over=one),
        "cancel": row_of("a cancel of a sleeping run", cancel, 0, 0),
        "cold": row_of(f"a cold turn of {3 * scenes.COLD_STEPS + 2:,} events", cold, 0, 0),
        "parked": row_of("a run up to its first sleep", parked, 1, 1),
    }


async def timed_rows(theatre: Theatre, queued: int) -> tuple[Row, int, Part]:
    """The queued steps, their turns, and the stream: on the machine's clock."""
    over = queued / 20
    part, turns = await fan_out(theatre, queued, over)
    stream = await scenes.streamed(theatre, 200, 2.0)
    return row_of(f"{queued} queued steps that end over {over:g} s", part, queued + 1, queued + 1), turns, stream


# --- the report -------------------------------------------------------------------------------------------------------

BUDGETS: dict[str, dict[str, float]] = {
    "ten": {"write": 20, "read": 2, "messages": 1, "invocations": 1},
    "further": {"write": 1, "read": 0, "messages": 0},
    "sleep": {"write": 4, "messages": 1, "invocations": 1},
    "beyond": {"write": 0, "read": 0, "messages": 1, "invocations": 1},
    "hook": {"write": 9, "messages": 1},
}
"""At most so much of each; the report shows them beside what was counted."""

PER_QUEUED = {"write": 3.2, "read": 1.6, "messages": 1.3}
TURNS = 12
OBJECTS = 25

UNITS = {"write": "write units", "read": "read units", "messages": "messages", "invocations": "invocations"}


def run(plan: Plan, folder: Folder) -> Report:
    del folder  # the table has one of its own; and what is counted needs no repeating
    with theatre() as found:
        rows = asyncio.run(exact_rows(found))
        queued, turns, stream = asyncio.run(timed_rows(found, plan.queued))
    figures = [
        Figure(f"{rows[short].name}: {UNITS[what]}", "aws", getattr(rows[short], what), "", most=most)
        for short, budget in BUDGETS.items()
        for what, most in budget.items()
    ]
    figures += [
        Figure(f"{queued.name}: {UNITS[what]} each", "aws", getattr(queued, what) / plan.queued, "", most=most)
        for what, most in PER_QUEUED.items()
    ]
    requests = stream.tally.requests
    figures += [
        Figure(f"{queued.name}: turns", "aws", turns, "", most=TURNS),
        Figure("a stream of 200 small chunks in 2 s: objects", "aws", requests["s3.PutObject"], "", most=OBJECTS),
        Figure("a stream with a live reader: LIST requests", "aws", requests["s3.ListObjectsV2"], "", most=0),
    ]
    figures += [
        Figure(f"{row.name}, a million times", "aws", row.bill.total * MILLION, "$") for row in (*rows.values(), queued)
    ]
    figures.append(Figure("a month in which nothing happens", "aws", idle_month(), "$"))
    missed = [figure for figure in figures if figure.met is False]
    details: Json = {
        "rows": {row.name: row.to_json() for row in (*rows.values(), queued)},
        # A budget that is missed names what was asked, so that one sees where it went.
        "calls_of_missed": {
            row.name: _calls(row)
            for row in (*rows.values(), queued)
            if any(figure.name.startswith(row.name) for figure in missed)
        },
    }
    return Report(figures, details)


def _calls(row: Row) -> Json:
    """How often which call cost what."""
    alike = Counter(
        f"{call.name} {call.target.rpartition('/')[2]}: {call.write} write, {call.read:g} read {call.error}".strip()
        for call in row.calls
    )
    return dict(alike.most_common())
