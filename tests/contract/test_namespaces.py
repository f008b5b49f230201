"""Namespaces of one place share nothing; views of one namespace share everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_message,
    a_token,
    an_item,
    claim,
    take,
    taken,
)
from wdk_cloud.world.ports import Labels, Lease, RunQuery

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def test_a_world_says_which_namespace_it_sees(place: WorldUnderTest) -> None:
    blue = place.world.scoped("blue")
    assert (place.world.namespace, blue.namespace) == ("", "blue")
    assert (blue.scoped("red").namespace, blue.scoped("").namespace) == ("red", "")
    assert (blue.name, blue.clock) == (place.world.name, place.clock)


async def test_a_run_is_created_once_in_every_namespace(place: WorldUnderTest) -> None:
    blue = place.world.scoped("blue").runs
    assert await place.runs.create(a_head(workflow="first")) is None
    assert await blue.head(RUN) is None
    assert await blue.create(a_head(birth="blue")) is None
    assert await place.runs.head(RUN) == a_head(workflow="first")
    assert await blue.head(RUN) == a_head(birth="blue")


async def test_what_belongs_to_a_run_is_seen_in_its_namespace_only(place: WorldUnderTest) -> None:
    ours, blue = place.world, place.world.scoped("blue")
    await ours.runs.append(RUN, BIRTH, a_batch(1))
    await ours.runs.put_item(RUN, BIRTH, an_item("a"))
    await claim(ours.runs)
    await ours.runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}, position=1))
    await ours.blobs.put_blob(RUN, BIRTH, "blob", b"blob")
    assert await blue.runs.read(RUN, BIRTH, 0) == []
    assert await blue.runs.read_at(RUN, BIRTH, 1) is None
    assert await blue.runs.items(RUN, BIRTH) == []
    assert await blue.runs.step(RUN, BIRTH, STEP) is None
    assert await blue.runs.labels(RUN, BIRTH) == Labels(values={})
    assert await blue.blobs.get_blob(RUN, BIRTH, "blob") is None
    assert await blue.runs.append(RUN, BIRTH, a_batch(1, nonce="blue")) is None
    assert await blue.runs.put_item(RUN, BIRTH, an_item("a"))
    assert (await claim(blue.runs))[0]


async def test_erasing_a_run_touches_no_other_namespace(place: WorldUnderTest) -> None:
    ours, blue = place.world.runs, place.world.scoped("blue").runs
    await ours.append(RUN, BIRTH, a_batch(1))
    await ours.claim_token(a_token())
    await blue.erase([(RUN, BIRTH)])
    assert await ours.read(RUN, BIRTH, 0) == [a_batch(1)]
    assert await ours.token(a_token().digest) == a_token()


async def test_writes_to_the_head_touch_no_other_namespace(place: WorldUnderTest) -> None:
    ours, blue = place.runs, place.world.scoped("blue").runs
    await ours.create(a_head())
    await blue.create(a_head())
    head = (await taken(ours)).head
    assert not await blue.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    assert blue.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER) is None
    assert await blue.change(RUN, BIRTH, {"length": 5}, holder="message-1", fence=1) == (False, a_head())
    assert await blue.retire(RUN, BIRTH, "p") == a_head(retired=("p",))
    assert isinstance(await take(blue, "message-2"), Lease)
    assert await ours.head(RUN) == head


async def test_writes_to_a_step_touch_no_other_namespace(place: WorldUnderTest) -> None:
    ours, blue = place.runs, place.world.scoped("blue").runs
    _, item = await claim(ours)
    assert blue.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER) is None
    assert await blue.retire_step(RUN, BIRTH, STEP, "p") is None
    await blue.cancel_step(RUN, BIRTH, STEP)
    assert await blue.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")
    assert await ours.step(RUN, BIRTH, STEP) == item


async def test_a_token_has_an_owner_in_every_namespace(place: WorldUnderTest) -> None:
    ours, blue = place.runs, place.world.scoped("blue").runs
    await ours.claim_token(a_token())
    assert await blue.token(a_token().digest) is None
    assert await blue.claim_token(a_token("run-2")) is None
    await blue.free_token(a_token("run-2"))
    assert await ours.token(a_token().digest) == a_token()


async def test_listings_hold_the_runs_of_their_namespace(place: WorldUnderTest) -> None:
    ours, blue = place.runs, place.world.scoped("blue").runs
    await ours.create(a_head("ours", wake_by=1.0))
    await blue.create(a_head("blue", wake_by=1.0))
    assert [head.run_id for head in (await ours.list_heads(RunQuery())).heads] == ["ours"]
    assert [head.run_id for head in (await blue.list_heads(RunQuery())).heads] == ["blue"]
    assert [head.run_id for head in await ours.overdue(NOW, 9)] == ["ours"]
    assert [head.run_id for head in await blue.overdue(NOW, 9)] == ["blue"]


@pytest.mark.not_on("aws", "its queues carry the messages of every namespace; their bodies say whose they are")
@pytest.mark.not_on("gcp", "its queues carry the messages of every namespace; their URLs say whose they are")
async def test_messages_are_received_in_their_namespace_only(place: WorldUnderTest) -> None:
    blue = place.world.scoped("blue")
    assert blue.receiver is not None
    await blue.queue.send([(a_message("blue"), 0.0)])
    assert not place.receiver.busy()
    assert await place.visible() == []
    assert blue.receiver.busy()
    (delivery,) = await blue.receiver.receive(10)
    assert delivery.message.identity == "blue"
    await blue.receiver.acknowledge(delivery)
    assert not blue.receiver.busy()


async def test_two_views_of_one_namespace_see_the_same(place: WorldUnderTest) -> None:
    one, two = place.world.scoped("blue"), place.world.scoped("red").scoped("blue")
    await one.runs.create(a_head())
    await one.blobs.put_blob(RUN, BIRTH, "blob", b"blob")
    await one.queue.send([(a_message("m"), 0.0)])
    assert await two.runs.head(RUN) == a_head()
    assert await two.blobs.get_blob(RUN, BIRTH, "blob") == b"blob"
    assert [delivery.message.identity for delivery in await place.receiver_of(two).receive(10)] == ["m"]
    assert (await taken(two.runs)).head == await one.runs.head(RUN) == a_head(holder="message-1", fence=1, until=UNTIL)
