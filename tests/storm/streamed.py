"""Streams in the programs of the storm: what is drawn, and what must lie in them.

A chunk of a named stream is `[writer, attempt, i]`, one of a producer `[n, i, count]`, longer by one for each transform
that it went through. So each says where it belongs, whatever became of those before it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.poured import all_in
from wdk_cloud.engine import streaming

if TYPE_CHECKING:
    from tests.storm.programs import Node
    from wdk_cloud.world.ports import World

POURED = 2000
"""Where the numbers of streams begin."""

SHARE = 0.33
"""Of the programs that have streams, of those that are not made for them."""

PAUSES = (0.0, 0.0, 0.0, 2.0, 25.0)
"""Seconds between two chunks of a producer: with the last it lives for longer than its first mark counts."""


@dataclass(frozen=True)
class Plan:
    """What a named stream of one run must hold."""

    counts: tuple[int, ...]
    """Of the chunks of each of the steps that write it."""
    resume: bool
    all_written: bool = True
    """Not so when nobody waits for the steps: the run may end before them."""


class Streams:
    """Draws the nodes; by draws of its own, so that the rest of a program is as it would be without.

    - `["writes", n, counts, where, resume, failures]`: so many steps write one stream at once;
    - `["forwarded", n, count]`: a child writes it;
    - `["piped", n, count, hops, readers, leave, pause, where]`: a producer, transforms one behind the other, and steps
      that read what comes of it and come back after each `leave` chunks;
    - `["unread", n, count, pause]`: a producer that nobody waits for;
    - `["left", n, count]`: a step that nobody waits for.
    """

    def __init__(self, rng: random.Random, *, brief: bool, far: bool) -> None:
        self.random = rng
        self._pauses = (0.0,) if brief or far else PAUSES
        self._far = far
        self._numbers = POURED

    def among(self, nodes: list[Node]) -> list[Node]:
        draw = self.random
        for _ in range(draw.choice((1, 1, 2, 3))):
            at = draw.randint(0, len(nodes) - (bool(nodes) and nodes[-1][0] in ("again", "cancel_all")))
            made = self._node()
            if made[0] == "left" and not (nodes and nodes[-1][0] == "again"):
                at = len(nodes)  # the run ends just when it begins
            beside = nodes[at : at + 1]
            if beside and draw.random() < 0.3 and beside[0][0] not in ("again", "cancel_all"):
                nodes = [*nodes[:at], ["gather", [made, *beside]], *nodes[at + 1 :]]
            else:
                nodes = [*nodes[:at], made, *nodes[at:]]
        return nodes

    def _node(self) -> Node:
        draw = self.random
        self._numbers += 1
        n, count = self._numbers, draw.choice((1, 2, 3, 5, 8))
        kind = draw.choice((*["writes"] * 4, *["piped"] * 4, "forwarded", "forwarded", "unread", "left"))
        where = "far" if draw.random() < 0.5 else "near"
        match kind:
            case "writes":
                counts = [draw.choice((1, 2, 3, 5)) for _ in range(draw.choice((1, 1, 2, 3)))]
                return [kind, n, counts, where, draw.random() < 0.5, 0 if self._far else draw.choice((0, 0, 1, 2))]
            case "forwarded":
                return [kind, n, count]
            case "piped":
                hops, readers = draw.choice((0, 0, 1, 2)), draw.choice((1, 1, 2))
                return [kind, n, count, hops, readers, draw.choice((1, 2, 100)), draw.choice(self._pauses), where]
            case "unread":
                return [kind, n, count, draw.choice(self._pauses)]
            case _:
                return [kind, n, count]


def stream_of(n: int) -> str:
    return f"stream-{n}"


def piped(n: int, count: int, hops: int) -> list[list[int]]:
    """What comes of a producer's chunks behind so many transforms."""
    return [[n, i, count, *range(hops)] for i in range(count)]


# -- what lies there --------------------------------------------------------------------------------------------------


def check_written(plan: Plan, found: list[list[int]]) -> None:
    """Each attempt has written from the start; with `resume` each goes on where the one before was."""
    for writer, count in enumerate(plan.counts):
        by_attempt: dict[int, list[int]] = defaultdict(list)
        for one, attempt, i in found:
            if one == writer:
                by_attempt[0 if plan.resume else attempt].append(i)
        for attempt, numbers in by_attempt.items():
            assert numbers == list(range(len(numbers))), f"attempt {attempt} of writer {writer} wrote {numbers}"
        longest = max(map(len, by_attempt.values()), default=0)
        assert longest <= count
        assert longest == count or not plan.all_written, f"of {count} chunks of writer {writer} {by_attempt} are there"


def check_produced(found: list[list[int]], end: str | None) -> None:
    """A producer's chunks are there from the first on, and all of them if it says so."""
    if not found:
        assert end != "closed", "a producer's stream is closed, and has nothing"
        return
    n, _, count, *hops = found[0]
    assert found == piped(n, count, len(hops))[: len(found)]
    assert end != "closed" or len(found) == count, f"{len(found)} of {count} chunks are said to be all"


async def check_streams(world: World, run_id: str, plans: dict[str, Plan]) -> dict[str, list[Any]]:
    """All streams of a run that has ended; returns the chunks of those that the program names."""
    head = await world.runs.head(run_id)
    assert head is not None
    registered = streaming.registered(await world.runs.items(run_id, head.birth, ()))
    poured: dict[str, list[Any]] = {}
    for stream in registered:
        found, end = await all_in(world, run_id, stream)
        if not found and end is None and not stream.startswith(streaming.OF_A_VALUE) and not plans[stream].all_written:
            continue  # its writer came too late, and was told so
        assert end is not None, f"{stream} of {run_id} is open, and its run has ended"
        if stream.startswith(streaming.OF_A_VALUE):
            check_produced(found, end)
        else:
            assert end == "closed"
            poured[stream] = found
            check_written(plans[stream], found)
    missing = {stream for stream, plan in plans.items() if plan.all_written} - poured.keys()
    assert not missing, f"{run_id} has no {missing}"
    return poured
