"""What the runs of one test have left behind, written down, so that the ways to play it can be compared byte for byte.

Each way leaves its ledger in a folder that all processes of the test session share, and is compared with what the other
ways have left there by then. So the last one is compared with all, in whichever order and process they are played.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from wdk_cloud.codec.sealing import unpack
from wdk_cloud.world.ports import Head, RunQuery, World

BATCH = "  batch of "

CUT_OTHERWISE = {"lambda", "cloudrun"}
"""Ways in which a delivery meets others at other moments: their events are compared, and not where a batch ends."""

DIFFERENT = """\
The ways to play this test have left different logs. If threads, or anything else outside the virtual clock, decide the
order of its events, mark it with `in_any_order`; if not, a body or the engine depends on what a replay does not have."""

EMPTY = "This test takes `play` and has played nothing with it: there is nothing to compare."


class Ledger:
    """Of one test, played one way. `ordered`: not if the machine decides which of several threads ends first."""

    def __init__(self, folder: Path, test: str, way: str, ordered: bool = True) -> None:
        self.path = ledger_path(folder, test, way)
        self._ordered = ordered
        self._lines: list[str] = []
        self._scenes = 0

    def write(self, line: str) -> None:
        """Something else that has to be the same whichever way the test is played."""
        self._lines.append(line)

    async def note(self, world: World, namespaces: Iterable[str]) -> None:
        """Every run of a world: how it stands, and its log."""
        self._scenes += 1
        self.write(f"scene {self._scenes}")
        for namespace in sorted(namespaces):
            seen = world.scoped(namespace)
            for head in await all_heads(seen):
                labels = (await seen.runs.labels(head.run_id, head.birth)).values
                self.write(f"run {head.run_id} of namespace {namespace!r}: {head.status} {sorted(labels.items())}")
                self._lines.extend(await log_lines(seen, head))

    def compare(self) -> None:
        """Lay it beside those of the other ways, then look at them: of two that do so at once, one sees the other."""
        if not self._lines:
            pytest.fail(EMPTY, pytrace=False)
        mine = self._lines if self._ordered else sorted(without_batches(self._lines))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name("." + self.path.name)
        unfinished.write_text("\n".join(mine), encoding="utf-8")
        unfinished.rename(self.path)
        for other in sorted(self.path.parent.glob("[!.]*")):
            theirs = other.read_text(encoding="utf-8").split("\n")
            ours = mine
            if {other.name, self.path.name} & CUT_OTHERWISE:
                theirs, ours = without_batches(theirs), without_batches(ours)
            if theirs != ours:
                lines = difflib.unified_diff(theirs, ours, other.name, self.path.name, lineterm="")
                pytest.fail("\n".join([DIFFERENT, *lines]), pytrace=False)


def without_batches(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not line.startswith(BATCH)]


def ledger_path(folder: Path, test: str, way: str) -> Path:
    """The ids of tests are no file names."""
    return folder / hashlib.sha256(test.encode()).hexdigest()[:24] / way


async def all_heads(world: World) -> list[Head]:
    heads: list[Head] = []
    query = RunQuery()
    while True:
        page = await world.runs.list_heads(query)
        heads.extend(page.heads)
        if page.cursor is None:
            return sorted(heads, key=lambda head: head.run_id)
        query = RunQuery(cursor=page.cursor)


async def log_lines(world: World, head: Head) -> list[str]:
    """A digest of the bytes of each batch, and for the reader of a difference what is in them."""
    lines: list[str] = []
    for batch in await world.runs.read(head.run_id, head.birth, 0):
        lines.append(f"{BATCH}{batch.count} from {batch.at} on: {hashlib.sha256(batch.data).hexdigest()}")
        lines.extend(f"    {json.dumps(event)}" for event in json.loads(unpack(batch.data))["events"])
    return lines
