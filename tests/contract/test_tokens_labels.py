"""put_labels, labels; claim_token, token, free_token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.records import BIRTH, OTHER_BIRTH, RUN, a_head, a_token
from wdk_cloud.world.ports import Labels, Token

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

DIGEST = "d" * 64


async def test_a_run_without_labels_has_none_at_position_0(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.labels(RUN, BIRTH) == Labels(values={}, position=0)


async def test_labels_are_read_as_they_were_put(place: WorldUnderTest) -> None:
    labels = Labels(values={"kunde": "Łukasz 👋", "z": "", "a": "1"}, position=3)
    await place.runs.put_labels(RUN, BIRTH, labels)
    assert await place.runs.labels(RUN, BIRTH) == labels


async def test_labels_of_a_later_position_replace_all_that_were_there(place: WorldUnderTest) -> None:
    await place.runs.put_labels(RUN, BIRTH, Labels(values={"a": "1", "b": "1"}, position=9))
    await place.runs.put_labels(RUN, BIRTH, Labels(values={"a": "2"}, position=10))
    assert await place.runs.labels(RUN, BIRTH) == Labels(values={"a": "2"}, position=10)


@pytest.mark.parametrize("position", [8, 9])
async def test_labels_of_no_later_position_change_nothing(place: WorldUnderTest, position: int) -> None:
    there = Labels(values={"a": "1"}, position=9)
    await place.runs.put_labels(RUN, BIRTH, there)
    await place.runs.put_labels(RUN, BIRTH, Labels(values={"a": "2"}, position=position))
    assert await place.runs.labels(RUN, BIRTH) == there


async def test_labels_of_position_0_are_kept_where_there_are_none(place: WorldUnderTest) -> None:
    await place.runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}))
    await place.runs.put_labels(RUN, BIRTH, Labels(values={"a": "2"}))
    assert await place.runs.labels(RUN, BIRTH) == Labels(values={"a": "1"})


async def test_late_labels_of_another_birth_are_seen_by_nobody(place: WorldUnderTest) -> None:
    await place.runs.put_labels(RUN, OTHER_BIRTH, Labels(values={"a": "1"}, position=5))
    assert await place.runs.labels(RUN, BIRTH) == Labels(values={})


# -- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_that_nobody_has_is_claimed(place: WorldUnderTest) -> None:
    token = a_token(data=bytes(range(256)))
    assert await place.runs.token(DIGEST) is None
    assert await place.runs.claim_token(token) is None
    assert await place.runs.token(DIGEST) == token


async def test_our_own_claim_that_is_there_is_success(place: WorldUnderTest) -> None:
    assert await place.runs.claim_token(a_token()) is None
    assert await place.runs.claim_token(a_token()) is None
    assert await place.runs.claim_token(a_token(), instead_of=a_token(run_id="run-2")) is None
    assert await place.runs.token(DIGEST) == a_token()


async def test_our_own_claim_is_recognised_by_run_birth_and_hook_alone(place: WorldUnderTest) -> None:
    await place.runs.claim_token(a_token(data=b"first"))
    assert await place.runs.claim_token(a_token(data=b"second")) is None


@pytest.mark.parametrize(
    "stranger", [a_token(run_id="run-2"), a_token(birth=OTHER_BIRTH), a_token(hook_id="hook#2")], ids=repr
)
async def test_who_claims_a_token_that_is_taken_gets_its_owner(place: WorldUnderTest, stranger: Token) -> None:
    await place.runs.claim_token(a_token())
    assert await place.runs.claim_token(stranger) == a_token()
    assert await place.runs.token(DIGEST) == a_token()


async def test_a_token_is_taken_over_from_the_owner_that_was_seen(place: WorldUnderTest) -> None:
    seen, ours = a_token(data=b"seen"), a_token(run_id="run-2", data=b"ours")
    await place.runs.claim_token(seen)
    assert await place.runs.claim_token(ours, instead_of=seen) is None
    assert await place.runs.token(DIGEST) == ours


async def test_a_token_is_not_taken_over_from_another_owner_than_the_one_seen(place: WorldUnderTest) -> None:
    await place.runs.claim_token(a_token())
    assert await place.runs.claim_token(a_token(run_id="run-3"), instead_of=a_token(run_id="run-2")) == a_token()
    assert await place.runs.claim_token(a_token(run_id="run-3"), instead_of=a_token(data=b"x")) == a_token()
    assert await place.runs.token(DIGEST) == a_token()


async def test_a_token_that_became_free_meanwhile_is_claimed_all_the_same(place: WorldUnderTest) -> None:
    ours = a_token(run_id="run-2")
    assert await place.runs.claim_token(ours, instead_of=a_token()) is None
    assert await place.runs.token(DIGEST) == ours


async def test_a_token_that_was_freed_can_be_claimed_by_another(place: WorldUnderTest) -> None:
    await place.runs.claim_token(a_token(data=b"data"))
    await place.runs.free_token(a_token())
    assert await place.runs.token(DIGEST) is None
    assert await place.runs.claim_token(a_token(run_id="run-2")) is None


async def test_a_token_is_freed_by_nobody_but_its_owner(place: WorldUnderTest) -> None:
    await place.runs.claim_token(a_token())
    for stranger in (a_token(run_id="run-2"), a_token(birth=OTHER_BIRTH), a_token(hook_id="hook#2")):
        await place.runs.free_token(stranger)
    assert await place.runs.token(DIGEST) == a_token()


async def test_freeing_a_token_that_is_not_there_does_not_matter(place: WorldUnderTest) -> None:
    await place.runs.free_token(a_token())
    assert await place.runs.token(DIGEST) is None
