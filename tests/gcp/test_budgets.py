"""What runs cost on Google Cloud, to the document: a change that needs one more, or one less, shows here first. On every
call the meter agrees with what the servers count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks import cloud_scenes as scenes
from benchmarks import gcp_units
from benchmarks.gcp_prices import Bill, idle_month
from benchmarks.gcp_stage import Theatre, theatre
from benchmarks.gcp_units import MILLION
from tests import tables
from tests.gcp.metering import Scales
from wdk_gcp.testing.meter import Call, Tally

COSTS = {
    # document writes, reads, deletes, documents left; tasks, deliveries
    "empty": (4, 3, 0, 2, 1, 1),
    "ten": (14, 3, 0, 12, 1, 1),
    "sealed": (14, 3, 0, 12, 1, 1),
    "further": (1, 0, 0, 1, 0, 0),
    "sleep": (3, 4, 0, 1, 1, 1),
    "beyond": (0, 0, 0, 0, 1, 1),
    "month": (7, 7, 0, 3, 3, 3),
    "hook": (5, 8, 1, 2, 1, 1),
    "child": (12, 17, 0, 8, 2, 2),
    "retry": (1, 0, 0, 1, 0, 0),
    "queued": (5, 8, 0, 2, 2, 2),
    "later": (4, 4, 0, 2, 1, 1),
    "cancel": (4, 7, 0, 2, 1, 1),
    "cold": (3, 338, 0, 1, 0, 1),
    "parked": (4, 2, 0, 2, 2, 1),
}


@pytest.fixture(scope="module")
def found() -> Iterator[Theatre]:
    scales = Scales()
    with theatre(scales) as theatre_:
        yield theatre_
    scales.finish()


def assert_documented(rows: dict[str, gcp_units.Row]) -> None:
    """On the page of the benchmarks, to the cent; its last two rows differ by some from run to run."""
    billed = {row.name: row for row in rows.values()}
    found = tables.rows(tables.section(tables.BENCHMARKS, "What a run costs on Google Cloud"))
    for name, cells in list(found.items())[:-2]:
        row = billed[name]
        counted = [row.writes, row.reads, f"{row.deletes} + {row.left}", row.tasks, row.deliveries]
        assert cells[:-1] == [*map(str, counted), tables.dollars(row.bill.total * MILLION)], name
        assert (cells[-1] or "0") == f"{row.workflows * MILLION:.0f}", name


def test_each_row_costs_what_it_did(found: Theatre) -> None:
    server = found.place()
    before, sent = server.firestore.usage, server.tasks.calls["CreateTask"]
    with found.meter.part() as calls:
        rows = asyncio.run(gcp_units.exact_rows(found))
    told = {short: "\n".join(str(call) for call in row.calls) for short, row in rows.items()}
    costs = {
        short: (row.writes, row.reads, row.deletes, row.left, row.tasks, row.deliveries) for short, row in rows.items()
    }
    for short, cost in COSTS.items():
        assert costs[short] == cost, f"{short}:\n{told[short]}"
    assert costs.keys() == COSTS.keys()
    assert_documented(rows)
    missed = [
        (short, what)
        for short, budget in gcp_units.BUDGETS.items()
        for what, most in budget.items()
        if getattr(rows[short], what) > most
    ]
    assert missed == []
    tally = Tally.of(calls)
    counted = Counter(reads=tally.reads, writes=tally.writes, deletes=tally.deletes)
    assert counted == server.firestore.usage - before
    assert tally.requests["tasks.CreateTask"] == server.tasks.calls["CreateTask"] - sent


def test_a_stream_of_200_small_chunks_is_25_objects_at_most_and_its_reader_lists_nothing(found: Theatre) -> None:
    stream = asyncio.run(scenes.streamed(found, 200, 2.0))
    assert stream.tally.requests["storage.objects.insert"] <= gcp_units.OBJECTS
    assert stream.tally.requests["storage.objects.list"] == 0
    asked = {name for name in stream.tally.requests if name.startswith("storage.")}
    assert asked == {"storage.objects.insert", "storage.objects.get"}


def test_a_queued_step_is_one_task_one_claim_and_one_end(found: Theatre) -> None:
    # When its turns come depends on the machine: the benchmark counts those.
    part = asyncio.run(scenes.fan_out(found, 20, 1.0))
    writes = [call for call in part.calls if "/wdk_steps/" in call.target and call.operation == "Commit"]
    assert [(call.writes, call.error) for call in writes] == [(1, "")] * 40
    assert part.deliveries == part.tally.requests["tasks.CreateTask"] == part.turns + 20


def test_a_bill_has_every_kind_of_request() -> None:
    calls = [
        Call("firestore", "Commit", writes=2, deletes=1),
        Call("firestore", "RunQuery", reads=3),
        Call("tasks", "CreateTask", requests=2),
        Call("storage", "objects.insert"),
        Call("storage", "objects.get"),
        Call("storage", "objects.delete"),
        Call("kms", "Encrypt"),
    ]
    bill = Bill.of(Tally.of(calls), 1, left=2)
    millions = {name: round(dollars * 1e6, 4) for name, dollars in vars(bill).items()}
    # A request of 10 ms and 100 rounded up, two of Firestore at 10, two of Cloud Tasks at 20, three of Cloud Storage
    # at 50 and one of Cloud KMS at 10: 330 ms of a CPU and a GiB.
    assert millions == {
        "firestore": round(3 * 0.3 + 2 * 0.9 + 3 * 0.1, 4),
        "tasks": 1.2,
        "storage": 5.4,
        "kms": 3.0,
        "run": round(0.4 + 0.330 * 26.5, 4),
    }
    assert bill.total == pytest.approx(sum(millions.values()) / 1e6)


def test_a_month_in_which_nothing_happens_costs_less_than_a_dollar(found: Theatre) -> None:
    sweep = asyncio.run(gcp_units.swept(found))
    assert (sweep.reads, sweep.writes) == (43, 1)  # a query for each shard and status, and the state of the refresh
    assert round(idle_month(sweep), 2) == 0.35
