"""An instance of the function dies just before, or just after, any of its requests to AWS; another one takes over.

Each canonical runs undisturbed once, which counts the requests; then once for each death. Nobody sweeps: the messages
that the dead one had come back. Of each run the log is that of the undisturbed one, attempts left out, a body begins
once more at most, and no message is dead. `make test` has three canonicals, `make storm` all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aws.disturbed import played
from tests.aws.quick import stage_at
from tests.canonical import CANONICALS, Canonical
from tests.faults import DieAt, Life
from tests.histories import begun_by_step
from wdk_aws.testing.stage import Stage

BY_NAME = {canonical.name: canonical for canonical in CANONICALS}
FEW = [BY_NAME[name] for name in ("large_values", "fan_out", "parent_of_continued")]
"""Large values, with objects beside the log; steps in functions of their own, one of which fails at first; a child that
goes on as another run."""


OTHERWISE = frozenset(("race_lost", "hook_in_vain", "hook_against_step", "handed_on", "paid_once"))
"""Their logs depend on when the next instance is there: a time-out or a payload has come by then. Or on what is true:
a step without retries is not begun twice."""


@pytest.fixture
def stage(dynoxide: str) -> Stage:
    return stage_at(dynoxide)


def deaths_of(life: Life) -> Iterator[DieAt]:
    """Just before each request, and just after each that was answered."""
    for number in range(1, life.calls + 1):
        yield DieAt(number, "before")
        if number in life.answered:
            yield DieAt(number, "after")


def a_death_at_every_request(stage: Stage, canonical: Canonical) -> int:
    """How many deaths there were."""
    (undisturbed,), expected = played(stage, canonical)
    once = begun_by_step()
    deaths = list(deaths_of(undisturbed))
    for death in deaths:
        try:
            (first, _), found = played(stage, canonical, [death])
            assert first.dead, "the run took another way than the undisturbed one"
            again = {id: n - once[id] for id, n in begun_by_step().items() if n > once[id]}
            assert all(n == 1 for n in again.values()), f"bodies began again more than once: {again}"
            assert found == expected or canonical.name in OTHERWISE
        except BaseException as error:
            error.add_note(f"{canonical.name}: {death}, of {undisturbed.calls} requests")
            raise
    return len(deaths)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("canonical", FEW, ids=lambda canonical: canonical.name)
def test_no_death_of_an_instance_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 50


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_no_death_at_any_request_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 10
