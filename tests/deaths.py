"""Deaths of an instance at each of its requests, on whichever cloud: what is played, and what must be the same after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from tests.canonical import CANONICALS, Canonical
from tests.histories import begun_by_step, events_of, read_log
from wdk_cloud.engine import events as ev

if TYPE_CHECKING:
    from wdk_cloud.world.ports import World

T = TypeVar("T")

BY_NAME = {canonical.name: canonical for canonical in CANONICALS}
FEW = [BY_NAME[name] for name in ("large_values", "fan_out", "parent_of_continued")]
"""Large values, with objects beside the log; steps in functions of their own, one of which fails at first; a child that
goes on as another run."""

OTHERWISE = frozenset(("race_lost", "hook_in_vain", "hook_against_step", "handed_on", "paid_once"))
"""Their logs depend on when the next instance is there: a time-out or a payload has come by then. Or on what is true:
a step without retries is not begun twice."""

PASSING = (ev.StepStarted, ev.StepInterrupted, ev.StepRetrying)
"""Events that tell of attempts: a death makes more of them."""

Shape = list[Counter[tuple[str, str]]]
"""Of each run of a scene what its log has, attempts left out; those that go on for it and its children follow it."""


def no_death_shows(
    canonical: Canonical,
    undisturbed: Callable[[], tuple[Iterable[T], Shape]],
    disturbed: Callable[[T], tuple[bool, Shape]],
) -> int:
    """Play it without a death, and once with each that `undisturbed` yields; `disturbed` says whether it came.

    Of each run the log is that of the undisturbed one, and a body begins once more at most. Returns how many deaths
    there were.
    """
    found, expected = undisturbed()
    deaths, once = list(found), begun_by_step()
    for death in deaths:
        try:
            died, shape = disturbed(death)
            assert died, "the run took another way than the undisturbed one"
            again = {id: n - once[id] for id, n in begun_by_step().items() if n > once[id]}
            assert all(n == 1 for n in again.values()), f"bodies began again more than once: {again}"
            assert shape == expected or canonical.name in OTHERWISE
        except BaseException as error:
            error.add_note(f"{canonical.name}: {death}, of {len(deaths)} deaths")
            raise
    return len(deaths)


async def shape_of(world: World, run_id: str) -> Shape:
    found: Shape = []
    left = [run_id]
    while left:
        head, batches = await read_log(world, left.pop())
        events = events_of(batches, head.run_id)
        passing = [event for event in events if not isinstance(event, PASSING)]
        found.append(Counter((type(event).__name__, getattr(event, "id", "")) for event in passing))
        if head.continued_to is not None:
            left.append(head.continued_to)
        left += [
            bytes(event.result).decode().strip('"')
            for event in events
            if type(event) is ev.OperationCompleted and event.id.startswith("start#")
        ]
    return found
