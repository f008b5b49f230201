"""Which world is open: the one of `use_world`, or the one that WDK_WORLD names."""

from __future__ import annotations

import asyncio
import importlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from wdk_cloud.errors import WorkflowError, WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from wdk_cloud.world.ports import World

BUILT_IN = {"local": "wdk_cloud.world.local:open_world", "memory": "wdk_cloud.world.memory:open_world"}

_in_use: dict[object, tuple[World, asyncio.AbstractEventLoop | None]] = {}
"""The blocks of `use_world` that are open, in their order, each with the loop that it was entered on, if one ran. A
world may be in use several times."""
_from_environment: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], World]] = WeakKeyDictionary()


@contextmanager
def use_world(world: World) -> Generator[World]:
    """Make `world` the one of `start`, `get_run`, workers and all else in this process, until the block is left."""
    block = object()
    _in_use[block] = world, asyncio._get_running_loop()
    try:
        yield world
    finally:
        del _in_use[block]


def loop_in_use() -> asyncio.AbstractEventLoop | None:
    """The loop of the world of `use_world`, for callers in other threads; None: no such world is in use.

    Raises WorldConfigurationError if no loop runs that could answer.
    """
    if not _in_use:
        return None
    world, loop = next(reversed(_in_use.values()))
    if loop is None or not loop.is_running():
        raise WorldConfigurationError(
            f"the world {world.name} of use_world() has no running event loop, so nothing can be asked of it from "
            "here: enter use_world() in the coroutine that opened it"
        )
    return loop


async def current_world(namespace: str = "") -> World:
    """The open world, seen by a namespace. One from the environment is opened once for each event loop."""
    if _in_use:
        world, _ = next(reversed(_in_use.values()))
        return world.scoped(namespace)
    name = os.environ.get("WDK_WORLD") or "local"
    worlds = _from_environment.setdefault(asyncio.get_running_loop(), {})
    key = (name, os.environ.get("WDK_LOCAL_PATH", ""))
    if key not in worlds:
        world = make_world(name)
        await world.open()
        worlds[key] = world
    return worlds[key].scoped(namespace)


async def close_worlds() -> None:
    """Close what `current_world` opened on the running loop."""
    for world in _from_environment.pop(asyncio.get_running_loop(), {}).values():
        await world.close()


def make_world(name: str) -> World:
    """The world of a name: built in, of an installed distribution (`wdk_cloud.worlds`), or `module:factory`.

    Raises WorldConfigurationError that lists what there is.
    """
    if name in BUILT_IN:
        return _load(BUILT_IN[name])()
    from importlib.metadata import entry_points  # only here: it costs half as much as asyncio

    found = {point.name: point for point in entry_points(group="wdk_cloud.worlds")}
    if name in found:
        return _made(name, found[name].load)
    if ":" in name:
        return _made(name, lambda: _load(name))
    hint = f"; install wdk-cloud[{name}]" if name in ("aws", "gcp") else ""
    there = ", ".join([*BUILT_IN, *sorted(found.keys() - BUILT_IN)])
    raise WorldConfigurationError(f"WDK_WORLD={name!r} is not known here; there are: {there}, or module:factory{hint}")


def _made(name: str, load: Callable[[], Callable[[], Any]]) -> World:
    """What the factory of somebody else makes; whatever it raises is told as a matter of configuration."""
    try:
        world = load()()
    except WorkflowError:
        raise  # it says by itself what to do
    except Exception as error:
        raise WorldConfigurationError(
            f"WDK_WORLD={name!r} cannot be loaded: {type(error).__name__}: {error}; name a function without arguments "
            "that makes a world, as module:factory"
        ) from error
    if not callable(getattr(world, "open", None)) or not callable(getattr(world, "scoped", None)):
        raise WorldConfigurationError(
            f"WDK_WORLD={name!r} made a {type(world).__name__}, which is no world; name a function that makes one"
        )
    return world


def _load(path: str) -> Callable[[], Any]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
