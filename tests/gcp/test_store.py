"""The Firestore store: what the contract cannot see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.firestore import DocumentReference, Query

from tests.contract.records import (
    BIRTH,
    NOW,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_token,
    an_item,
    claim,
    release,
    started,
    taken,
)
from tests.gcp.stage import clients_of, indexes
from tests.gcp.stores import Bench
from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world import fields as stored
from wdk_cloud.world.ports import Labels, RunQuery
from wdk_cloud.world.sightings import SIGHTING
from wdk_gcp import database, items, schema
from wdk_gcp.database import Step
from wdk_gcp.settings import GcpSettings
from wdk_gcp.store import KEEP, FirestoreStore
from wdk_gcp.testing import FirestoreServer
from wdk_gcp.world import GcpWorld


@pytest.fixture(scope="module")
def standing() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.fixture
def bench(standing: Bench) -> Iterator[Bench]:
    yield standing
    standing.close()


async def fill(runs: FirestoreStore) -> None:
    """One document of each kind, with all that may be in it."""
    head = a_head(
        input=b"input",
        not_before=1.0,
        data_key="key",
        parent="parent",
        root="root",
        trace="trace",
        idempotency_key="key",
        version="1",
        holder="message-1",
        fence=1,
        until=UNTIL,
        dirty=True,
        last="message-0",
        armed=60.5,
        stalls=2,
        stalls_length=3,
        length=4,
        retired=("p",),
        error_code="code",
        continued_from="before",
        continued_to="after",
        ended_at=9.5,
        end_at=7,
        last_version="2",
    )
    await runs.create(head)
    await runs.change(RUN, BIRTH, {"trouble": None, "dirty": False}, holder="message-1", fence=1)
    await runs.change(RUN, BIRTH, {"holder": None, "last": "message-1"}, holder="message-1", fence=1)
    await taken(runs, "message-2")
    await runs.refresh(RUN, BIRTH)
    await runs.append(RUN, BIRTH, a_batch(1))
    await runs.put_item(RUN, BIRTH, an_item("a"))
    await claim(runs)
    await runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=NOW)
    await claim(runs)
    await runs.retire_step(RUN, BIRTH, STEP, "p")
    await runs.cancel_step(RUN, BIRTH, STEP)
    await runs.end_step(RUN, BIRTH, "other#1", attempt=None, end=b"end")
    await runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}, position=1))
    await runs.put_order(RUN, BIRTH, b"order")
    await runs.claim_token(a_token())


def collection(path: str) -> str:
    return path.split("/")[-2]


# -- the schema -------------------------------------------------------------------------------------------------------


def test_every_field_that_is_written_is_in_the_schema_with_or_without_an_index(bench: Bench) -> None:
    runs = bench.fresh()
    asyncio.run(fill(runs))
    documents = bench.documents()
    assert {collection(path) for path in documents} == set(schema.COLLECTIONS)
    for path, fields in documents.items():
        named = {*schema.EXEMPT[collection(path)], *schema.INDEXED.get(collection(path), ())}
        assert fields.keys() <= named, path
    assert [set(schema.EXEMPT[name]) & set(indexed) for name, indexed in schema.INDEXED.items()] == [set()] * 3


def test_the_schema_states_no_field_that_nobody_writes() -> None:
    head = {field.name for field in stored.HEAD.values()} | {stored.LEASE_NONCE, stored.RELEASE_NONCE, items.SAFE}
    step = {"id", *(field.name for field in stored.STEP.values()), stored.CLAIM_NONCE, stored.RETRY_NONCE}
    assert sorted(schema.EXEMPT[schema.RUNS]) == sorted(head | {schema.EXPIRES})
    assert sorted(schema.EXEMPT[schema.STEPS]) == sorted(step | {schema.EXPIRES})
    assert {index.collection for index in schema.COMPOSITE} == {schema.RUNS}


def test_every_document_expires(bench: Bench) -> None:
    runs = bench.fresh()
    asyncio.run(fill(runs))
    assert {fields[schema.EXPIRES] for fields in bench.documents().values()} == {
        datetime.fromtimestamp(bench.clock.now() + KEEP, UTC)
    }
    bench.clock.advance_to(bench.clock.now() + KEEP + 1)
    for name in schema.COLLECTIONS:
        bench.server.expire(name, schema.EXPIRES)
    assert bench.documents() == {}


def test_names_of_runs_that_follow_each_other_are_spread(bench: Bench) -> None:
    runs = bench.fresh()

    async def story() -> None:
        for number in range(50):
            await runs.create(a_head(f"run-{number:02}"))

    asyncio.run(story())
    firsts = [path.split("/")[1][0] for path in bench.documents()]
    assert len(set(firsts)) >= 10


def test_a_key_of_any_length_and_any_characters_is_one(bench: Bench) -> None:
    runs = bench.fresh()
    keys = ["a/b", ".", "..", "__x__", "ä" * 700, "x" * 5_000, "x" * 5_001, ":;#"]

    async def story() -> None:
        await runs.create(a_head())
        for key in keys:
            assert await runs.put_item(RUN, BIRTH, an_item(key))
            assert not await runs.put_item(RUN, BIRTH, an_item(key))
        assert [item.key for item in await runs.items(RUN, BIRTH)] == keys
        await runs.drop_items(RUN, BIRTH, keys)
        assert await runs.items(RUN, BIRTH) == []

    asyncio.run(story())


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_each_call_of_a_turn_costs_what_the_budget_reckons_with(bench: Bench) -> None:
    runs = bench.fresh()
    assert bench.units(runs.create(a_head())) == (0, 1, 0)
    assert bench.units(taken(runs)) == (1, 1, 0)
    assert bench.units(runs.append(RUN, BIRTH, a_batch(1))) == (0, 1, 0)
    assert bench.units(runs.append(RUN, BIRTH, a_batch(2))) == (0, 1, 0)
    assert bench.units(runs.put_item(RUN, BIRTH, an_item("a"))) == (0, 1, 0)
    assert bench.units(runs.read(RUN, BIRTH, 0)) == (2, 0, 0)
    assert bench.units(runs.items(RUN, BIRTH, ())) == (1, 0, 0)
    assert bench.units(runs.drop_items(RUN, BIRTH, ["a"])) == (0, 0, 1)
    assert bench.units(release(runs)) == (1, 1, 0)
    assert bench.units(claim(runs)) == (1, 1, 0)
    assert bench.units(runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")) == (1, 1, 0)
    assert bench.units(runs.claim_token(a_token())) == (0, 1, 0)


def test_a_mark_that_is_there_already_is_not_written_again(bench: Bench) -> None:
    runs = bench.fresh()
    asyncio.run(started(runs))
    marking: dict[str, Any] = {"holder": "message-1", "fence": 1}
    assert bench.units(runs.mark_dirty(RUN, BIRTH, **marking)) == (1, 1, 0)
    assert bench.units(runs.mark_dirty(RUN, BIRTH, **marking)) == (1, 0, 0)


def test_of_many_steps_those_that_have_not_ended_are_read_once_in_thirty(bench: Bench) -> None:
    runs = bench.fresh()
    steps = [f"charge#{number}" for number in range(90)]

    async def story() -> None:
        await runs.create(a_head())
        for step in steps[:7]:
            await runs.end_step(RUN, BIRTH, step, attempt=None, end=b"end")

    asyncio.run(story())
    assert bench.units(runs.items(RUN, BIRTH, steps))[0] == 1 + 7 + 1  # an empty inbox, and one query for nothing
    assert bench.units(runs.items(RUN, BIRTH, ())) == (1, 0, 0)


def test_a_page_of_runs_reads_little_more_than_it_shows(bench: Bench) -> None:
    runs = bench.fresh()

    async def story() -> None:
        for number in range(120):
            await runs.create(a_head(f"run-{number}", created_at=float(number), workflow=f"w{number % 2}"))

    asyncio.run(story())
    reads, *_ = bench.units(runs.list_heads(RunQuery(limit=50)))
    assert 51 <= reads <= 80
    reads, *_ = bench.units(runs.list_heads(RunQuery(limit=20, workflow="w1", status="running")))
    assert 21 <= reads <= 50


def test_a_sweep_that_finds_nothing_reads_once_in_each_shard(bench: Bench) -> None:
    runs = bench.fresh()
    asyncio.run(started(runs))
    assert bench.units(runs.overdue(NOW, 10)) == (schema.SHARDS, 0, 0)


# -- sightings --------------------------------------------------------------------------------------------------------


def test_another_process_that_has_not_seen_the_run_for_a_minute_writes_nothing_under_a_tombstone(bench: Bench) -> None:
    runs = bench.fresh()
    other = bench.open()

    async def story() -> None:
        await started(runs)
        await other.head(RUN)
        await runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=NOW)
        bench.clock.advance_to(bench.clock.now() + SIGHTING)
        assert not await other.put_item(RUN, BIRTH, an_item("a"))
        assert await other.put_order(RUN, BIRTH, b"order") is None

    asyncio.run(story())
    assert len(bench.documents()) == 1


def test_an_erasure_leaves_id_and_times_alone(bench: Bench) -> None:
    runs = bench.fresh()

    async def story() -> None:
        await fill(runs)
        await runs.bury(RUN, BIRTH, holder="message-2", fence=2, now=NOW)
        await runs.erase([(RUN, BIRTH)])

    asyncio.run(story())
    ((path, left),) = bench.documents().items()
    assert path.startswith("wdk_runs/")
    assert left.keys() == {"b", "c", "st", "f", "e", "wb", schema.EXPIRES, schema.LISTED, schema.SWEPT}


def test_a_log_that_is_too_large_for_one_commit_is_erased_in_several(bench: Bench) -> None:
    runs = bench.fresh()

    async def fill_and_erase() -> None:
        await started(runs)
        for at in range(1, 14):  # 13 MB, and a commit takes 10 MiB
            await runs.append(RUN, BIRTH, a_batch(at, data=bytes(1_000_000)))
        await runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=NOW)
        await runs.erase([(RUN, BIRTH)])

    before = bench.server.calls["Commit"]
    asyncio.run(fill_and_erase())
    assert len(bench.documents()) == 1
    # The head twice, 13 batches, the tombstone and its closing; 13 deletions that are refused, then 6 of them, and 7.
    assert bench.server.calls["Commit"] - before == 2 + 13 + 2 + 3


def test_orders_are_found_by_their_digest_while_their_run_is_there(bench: Bench) -> None:
    runs = bench.fresh()

    async def story() -> None:
        await started(runs)
        digest = await runs.put_order(RUN, BIRTH, b"order")
        assert digest == await runs.put_order(RUN, BIRTH, b"order")
        assert digest is not None
        assert await runs.order(RUN, BIRTH, digest) == b"order"
        await runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=NOW)
        await runs.erase([(RUN, BIRTH)])
        assert await runs.order(RUN, BIRTH, digest) is None

    asyncio.run(story())


def test_a_log_that_takes_longer_than_a_request_may_is_read_on_where_its_answer_was_cut_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, asked = bench.fresh(), list[int]()
    stream, most = Query.stream, 3

    def cut_off(query: Query, **how: Any) -> Iterator[Any]:
        asked.append(0)
        for snapshot in stream(query, **how):
            if asked[-1] == most:
                raise exceptions.DeadlineExceeded("504 Deadline Exceeded")
            asked[-1] += 1
            yield snapshot

    async def fill() -> None:
        await started(runs)
        for at in range(1, 11):
            await runs.append(RUN, BIRTH, a_batch(at))

    asyncio.run(fill())
    monkeypatch.setattr(Query, "stream", cut_off)
    assert [batch.at for batch in asyncio.run(runs.read(RUN, BIRTH, 0))] == list(range(1, 11))
    assert asked == [3, 3, 3, 1]
    most = 0
    with pytest.raises(WorldUnavailableError):
        asyncio.run(runs.read(RUN, BIRTH, 0))


# -- what is wrong with the database ------------------------------------------------------------------------------------


def test_a_database_in_datastore_mode_is_named_by_its_setting() -> None:
    settings = GcpSettings(project="wdk-testing", database="legacy")
    with FirestoreServer(datastore_mode=["legacy"]) as server:
        clients = clients_of(settings, server.address)
        runs = FirestoreStore(clients, server.clock)
        for call in (runs.create(a_head()), runs.head(RUN), runs.overdue(NOW, 1)):
            with pytest.raises(WorldConfigurationError, match=r"WDK_GCP_DATABASE .*native mode"):
                asyncio.run(call)
        clients.close()


def test_a_database_without_our_indexes_is_named_by_its_setting() -> None:
    bare = indexes()
    without = type(bare)((), {"wdk_runs": [schema.LISTED]})
    with FirestoreServer(indexes=without) as server:
        clients = clients_of(GcpSettings(project="wdk-testing"), server.address)
        with pytest.raises(WorldConfigurationError, match="WDK_GCP_DATABASE"):
            asyncio.run(FirestoreStore(clients, server.clock).list_heads(RunQuery()))
        clients.close()


def test_no_project_is_named_by_its_setting() -> None:
    from wdk_gcp.world import GcpWorld

    with pytest.raises(WorldConfigurationError, match="WDK_GCP_PROJECT is not set"):
        asyncio.run(GcpWorld(GcpSettings()).runs.head(RUN))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ResourceExhausted("x"), ThrottleError),
        (exceptions.Aborted("x"), ThrottleError),
        (exceptions.TooManyRequests("x"), ThrottleError),
        (exceptions.RetryError("x", exceptions.ResourceExhausted("x")), ThrottleError),
        (exceptions.RetryError("x", None), WorldUnavailableError),
        (exceptions.ServiceUnavailable("x"), WorldUnavailableError),
        (exceptions.DeadlineExceeded("x"), WorldUnavailableError),
        (exceptions.InternalServerError("x"), WorldUnavailableError),
        (exceptions.Unknown("x"), WorldUnavailableError),
        (exceptions.Cancelled("x"), WorldUnavailableError),
        (ConnectionResetError("x"), WorldUnavailableError),
        (exceptions.PermissionDenied("x"), WorldConfigurationError),
        (exceptions.Unauthenticated("x"), WorldConfigurationError),
        (exceptions.NotFound("x"), WorldConfigurationError),
        (exceptions.FailedPrecondition("x"), WorldConfigurationError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_what_googles_clients_raise_is_said_in_the_words_of_the_ports(error: Exception, kind: Any) -> None:
    from wdk_gcp.failures import translated

    said = translated(error, "WDK_GCP_DATABASE")
    assert type(said) is kind
    assert "WDK_GCP_DATABASE" in str(said) or error.args[0] == "x"


def test_what_is_no_matter_of_the_world_is_left_alone() -> None:
    from wdk_gcp.failures import translated

    assert translated(exceptions.InvalidArgument("x"), "WDK_GCP_DATABASE") is None
    assert translated(KeyError("x"), "WDK_GCP_DATABASE") is None


# -- who may do little, and who comes too late --------------------------------------------------------------------------


def test_who_may_not_read_the_database_can_start_a_run_with_a_large_input(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = bench.fresh()

    def denied(*_: Any, **__: Any) -> None:
        raise exceptions.PermissionDenied("Missing or insufficient permissions.")

    async def story() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(DocumentReference, "get", denied)
            with pytest.raises(WorldConfigurationError, match="may not do that"):
                await runs.head(RUN)
            assert await runs.append(RUN, BIRTH, a_batch(1)) is None
            assert await runs.create(a_head()) is None
        assert await runs.read(RUN, BIRTH, 0) == [a_batch(1)]

    asyncio.run(story())


def test_who_is_always_too_late_tries_again_after_pauses_and_then_leaves_it_for_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, others = bench.fresh(), bench.open()
    tries = 0

    def faster(found: Any) -> Step[None]:
        nonlocal tries
        tries += 1
        others._database.decide_now(found.path, lambda _: Step(None, {"n": tries}))
        return Step(None, {"n": -1})

    async def story() -> None:
        await runs.create(a_head())
        (path,) = bench.documents()
        monkeypatch.setattr(database, "ROUNDS", 5)
        with pytest.raises(WorldUnavailableError, match="written by too many at once; it is tried again"):
            await runs._database.decide(path, faster)
        head = await runs.head(RUN)
        assert head is not None
        assert (tries, head.length) == (5, 5)

    asyncio.run(story())


@pytest.mark.parametrize(("retention", "days"), [("1 day", 60), ("30 days", 60), ("45.5 days", 91)])
def test_a_world_keeps_things_for_twice_the_retention(
    retention: str, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WDK_RETENTION", retention)
    assert GcpWorld(GcpSettings(project="wdk-testing")).runs.keeps == days * schema.DAY
