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
from tests.deaths import FEW, Shape, no_death_shows
from tests.faults import DieAt, Life
from wdk_aws.testing.stage import Stage


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

    def undisturbed() -> tuple[Iterator[DieAt], Shape]:
        (life,), shape = played(stage, canonical)
        return deaths_of(life), shape

    def disturbed(death: DieAt) -> tuple[bool, Shape]:
        (first, _), shape = played(stage, canonical, [death])
        return first.dead, shape

    return no_death_shows(canonical, undisturbed, disturbed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("canonical", FEW, ids=lambda canonical: canonical.name)
def test_no_death_of_an_instance_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 50


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_no_death_at_any_request_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 10
