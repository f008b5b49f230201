"""put_blob, get_blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.records import BIRTH, OTHER_BIRTH, RUN, a_head

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def test_a_blob_is_read_as_it_was_put(place: WorldUnderTest) -> None:
    data = bytes(range(256)) * 8_000
    await place.blobs.put_blob(RUN, BIRTH, "name", data)
    assert await place.blobs.get_blob(RUN, BIRTH, "name") == data


async def test_an_empty_blob_is_a_blob(place: WorldUnderTest) -> None:
    await place.blobs.put_blob(RUN, BIRTH, "name", b"")
    assert await place.blobs.get_blob(RUN, BIRTH, "name") == b""


async def test_a_blob_that_was_never_put_is_none(place: WorldUnderTest) -> None:
    await place.blobs.put_blob(RUN, BIRTH, "name", b"data")
    assert await place.blobs.get_blob(RUN, BIRTH, "nam") is None
    assert await place.blobs.get_blob(RUN, OTHER_BIRTH, "name") is None
    assert await place.blobs.get_blob("run-2", BIRTH, "name") is None


async def test_putting_a_blob_twice_is_harmless(place: WorldUnderTest) -> None:
    await place.blobs.put_blob(RUN, BIRTH, "name", b"data")
    await place.blobs.put_blob(RUN, BIRTH, "name", b"data")
    assert await place.blobs.get_blob(RUN, BIRTH, "name") == b"data"


async def test_a_blob_can_be_put_before_the_head_is_there(place: WorldUnderTest) -> None:
    await place.blobs.put_blob(RUN, BIRTH, "name", b"data")
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head())
    assert await place.blobs.get_blob(RUN, BIRTH, "name") == b"data"
