"""send, extend; receive, acknowledge, put_back, busy. What order messages come in is nobody's promise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.records import BIRTH, a_message
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.contract.conftest import WorldUnderTest
    from wdk_cloud.world.ports import Delivery


def identities(deliveries: Iterable[Delivery]) -> list[str]:
    return sorted(delivery.message.identity for delivery in deliveries)


async def waiting(place: WorldUnderTest, limit: int = 10) -> asyncio.Task[list[Delivery]]:
    """A receiver that has looked, found nothing, and waits."""
    task = asyncio.create_task(place.receiver.receive(limit))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def send(place: WorldUnderTest, *identities: str, delay: float = 0.0) -> None:
    await place.queue.send([(a_message(identity), delay) for identity in identities])


async def receive_one(place: WorldUnderTest) -> Delivery:
    (delivery,) = await place.receiver.receive(1)
    return delivery


# -- send and receive -------------------------------------------------------------------------------------------------


EVERY_FIELD: dict[str, Any] = {
    "kind": "timer",
    "run_id": "run-ä",
    "birth": BIRTH,
    "identity": "identity",
    "due": 1_767_225_600.123456,
    "hop": True,
    "step_id": "charge#1",
    "count": 4,
    "length": 12,
    "order": bytes(range(256)),
    "trace": "00-trace-01",
    "format": 2,
}


async def test_a_message_is_received_as_it_was_sent(place: WorldUnderTest) -> None:
    assert set(EVERY_FIELD) == set(Message.__struct_fields__)
    message = Message(**EVERY_FIELD)
    await place.queue.send([(message, 0.0), (a_message("bare"), 0.0)])
    bare, full = sorted(await place.visible(), key=lambda delivery: delivery.message.identity)
    assert (full.message, full.again) == (message, False)
    assert (bare.message, bare.again) == (a_message("bare"), False)


@pytest.mark.parametrize("kind", ["wake", "timer", "continue", "step", "sweep"])
async def test_messages_of_every_kind_are_carried(place: WorldUnderTest, kind: str) -> None:
    await place.queue.send([(a_message("m", kind=kind), 0.0)])
    assert [delivery.message for delivery in await place.visible()] == [a_message("m", kind=kind)]


async def test_sending_nothing_is_harmless(place: WorldUnderTest) -> None:
    await place.queue.send([])
    assert await place.visible() == []


async def test_every_message_of_a_large_send_arrives_once(place: WorldUnderTest) -> None:
    await send(place, *(f"m{number:02}" for number in range(35)))
    deliveries = await place.visible()
    assert identities(deliveries) == [f"m{number:02}" for number in range(35)]
    assert len({delivery.provider_id for delivery in deliveries}) == 35


async def test_a_copy_keeps_the_identity_and_is_another_message(place: WorldUnderTest) -> None:
    await send(place, "same")
    await send(place, "same")
    first, second = await place.visible()
    assert first.message == second.message == a_message("same")
    assert first.provider_id != second.provider_id
    assert (first.again, second.again) == (False, False)


async def test_receive_takes_no_more_than_its_limit(place: WorldUnderTest) -> None:
    await send(place, *(f"m{number}" for number in range(5)))
    found: list[Delivery] = []
    while len(found) < 5:
        part = await place.receiver.receive(2)
        assert 1 <= len(part) <= 2
        found += part
    assert identities(found) == ["m0", "m1", "m2", "m3", "m4"]


async def test_receive_waits_for_a_message(place: WorldUnderTest) -> None:
    receiver = await waiting(place)
    await send(place, "m")
    assert identities(await receiver) == ["m"]


async def test_each_of_two_receivers_that_wait_gets_a_message(place: WorldUnderTest) -> None:
    first, second = await waiting(place, 1), await waiting(place, 1)
    await send(place, "a", "b")
    assert identities(await first + await second) == ["a", "b"]


async def test_no_message_goes_to_two_receivers(place: WorldUnderTest) -> None:
    async def work(found: list[Delivery]) -> None:
        while True:
            found += await place.receiver.receive(3)
            if len(found) == 40:
                everything.set()

    everything = asyncio.Event()
    found: list[Delivery] = []
    workers = [asyncio.create_task(work(found)) for _ in range(4)]
    for number in range(8):
        await send(place, *(f"m{5 * number + part:02}" for part in range(5)))
    await everything.wait()
    for worker in workers:
        worker.cancel()
    assert identities(found) == [f"m{number:02}" for number in range(40)]


# -- delays -----------------------------------------------------------------------------------------------------------


async def test_a_delayed_message_is_invisible_until_its_time(place: WorldUnderTest) -> None:
    await send(place, "m", delay=30.0)
    await place.advance(29.5)
    assert await place.visible() == []
    await place.advance(0.5)
    (delivery,) = await place.visible()
    assert (delivery.message.identity, delivery.again) == ("m", False)


async def test_delays_of_one_send_are_each_messages_own(place: WorldUnderTest) -> None:
    await place.queue.send([(a_message("late"), 50.0), (a_message("now"), 0.0), (a_message("soon"), 5.0)])
    assert identities(await place.visible()) == ["now"]
    await place.advance(5.0)
    assert identities(await place.visible()) == ["soon"]
    await place.advance(45.0)
    assert identities(await place.visible()) == ["late"]


async def test_a_delay_with_a_fraction_ends_at_a_time_that_the_clock_shows(place: WorldUnderTest) -> None:
    receiver = asyncio.create_task(place.receiver.receive(1))
    await send(place, "m", delay=1.00000049)
    await asyncio.sleep(0)
    await place.advance(max(1.00000049, 2 * place.grain))
    assert identities(await receiver) == ["m"]


async def test_a_receiver_that_waits_gets_a_delayed_message_at_its_time(place: WorldUnderTest) -> None:
    await send(place, "m", delay=30.0)
    receiver = await waiting(place)
    await place.advance(30.0)
    assert identities(await receiver) == ["m"]


async def test_a_receiver_that_waits_for_a_later_message_gets_an_earlier_one(place: WorldUnderTest) -> None:
    await send(place, "late", delay=300.0)
    receiver = await waiting(place)
    await send(place, "soon", delay=30.0)
    await asyncio.sleep(0)
    await place.advance(30.0)
    assert identities(await receiver) == ["soon"]


async def test_a_message_may_be_delayed_by_the_longest_delay(place: WorldUnderTest) -> None:
    delay = min(place.queue.longest_delay, 400 * 86_400.0)
    assert delay > 0
    await send(place, "m", delay=delay)
    await place.advance(delay - 1)
    assert await place.visible() == []
    await place.advance(1)
    assert identities(await place.visible()) == ["m"]


async def test_a_caller_can_delay_a_message_too_and_no_further_than_a_worker(place: WorldUnderTest) -> None:
    assert 0 < place.queue.callers_delay <= place.queue.longest_delay


# -- at least once ----------------------------------------------------------------------------------------------------


async def test_a_message_that_was_received_is_invisible_for_a_while_and_then_comes_again(
    place: WorldUnderTest,
) -> None:
    await send(place, "m")
    first = await receive_one(place)
    await place.advance(place.visibility - 1)
    assert await place.visible() == []
    await place.advance(1)
    (again,) = await place.visible()
    assert (again.message, again.provider_id, again.again) == (first.message, first.provider_id, True)


async def test_a_message_comes_again_and_again_until_it_is_acknowledged(place: WorldUnderTest) -> None:
    await send(place, "m")
    seen: list[bool] = []
    for _ in range(4):
        delivery = await receive_one(place)
        seen.append(delivery.again)
        await place.advance(place.visibility)
    assert seen == [False, True, True, True]


async def test_a_receiver_that_waits_gets_what_another_one_dropped(place: WorldUnderTest) -> None:
    await send(place, "m")
    await receive_one(place)
    receiver = await waiting(place)
    await place.advance(place.visibility)
    assert [(delivery.message.identity, delivery.again) for delivery in await receiver] == [("m", True)]


async def test_a_message_that_was_acknowledged_never_comes_again(place: WorldUnderTest) -> None:
    await send(place, "a", "b")
    for delivery in await place.visible():
        if delivery.message.identity == "a":
            await place.receiver.acknowledge(delivery)
    await place.advance(2 * place.visibility)
    assert identities(await place.visible()) == ["b"]


async def test_acknowledging_twice_does_not_matter(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    await place.receiver.acknowledge(delivery)
    await place.receiver.acknowledge(delivery)
    assert not place.receiver.busy()


async def test_acknowledging_a_copy_leaves_the_other_one(place: WorldUnderTest) -> None:
    await send(place, "same", "same")
    first, second = await place.visible()
    await place.receiver.acknowledge(first)
    await place.advance(place.visibility)
    assert [delivery.provider_id for delivery in await place.visible()] == [second.provider_id]


async def test_a_message_put_back_is_visible_at_once_and_counts_as_received_before(place: WorldUnderTest) -> None:
    await send(place, "m")
    first = await receive_one(place)
    await place.receiver.put_back(first, 0.0)
    (again,) = await place.visible()
    assert (again.message, again.provider_id, again.again) == (first.message, first.provider_id, True)


async def test_a_message_put_back_with_a_delay_is_invisible_until_then(place: WorldUnderTest) -> None:
    await send(place, "m")
    await place.receiver.put_back(await receive_one(place), 2 * place.visibility)
    await place.advance(2 * place.visibility - 1)
    assert await place.visible() == []
    await place.advance(1)
    (again,) = await place.visible()
    assert again.again


async def test_a_receiver_that_waits_gets_a_message_that_is_put_back(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    receiver = await waiting(place)
    await place.receiver.put_back(delivery, 0.0)
    assert identities(await receiver) == ["m"]


async def test_an_earlier_receiver_cannot_put_back_what_another_one_has(place: WorldUnderTest) -> None:
    await send(place, "m")
    earlier = await receive_one(place)
    await place.advance(place.visibility)
    later = await receive_one(place)
    await place.receiver.put_back(earlier, 0.0)
    assert await place.visible() == []
    await place.receiver.acknowledge(later)
    await place.receiver.put_back(earlier, 0.0)
    await place.advance(place.visibility)
    assert await place.visible() == []


# -- extend -----------------------------------------------------------------------------------------------------------


@pytest.mark.not_on("gcp", "Cloud Tasks knows no invisibility: a delivery lasts as long as its connection")
async def test_extending_keeps_a_message_invisible_from_now_on(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    await place.advance(place.visibility - 1)
    place.queue.extend(delivery, 20.0)
    await place.advance(19.0)
    assert await place.visible() == []
    await place.advance(1.0)
    assert identities(await place.visible()) == ["m"]


@pytest.mark.not_on("gcp", "Cloud Tasks knows no invisibility: a delivery lasts as long as its connection")
async def test_extending_can_shorten_too(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    place.queue.extend(delivery, 5.0)
    await place.advance(5.0)
    assert identities(await place.visible()) == ["m"]


@pytest.mark.not_on("gcp", "Cloud Tasks knows no invisibility: a delivery lasts as long as its connection")
async def test_a_receiver_that_waits_learns_of_a_time_that_was_shortened_from_a_thread(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    receiver = await waiting(place)
    await asyncio.to_thread(place.queue.extend, delivery, 0.0)
    assert identities(await receiver) == ["m"]


async def test_extending_what_was_acknowledged_does_not_bring_it_back(place: WorldUnderTest) -> None:
    await send(place, "m")
    delivery = await receive_one(place)
    await place.receiver.acknowledge(delivery)
    place.queue.extend(delivery, 0.0)
    assert await place.visible() == []
    assert not place.receiver.busy()


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_receive_that_is_cancelled_while_it_waits_loses_nothing(place: WorldUnderTest) -> None:
    receiver = await waiting(place)
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
    await send(place, "m")
    assert identities(await place.visible()) == ["m"]


@pytest.mark.parametrize("steps", range(6))
async def test_a_receive_that_is_cancelled_as_a_message_comes_loses_nothing(place: WorldUnderTest, steps: int) -> None:
    receiver = await waiting(place)
    sending = asyncio.create_task(send(place, "m"))
    for _ in range(steps):
        await asyncio.sleep(0)
    receiver.cancel()
    await sending
    (answer,) = await asyncio.gather(receiver, return_exceptions=True)
    taken = answer if isinstance(answer, list) else []
    assert identities(taken + await place.visible()) == ["m"]


async def test_a_receive_that_is_cancelled_leaves_the_message_to_the_next_one_that_waits(
    place: WorldUnderTest,
) -> None:
    first, second = await waiting(place), await waiting(place)
    sending = asyncio.create_task(send(place, "m"))
    first.cancel()
    await sending
    (answer,) = await asyncio.gather(first, return_exceptions=True)
    assert identities(answer if isinstance(answer, list) else await second) == ["m"]
    second.cancel()


# -- busy -------------------------------------------------------------------------------------------------------------


async def test_a_queue_is_busy_while_a_message_is_visible_or_worked_on(place: WorldUnderTest) -> None:
    receiver = place.receiver
    assert not receiver.busy()
    await send(place, "m")
    assert receiver.busy()
    delivery = await receive_one(place)
    assert receiver.busy()
    await receiver.acknowledge(delivery)
    assert not receiver.busy()


async def test_a_queue_is_not_busy_with_what_is_due_later(place: WorldUnderTest) -> None:
    await send(place, "m", delay=30.0)
    assert not place.receiver.busy()
    await place.advance(30.0)
    assert place.receiver.busy()


async def test_a_queue_is_busy_with_a_message_whose_receiver_is_silent(place: WorldUnderTest) -> None:
    await send(place, "m")
    await receive_one(place)
    await place.advance(place.visibility)
    assert place.receiver.busy()


async def test_a_queue_is_not_busy_with_what_was_put_back_for_later(place: WorldUnderTest) -> None:
    await send(place, "m")
    await place.receiver.put_back(await receive_one(place), 30.0)
    assert not place.receiver.busy()
    await place.advance(30.0)
    assert place.receiver.busy()
    await place.receiver.put_back(await receive_one(place), 0.0)
    assert place.receiver.busy()
