"""What lies in the streams of runs that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tests.canonical import Canonical
from wdk_cloud import get_run
from wdk_cloud.engine import streaming
from wdk_cloud.engine.writers import place_of
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from wdk_cloud.engine import chunks
    from wdk_cloud.world.ports import World


async def all_in(world: World, run_id: str, stream: str) -> tuple[list[Any], str | None]:
    """The chunks of a stream, and how it has ended. Raises AssertionError when it is not one row of them."""
    place = await place_of(world, None, run_id, stream)
    found: list[Any] = []
    end: str | None = None
    ordinal = 0
    while objects := await place.get(ordinal, 1024 * 1024):
        for object in objects:
            assert end is None, f"{place}: {object.kind} lies behind its end"
            assert object.first == len(found), f"{place}: index {object.first} follows {len(found)} chunks"
            end = object.kind if object.kind != "chunks" else None
            found += _chunks_of(place, ordinal, object)
            ordinal += 1
    return found, end


def _chunks_of(place: streaming.Place, ordinal: int, object: chunks.Object) -> list[Any]:
    if object.kind != "chunks":
        return []
    there = [msgspec.json.decode(chunk.data) for chunk in place.open(ordinal, object)]
    assert len(there) == object.chunks, f"{place}: an object of {object.chunks} chunks has {len(there)}"
    return there


async def check_streams(canonical: Canonical, world: World, run_id: str, *, complete: bool = True) -> None:
    """Each of a canonical's streams holds the chunks of the attempts in their order, and each stream of its run has an
    end. `complete`: not where deaths took the last attempt of a step."""
    head = await world.runs.head(run_id)
    assert head is not None
    for stream in streaming.registered(await world.runs.items(run_id, head.birth, ())):
        found, end = await all_in(world, run_id, stream)
        assert end is not None, f"{stream} of {run_id} is open, and its run has ended"
        if not stream.startswith(streaming.OF_A_VALUE):
            assert end == "closed"
            assert stream in canonical.streams
    for stream, whole in canonical.streams.items():
        found, _ = await all_in(world, run_id, stream)
        attempts = _attempts(found, whole)
        assert all(attempt == whole[: len(attempt)] for attempt in attempts), f"{stream}: {attempts}"
        if complete:
            assert attempts and attempts[-1] == whole, f"{stream}: {attempts}"
        with use_world(world):
            run = get_run(run_id)
            for index in {0, 1, len(found) - 1, -1}:
                namespace = None if stream == streaming.DEFAULT else stream
                read = [chunk async for chunk in run.readable(namespace, index)]
                assert read == found[index:], f"a reader of {stream} from {index} on sees {read}"
        if stream in canonical.resumed:
            assert len(attempts) <= 1, f"{stream}: {attempts}"


def _attempts(found: list[Any], whole: Sequence[object]) -> list[list[Any]]:
    """Cut before each chunk that is the first one again."""
    attempts: list[list[Any]] = []
    for chunk in found:
        if chunk == whole[0]:
            attempts.append([])
        attempts[-1].append(chunk)
    return attempts
