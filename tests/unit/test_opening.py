"""Which world is open: the one in use, or the one that WDK_WORLD names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from wdk_cloud import WorldConfigurationError, use_world
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import close_worlds, current_world, make_world

if TYPE_CHECKING:
    from pathlib import Path


class Custom(MemoryWorld):
    opened = closed = 0

    async def open(self) -> None:
        type(self).opened += 1
        await super().open()

    async def close(self) -> None:
        type(self).closed += 1
        await super().close()


def test_the_world_in_use_is_the_innermost_seen_by_its_namespace() -> None:
    async def test() -> None:
        outer, inner = MemoryWorld(), MemoryWorld()
        with use_world(outer):
            with use_world(inner):
                assert (await current_world()).runs is inner.scoped("").runs
                assert (await current_world("other")).namespace == "other"
            assert (await current_world()).runs is outer.scoped("").runs

    asyncio.run(test())


def test_blocks_that_end_in_another_order_take_away_their_own_world() -> None:
    async def test() -> None:
        first, second = MemoryWorld(), MemoryWorld()
        one, two = use_world(first), use_world(second)
        one.__enter__()
        two.__enter__()
        one.__exit__(None, None, None)
        assert (await current_world()).runs is second.scoped("").runs
        two.__exit__(None, None, None)

    asyncio.run(test())


def test_a_world_that_is_in_use_twice_stays_in_use_when_one_block_ends() -> None:
    async def test() -> None:
        first, second = MemoryWorld(), MemoryWorld()
        with use_world(first):
            with use_world(second):
                with use_world(first):
                    assert (await current_world()).runs is first.scoped("").runs
                assert (await current_world()).runs is second.scoped("").runs
            assert (await current_world()).runs is first.scoped("").runs

    asyncio.run(test())


def test_a_world_from_the_environment_is_opened_once_for_each_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_WORLD", f"{__name__}:Custom")
    Custom.opened = Custom.closed = 0

    async def test() -> None:
        first = await current_world()
        assert (await current_world("else")).namespace == "else"
        assert (await current_world()).runs is first.runs
        await close_worlds()

    asyncio.run(test())
    assert (Custom.opened, Custom.closed) == (1, 1)
    asyncio.run(test())
    assert (Custom.opened, Custom.closed) == (2, 2)


def test_without_a_name_the_world_is_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WDK_WORLD", raising=False)
    monkeypatch.setenv("WDK_LOCAL_PATH", str(tmp_path / "runs.db"))

    async def test() -> None:
        assert (await current_world()).name == "local"
        await close_worlds()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mars", "WDK_WORLD='mars' is not known here; there are: .*local, memory.*, or module:factory"),
        (
            "no_such_module:world",
            "WDK_WORLD='no_such_module:world' cannot be loaded: ModuleNotFoundError: No module named",
        ),
        ("wdk_cloud.world.memory:nothing", "cannot be loaded: .*nothing"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_what_there_is(name: str, says: str) -> None:
    with pytest.raises(WorldConfigurationError, match=says):
        make_world(name)
