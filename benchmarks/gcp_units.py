"""The bills of runs on Google Cloud: documents, tasks and objects, counted, and dollars beside Cloud Workflows.

Every request is metered (`wdk_gcp.testing.meter`), from the first of `start` to the last answer to Cloud Tasks; a
client that waits for a result is not. What a row is *more than* another run costs is the difference of two bills.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import cloud_scenes as scenes
from benchmarks import cloud_workflows as flows
from benchmarks.figures import Figure, Json, Report
from benchmarks.gcp_prices import EXTERNAL_STEP, INTERNAL_STEP, Bill, idle_month
from benchmarks.gcp_stage import Part, theatre
from wdk_gcp.testing.meter import CLASS_A, CLASS_B, Call, Tally

if TYPE_CHECKING:
    from benchmarks.gcp_stage import Theatre
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

MILLION = 1_000_000


@dataclass(frozen=True)
class Row:
    """What one piece of work costs."""

    name: str
    writes: int
    reads: int
    deletes: int
    left: int
    """Documents that expire one day: a delete each."""
    tasks: int
    deliveries: int
    class_a: int
    class_b: int
    """Requests to Cloud Storage, as it is charged for them."""
    bill: Bill
    workflows: float
    """Dollars of Cloud Workflows, for the same work: a step for each call, sleep and wait."""
    calls: tuple[Call, ...] = ()
    """What was asked, the part that does not count included."""

    def to_json(self) -> Json:
        return {
            "document_writes": self.writes,
            "document_reads": self.reads,
            "document_deletes": self.deletes,
            "documents_left": self.left,
            "tasks": self.tasks,
            "deliveries": self.deliveries,
            "objects_class_a": self.class_a,
            "objects_class_b": self.class_b,
            "dollars_per_million": {
                **{name: round(value * MILLION, 4) for name, value in vars(self.bill).items()},
                "total": round(self.bill.total * MILLION, 2),
                "cloud_workflows": round(self.workflows * MILLION, 2),
            },
        }


def row_of(name: str, part: Part, internal: int, external: int = 0, *, over: Part | None = None) -> Row:
    """`internal` and `external`: the steps of Cloud Workflows. `over`: a run that is contained in this one, and does
    not count."""
    tally, deliveries, left = part.tally, part.deliveries, part.left
    if over is not None:
        tally, deliveries, left = _more(tally, over.tally), deliveries - over.deliveries, left - over.left
    return Row(
        name,
        tally.writes,
        tally.reads,
        tally.deletes,
        left,
        tally.requests["tasks.CreateTask"],
        deliveries,
        tally.objects(CLASS_A),
        tally.objects(CLASS_B),
        Bill.of(tally, deliveries, left),
        internal * INTERNAL_STEP + external * EXTERNAL_STEP,
        tuple(part.calls),
    )


def _more(tally: Tally, than: Tally) -> Tally:
    requests = tally.requests.copy()
    requests.subtract(than.requests)
    return Tally(tally.reads - than.reads, tally.writes - than.writes, tally.deletes - than.deletes, requests)


async def exact_rows(theatre: Theatre) -> dict[str, Row]:
    """Those that come out the same each time, by a short name."""
    empty = await scenes.to_the_end(theatre, flows.empty, flows.DETAILS)
    ten = await scenes.to_the_end(theatre, flows.in_a_row, 10, flows.DETAILS)
    sealed = await scenes.to_the_end(theatre, flows.in_a_row, 10, flows.DETAILS, encrypted=True)
    eleven = await scenes.to_the_end(theatre, flows.in_a_row, 11, flows.DETAILS)
    minutes = await scenes.to_the_end(theatre, flows.sleeping, "10 minutes")
    days = await scenes.to_the_end(theatre, flows.sleeping, "29 days")
    month = await scenes.to_the_end(theatre, flows.sleeping, "30 days")
    hook = await scenes.with_a_payload(theatre)
    parked, cancel = await scenes.cancelled(theatre)
    child = await scenes.to_the_end(theatre, flows.parent, flows.DETAILS)
    one = await scenes.to_the_end(theatre, flows.in_a_row, 1, flows.DETAILS)
    retried = await scenes.to_the_end(theatre, flows.retried, 1)
    queued = await scenes.to_the_end(theatre, flows.fan_out, 1, 0.0)
    later = await scenes.to_the_end(theatre, flows.retried_later, 1)
    cold = await scenes.cold_turn(theatre, scenes.COLD_STEPS)
    return {
        "empty": row_of("a run that does nothing", empty, 0),
        "ten": row_of("a run of 10 inline steps", ten, 10),
        "sealed": row_of("the same, encrypted with Cloud KMS", sealed, 10),
        "further": row_of("a further inline step", eleven, 1, over=ten),
        "sleep": row_of("a sleep of 10 minutes", minutes, 1, over=empty),
        "beyond": row_of("what a sleep beyond 28 days adds", days, 0, over=minutes),
        "month": row_of("a run that sleeps for a month", month, 1),
        "hook": row_of("a hook and one payload", hook, 1, 1, over=empty),
        "child": row_of("a child that is waited for", child, 1, over=empty),
        "retry": row_of("a retry at once", retried, 1, over=one),
        "queued": row_of("a queued step alone", queued, 1, over=empty),
        "later": row_of("a retry after a minute", later, 1, over=one),
        "cancel": row_of("a cancel of a sleeping run", cancel, 0),
        "cold": row_of(f"a cold turn of {3 * scenes.COLD_STEPS + 2:,} events", cold, 0),
        "parked": row_of("a run up to its first sleep", parked, 1),
    }


async def timed_rows(theatre: Theatre, queued: int) -> tuple[Row, int, Row]:
    """The queued steps, their turns, and the stream: on the machine's clock."""
    over = queued / 20
    part = await scenes.fan_out(theatre, queued, over)
    stream = await scenes.streamed(theatre, 200, 2.0)
    steps = row_of(f"{queued} queued steps that end over {over:g} s", part, queued)
    return steps, part.turns, row_of("a stream of 200 small chunks in 2 s", stream, 1)


async def swept(theatre: Theatre) -> Tally:
    """A sweep of a deployment in which nothing happens."""
    async with theatre.place().performance(encrypted=False, settings=scenes.SETTINGS) as stage:
        with stage.measured() as part:
            await stage.sweep()
    return part.tally


# --- the report -------------------------------------------------------------------------------------------------------

BUDGETS: dict[str, dict[str, int]] = {
    "ten": {"writes": 17, "reads": 4, "tasks": 1, "deliveries": 1},
    "further": {"writes": 1, "reads": 0, "tasks": 0},
}
"""At most so much of each; the report shows them beside what was counted."""

OBJECTS = 25

UNITS = {"writes": "document writes", "reads": "document reads", "tasks": "tasks", "deliveries": "deliveries"}


def run(plan: Plan, folder: Folder) -> Report:
    del folder  # the servers keep everything in memory; and what is counted needs no repeating
    with theatre() as found:
        rows = asyncio.run(exact_rows(found))
        queued, turns, stream = asyncio.run(timed_rows(found, plan.queued))
        idle = asyncio.run(swept(found))
    figures = [
        Figure(f"{rows[short].name}: {UNITS[what]}", "gcp", getattr(rows[short], what), "", most=most)
        for short, budget in BUDGETS.items()
        for what, most in budget.items()
    ]
    figures += [
        Figure(f"{queued.name}: {unit} each", "gcp", getattr(queued, what) / plan.queued, "")
        for what, unit in UNITS.items()
    ]
    asked = Tally.of(stream.calls).requests
    figures += [
        Figure(f"{queued.name}: turns", "gcp", turns, ""),
        Figure(f"{stream.name}: objects", "gcp", asked["storage.objects.insert"], "", most=OBJECTS),
        Figure("a stream with a live reader: LIST requests", "gcp", asked["storage.objects.list"], "", most=0),
    ]
    priced = (*rows.values(), queued, stream)
    figures += [Figure(f"{row.name}, a million times", "gcp", row.bill.total * MILLION, "$") for row in priced]
    figures.append(Figure("a month in which nothing happens", "gcp", idle_month(idle), "$"))
    missed = [figure for figure in figures if figure.met is False]
    details: Json = {
        "rows": {row.name: row.to_json() for row in priced},
        # A budget that is missed names what was asked, so that one sees where it went.
        "calls_of_missed": {
            row.name: dict(Counter(map(str, row.calls)).most_common())
            for row in priced
            if any(figure.name.startswith(row.name) for figure in missed)
        },
    }
    return Report(figures, details)
