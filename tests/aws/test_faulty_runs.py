"""Requests of an instance fail while a run goes its way: nobody notices what the SDK repeats, and what fails for good
brings the message back. Services fail for a time: the run completes when that is over, and the log says what was wrong.

`make test` has one canonical, with each kind of fault at every third request; `make storm` has three and all requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import count

import pytest

from tests.aws.disturbed import AwsPlay, played
from tests.aws.failing import SERVICES, FailingClients, Outage
from tests.aws.quick import QuickClients, stage_at
from tests.canonical import CANONICALS, Canonical, Ended
from tests.histories import begun_by_step
from wdk_aws.testing.faults import EACH, Fault, without_pauses
from wdk_aws.testing.stage import Stage
from wdk_cloud import StepFailedError, StepInterruptedError, WorkflowRunFailedError

BY_NAME = {canonical.name: canonical for canonical in CANONICALS}
LARGE = BY_NAME["large_values"]
"""It asks every service but Scheduler."""
FEW = [LARGE, BY_NAME["fan_out"], BY_NAME["parent_of_continued"]]
SLEEPS = BY_NAME["long_sleep"]

STRIDE = 3

REPEATED = (Fault.THROTTLED, Fault.SERVER_ERROR, Fault.TIMED_OUT, Fault.ANSWER_LOST)
"""What botocore asks again by itself."""

FOR_GOOD = (*REPEATED, Fault.EXPIRED)

OUTAGE = 300.0
"""Seconds: ten leases, and longer than any message stays invisible."""

OF_BUCKET = 5.0
"""A step whose result the bucket does not take is begun again, and each time is a try of it."""


@pytest.fixture
def stage(dynoxide: str) -> Iterator[Stage]:
    with without_pauses():
        yield stage_at(dynoxide)


@cache
def failing(stage: Stage, dynamodb: str) -> FailingClients:
    return FailingClients(stage, dynamodb)


def some(count: int, fault: Fault, stride: int) -> range:
    """Numbers of requests, from 1; of each fault other ones."""
    return range(1 + len(fault.value) % stride, count + 1, stride)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """With the errors that they tell of."""
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [f"{record.getMessage()} {record.exc_info and record.exc_info[1]}" for record in told]


class Bench:
    """One canonical, with a fault at one request after the other."""

    def __init__(self, stage: Stage, dynamodb: str, canonical: Canonical, caplog: pytest.LogCaptureFixture) -> None:
        self.stage = stage
        self.canonical = canonical
        self.caplog = caplog
        self.instance = failing(stage, dynamodb)
        (life,), self.shape = played(stage, canonical)
        self.count = life.calls
        self.begun = begun_by_step()

    def met_at(self, number: int, fault: Fault, attempts: int = 1) -> dict[str, int]:
        """How much more often each step begins; its log must be the same."""
        faults = self.instance.faults
        faults.clear()
        faults.met.clear()
        self.caplog.clear()
        faults.at(number, fault, attempts=attempts)
        _, found = played(self.stage, self.canonical, clients=lambda play: self.instance.clients)
        assert {met.fault for met in faults.met} == {fault}
        assert found == self.shape
        return {id: n - self.begun[id] for id, n in begun_by_step().items() if n > self.begun[id]}

    def nobody_notices(self, fault: Fault, stride: int = 1) -> None:
        for number in some(self.count, fault, stride):
            with self.told(number, fault):
                assert self.met_at(number, fault) == {}
                assert warnings(self.caplog) == []

    def messages_come_back(self, fault: Fault, stride: int = 1) -> None:
        for number in some(self.count, fault, stride):
            with self.told(number, fault):
                again = self.met_at(number, fault, EACH)
                assert all(n == 1 for n in again.values()), f"bodies began again more than once: {again}"
                assert warnings(self.caplog) != []

    @contextmanager
    def told(self, number: int, fault: Fault) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            met = self.instance.faults.met
            error.add_note(f"{self.canonical.name}: {fault.value} at request {number} of {self.count}: {met}")
            raise


Make = Callable[[Canonical], Bench]


@pytest.fixture
def bench(stage: Stage, dynoxide: str, caplog: pytest.LogCaptureFixture) -> Make:
    return lambda canonical: Bench(stage, dynoxide, canonical, caplog)


@pytest.mark.parametrize("fault", REPEATED, ids=lambda fault: fault.value)
def test_what_the_sdk_repeats_is_noticed_by_nobody(bench: Make, fault: Fault) -> None:
    bench(LARGE).nobody_notices(fault, STRIDE)


@pytest.mark.parametrize("fault", FOR_GOOD, ids=lambda fault: fault.value)
def test_what_fails_for_good_brings_the_message_back(bench: Make, fault: Fault) -> None:
    bench(LARGE).messages_come_back(fault, STRIDE)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("canonical", FEW, ids=lambda canonical: canonical.name)
def test_no_fault_at_any_request_shows(bench: Make, canonical: Canonical) -> None:
    made = bench(canonical)
    for fault in REPEATED:
        made.nobody_notices(fault)
    for fault in FOR_GOOD:
        made.messages_come_back(fault)


def test_an_object_that_another_writes_just_now_is_written_again(bench: Make) -> None:
    made = bench(BY_NAME["reported"])
    number = 0
    while True:
        number += 1
        faults = made.instance.faults
        faults.clear()
        faults.met.clear()
        faults.on("s3.PutObject", Fault.CONFLICT, number=number)
        _, found = played(made.stage, made.canonical, clients=lambda play: made.instance.clients)
        assert found == made.shape
        assert begun_by_step() == made.begun
        if not faults.met:
            break
    assert number > 6  # at least one object for each chunk that is waited for


class Scene:
    """A canonical, while services fail for a time."""

    def __init__(self, dynamodb: str, caplog: pytest.LogCaptureFixture) -> None:
        self.stage = Stage(dynamodb)
        self.stage.clients = QuickClients(self.stage.session, dynamodb)
        self._session, _ = self.stage.another()
        self._dynamodb = dynamodb
        self.caplog = caplog

    def outage(
        self, canonical: Canonical, services: set[str], kind: str, at: int, key: str = "", *, undisturbed: bool = True
    ) -> Outage:
        """From this of their requests on. Its run completes, with the log of one without it."""
        made: list[Outage] = []
        seconds = OF_BUCKET if services == {"bucket"} and kind == "unavailable" else OUTAGE

        def clients(play: AwsPlay) -> Outage:
            settings = {SERVICES[name] for name in services}
            clock = play.clock
            made.append(
                Outage(self._session, self._dynamodb, clock, settings=settings, kind=kind, at=at, seconds=seconds)
            )
            return made[0]

        shape = played(self.stage, canonical, key=key)[1] if undisturbed else None
        self.caplog.clear()
        try:
            _, found = played(self.stage, canonical, clients=clients, key=key)
            assert shape is None or found == shape
        except BaseException as error:
            error.add_note(f"{canonical.name}: {services} {kind} at request {at}: {warnings(self.caplog)[-3:]}")
            raise
        return made[0]

    def outages(self, canonical: Canonical, services: set[str], kind: str, key: str = "") -> None:
        """At the first of their requests, the fifth, and so on."""
        for at in count(1, 4):
            outage = self.outage(canonical, services, kind, at, key)
            if not outage.refused:
                return
            told = warnings(self.caplog)
            assert told != [], f"silence at request {at}"
            if kind in ("denied", "gone"):
                (setting,) = [SERVICES[name] for name in services]
                assert any(setting in line for line in told)


@pytest.fixture
def scene(dynoxide: str, caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    with without_pauses():
        yield Scene(dynoxide, caplog)


@pytest.mark.parametrize("service", ["table", "flow queue", "step queue", "bucket"])
def test_a_run_completes_after_a_service_was_unavailable(scene: Scene, service: str) -> None:
    scene.outages(LARGE, {service}, "unavailable")


@pytest.mark.parametrize("service", ["table", "flow queue", "step queue"])
def test_a_run_completes_after_a_right_was_missing_and_the_log_names_the_setting(scene: Scene, service: str) -> None:
    scene.outages(LARGE, {service}, "denied")


@pytest.mark.parametrize("service", ["table", "step queue"])
def test_a_run_completes_when_what_a_setting_names_is_there_at_last(scene: Scene, service: str) -> None:
    scene.outages(LARGE, {service}, "gone")


def test_a_run_completes_after_its_credentials_had_expired_in_the_middle_of_a_turn(scene: Scene) -> None:
    scene.outages(LARGE, set(SERVICES) - {"key"}, "credentials expired")


def test_a_run_completes_after_all_services_were_throttled(scene: Scene) -> None:
    scene.outages(LARGE, set(SERVICES) - {"key"}, "throttled")


@pytest.mark.parametrize("kind", ["denied", "gone"])
def test_a_step_whose_result_the_bucket_never_takes_ends_its_run_and_the_log_names_the_setting(
    scene: Scene, kind: str
) -> None:
    """Its body has run each time: that is what `StepInterruptedError` says."""
    failed = replace(LARGE, ends=Ended(errors=(WorkflowRunFailedError, StepFailedError, StepInterruptedError)))
    scene.outage(failed, {"bucket"}, kind, 1, undisturbed=False)
    assert any(SERVICES["bucket"] in line for line in warnings(scene.caplog))


@pytest.mark.parametrize("kind", ["denied", "unavailable"])
def test_an_encrypted_run_completes_after_its_key_could_not_be_used(scene: Scene, kind: str) -> None:
    outage = scene.outage(LARGE, {"key"}, kind, 1, key="key")
    assert outage.refused
    assert any(SERVICES["key"] in line for line in warnings(scene.caplog))


@pytest.mark.parametrize("kind", ["denied", "unavailable", "throttled"])
def test_a_long_sleep_ends_in_time_without_scheduler(scene: Scene, kind: str) -> None:
    outage = scene.outage(SLEEPS, {"scheduler"}, kind, 1)
    assert outage.refused == 1  # a hop of 900 s, and then a schedule
