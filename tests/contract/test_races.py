"""Many writers of one kind: one wins, and the others see who did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.racing import MANY, both, race
from tests.contract.records import (
    BIRTH,
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
    without_places,
)
from wdk_cloud.world.ports import Batch, Head, Labels, Lease, RunStore, Token

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def test_of_many_appends_at_one_position_one_is_written(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        batches = [a_batch(1, nonce=f"nonce-{number}") for number in range(MANY)]

        def append(number: int) -> Callable[[], Awaitable[Batch | None]]:
            return lambda: runs[number % 2].append(RUN, BIRTH, batches[number])

        answers = await race([append(number) for number in range(MANY)])
        winners = [batch for batch, answer in zip(batches, answers, strict=True) if answer is None]
        assert len(winners) == 1
        assert answers.count(winners[0]) == MANY - 1
        assert await runs[0].read(RUN, BIRTH, 0) == await runs[1].read(RUN, BIRTH, 0) == winners


async def test_of_fifty_claimants_of_a_token_one_has_it(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        tokens = [a_token(f"run-{number}") for number in range(MANY)]
        answers = await race(claimants(runs, tokens))
        winners = [token for token, answer in zip(tokens, answers, strict=True) if answer is None]
        assert len(winners) == 1
        assert answers.count(winners[0]) == MANY - 1
        assert await runs[1].token(winners[0].digest) == winners[0]


async def test_of_many_who_take_a_token_over_from_one_owner_one_has_it(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        seen = a_token("ended")
        await runs[0].claim_token(seen)
        tokens = [a_token(f"run-{number}") for number in range(MANY)]
        answers = await race(claimants(runs, tokens, instead_of=seen))
        winners = [token for token, answer in zip(tokens, answers, strict=True) if answer is None]
        assert len(winners) == 1
        assert answers.count(winners[0]) == MANY - 1


def claimants(
    runs: Sequence[RunStore], tokens: Sequence[Token], instead_of: Token | None = None
) -> list[Callable[[], Awaitable[Token | None]]]:
    def claimant(number: int) -> Callable[[], Awaitable[Token | None]]:
        return lambda: runs[number % 2].claim_token(tokens[number], instead_of=instead_of)

    return [claimant(number) for number in range(len(tokens))]


async def test_of_many_creations_of_a_run_one_is_written(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        heads = [a_head(birth=f"birth-{number}") for number in range(MANY)]

        def create(number: int) -> Callable[[], Awaitable[Head | None]]:
            return lambda: runs[number % 2].create(heads[number])

        answers = await race([create(number) for number in range(MANY)])
        winners = [head for head, answer in zip(heads, answers, strict=True) if answer is None]
        assert len(winners) == 1
        assert answers.count(winners[0]) == MANY - 1
        assert await runs[1].head(RUN) == winners[0]


@pytest.mark.parametrize("held", [False, True], ids=["free", "run out"])
async def test_of_many_who_want_a_lease_one_gets_it(place: WorldUnderTest, held: bool) -> None:
    async with both(place) as runs:
        before: dict[str, Any] = {"holder": "dead", "fence": 6, "until": NOW} if held else {"fence": 6}
        await runs[0].create(a_head(**before))

        def acquire(number: int) -> Callable[[], Awaitable[Lease | Head | None]]:
            return lambda: take(runs[number % 2], f"message-{number}", provider_id=f"provider-{number}")

        answers = await race([acquire(number) for number in range(MANY)])
        (lease,) = [answer for answer in answers if isinstance(answer, Lease)]
        assert answers.count(lease.head) == MANY - 1
        assert (lease.head.fence, lease.head.stalls, lease.unclean) == (7, int(held), held)
        assert await runs[1].head(RUN) == lease.head


async def test_of_two_copies_of_one_message_one_gets_the_lease(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        await runs[0].create(a_head())
        answers = await race(
            [
                lambda: take(runs[0], provider_id="provider-1", until=UNTIL),
                lambda: take(runs[1], provider_id="provider-2", until=UNTIL + 1),
            ]
        )
        assert sum(isinstance(answer, Lease) for answer in answers) == 1
        head = await runs[0].head(RUN)
        assert head is not None
        assert head.fence == 1


async def test_of_many_claims_of_a_step_one_is_taken(place: WorldUnderTest) -> None:
    async with both(place) as runs:

        def claimant(number: int) -> Callable[[], Awaitable[tuple[bool, Any]]]:
            return lambda: claim(runs[number % 2], f"message-{number}", provider_id=f"provider-{number}")

        answers = await race([claimant(number) for number in range(MANY)])
        (item,) = [item for claimed, item in answers if claimed]
        assert [answer for answer in answers if answer == (False, item)] == [(False, item)] * (MANY - 1)
        assert (item.attempt, item.interrupted) == (1, 0)


async def test_of_many_ends_of_a_step_one_is_kept(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        await claim(runs[0])
        ends = [f"end-{number}".encode() for number in range(MANY)]

        def end(number: int) -> Callable[[], Awaitable[bool]]:
            attempt = 1 if number % 3 else None
            return lambda: runs[number % 2].end_step(RUN, BIRTH, STEP, attempt=attempt, end=ends[number])

        answers = await race([end(number) for number in range(MANY)])
        item = await runs[0].step(RUN, BIRTH, STEP)
        assert item is not None
        assert [end for end, answer in zip(ends, answers, strict=True) if answer] == [item.end]


async def test_of_many_items_of_one_key_one_is_put(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        items = [an_item("key", f"payload-{number}".encode()) for number in range(MANY)]

        def put(number: int) -> Callable[[], Awaitable[bool]]:
            return lambda: runs[number % 2].put_item(RUN, BIRTH, items[number])

        answers = await race([put(number) for number in range(MANY)])
        winners = [item for item, answer in zip(items, answers, strict=True) if answer]
        assert len(winners) == 1
        assert without_places(await runs[1].items(RUN, BIRTH)) == winners


async def test_of_many_labels_those_of_the_last_position_stay(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        labels = [Labels(values={"at": str(number)}, position=number) for number in range(MANY)]

        def put(number: int) -> Callable[[], Awaitable[None]]:
            return lambda: runs[number % 2].put_labels(RUN, BIRTH, labels[number])

        await race([put(number) for number in range(MANY)])
        assert await runs[1].labels(RUN, BIRTH) == labels[-1]


async def test_many_who_retire_messages_lose_none(place: WorldUnderTest) -> None:
    async with both(place) as runs:
        await runs[0].create(a_head())

        def retire(number: int) -> Callable[[], Awaitable[Head | None]]:
            return lambda: runs[number % 2].retire(RUN, BIRTH, f"p{number}")

        await race([retire(number) for number in range(16)])
        head = await runs[1].head(RUN)
        assert head is not None
        assert sorted(head.retired) == sorted(f"p{number}" for number in range(16))


async def test_no_message_is_received_over_two_connections(place: WorldUnderTest) -> None:
    async with place.second() as other:
        receivers = (place.receiver, place.receiver_of(other))
        await place.queue.send([(a_message(f"m{number:02}"), 0.0) for number in range(40)])
        found: list[str] = []

        def receive(number: int) -> Callable[[], Awaitable[None]]:
            async def take_some() -> None:
                deliveries = await receivers[number % 2].receive(2)
                found.extend(delivery.message.identity for delivery in deliveries)

            return take_some

        await race([receive(number) for number in range(20)])
        found += [delivery.message.identity for delivery in await place.visible()]
        assert sorted(found) == [f"m{number:02}" for number in range(40)]
