"""A log replayed in another process, with another heap: does the code ask there for what the log says was asked?

`Replayer` runs this module as a process that serves many logs. For a log cut behind one of its completions, the replayed
body must ask for exactly the commands that the log holds between that completion and the next; with the whole log, it
must end as the log ended.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.histories import events_of
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.history import History
from wdk_cloud.engine.replay import Body
from wdk_cloud.world.ports import Batch

ROOT = Path(__file__).resolve().parents[2]

FEEDS = (*ev.COMPLETIONS, ev.RunStarted)
COMMANDS = (
    ev.StepCreated,
    ev.WaitCreated,
    ev.OperationCreated,
    ev.HookCreated,
    ev.HookDisposed,
    ev.PatchRecorded,
    ev.StepCancelled,
    ev.WaitCancelled,
    ev.AttributesSet,
)


class Replayer:
    """The other process, as a context manager."""

    def __enter__(self) -> Replayer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storm.replaying"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def check(self, run_id: str, batches: list[Batch], *, seed: int, all_prefixes: bool = False) -> None:
        """Raises AssertionError that says where the replay differs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        packed = [[batch.at, batch.count, base64.b64encode(batch.data).decode()] for batch in batches]
        order = {"run_id": run_id, "batches": packed, "seed": seed, "all": all_prefixes}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer is None, f"replayed elsewhere, {run_id} differs: {answer}"


def cuts(events: list[ev.AnyEvent]) -> list[int]:
    """The positions of what is fed to the body."""
    return [at for at, event in enumerate(events) if isinstance(event, FEEDS)]


def difference(run_id: str, events: list[ev.AnyEvent], cut: int) -> str | None:
    """What the body asks for behind event number `cut`, against what the log holds there."""
    from tests.storm.bodies import app

    created = events[0]
    assert isinstance(created, ev.RunCreated)
    history = History(run_id)
    history.extend(events[: cut + 1], "1")
    body = Body(app.workflows[created.workflow], history, "")
    try:
        body.load(events[: cut + 1])
        body.replay()
        if body.differences:
            return f"behind event {cut + 1}: {body.differences}"
        asked = [shown(event) for event in body.take()]
        recorded = [shown(event) for event in _until_next(events, cut)]
        if asked != recorded:
            return f"behind event {cut + 1} the code asks for {asked}, the log has {recorded}"
        return _end_difference(body, events, cut)
    finally:
        body.discard()


def _until_next(events: list[ev.AnyEvent], cut: int) -> Iterator[ev.AnyEvent]:
    for event in events[cut + 1 :]:
        if isinstance(event, FEEDS):
            return
        if isinstance(event, COMMANDS) and getattr(event, "key", None) is None:
            yield event


def _end_difference(body: Body, events: list[ev.AnyEvent], cut: int) -> str | None:
    """A body that has come to its end by the last event that is fed must have come to the recorded one."""
    end = events[-1]
    if body.outcome is None:
        if cut == cuts(events)[-1] and isinstance(end, ev.RunCompleted | ev.RunContinued):
            return "the whole log is fed and the body has not ended"
        return None
    if type(end) is ev.RunContinued:
        then = body.outcome.successor
        if then is None or (then.input, then.digest) != (bytes(end.next_input), end.digest):
            return f"the body goes on with {then!r}, the log has {bytes(end.next_input)!r}"
    if type(end) is ev.RunCompleted and body.outcome.result != bytes(end.result):
        return f"the body yields {body.outcome.result!r}, the log has {bytes(end.result)!r}"
    return None


def shown(event: ev.AnyEvent) -> list[Any]:
    """What must be the same of a command, whenever it is asked for."""
    same = ("id", "name", "digest", "due", "changes")
    return [type(event).__name__, *(getattr(event, name) for name in same if hasattr(event, name))]


def _serve() -> None:
    rng = random.Random()
    heap = [bytearray(rng.randrange(1, 4000)) for _ in range(rng.randrange(5_000))]  # other addresses than elsewhere
    for line in sys.stdin:
        order = json.loads(line)
        batches = [
            Batch(at=at, count=count, fence=1, nonce="", data=base64.b64decode(data))
            for at, count, data in order["batches"]
        ]
        print(json.dumps(_check(order, events_of(batches, order["run_id"]))), flush=True)
    heap.clear()


def _check(order: dict[str, Any], events: list[ev.AnyEvent]) -> str | None:
    there = cuts(events)
    if not there:
        return None  # cancelled before its body began
    if not order["all"]:
        # The whole log, and three prefixes of it.
        there = sorted({there[-1], *random.Random(order["seed"]).choices(there, k=3)})
    for cut in there:
        try:
            found = difference(order["run_id"], events, cut)
        except (AssertionError, KeyError, msgspec.MsgspecError) as error:
            found = f"behind event {cut + 1}: {error!r}"
        if found is not None:
            return found
    return None


if __name__ == "__main__":
    _serve()
