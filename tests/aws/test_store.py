"""What the store does to the table: what a write costs, what is left after an erasure, and what batches leave undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.aws.metering import session_of
from tests.aws.stores import Bench
from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    OTHER_BIRTH,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_token,
    an_item,
    claim,
    release,
    take,
    taken,
)
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.store import KEEP, DynamoStore
from wdk_cloud.errors import ThrottleError, WorldConfigurationError
from wdk_cloud.world.ports import Labels, RunQuery
from wdk_cloud.world.sightings import SIGHTING


@pytest.fixture
def bench(dynoxide: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynoxide)
    bench = Bench()
    yield bench
    bench.close()


# -- what a write costs -----------------------------------------------------------------------------------------------


def test_each_write_of_a_turn_costs_what_the_budget_reckons_with(bench: Bench) -> None:
    runs, units = bench.store, bench.units
    head = a_head(status="pending", input=b"x" * 200, version="2026-01-01", trace="00-" + "1" * 52)
    assert units(runs.create(head)) == (0, 3)  # the head, and an entry in each index
    assert units(taken(runs)) == (0, 2)  # and the status in `runs`
    assert units(runs.append(RUN, BIRTH, a_batch(1, data=b"x" * 800))) == (0, 1)
    assert units(runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)) == (0, 1)
    assert units(runs.change(RUN, BIRTH, {"dirty": False}, holder="message-1", fence=1)) == (0, 1)
    assert units(asyncio.to_thread(runs.renew, RUN, BIRTH, holder="message-1", fence=1, until=LATER)) == (0, 1)
    assert units(runs.put_item(RUN, BIRTH, an_item("a"))) == (0, 1)
    assert units(runs.claim_token(a_token())) == (0, 2)  # and where it lies, for an erasure
    assert units(runs.free_token(a_token())) == (0, 1)
    parked: Any = {"holder": None, "last": "message-1", "length": 1, "input": None, "wake_by": LATER}
    parking = runs.change(RUN, BIRTH, parked, holder="message-1", fence=1, unless_dirty=True)
    assert units(parking) == (0, 2)  # and `wake_by` in `active`
    assert units(taken(runs, "message-2", provider_id="provider-2")) == (0, 1)
    end: Any = {"status": "completed", "ended_at": NOW, "end_at": 2, "length": 2}
    assert units(runs.change(RUN, BIRTH, end, holder="message-2", fence=2)) == (0, 3)  # out of `active`
    assert units(runs.retire(RUN, BIRTH, "provider-2")) == (0, 1)


def test_a_claim_that_another_process_makes_looks_at_the_head_once(bench: Bench) -> None:
    asyncio.run(bench.open().create(a_head()))
    assert bench.units(claim(bench.store)) == (1, 1)
    assert bench.units(bench.store.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")) == (0, 1)


def test_many_steps_are_looked_for_in_one_query_and_few_by_their_keys(bench: Bench) -> None:
    async def fill() -> None:
        for number in range(40):
            await bench.store.end_step(RUN, BIRTH, f"s#{number}", attempt=None, end=b"x" * 100)

    asyncio.run(fill())
    steps = [f"s#{number}" for number in range(40)]
    assert bench.units(bench.store.items(RUN, BIRTH, steps)) == (1 + 2, 0)
    assert bench.units(bench.store.items(RUN, BIRTH, steps[:3])) == (1 + 3, 0)
    assert bench.units(bench.store.items(RUN, BIRTH, [])) == (1, 0)


def test_a_log_of_many_megabytes_is_read_page_by_page(bench: Bench) -> None:
    async def story() -> None:
        batches = [a_batch(at, data=bytes([at]) * 300_000) for at in range(1, 9)]
        for batch in batches:
            await bench.store.append(RUN, BIRTH, batch)
        bench.meter.clear()
        assert await bench.store.read(RUN, BIRTH, 0) == batches
        assert bench.requests() == ["Query"] * 3

    asyncio.run(story())


def test_every_item_expires(bench: Bench) -> None:
    asyncio.run(fill(bench.store))
    items = bench.scan()
    assert len(items) == 8
    assert {item["expires"]["N"] for item in items} == {str(int(bench.clock.now() + KEEP))}


def test_an_end_moves_the_expiry_of_a_head(bench: Bench) -> None:
    asyncio.run(bench.store.create(a_head(holder="m", fence=1)))
    bench.clock.advance_to(bench.clock.now() + 86_400)
    asyncio.run(bench.store.change(RUN, BIRTH, {"status": "completed", "ended_at": 1.0}, holder="m", fence=1))
    (head,) = bench.scan()
    assert head["expires"]["N"] == str(int(bench.clock.now() + KEEP))


# -- what is left after an erasure ------------------------------------------------------------------------------------


async def fill(runs: DynamoStore, run_id: str = RUN, digest: str = "d" * 64) -> None:
    """A run with one of everything: eight items."""
    await runs.create(
        a_head(
            run_id,
            holder="message-1",
            fence=1,
            until=UNTIL,
            last="message-0",
            input=b"secret",
            data_key="key",
            idempotency_key="ours",
            error_code="X",
            version="v1",
            length=7,
            continued_to="run-9",
            retired=("p",),
        )
    )
    await runs.append(run_id, BIRTH, a_batch(1))
    await runs.put_item(run_id, BIRTH, an_item("a"))
    await runs.claim_step(run_id, BIRTH, STEP, identity="m", provider_id="p", now=NOW, until=UNTIL)
    await runs.end_step(run_id, BIRTH, STEP, attempt=1, end=b"end")
    await runs.put_labels(run_id, BIRTH, Labels(values={"a": "1"}, position=1))
    token = a_token(run_id)
    await runs.claim_token(type(token)(digest=digest, run_id=run_id, birth=BIRTH, hook_id="hook#1"))
    await runs.append(run_id, BIRTH, a_batch(2))


def test_an_erasure_leaves_id_and_times_alone(bench: Bench) -> None:
    async def story() -> None:
        await fill(bench.store)
        await taken(bench.store, "message-2", provider_id="provider-2", now=LATER, until=LATER + 30)
        assert await release(bench.store, "message-2", fence=2)
        await bench.store.bury(RUN, BIRTH, holder=None, fence=2, now=LATER)
        await bench.store.erase([(RUN, BIRTH)])

    asyncio.run(story())
    (left,) = bench.scan()
    assert left == {
        "pk": {"S": f"R##{RUN}"},
        "sk": {"S": "HEAD"},
        "b": {"S": BIRTH},
        "st": {"S": "deleted"},
        "f": {"N": "3"},
        "c": {"N": "1000"},
        "e": {"N": "5040"},
        "wb": {"N": "0"},
        "rs": left["rs"],
        "ra": {"S": f"00000001000.000000#{RUN}"},
        "expires": left["expires"],
    }
    assert bench.dynamodb.scan(TableName=bench.settings.table, IndexName="active")["Items"] == []


def test_an_erasure_asks_the_objects_to_go_before_it_closes_the_tombstone(bench: Bench) -> None:
    class Refusing:
        async def erase(self, run_id: str, birth: str) -> None:
            raise ThrottleError("not now")

    async def story() -> None:
        await fill(bench.store)
        await bench.store.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
        bench.store.objects = Refusing()
        with pytest.raises(ThrottleError):
            await bench.store.erase([(RUN, BIRTH)])
        assert [head.run_id for head in await bench.store.removable(ended_before=0, buried_before=0, limit=9)] == [RUN]
        assert sorted(item["sk"]["S"][:2] for item in bench.scan()) == ["HE", "K#"]
        bench.store.objects = None
        await bench.store.erase([(RUN, BIRTH)])
        assert await bench.store.removable(ended_before=0, buried_before=0, limit=9) == []

    asyncio.run(story())


def test_a_token_that_another_run_has_outlives_the_erasure_of_who_wanted_it(bench: Bench) -> None:
    async def story() -> None:
        await bench.store.claim_token(a_token("run-2"))
        assert await bench.store.claim_token(a_token()) == a_token("run-2")
        await bench.store.erase([(RUN, BIRTH)])
        assert await bench.store.token(a_token().digest) == a_token("run-2")

    asyncio.run(story())
    assert sorted(item["sk"]["S"][:2] for item in bench.scan()) == ["K#", "TO"]


# -- sightings --------------------------------------------------------------------------------------------------------


def test_another_process_that_has_not_seen_the_run_for_a_minute_writes_nothing_under_a_tombstone(bench: Bench) -> None:
    late = bench.open()

    async def story() -> None:
        await bench.store.create(a_head())
        await late.head(RUN)
        await bench.store.bury(RUN, BIRTH, holder=None, fence=0, now=LATER)
        assert await late.put_item(RUN, BIRTH, an_item("within the minute"))
        bench.clock.advance_to(bench.clock.now() + SIGHTING)
        assert not await late.put_item(RUN, BIRTH, an_item("after it"))
        assert [item.key for item in await late.items(RUN, BIRTH)] == ["within the minute"]

    asyncio.run(story())


def test_a_run_that_is_seen_again_and_again_is_never_looked_at(bench: Bench) -> None:
    async def story() -> None:
        await bench.store.create(a_head(holder="message-1", fence=1))
        bench.meter.clear()
        for number in range(1, 6):
            bench.clock.advance_to(bench.clock.now() + SIGHTING - 1)
            await asyncio.to_thread(bench.store.renew, RUN, BIRTH, holder="message-1", fence=1, until=UNTIL)
            await bench.store.append(RUN, BIRTH, a_batch(number))
        assert bench.requests() == ["UpdateItem", "PutItem"] * 5
        bench.clock.advance_to(bench.clock.now() + SIGHTING)
        await bench.store.append(RUN, BIRTH, a_batch(9))
        assert bench.requests()[10:] == ["GetItem", "PutItem"]

    asyncio.run(story())


def test_who_finds_a_token_puts_its_payload_without_another_look(bench: Bench) -> None:
    asyncio.run(fill(bench.open()))

    async def resume() -> None:
        token = await bench.store.token("d" * 64)
        assert token is not None
        await bench.store.put_item(token.run_id, token.birth, an_item("payload"))

    assert bench.units(resume()) == (1, 1)


def test_a_process_that_has_buried_a_run_believes_no_later_sighting(bench: Bench) -> None:
    async def story() -> None:
        await fill(bench.store)
        await bench.store.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
        assert await bench.store.token("d" * 64) is not None
        assert not await bench.store.put_item(RUN, BIRTH, an_item("late"))

    asyncio.run(story())


def test_the_sightings_of_one_birth_say_nothing_of_another(bench: Bench) -> None:
    late = bench.open()

    async def story() -> None:
        await bench.store.create(a_head())
        await late.head(RUN)
        bench.meter.clear()
        await bench.store.append(RUN, OTHER_BIRTH, a_batch(1))
        assert bench.requests() == ["GetItem", "PutItem"]

    asyncio.run(story())


def test_who_may_not_read_the_table_can_start_a_run_with_a_large_input(bench: Bench) -> None:
    def denied(**_: object) -> tuple[object, dict[str, Any]]:
        answer = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {}}
        return SimpleNamespace(status_code=400), answer

    session = session_of()
    session.events.register("before-call.dynamodb.GetItem", denied)
    starting = bench.open(session)

    async def story() -> None:
        assert await starting.append(RUN, BIRTH, a_batch(1)) is None
        assert await starting.create(a_head()) is None
        with pytest.raises(WorldConfigurationError, match="AccessDenied"):
            await starting.head(RUN)

    asyncio.run(story())
    assert len(bench.scan()) == 2


# -- what batches leave undone ----------------------------------------------------------------------------------------


def unprocessed(bench: Bench, operation: str, field: str, most: int) -> None:
    """Let the server do no more than so many entries of a batch; with 0, say that it did none."""
    rest: list[Any] = []
    table = bench.settings.table

    def cut(params: dict[str, Any], **_: object) -> None:
        asked = params["RequestItems"][table]
        entries = asked["Keys"] if field == "UnprocessedKeys" else asked
        rest[:] = entries[most:]
        some = entries[:most] or entries
        left = {**asked, "Keys": some} if field == "UnprocessedKeys" else some
        params["RequestItems"] = {table: left}

    def say(parsed: dict[str, Any], **_: object) -> None:
        if rest:
            parsed[field] = (
                {table: {"Keys": list(rest), "ConsistentRead": True}}
                if field == "UnprocessedKeys"
                else {table: list(rest)}
            )

    events = bench.dynamodb.meta.events
    events.register(f"provide-client-params.dynamodb.{operation}", cut)
    events.register(f"after-call.dynamodb.{operation}", say)


def test_deletions_that_a_batch_left_undone_are_asked_for_again(bench: Bench, pauses: list[float]) -> None:
    async def story() -> None:
        keys = [f"key-{number}" for number in range(8)]
        for key in keys:
            await bench.store.put_item(RUN, BIRTH, an_item(key))
        unprocessed(bench, "BatchWriteItem", "UnprocessedItems", 3)
        await bench.store.drop_items(RUN, BIRTH, keys)
        assert await bench.store.items(RUN, BIRTH) == []

    asyncio.run(story())
    assert pauses == [0.05, 0.1]


def test_heads_that_a_batch_left_unread_are_asked_for_again(bench: Bench, pauses: list[float]) -> None:
    async def story() -> None:
        for number in range(7):
            await bench.store.create(a_head(f"run-{number}"))
        unprocessed(bench, "BatchGetItem", "UnprocessedKeys", 3)
        page = await bench.store.list_heads(RunQuery())
        assert [head.run_id for head in page.heads] == [f"run-{number}" for number in reversed(range(7))]

    asyncio.run(story())
    assert pauses == [0.05, 0.1]


def test_a_table_that_does_no_entry_of_a_batch_is_throttled(bench: Bench, pauses: list[float]) -> None:
    async def story() -> None:
        await bench.store.put_item(RUN, BIRTH, an_item("a"))
        unprocessed(bench, "BatchWriteItem", "UnprocessedItems", 0)
        with pytest.raises(ThrottleError, match="WDK_AWS_TABLE"):
            await bench.store.drop_items(RUN, BIRTH, ["a"])

    asyncio.run(story())
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between batches, which are over at once."""
    found: list[float] = []

    async def note(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("wdk_aws.table.sleep", note)
    return found


# -- what is wrong ----------------------------------------------------------------------------------------------------

ASK: list[Callable[[DynamoStore], Any]] = [
    lambda runs: runs.head(RUN),
    lambda runs: runs.create(a_head()),
    lambda runs: take(runs),
    lambda runs: runs.items(RUN, BIRTH),
    lambda runs: runs.list_heads(RunQuery()),
    lambda runs: runs.drop_items(RUN, BIRTH, ["a"]),
]


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("table", ["", "not-there"])
def test_a_table_that_is_not_there_is_named_by_its_setting(bench: Bench, ask: Any, table: str) -> None:
    clients = Clients(bench.session)
    try:
        with pytest.raises(WorldConfigurationError, match="WDK_AWS_TABLE"):
            asyncio.run(ask(DynamoStore(AwsSettings(table=table), clients, bench.clock)))
    finally:
        clients.close()
