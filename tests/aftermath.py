"""What must be true of a run of a canonical, and of its bodies, after processes were killed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pytest

from tests.canonical import Canonical, Note, chain_of, how_it_ended
from tests.histories import check_one_history, lost_its_last_attempt, read_log
from tests.poured import check_streams
from wdk_cloud import Run, RunInfo, StepInterruptedError, WorkflowRunFailedError, list_runs
from wdk_cloud.context import step_id
from wdk_cloud.engine import events as ev
from wdk_cloud.world.ports import World


async def all_runs() -> list[RunInfo]:
    page = await list_runs(limit=1000)
    infos = list(page)
    while page.cursor is not None:
        page = await list_runs(limit=1000, cursor=page.cursor)
        infos += page
    return infos


CHILDREN = {"parent": 1, "parent_of_continued": 2, "contested": 1, "exchanged": 1, "forwarded": 1}
"""Of those canonicals that have some."""


class Aftermath:
    """Everything that is left: the runs of a world, and the notes of all bodies."""

    def __init__(self, world: World, infos: Sequence[RunInfo], notes: Sequence[Note]) -> None:
        self.world = world
        self.children: Mapping[str | None, list[str]] = defaultdict(list)
        self.notes: Mapping[str, list[Note]] = defaultdict(list)
        for info in infos:
            self.children[info.parent].append(info.run_id)
        for note in notes:
            self.notes[note.run_id].append(note)

    async def check(self, canonical: Canonical, run: Run) -> bool:
        """Whether a death took the last attempt of one of its steps, or of one of its children's."""
        children, lost = self.children[run.run_id], False
        logs: dict[str, Sequence[ev.AnyEvent]] = {}
        for run_id in (*[link.run_id for link in await chain_of(run)], *children):
            logs[run_id] = events = check_one_history(*await read_log(self.world, run_id))
            check_notes(run_id, events, self.notes[run_id])
            lost = lost_its_last_attempt(events) or lost
        assert len(children) == CHILDREN.get(canonical.name, 0) or lost, f"{run} has the children {children}: {logs}"
        await check_end(canonical, run, lost)
        await check_streams(canonical, self.world, run.run_id, complete=not lost)
        return lost


async def check_end(canonical: Canonical, run: Run, lost: bool) -> None:
    ended = await how_it_ended(run)
    if not lost:
        assert ended in (canonical.ends, canonical.when_cut_short)
        assert await run.attributes() == dict(canonical.labels)
    elif ended != canonical.ends:
        with pytest.raises(WorkflowRunFailedError) as failed:
            await run.return_value(timeout=1)
        assert comes_from_an_interruption(failed.value)


def check_notes(run_id: str, events: Sequence[ev.AnyEvent], notes: Sequence[Note]) -> None:
    """No body began twice under one number, before it was counted, or after its result was recorded."""
    begun = [note for note in notes if note.moment == "begun"]
    twice = [what for what, n in Counter((note.step_id, note.attempt) for note in begun).items() if n > 1]
    assert not twice, f"begun twice: {twice}"
    queued = {step_id(run_id, e.id) for e in events if type(e) is ev.StepCreated and e.queued}
    counted = {(step_id(run_id, e.id), e.attempt): e.time for e in events if type(e) is ev.StepStarted}
    ends = {step_id(run_id, e.id): e for e in events if type(e) in (ev.StepCompleted, ev.StepFailed)}
    for note in begun:
        if note.step_id not in queued:
            assert counted[note.step_id, note.attempt] <= note.at, f"began before it was counted: {note}"
        end = ends.get(note.step_id)
        if end is not None:
            assert note.attempt <= end.attempt, f"began after its result was recorded: {note}, {end}"
            assert note.at <= end.time + 0.000_001, f"began after its result was recorded: {note}, {end}"


def comes_from_an_interruption(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, StepInterruptedError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(map(comes_from_an_interruption, error.exceptions))
        error = error.__cause__
    return False
