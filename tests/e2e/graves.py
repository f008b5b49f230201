"""What is left of a run that was removed: looked for in the world, row by row, and in the bytes of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.histories import all_that_lies_in
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_cloud.world.ports import Head, World

DAY = 86_400.0

SECRET = "hunter2-of-ada"

LONG = f"{SECRET} " * 2_000 + "".join(f"{n:x}" for n in range(9_000))
"""Too long for the log: it becomes a blob."""

LEFT = {"run_id", "birth", "created_at", "status", "fence", "ended_at"}
"""What a tombstone may say."""

_OF_RUNS = ("log", "inbox", "steps", "labels", "tokens", "blobs")


def shown(world: World) -> str:
    """All that lies in the world, as text."""
    if not isinstance(world, LocalWorld):
        return str(all_that_lies_in(world))
    tables = [name for (name,) in world._database.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return repr({table: world._database.read(f"SELECT * FROM {table}") for table in tables})


def check_bytes(world: World, *texts: str) -> None:
    """None of the texts is in the file or beside it, in the open."""
    if isinstance(world, LocalWorld):
        for path in world.path.parent.glob(world.path.name + "*"):
            for text in texts:
                assert text.encode() not in path.read_bytes(), f"{text} is left in {path.name}"


def heads(world: World) -> list[Head]:
    if isinstance(world, LocalWorld):
        from wdk_cloud.world.local.records import HEAD_COLUMNS, head_from_row

        return [head_from_row(row) for row in world._database.read(f"SELECT {HEAD_COLUMNS} FROM heads")]
    assert isinstance(world, MemoryWorld)
    return [head for store, _ in world._rooms.values() for head in store._heads.values()]


def lives(world: World) -> set[tuple[str, str]]:
    """The runs and births under which something lies, orders of steps in the queue among it."""
    if isinstance(world, LocalWorld):
        rows = [world._database.read(f"SELECT run_id, birth FROM {table}") for table in _OF_RUNS]
        bodies = world._database.read("SELECT body FROM messages")
        orders = _orders(msgspec.json.decode(body, type=Message) for (body,) in bodies)
        return {(run_id, birth) for some in rows for run_id, birth in some} | orders
    assert isinstance(world, MemoryWorld)
    stores = [store for store, _ in world._rooms.values()]
    tokens = {(token.run_id, token.birth) for store in stores for token in store._tokens.values()}
    queues = [queue for _, queue in world._rooms.values()]
    orders = _orders(entry.message for queue in queues for entry in queue._entries.values())
    return {key for store in stores for key in store._lives} | tokens | orders


def _orders(messages: Iterable[Message]) -> set[tuple[str, str]]:
    return {(message.run_id, message.birth) for message in messages if message.kind == "step"}


def graves(world: World) -> set[tuple[str, str]]:
    """The ids and births of the dead."""
    return {(head.run_id, head.birth) for head in heads(world) if head.status == "deleted"}


def check_graves(world: World) -> set[str]:
    """Nothing lies under a tombstone or under no head at all, and each tombstone has id and times only; returns the ids
    of those that are dead."""
    alive = set[tuple[str, str]]()
    for head in heads(world):
        if head.status == "deleted":
            left = {name for name in head.__struct_fields__ if getattr(head, name)}
            assert left <= LEFT, f"a tombstone says {left - LEFT}: {head}"
        else:
            alive.add((head.run_id, head.birth))
    assert lives(world) <= alive
    return {run_id for run_id, _ in graves(world)}
