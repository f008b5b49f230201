"""subscribe: told of the end of a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.records import BIRTH, RUN, a_head, started
from wdk_cloud.world.ports import ENDED, RunStore

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

LONG = 20.0  # real seconds that a test would wait for what is expected to come at once


async def end(runs: RunStore, status: Any = "completed") -> None:
    changed, _ = await runs.change(RUN, BIRTH, {"status": status}, holder="message-1", fence=1)
    assert changed


@pytest.mark.parametrize("status", sorted(ENDED))
async def test_who_waits_is_told_of_the_end_of_the_run(place: WorldUnderTest, status: str) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    waiter = asyncio.ensure_future(subscription.wait(LONG))
    await asyncio.sleep(0)
    assert not waiter.done()
    await end(place.runs, status)
    assert await waiter is True
    subscription.close()


async def test_an_end_between_the_subscription_and_the_wait_is_not_missed(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    await end(place.runs)
    assert await subscription.wait(LONG) is True
    subscription.close()


async def test_an_end_between_two_waits_is_not_missed(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    assert await subscription.wait(0.001) is False
    await end(place.runs)
    assert await subscription.wait(LONG) is True
    subscription.close()


async def test_a_wait_ends_with_its_time(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    assert await subscription.wait(0.001) is False
    assert await subscription.wait(0.0) is False
    subscription.close()


async def test_an_end_is_told_once(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    await end(place.runs)
    assert await subscription.wait(LONG) is True
    assert await subscription.wait(0.001) is False
    subscription.close()


async def test_a_tombstone_after_the_end_is_told_too(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    await end(place.runs, "cancelled")
    assert await subscription.wait(LONG) is True
    await end(place.runs, "deleted")
    assert await subscription.wait(LONG) is True
    subscription.close()


async def test_a_subscription_may_be_made_before_its_run(place: WorldUnderTest) -> None:
    subscription = place.world.subscribe(RUN)
    await started(place.runs)
    await end(place.runs)
    assert await subscription.wait(LONG) is True
    subscription.close()


async def test_every_subscription_is_told_and_closing_one_leaves_the_others(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscriptions = [place.world.subscribe(RUN) for _ in range(3)]
    waiters = [asyncio.ensure_future(subscription.wait(LONG)) for subscription in subscriptions[:2]]
    await asyncio.sleep(0)
    subscriptions[2].close()
    subscriptions[2].close()
    await end(place.runs)
    assert await asyncio.gather(*waiters) == [True, True]
    for subscription in subscriptions[:2]:
        subscription.close()


async def test_a_wait_that_is_cancelled_does_not_lose_the_end(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    waiter = asyncio.ensure_future(subscription.wait(LONG))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await end(place.runs)
    assert await subscription.wait(LONG) is True
    subscription.close()


async def test_an_end_written_over_another_connection_is_told(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    waiter = asyncio.ensure_future(subscription.wait(LONG))
    async with place.second() as other:
        await end(other.runs)
        assert await waiter is True
    subscription.close()


async def test_a_subscription_is_to_a_run_of_its_own_namespace(place: WorldUnderTest) -> None:
    blue = place.world.scoped("blue")
    await started(place.runs)
    await blue.runs.create(a_head())
    elsewhere, here = blue.subscribe(RUN), place.world.subscribe(RUN)
    await end(place.runs)
    assert await here.wait(LONG) is True
    assert await elsewhere.wait(0.001) is False
    elsewhere.close()
    here.close()
