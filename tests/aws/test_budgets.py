"""What runs cost on AWS, to the unit: a change that needs one more, or one less, shows here first. On every call the
meter agrees with what DynamoDB's stand-in reports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks import aws_units
from benchmarks import cloud_scenes as scenes
from benchmarks.aws_prices import OPERATION, TRANSITION, Bill, idle_month
from benchmarks.aws_stage import Theatre, theatre
from benchmarks.aws_units import MILLION
from tests import tables
from tests.aws.metering import Scales
from wdk_aws.testing.meter import Call, Tally

COSTS = {
    # write units, read units, messages, invocations
    "empty": (9, 1, 1, 1),
    "ten": (19, 1, 1, 1),
    "sealed": (20, 1, 1, 1),
    "further": (1, 0, 0, 0),
    "sleep": (4, 2, 1, 1),
    "long_sleep": (4, 2, 2, 2),
    "beyond": (0, 0, 1, 1),
    "month": (13, 3, 3, 3),
    "hook": (8, 5, 1, 1),
    "child": (14, 7, 1, 1),
    "retry": (1, 0, 0, 0),
    "later": (5, 2, 1, 1),
    "cancel": (6, 5, 1, 1),
    "cold": (5, 51, 1, 2),
    "parked": (8, 0, 2, 1),
}


@pytest.fixture(scope="module")
def found() -> Iterator[Theatre]:
    scales = Scales()
    with theatre(scales) as theatre_:
        yield theatre_
    scales.finish()


@pytest.fixture(scope="module")
def rows(found: Theatre) -> dict[str, aws_units.Row]:
    return asyncio.run(aws_units.exact_rows(found))


def test_the_page_of_the_benchmarks_has_these_bills(rows: dict[str, aws_units.Row]) -> None:
    billed = {row.name: row for row in rows.values()}
    for name, cells in tables.rows(tables.section(tables.BENCHMARKS, "What a run costs on AWS")).items():
        row = billed[name]
        counted = [f"{count:g}" for count in (row.write, row.read, row.messages, row.invocations)]
        others = [row.transitions * TRANSITION, row.operations * OPERATION]
        compared = [f"{fee * MILLION:.0f}" if fee else "" for fee in others]
        assert cells == [*counted, tables.dollars(row.bill.total * MILLION), *compared], name


def test_each_row_costs_what_it_did(rows: dict[str, aws_units.Row]) -> None:
    told = {short: "\n".join(str(call) for call in row.calls) for short, row in rows.items()}
    costs = {short: (row.write, row.read, row.messages, row.invocations) for short, row in rows.items()}
    for short, cost in COSTS.items():
        assert costs[short] == cost, f"{short}:\n{told[short]}"
    assert costs.keys() == COSTS.keys()
    missed = [
        (short, what)
        for short, budget in aws_units.BUDGETS.items()
        for what, most in budget.items()
        if getattr(rows[short], what) > most
    ]
    assert missed == []


def test_a_stream_of_200_small_chunks_is_25_objects_at_most_and_its_reader_lists_nothing(found: Theatre) -> None:
    stream = asyncio.run(scenes.streamed(found, 200, 2.0))
    assert stream.tally.requests["s3.PutObject"] <= aws_units.OBJECTS
    assert stream.tally.requests["s3.ListObjectsV2"] == 0


def test_a_queued_step_is_one_message_one_claim_and_one_end(found: Theatre) -> None:
    # When its turns come depends on the machine: the benchmark counts those.
    part, turns = asyncio.run(aws_units.fan_out(found, 20, 1.0))
    of_steps = [call for call in part.calls if "/S#" in call.key]
    assert [(call.operation, call.write, call.error) for call in of_steps] == [("UpdateItem", 1, "")] * 40
    assert part.invocations == part.tally.sent == turns + 20
    # One to tell the holder of each end, and what the holder looks: the message itself says that the run lives.
    looks = [call for call in part.calls if call.operation == "GetItem" and call.key.endswith("HEAD")]
    assert 20 <= len(looks) < 40


def test_a_bill_has_every_kind_of_request() -> None:
    calls = [
        Call("dynamodb", "PutItem", write=2),
        Call("dynamodb", "Query", read=3),
        Call("sqs", "ReceiveMessage", requests=2, messages=1),
        Call("sqs", "DeleteMessageBatch"),
        Call("s3", "PutObject"),
        Call("s3", "HeadObject"),
        Call("s3", "DeleteObjects"),
        Call("scheduler", "CreateSchedule"),
        Call("kms", "GenerateDataKey"),
    ]
    bill = Bill.of(Tally.of(calls), 1, pollers=frozenset(("sqs.ReceiveMessage", "sqs.DeleteMessageBatch")))
    millions = {name: round(dollars * 1e6, 4) for name, dollars in vars(bill).items()}
    # 10 ms of its own, two requests of DynamoDB at 5, three of S3 at 30, and 40 for the others: 150 ms at half a GB
    assert millions == {
        "dynamodb": 2 * 0.625 + 3 * 0.125,
        "sqs": 1.2,
        "s3": 5.4,
        "scheduler": 1.0,
        "kms": 3.0,
        "invocations": round(0.2 + 0.150 * 0.5 * 13.3334, 4),
    }
    assert bill.total == pytest.approx(sum(millions.values()) / 1e6)


def test_empty_polls_of_two_queues_cost_half_a_dollar_a_month() -> None:
    assert round(idle_month(), 2) == 0.52
