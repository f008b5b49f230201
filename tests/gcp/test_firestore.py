"""The Firestore of `wdk_gcp.testing`, asked by the library's own clients, against what Google's emulator says."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import And

from tests.gcp.emulator import emulator_running, found
from tests.gcp.firestore_cases import ANSWERS, CASES, asked, people, wander
from wdk_cloud.world.clock import VirtualClock
from wdk_gcp.testing import FirestoreServer, Index, Indexes, Mischief

SEEDS = 4
STEPS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[FirestoreServer]:
    with FirestoreServer(clock=VirtualClock()) as server:  # the clock stands still, and the times of commits rise
        yield server


@pytest.fixture
def client(server: FirestoreServer, request: pytest.FixtureRequest) -> Iterator[firestore.Client]:
    client = server.client(f"test-{abs(hash(request.node.name))}")
    yield client
    client._firestore_api.transport.close()


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return json.loads(ANSWERS.read_text())


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_googles_emulator_did(server: FirestoreServer, answers: dict[str, Any], name: str) -> None:
    assert asked(server.address, CASES[name]) == answers[name]


def test_googles_emulator_still_says_so_and_agrees_on_random_commits_and_queries(
    server: FirestoreServer, answers: dict[str, Any], tmp_path: Path
) -> None:
    if not found():
        pytest.skip(f"not run here: Google's Firestore emulator, {len(CASES)} cases and {SEEDS} random walks")
    with emulator_running(tmp_path) as address:
        assert {name: asked(address, case) for name, case in CASES.items()} == answers
        for seed in range(SEEDS):
            walk = partial(wander, seed=seed, steps=STEPS)
            assert asked(server.address, walk) == asked(address, walk), f"seed {seed}"


def test_of_80_that_create_a_document_at_once_one_wins(server: FirestoreServer, client: firestore.Client) -> None:
    together = threading.Barrier(40)

    def create(number: int) -> list[tuple[int, int]]:
        won: list[tuple[int, int]] = []
        together.wait(20)
        for name in range(2):
            try:
                client.document(f"runs/{name}").create({"by": number})
            except exceptions.AlreadyExists:
                continue
            won.append((name, number))
        return won

    with ThreadPoolExecutor(40) as threads:
        winners = dict(pair for pairs in threads.map(create, range(40)) for pair in pairs)
    assert {found.id: found.get("by") for found in client.collection("runs").stream()} == {
        str(name): number for name, number in winners.items()
    }
    assert len(winners) == 2


def test_no_write_under_an_update_time_is_lost_and_times_rise_strictly(client: firestore.Client) -> None:
    ref = client.document("runs/counter")
    first = ref.create({"n": 0}).update_time
    before = sys.getswitchinterval()

    def count(_: int) -> list[Any]:
        times: list[Any] = []
        while len(times) < 10:
            there = ref.get()
            option = client.write_option(last_update_time=there.update_time)
            try:
                times.append(ref.update({"n": there.get("n") + 1}, option).update_time)
            except exceptions.FailedPrecondition:
                continue
        return times

    try:
        sys.setswitchinterval(1e-5)
        with ThreadPoolExecutor(6) as threads:
            times = [first, *(time for each in threads.map(count, range(6)) for time in each)]
    finally:
        sys.setswitchinterval(before)
    assert ref.get().get("n") == 60
    assert len(set(times)) == 61


def test_the_asyncio_client_is_served_too(server: FirestoreServer) -> None:
    async def story() -> None:
        client = server.async_client("asyncio")
        refs = [client.document(f"runs/{number:02}") for number in range(20)]
        await asyncio.gather(*(ref.create({"n": number}) for number, ref in enumerate(refs)))
        with pytest.raises(exceptions.AlreadyExists):
            await refs[0].create({"n": 1})
        query = client.collection("runs").order_by("n", direction="DESCENDING").limit(2)
        assert [found.id async for found in query.stream()] == ["19", "18"]
        assert (await refs[3].get()).to_dict() == {"n": 3}
        await client._firestore_api.transport.close()

    asyncio.run(story())


def test_what_google_would_charge_is_counted() -> None:
    with FirestoreServer() as server:
        client = server.client()
        runs = people(client)
        client.document("runs/a").update({"n": 5})
        client.document("runs/a").delete()
        client.document("runs/none").delete()
        with pytest.raises(exceptions.AlreadyExists):
            client.document("runs/b").create({})
        assert server.usage == {"writes": 7, "deletes": 2}
        assert not client.document("runs/a").get().exists
        assert len(list(runs.stream())) == 5
        assert list(runs.where(filter=FieldFilter("n", "==", 9)).stream()) == []
        assert server.usage["reads"] == 1 + 5 + 1
        assert server.calls == {"Commit": 5, "BatchGetDocuments": 1, "RunQuery": 2}
        client._firestore_api.transport.close()


def test_a_commit_whose_answer_is_lost_meets_its_own_document() -> None:
    mischief = Mischief()
    with FirestoreServer(mischief=mischief) as server:
        client = server.client()
        mischief.plan("Commit", "lost")
        with pytest.raises(exceptions.AlreadyExists):  # the client repeats it by itself
            client.document("runs/a").create({"nonce": "ours"})
        assert client.document("runs/a").get().get("nonce") == "ours"
        assert (server.calls["Commit"], mischief.met["Commit", "lost"]) == (2, 1)
        client._firestore_api.transport.close()


def test_a_commit_may_be_refused_before_anything_is_done() -> None:
    mischief = Mischief()
    with FirestoreServer(mischief=mischief) as server:
        client = server.client()
        mischief.plan("Commit", "aborted", "throttled", "unavailable")
        ref = client.document("runs/a")
        for error in (exceptions.Aborted, exceptions.ResourceExhausted, exceptions.ServiceUnavailable):
            with pytest.raises(error):
                ref.create({}, retry=None)
        assert not ref.get().exists
        client._firestore_api.transport.close()


def test_limits_that_googles_emulator_does_not_hold(client: firestore.Client) -> None:
    batch = client.batch()
    for number in range(11):
        batch.set(client.document(f"runs/{number}"), {"data": b"x" * 1_000_000})
    with pytest.raises(exceptions.InvalidArgument, match="Request payload size exceeds the limit"):
        batch.commit()
    name = f"projects/{client.project}/databases/other/documents/runs/a"
    with pytest.raises(exceptions.InvalidArgument, match="is not in the database"):
        client._firestore_api.commit(request={"database": client._database_string, "writes": [{"delete": name}]})
    with pytest.raises(exceptions.MethodNotImplemented):
        client.transaction()._begin()


def test_a_database_in_datastore_mode_says_so() -> None:
    with FirestoreServer(datastore_mode=["legacy"]) as server:
        client = server.client(database="legacy")
        with pytest.raises(exceptions.FailedPrecondition, match="Datastore Mode"):
            client.document("runs/a").create({})
        with pytest.raises(exceptions.FailedPrecondition, match="Datastore Mode"):
            list(client.collection("runs").stream())
        client._firestore_api.transport.close()


INDEXES = Indexes(
    declared=[
        Index("runs", ("s", "-n")),
        Index("runs", ("t", "-n")),
        Index("steps", ("n",), group=True),
        Index("runs", ("a", "-b")),
    ],
    exempt={"runs": ["data"]},
)
DOWN = "DESCENDING"


@pytest.mark.parametrize(
    ("served", "ask"),
    [
        (True, lambda runs, _: runs),
        (True, lambda runs, _: runs.where(filter=FieldFilter("n", ">", 1))),
        (True, lambda runs, _: runs.order_by("n", direction=DOWN).limit(3)),
        (True, lambda runs, _: runs.where(filter=FieldFilter("u", "==", 1)).where(filter=FieldFilter("v", "==", 1))),
        (False, lambda runs, _: runs.where(filter=FieldFilter("data", "==", b""))),
        (False, lambda runs, _: runs.order_by("data")),
        (True, lambda runs, _: runs.where(filter=FieldFilter("s", "==", 1)).order_by("n", direction=DOWN)),
        (True, lambda runs, _: runs.where(filter=FieldFilter("s", "==", 1)).order_by("n")),
        (True, lambda runs, _: runs.where(filter=FieldFilter("s", "==", 1)).where(filter=FieldFilter("n", "<", 1))),
        (True, lambda runs, _: runs.where(filter=And([FieldFilter(name, "==", 1) for name in "st"])).order_by("n")),
        (False, lambda runs, _: runs.where(filter=And([FieldFilter(name, "==", 1) for name in "su"])).order_by("n")),
        (False, lambda runs, _: runs.where(filter=FieldFilter("u", "==", 1)).order_by("n")),
        (False, lambda runs, _: runs.order_by("n").order_by("s")),
        (True, lambda runs, _: runs.order_by("a", direction=DOWN).order_by("b")),
        (False, lambda runs, _: runs.order_by("a").order_by("b")),
        (True, lambda _, steps: steps.order_by("n")),
        (False, lambda _, steps: steps.order_by("m")),
        (False, lambda _, steps: steps.where(filter=FieldFilter("m", "==", 1))),
        (True, lambda _, steps: steps),
    ],
)
def test_a_query_without_its_index_is_refused_where_the_indexes_are_given(
    indexed: firestore.Client, served: bool, ask: Any
) -> None:
    query = ask(indexed.collection("runs"), indexed.collection_group("steps"))
    if served:
        assert list(query.stream()) == []
    else:
        with pytest.raises(exceptions.FailedPrecondition, match="The query requires an index of the collection"):
            list(query.stream())


@pytest.fixture(scope="module")
def indexed() -> Iterator[firestore.Client]:
    with FirestoreServer(indexes=INDEXES) as server:
        client = server.client()
        yield client
        client._firestore_api.transport.close()


def test_documents_expire_by_a_time_in_a_field() -> None:
    clock = VirtualClock()
    with FirestoreServer(clock=clock) as server:
        client = server.client()
        at = datetime.fromtimestamp(clock.now() + 60, UTC)
        for path, content in {
            "runs/a": {"end": at},
            "runs/b": {"end": 1},
            "runs/a/steps/1": {"end": at},
            "runs/c": {},
        }.items():
            client.document(path).create(content)
        clock.advance_to(clock.now() + 59)
        assert server.expire("runs", "end") == 0
        clock.advance_to(clock.now() + 1)
        assert server.expire("runs", "end") == 1
        assert [found.id for found in client.collection("runs").stream()] == ["b", "c"]
        assert client.document("runs/a/steps/1").get().exists
        client._firestore_api.transport.close()
