"""What is sent to SQS, Scheduler and S3, with a request or its answer lost on the wire: boto3 sends it again, and what
comes of it is what came of it without, but that a message may come twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import pytest

from tests.aws.stage import LocalSession, fresh, sent, shared_clients
from tests.contract.records import BIRTH, RUN
from tests.proxy import Loss, Proxy, proxy_to
from wdk_aws.clients import Clients
from wdk_aws.objects import Objects
from wdk_aws.queue import SqsQueue
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.faults import without_pauses
from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.objects import ObjectBlobs, ObjectStreams
from wdk_cloud.world.ports import Delivery, Head, Message

DAY = 86_400.0

lost = pytest.mark.parametrize("loss", get_args(Loss))


@dataclass(frozen=True)
class Stage:
    settings: AwsSettings
    clients: Clients
    proxy: Proxy
    own: Clients
    """Past the proxy."""

    @property
    def objects(self) -> Objects:
        async def head(_: str) -> Head | None:
            return None

        return Objects(self.settings, self.clients, head, "")

    @property
    def streams(self) -> ObjectStreams:
        return ObjectStreams(self.objects, lambda _: None)

    @property
    def queue(self) -> SqsQueue:
        return SqsQueue(self.settings, self.clients, SystemClock(), "")

    def lose(self, loss: Loss, number: int = 1) -> None:
        self.proxy.clear()
        self.proxy.lose(loss, number=number)

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.own.s3.list_objects_v2(Bucket=self.settings.bucket).get("Contents", [])]


@pytest.fixture
def stage(dynoxide: str, ministack: str) -> Iterator[Stage]:
    own = shared_clients(dynoxide, ministack)
    with proxy_to(ministack) as proxy:
        session = LocalSession(dict.fromkeys(("sqs", "s3", "scheduler"), proxy.url))
        clients = Clients(session)
        with without_pauses():
            yield Stage(fresh(own, ministack), clients, proxy, own)
        clients.close()
        own.close()


@lost
def test_a_put_is_made_once_and_knows_itself(stage: Stage, loss: Loss) -> None:
    async def story() -> None:
        stage.lose(loss)
        assert await stage.streams.put(RUN, BIRTH, "log", 0, b"ours") is None
        # Refused as our own, boto3's second request has us read what lies there.
        assert len(stage.proxy.requests) == (3 if loss == "answer" else 2)
        assert await stage.streams.put(RUN, BIRTH, "log", 0, b"theirs") == b"ours"
        stage.lose(loss)
        assert await stage.streams.put(RUN, BIRTH, "log", 0, b"theirs") == b"ours"
        stage.lose(loss)
        assert await stage.streams.get(RUN, BIRTH, "log", 0, 100) == [b"ours"]
        stage.lose(loss)
        assert await stage.streams.length(RUN, BIRTH, "log") == 1

    asyncio.run(story())


@lost
def test_blobs_and_marks_are_put_whatever_is_lost(stage: Stage, loss: Loss) -> None:
    async def story() -> None:
        blobs = ObjectBlobs(stage.objects)
        stage.lose(loss)
        await blobs.put_blob(RUN, BIRTH, "name", b"data")
        stage.lose(loss)
        assert await blobs.get_blob(RUN, BIRTH, "name") == b"data"
        stage.lose(loss)
        await stage.streams.mark(RUN, BIRTH, "log", 5.5)
        stage.lose(loss)
        assert await stage.streams.marked(RUN, BIRTH, "log") == 5.5

    asyncio.run(story())
    assert len(stage.keys()) == 2


@lost
@pytest.mark.parametrize("number", [1, 2])
def test_an_erasure_leaves_nothing(stage: Stage, loss: Loss, number: int) -> None:
    async def story() -> None:
        for ordinal in range(3):
            await stage.streams.put(RUN, BIRTH, "log", ordinal, b"data")
        stage.lose(loss, number)
        await stage.objects.erase(RUN, BIRTH)

    asyncio.run(story())
    assert stage.keys() == []


@lost
def test_messages_are_sent_and_twice_at_most(stage: Stage, loss: Loss) -> None:
    stage.lose(loss)
    messages = [(Message(kind="wake", run_id=RUN, birth=BIRTH, identity=identity), 0.0) for identity in "abc"]
    asyncio.run(stage.queue.send(messages))
    found = sorted(message.identity for message in sent(stage.own, stage.settings.flow_queue_url))
    assert found == sorted("abc" * (2 if loss == "answer" else 1))


@lost
def test_a_timer_is_one_schedule(stage: Stage, loss: Loss) -> None:
    due = SystemClock().now() + DAY
    stage.lose(loss)
    asyncio.run(stage.queue.send([(Message(kind="timer", run_id=RUN, birth=BIRTH, identity="t", due=due), DAY)]))
    assert len(stage.own.scheduler.list_schedules(GroupName=stage.settings.scheduler_group)["Schedules"]) == 1
    assert sent(stage.own, stage.settings.flow_queue_url) == []


@lost
def test_a_message_is_extended(stage: Stage, loss: Loss) -> None:
    message = Message(kind="wake", run_id=RUN, birth=BIRTH, identity="m")
    asyncio.run(stage.queue.send([(message, 0.0)]))
    (found,) = stage.own.sqs.receive_message(QueueUrl=stage.settings.flow_queue_url)["Messages"]
    stage.lose(loss)
    delivery = Delivery(message=message, provider_id="m", receipt=f"flow:{found['ReceiptHandle']}")
    stage.queue.extend(delivery, 0.0)
    assert sent(stage.own, stage.settings.flow_queue_url) == [message]
