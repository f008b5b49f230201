"""Blobs and streams in S3: what the contract cannot see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.aws.answers import answering, refusal
from tests.aws.stage import clients_of, fresh, shared_clients
from tests.contract.records import a_head
from wdk_aws import objects
from wdk_aws.clients import Clients
from wdk_aws.objects import Objects
from wdk_aws.settings import AwsSettings
from wdk_aws.world import AwsWorld
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.engine import chunks
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.follower import Follower
from wdk_cloud.engine.streaming import Place
from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.objects import ObjectBlobs, ObjectStreams
from wdk_cloud.world.ports import Head, tombstone
from wdk_cloud.world.watching import FIRST_PAUSE, Pollings

RUN, BIRTH = "run-1", "birth-1"


@dataclass
class Stage:
    settings: AwsSettings
    clients: Clients
    heads: dict[str, Head] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)

    @property
    def objects(self) -> Objects:
        return Objects(self.settings, self.clients, self.head, "blue")

    @property
    def streams(self) -> ObjectStreams:
        return ObjectStreams(self.objects, self.moved.append)

    async def head(self, run_id: str) -> Head | None:
        return self.heads.get(run_id)

    def bury(self) -> None:
        self.heads[RUN] = tombstone(a_head(RUN, birth=BIRTH), now=1.0)

    def put(self, ordinal: int, data: bytes, stream: str = "log") -> bytes | None:
        return asyncio.run(self.streams.put(RUN, BIRTH, stream, ordinal, data))

    def get(self, ordinal: int = 0, most: int = 1_000) -> list[bytes]:
        return asyncio.run(self.streams.get(RUN, BIRTH, "log", ordinal, most))

    def keys(self) -> list[str]:
        listed = self.clients.s3.list_objects_v2(Bucket=self.settings.bucket)
        return [one["Key"] for one in listed.get("Contents", [])]


@pytest.fixture
def stage(dynoxide: str, ministack: str) -> Iterator[Stage]:
    clients = clients_of(dynoxide, ministack)
    yield Stage(fresh(shared_clients(dynoxide, ministack), ministack), clients)
    clients.close()


def once(answer: dict[str, Any], times: int = 1) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    left = iter([answer] * times)
    return lambda _: next(left, None)


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_say_what_they_are_and_begin_with_the_life_of_a_run(stage: Stage) -> None:
    async def story() -> None:
        await stage.streams.put(RUN, BIRTH, "a/b c", 12, b"1")
        await stage.streams.put(RUN, BIRTH, "..", 0, b"2")
        await stage.streams.mark(RUN, BIRTH, "log", 5.0)
        await ObjectBlobs(stage.objects).put_blob(RUN, BIRTH, "sha", b"3")
        await ObjectBlobs(Objects(stage.settings, stage.clients, stage.head, "")).put_blob(RUN, BIRTH, "sha", b"4")

    asyncio.run(story())
    assert stage.keys() == [
        "_/run-1/birth-1/b/sha",
        "blue/run-1/birth-1/b/sha",
        "blue/run-1/birth-1/m/log",
        "blue/run-1/birth-1/s/%2E%2E/00000000",
        "blue/run-1/birth-1/s/a%2Fb%20c/00000012",
    ]


def test_a_stream_may_have_the_longest_name_of_the_widest_characters(stage: Stage) -> None:
    name = "\U0001f600" * 128
    assert stage.put(0, b"data", name) is None
    assert asyncio.run(stage.streams.get(RUN, BIRTH, name, 0, 10)) == [b"data"]
    assert asyncio.run(stage.streams.get(RUN, BIRTH, name[1:], 0, 10)) == []


# -- put --------------------------------------------------------------------------------------------------------------


def test_a_put_that_meets_another_one_under_way_is_tried_again(stage: Stage) -> None:
    asked = answering(stage.clients.s3, "PutObject", once(refusal("ConditionalRequestConflict", 409), 3))
    assert stage.put(0, b"data") is None
    assert len(asked) == 4
    assert stage.get() == [b"data"]


def test_a_put_that_meets_others_for_ever_says_that_it_is_not_decided(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "CONFLICT_PAUSES", (0.0, 0.0))
    answering(stage.clients.s3, "PutObject", lambda _: refusal("ConditionalRequestConflict", 409))
    with pytest.raises(WorldUnavailableError, match="does not decide who has written an object for WDK_AWS_BUCKET"):
        stage.put(0, b"data")


def test_a_put_whose_answer_was_lost_meets_itself(stage: Stage) -> None:
    def losing(params: dict[str, Any]) -> dict[str, Any] | None:
        if len(asked) > 1:
            return None
        elsewhere.put_object(**params)
        return refusal("InternalError", 500)

    elsewhere = clients_of("", stage.clients.s3.meta.endpoint_url).s3
    asked = answering(stage.clients.s3, "PutObject", losing)
    with pytest.raises(WorldUnavailableError):
        stage.put(0, b"data")
    assert stage.put(0, b"data") is None
    assert stage.put(0, b"other") == b"data"
    assert stage.get() == [b"data"]


def test_of_sixteen_threads_one_has_the_ordinal(stage: Stage) -> None:
    answers: dict[int, bytes | None] = {}
    gate = threading.Barrier(16)

    def write(number: int) -> None:
        gate.wait(10)
        answers[number] = stage.put(0, b"%d" % number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (there,) = stage.get()
    assert [number for number, answer in answers.items() if answer is None] == [int(there)]


def test_a_bucket_that_is_not_there_is_named_by_its_setting(stage: Stage) -> None:
    wrong = Objects(replace(stage.settings, bucket="no-such-bucket"), stage.clients, stage.head, "")
    with pytest.raises(WorldConfigurationError, match="what WDK_AWS_BUCKET names is not there"):
        asyncio.run(ObjectBlobs(wrong).put_blob(RUN, BIRTH, "name", b"data"))
    with pytest.raises(WorldConfigurationError, match="what WDK_AWS_BUCKET names is not there"):
        asyncio.run(ObjectBlobs(wrong).get_blob(RUN, BIRTH, "name"))


def test_an_object_that_looks_forbidden_may_lack_the_right_to_list(stage: Stage) -> None:
    answering(stage.clients.s3, "GetObject", lambda _: refusal("AccessDenied", 403))
    with pytest.raises(WorldConfigurationError, match=r"the right to GetObject .* \(and s3:ListBucket"):
        stage.get()


def test_a_bucket_that_is_slowed_down_says_so(stage: Stage) -> None:
    answering(stage.clients.s3, "PutObject", lambda _: refusal("SlowDown", 503))
    with pytest.raises(ThrottleError):
        stage.put(0, b"data")


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_reader_asks_for_the_next_key_and_lists_nothing(stage: Stage) -> None:
    for ordinal in range(3):
        stage.put(ordinal, b"x" * 400)
    listed = answering(stage.clients.s3, "ListObjectsV2", lambda _: None)
    asked = answering(stage.clients.s3, "GetObject", lambda _: None)
    assert [len(data) for data in stage.get(1, most=10_000)] == [400, 400]
    assert [request["Key"][-8:] for request in asked] == ["00000001", "00000002", "00000003"]
    asked.clear()
    assert [len(data) for data in stage.get(0, most=0)] == [400]
    assert [request["Key"][-8:] for request in asked] == ["00000000"]
    assert listed == []


@pytest.mark.parametrize(("length", "questions"), [(0, 1), (1, 2), (2, 4), (3, 4), (25, 10)])
def test_the_length_is_found_by_asking_for_keys(stage: Stage, length: int, questions: int) -> None:
    for ordinal in range(length):
        stage.put(ordinal, b"data")
    asked = answering(stage.clients.s3, "HeadObject", lambda _: None)
    assert asyncio.run(stage.streams.length(RUN, BIRTH, "log")) == length
    assert len(asked) == questions


# -- under a tombstone ------------------------------------------------------------------------------------------------


def test_what_is_written_while_its_run_is_buried_is_taken_back(stage: Stage) -> None:
    def buried_meanwhile(_: dict[str, Any]) -> None:
        stage.bury()

    answering(stage.clients.s3, "PutObject", buried_meanwhile)
    asyncio.run(stage.streams.mark(RUN, BIRTH, "log", 5.0))
    stage.heads.clear()
    assert stage.put(0, b"data") is None
    stage.heads.clear()
    asyncio.run(ObjectBlobs(stage.objects).put_blob(RUN, BIRTH, "name", b"data"))
    assert stage.keys() == []


def test_an_object_of_another_life_of_the_run_stays(stage: Stage) -> None:
    stage.bury()
    assert asyncio.run(stage.streams.put(RUN, "birth-2", "log", 0, b"data")) is None
    assert stage.keys() == ["blue/run-1/birth-2/s/log/00000000"]


def test_a_put_that_was_refused_by_what_is_erased_by_now_is_over(stage: Stage) -> None:
    stage.bury()
    asked = answering(stage.clients.s3, "PutObject", lambda _: refusal("PreconditionFailed", 412))
    assert stage.put(0, b"data") is None
    assert len(asked) == 1


def test_a_put_that_was_refused_by_what_is_gone_is_tried_again(stage: Stage) -> None:
    answering(stage.clients.s3, "PutObject", once(refusal("PreconditionFailed", 412)))
    assert stage.put(0, b"data") is None
    assert stage.get() == [b"data"]


def test_an_erasure_takes_all_of_one_life_however_much_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert objects.DELETED_AT_ONCE == 1_000
    monkeypatch.setattr(objects, "DELETED_AT_ONCE", 3)
    for key in range(7):
        stage.clients.s3.put_object(Bucket=stage.settings.bucket, Key=f"blue/run-1/birth-1/s/log/{key:08}", Body=b"x")
    for key in ("blue/run-1/birth-11/s/log/0", "blue/run-1/birth-2/b/x", "_/run-1/birth-1/b/x"):
        stage.clients.s3.put_object(Bucket=stage.settings.bucket, Key=key, Body=b"x")
    asked = answering(stage.clients.s3, "DeleteObjects", lambda _: None)
    asyncio.run(stage.objects.erase(RUN, BIRTH))
    assert stage.keys() == ["_/run-1/birth-1/b/x", "blue/run-1/birth-11/s/log/0", "blue/run-1/birth-2/b/x"]
    assert [len(request["Delete"]["Objects"]) for request in asked] == [3, 3, 1]
    asyncio.run(stage.objects.erase(RUN, BIRTH))


def test_an_erasure_that_leaves_objects_says_so(stage: Stage) -> None:
    stage.put(0, b"data")
    answering(stage.clients.s3, "DeleteObjects", once({"Errors": [{"Key": "k", "Code": "InternalError"}]}))
    with pytest.raises(WorldUnavailableError, match="did not delete all objects for WDK_AWS_BUCKET: InternalError"):
        asyncio.run(stage.objects.erase(RUN, BIRTH))
    asyncio.run(stage.objects.erase(RUN, BIRTH))
    assert stage.keys() == []


def test_a_caller_without_a_bucket_erases_nothing(stage: Stage) -> None:
    asyncio.run(Objects(AwsSettings(), stage.clients, stage.head, "").erase(RUN, BIRTH))


# -- watching ---------------------------------------------------------------------------------------------------------


def test_what_came_and_what_was_written_is_told_and_nothing_else(stage: Stage) -> None:
    stage.get()
    assert stage.moved == []
    stage.put(0, b"data")
    stage.put(0, b"other")
    assert stage.moved == [RUN]
    stage.get()
    assert stage.moved == [RUN, RUN]


def test_pauses_grow_and_are_short_again_after_something_came() -> None:
    async def story() -> None:
        pollings = Pollings()
        polling, other = pollings.new(RUN), pollings.new("run-2")
        assert await polling.wait(0.0) is False
        assert await other.wait(0.0) is False
        assert await polling.wait(FIRST_PAUSE) is False  # it is longer than that by now
        pollings.moved(RUN)
        assert await polling.wait(2 * FIRST_PAUSE) is True
        assert await other.wait(FIRST_PAUSE) is False
        pollings.moved("run-3")

    asyncio.run(story())


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_200_small_chunks_in_two_seconds_are_25_objects_at_most_and_a_live_reader_lists_nothing(
    dynoxide: str, ministack: str
) -> None:
    clients = clients_of(dynoxide, ministack)
    world = AwsWorld(fresh(clients, ministack), clients=clients)
    asked = {name: answering(clients.s3, name, lambda _: None) for name in ("PutObject", "GetObject", "HeadObject")}
    listed = [answering(clients.s3, name, lambda _: None) for name in ("ListObjects", "ListObjectsV2")]

    async def story() -> list[bytes]:
        await world.runs.create(a_head())
        place = Place(world, RUN, BIRTH, "log", Sealer(RUN, None))
        await place.register()
        reader = asyncio.create_task(read(place))
        appender, begin = Appender(place), asyncio.get_running_loop().time()
        for number in range(200):
            await asyncio.sleep(begin + number * 0.01 - asyncio.get_running_loop().time())
            await appender.write(chunks.framed(b"%d" % number, is_value=False))
        await appender.close()
        return await reader

    assert asyncio.run(story()) == [b"%d" % number for number in range(200)]
    assert len(asked["PutObject"]) <= 25
    assert len(asked["HeadObject"]) <= 12  # the writer's first look, and that of whoever closes it
    # Of each object: it, the one after it, and that one again until it is there.
    assert len(asked["GetObject"]) <= 5 * len(asked["PutObject"])
    assert listed == [[], []]
    clients.close()


async def read(place: Place) -> list[bytes]:
    follower = Follower(place, KnownTypes())
    return [chunk.data async for batch in follower.batches() for chunk in batch]
