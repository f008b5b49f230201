"""Blobs and streams in Cloud Storage: what the contract cannot see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.records import BIRTH, NOW, OTHER_BIRTH, RUN, a_head
from tests.gcp.stage import Servers, clients_of
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.engine import chunks
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.follower import Follower
from wdk_cloud.engine.streaming import Place
from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.objects import ObjectBlobs, ObjectStreams
from wdk_cloud.world.ports import Head, tombstone
from wdk_gcp.clients import Clients
from wdk_gcp.objects import Objects
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudStorageServer, Mischief
from wdk_gcp.world import GcpWorld

SETTINGS = GcpSettings(project="wdk-testing", bucket="runs")


@dataclass
class Stage:
    server: CloudStorageServer
    clock: VirtualClock
    clients: Clients
    head: Head | None = None

    async def read_head(self, run_id: str) -> Head | None:
        return self.head

    def objects(self, settings: GcpSettings = SETTINGS) -> Objects:
        return Objects(settings, self.clients, self.read_head, "")

    def streams(self) -> ObjectStreams:
        return ObjectStreams(self.objects(), lambda _run: None)

    def names(self) -> list[str]:
        return [blob.name for blob in self.clients.storage.bucket("runs").list_blobs()]


@pytest.fixture
def stage() -> Iterator[Stage]:
    clock = VirtualClock()
    with CloudStorageServer(clock=clock, mischief=Mischief()) as server:
        clients = clients_of(SETTINGS, "127.0.0.1:1", storage=server.client)
        clients.storage.create_bucket("runs")
        server.calls.clear()
        yield Stage(server, clock, clients, a_head())
        clients.close()


def put(stage: Stage, ordinal: int, data: bytes) -> bytes | None:
    return asyncio.run(stage.streams().put(RUN, BIRTH, "log", ordinal, data))


def test_names_begin_with_the_run_and_say_what_they_are(stage: Stage) -> None:
    async def story() -> None:
        await ObjectBlobs(stage.objects()).put_blob(RUN, BIRTH, "blob", b"blob")
        await stage.streams().put(RUN, BIRTH, "a/b", 7, b"chunks")
        await stage.streams().mark(RUN, BIRTH, "..", NOW)

    asyncio.run(story())
    assert stage.names() == [
        "run-1/_/birth-1/b/blob",
        "run-1/_/birth-1/m/%2E%2E",
        "run-1/_/birth-1/s/a%2Fb/00000007",
    ]


def test_a_stream_may_have_the_longest_name_of_the_widest_characters(stage: Stage) -> None:
    async def story() -> None:
        name = "\U0001f600" * 128
        assert await stage.streams().put(RUN, BIRTH, name, 0, b"data") is None
        assert await stage.streams().get(RUN, BIRTH, name, 0, 100) == [b"data"]

    asyncio.run(story())


def test_a_put_whose_answer_was_lost_meets_itself(stage: Stage) -> None:
    stage.server.mischief.plan("objects.insert", "lost")
    assert put(stage, 0, b"data") is None
    assert put(stage, 0, b"other") == b"data"


@pytest.mark.parametrize("fault", ["throttled", "unavailable"])
def test_a_put_that_is_refused_for_now_is_tried_again(stage: Stage, fault: Any) -> None:
    stage.server.mischief.plan("objects.insert", fault)
    assert put(stage, 0, b"data") is None
    assert stage.server.calls["objects.insert"] == 2


@pytest.mark.parametrize(("fault", "kind"), [("unavailable", WorldUnavailableError), ("throttled", ThrottleError)])
def test_a_bucket_that_refuses_for_long_is_named_by_its_setting(
    stage: Stage, fault: Any, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wdk_gcp import objects

    retry = objects._retry().with_timeout(0.0)  # its pauses are drawn: any is too long
    monkeypatch.setattr(objects, "_retry", lambda: retry)
    stage.server.mischief.plan("objects.insert", fault)
    with pytest.raises(kind, match="WDK_GCP_BUCKET"):
        put(stage, 0, b"data")


def test_of_sixteen_threads_one_has_the_ordinal(stage: Stage) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda number: put(stage, 0, f"{number}".encode()), range(16)))
    assert found.count(None) == 1
    assert {other for other in found if other is not None} == {f"{found.index(None)}".encode()}


def test_a_bucket_that_is_not_there_is_named_by_its_setting(stage: Stage) -> None:
    elsewhere = GcpSettings(project="wdk-testing", bucket="elsewhere")
    streams = ObjectStreams(stage.objects(elsewhere), lambda _run: None)
    for call in (streams.put(RUN, BIRTH, "log", 0, b"x"), streams.get(RUN, BIRTH, "log", 0, 9)):
        with pytest.raises(WorldConfigurationError, match="what WDK_GCP_BUCKET names is not there"):
            asyncio.run(call)
    with pytest.raises(WorldConfigurationError, match="WDK_GCP_BUCKET is not set"):
        asyncio.run(stage.objects(GcpSettings()).get("key"))


def test_a_reader_asks_for_the_next_name_and_lists_nothing(stage: Stage) -> None:
    for ordinal in range(3):
        put(stage, ordinal, b"0123456789")
    stage.server.calls.clear()
    assert asyncio.run(stage.streams().get(RUN, BIRTH, "log", 0, 100)) == [b"0123456789"] * 3
    assert stage.server.calls == {"objects.get": 4}


def test_googles_client_asks_for_nothing_of_its_own_in_the_background(stage: Stage) -> None:
    put(stage, 0, b"data")
    for _ in range(3):
        _until_nothing_goes_on_in_the_background()
        assert asyncio.run(stage.objects().get("there-is-none")) is None
    _until_nothing_goes_on_in_the_background()
    assert stage.server.calls == {"objects.insert": 1, "objects.get": 3}


def _until_nothing_goes_on_in_the_background() -> None:
    for thread in threading.enumerate():
        if "_background" in thread.name:
            thread.join()


@pytest.mark.parametrize(("most", "found"), [(9, 1), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3)])
def test_a_reader_takes_no_more_than_it_wants_but_one(stage: Stage, most: int, found: int) -> None:
    for ordinal in range(4):
        put(stage, ordinal, b"0123456789")
    assert len(asyncio.run(stage.streams().get(RUN, BIRTH, "log", 0, most))) == found


def test_empty_objects_are_read_like_others(stage: Stage) -> None:
    for ordinal in range(2):
        put(stage, ordinal, b"")
    assert asyncio.run(stage.streams().get(RUN, BIRTH, "log", 0, 10)) == [b"", b""]


def test_what_is_written_while_its_run_is_buried_is_taken_back(stage: Stage) -> None:
    assert stage.head is not None
    stage.head = tombstone(stage.head, NOW)
    assert put(stage, 0, b"data") is None
    asyncio.run(ObjectBlobs(stage.objects()).put_blob(RUN, BIRTH, "blob", b"blob"))
    assert stage.names() == []


def test_an_erasure_takes_all_of_one_life_and_leaves_another(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from wdk_gcp import objects

    monkeypatch.setattr(objects, "PER_PAGE", 3)
    for ordinal in range(8):
        put(stage, ordinal, b"data")
    asyncio.run(stage.streams().put(RUN, OTHER_BIRTH, "log", 0, b"data"))
    asyncio.run(stage.objects().erase(RUN, BIRTH))
    assert stage.names() == ["run-1/_/birth-2/s/log/00000000"]
    asyncio.run(stage.objects(GcpSettings()).erase(RUN, BIRTH))  # a caller without a bucket


def test_a_refresh_makes_old_objects_young_but_marks(stage: Stage) -> None:
    put(stage, 0, b"old")
    asyncio.run(stage.streams().mark(RUN, BIRTH, "log", NOW))
    made = stage.clock.now()
    stage.clock.advance_to(made + 1_000)
    put(stage, 1, b"young")
    stage.clock.advance_to(made + 1_500)
    asyncio.run(stage.objects().refresh(RUN, BIRTH, made + 500))
    blobs = stage.clients.storage.list_blobs("runs")
    ages = {blob.name.partition("birth-1/")[2]: blob.time_created.timestamp() - made for blob in blobs}
    assert ages == {"m/log": 0.0, "s/log/00000000": 1_500.0, "s/log/00000001": 1_000.0}
    assert asyncio.run(stage.streams().get(RUN, BIRTH, "log", 0, 100)) == [b"old", b"young"]


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_200_small_chunks_in_two_seconds_are_25_objects_at_most_and_a_live_reader_lists_nothing(
    gcp_standing: Servers,
) -> None:
    async def story() -> list[bytes]:
        with gcp_standing.fresh() as (settings, clients):
            world = GcpWorld(settings, clients=clients)
            await world.runs.create(a_head())
            place = Place(world, RUN, BIRTH, "log", Sealer(RUN, None))
            await place.register()
            gcp_standing.storage.calls.clear()
            reader = asyncio.create_task(read(place))
            appender, begin = Appender(place), asyncio.get_running_loop().time()
            for number in range(200):
                await asyncio.sleep(begin + number * 0.01 - asyncio.get_running_loop().time())
                await appender.write(chunks.framed(b"%d" % number, is_value=False))
            await appender.close()
            return await reader

    assert asyncio.run(story()) == [b"%d" % number for number in range(200)]
    calls = gcp_standing.storage.calls
    assert 2 <= calls["objects.insert"] <= 25
    assert calls["objects.list"] == 0
    # Of each object: it, the one after it, and that one again until it is there; and the first look of the writer.
    assert calls["objects.get"] <= 5 * calls["objects.insert"] + 12


async def read(place: Place) -> list[bytes]:
    follower = Follower(place, KnownTypes())
    return [chunk.data async for batch in follower.batches() for chunk in batch]
