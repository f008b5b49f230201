"""Every history that was ever added is read and replayed by the code of today."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import canonical
from tests.corpus import histories, read, workflows
from tests.storm import bodies
from wdk_cloud import NondeterminismError, Workflow
from wdk_cloud.engine import events as ev
from wdk_cloud.testing.histories import check


def workflow_of(id: str) -> Workflow[..., object]:
    apps = (canonical.app, bodies.app, workflows.app)
    return next(app.workflows[id] for app in apps if id in app.workflows)


@pytest.mark.parametrize("path", histories(), ids=lambda path: path.stem)
def test_the_code_of_today_asks_for_what_was_recorded(path: Path) -> None:
    workflow, run_id, events = read(path)
    check(workflow_of(workflow), run_id, events)


def test_a_history_that_says_something_else_is_noticed() -> None:
    workflow, run_id, events = read(next(path for path in histories() if path.stem.endswith("-sequence")))
    at = next(at for at, event in enumerate(events) if type(event) is ev.StepCreated)
    with pytest.raises(NondeterminismError):
        check(workflow_of(workflow), run_id, [*events[:at], *events[at + 3 :]])


def test_the_corpus_has_every_event_that_a_run_can_record_today() -> None:
    found = Counter(type(event) for path in histories() for event in read(path)[2])
    assert set(ev.AnyEvent.__args__) - found.keys() == set()


def test_this_version_has_added_its_histories() -> None:
    assert any(path.name.startswith(f"{version('wdk-cloud')}-") for path in histories())
