"""Requests of the service fail while a run goes its way: nobody notices what Google's libraries repeat, and what fails
for good brings the message back. Services fail for minutes: the run completes when that is over, and the log says so.

`make test` has one canonical, with each kind of fault at a few requests; `make storm` has three and all requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.canonical import Canonical, Ended
from tests.deaths import FEW
from tests.gcp.disturbed import SETTINGS, Failing, Outage, Service, Single, Whole, played
from tests.histories import begun_by_name, begun_by_step
from tests.storm.ongcp import stage_standing
from wdk_cloud import StepFailedError, StepInterruptedError, WorkflowRunFailedError
from wdk_gcp.testing.stage import Stage

if TYPE_CHECKING:
    from wdk_gcp.testing.mischief import Fault

LARGE = FEW[0]
"""It asks each service."""

STRIDE = 7

REFUSED: tuple[Fault, ...] = ("unavailable", "aborted", "throttled", "lost")
"""What the libraries ask again. Where the answer was lost, a repeat of ours meets what it has written: ALREADY_EXISTS,
or an update time that is not the one that was read."""

OUTAGE = 300.0
"""Seconds: ten leases."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with stage_standing() as standing:
        yield standing


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """With the errors that they tell of."""
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [f"{record.getMessage()} {record.exc_info and record.exc_info[1]}" for record in told]


class Bench:
    """One canonical, with a fault at one of its requests after the other."""

    def __init__(self, stage: Stage, canonical: Canonical, caplog: pytest.LogCaptureFixture) -> None:
        self.stage = stage
        self.canonical = canonical
        self.caplog = caplog
        self.undisturbed, self.shape = played(stage, canonical, lambda _: Failing())
        self.begun = begun_by_step()
        assert warnings(caplog) == []

    def met(self, failing: Callable[[Any], Failing]) -> tuple[Failing, dict[str, int]]:
        """How much more often each step begins; its log must be the same."""
        self.caplog.clear()
        line, found = played(self.stage, self.canonical, failing)
        assert found == self.shape
        return line, {id: n - self.begun[id] for id, n in begun_by_step().items() if n > self.begun[id]}

    def nobody_notices(self, fault: Fault, stride: int = 1) -> None:
        for number in some(self.undisturbed.requests, fault, stride):
            with self.told(number, fault):
                line, again = self.met(lambda _, number=number: Single(number, fault))
                assert (again, warnings(self.caplog)) == ({}, [])
                more = line.requests - self.undisturbed.requests
                if line.met == [("Commit", "lost")]:  # who meets a write reads it, to see whose it is
                    assert more in (2, 3)
                else:  # the repeat alone; Cloud Storage aborts nothing
                    assert more == len(line.met) <= 1

    def messages_come_back(self, fault: Fault, stride: int = 1) -> None:
        for number in some(self.undisturbed.calls, fault, stride):
            with self.told(number, fault):
                line, again = self.met(lambda _, number=number: Whole(number, fault))
                assert all(n == 1 for n in again.values()), f"bodies began again more than once: {again}"
                assert bool(line.met) == bool(warnings(self.caplog))
                assert len(line.met) != 1, "the library did not ask again"

    @contextmanager
    def told(self, number: int, fault: Fault) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            error.add_note(f"{self.canonical.name}: {fault} at {number}: {warnings(self.caplog)[-3:]}")
            raise


def some(count: int, fault: Fault, stride: int) -> range:
    """Numbers of requests, from 1; of each fault other ones."""
    return range(1 + len(fault) % stride, count + 1, stride)


Make = Callable[[Canonical], Bench]


@pytest.fixture
def bench(stage: Stage, caplog: pytest.LogCaptureFixture) -> Make:
    return lambda canonical: Bench(stage, canonical, caplog)


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_libraries_repeat_is_noticed_by_nobody(bench: Make, fault: Fault) -> None:
    # Which write knows itself again is for each to show.
    bench(LARGE).nobody_notices(fault, 1 if fault == "lost" else STRIDE)


@pytest.mark.parametrize("fault", REFUSED)
def test_what_fails_for_good_brings_the_message_back(bench: Make, fault: Fault) -> None:
    bench(LARGE).messages_come_back(fault, STRIDE)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("canonical", FEW, ids=lambda canonical: canonical.name)
def test_no_fault_at_any_request_shows(bench: Make, canonical: Canonical) -> None:
    made = bench(canonical)
    for fault in REFUSED:
        made.nobody_notices(fault)
        made.messages_come_back(fault)


@pytest.mark.parametrize(
    ("service", "fault", "seconds"),
    [
        ("Firestore", "unavailable", OUTAGE),
        ("Firestore", "aborted", OUTAGE),
        ("Cloud Tasks", "unavailable", OUTAGE),
        ("Cloud Tasks", "throttled", OUTAGE),
        # A step whose result the bucket does not take is begun again, a lease later, and each time is a try of it.
        ("Cloud Storage", "unavailable", 60.0),
    ],
)
def test_a_run_completes_after_minutes_without_a_service_and_the_log_names_its_setting(
    bench: Make, service: Service, fault: Fault, seconds: float
) -> None:
    made = bench(LARGE)
    most = 2 if service == "Cloud Storage" else 1
    for at in count(1, 2 if service == "Cloud Tasks" else 6):
        with made.told(at, fault):
            line, again = made.met(lambda clock, at=at: Outage(clock, service, fault, at, seconds))
            if not line.met:
                assert at > 1
                return
            assert all(n <= most for n in again.values()), f"bodies began again more often: {again}"
            assert any(SETTINGS[service] in line for line in warnings(made.caplog))


def test_a_step_whose_result_the_bucket_does_not_take_ends_its_run_when_its_attempts_are_used_up(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Its body has run each time: that is what `StepInterruptedError` says."""
    failed = replace(LARGE, ends=Ended(errors=(WorkflowRunFailedError, StepFailedError, StepInterruptedError)))
    line, _ = played(stage, failed, lambda clock: Outage(clock, "Cloud Storage", "unavailable", 1, OUTAGE))
    assert begun_by_name() == {"large": 4}
    assert line.met
    assert any(SETTINGS["Cloud Storage"] in said for said in warnings(caplog))
