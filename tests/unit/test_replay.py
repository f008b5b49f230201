"""Events in, commands out: numbering, matching with the log, kept completions, differences, timers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud import Workflows, patched, set_attributes, sleep
from wdk_cloud.codec.errors import decode_error, encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import encode, encode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.history import History
from wdk_cloud.engine.replay import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

START = 1_000.0

app = Workflows()


@app.step
async def alpha(x: int = 0, y: int = 0) -> int:
    raise AssertionError("a body calls no function of a step")


@app.step
async def beta(x: int = 0) -> int:
    raise AssertionError("a body calls no function of a step")


@app.step(cancellable=True)
async def stoppable() -> int:
    raise AssertionError("a body calls no function of a step")


A, B, S = alpha.id, beta.id, stoppable.id


class Play:
    """A body and its log: what is fed and what it asks for join the log, one second apart."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, Any]], log: list[ev.AnyEvent] | None = None) -> None:
        workflow = Workflows().workflow(main)
        workflow.app = app
        data, digest = encode_arguments({}, known=KnownTypes())
        created = ev.RunCreated(time=START, workflow="w", input=ev.Raw(data), digest=digest, seed=b"s" * 32)
        self.log: list[ev.AnyEvent] = [created] if log is None else list(log)
        history = History("run-1")
        history.extend(self.log, "1")
        self.body = Body(workflow, history, "")
        self.body.load(self.log)
        self.body.replay()
        self.new: list[ev.AnyEvent] = []
        """What it asked for since the log ended."""
        self._take()
        if log is None:
            self.feed(ev.RunStarted(time=START))

    def _take(self) -> None:
        made = self.body.take()
        self.new += made
        self.log += made

    def feed(self, event: ev.AnyEvent) -> Play:
        self.log.append(event)
        self.body.feed(event)
        self._take()
        return self

    def complete(self, id: str, result: object = 0) -> Play:
        time = self.log[-1].time + 1
        data = ev.Raw(encode(result, known=KnownTypes()))
        return self.feed(ev.StepCompleted(time=time, id=id, attempt=1, result=data))

    def fail(self, id: str, error: BaseException) -> Play:
        data = ev.Raw(encode_error(error, known=KnownTypes()))
        return self.feed(ev.StepFailed(time=self.log[-1].time + 1, id=id, attempt=1, error=data))

    def elapse(self, id: str) -> Play:
        due = next(event.due for event in self.log if isinstance(event, ev.WaitCreated) and event.id == id)
        return self.feed(ev.WaitCompleted(time=max(due, self.log[-1].time), id=id))

    def again(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Play:
        """Other code, from the log of this one."""
        return Play(main, self.log)

    @property
    def ids(self) -> list[str]:
        return [f"{e.__struct_config__.tag!s} {getattr(e, 'id', '')}".strip() for e in self.new]

    @property
    def result(self) -> str:
        outcome = self.body.outcome
        assert outcome is not None
        assert outcome.result is not None
        return outcome.result.decode()

    @property
    def error(self) -> BaseException:
        outcome = self.body.outcome
        assert outcome is not None
        return decode_error(outcome.error, known=KnownTypes())


# -- numbers and commands ---------------------------------------------------------------------------------------------


def test_calls_are_numbered_by_name_when_made_and_recorded_when_first_awaited() -> None:
    async def main() -> None:
        first, second, other = alpha(1), alpha(2), beta(3)
        await asyncio.gather(other, second)
        await first

    play = Play(main)
    assert play.ids == [f"step_created {B}#1", f"step_created {A}#2"]
    play.complete(f"{B}#1").complete(f"{A}#2")
    assert play.ids[2:] == [f"step_created {A}#1"]


def test_sleeps_and_timeouts_are_counted_apart() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await sleep(5)
        async with asyncio.timeout(60):
            await asyncio.sleep(5)

    play = Play(main)
    assert play.ids == ["wait_created timeout#1", "wait_created sleep#1"]
    play.elapse("sleep#1")
    assert play.ids[2:] == ["wait_cancelled timeout#1", "wait_created timeout#2", "wait_created sleep#2"]


def test_a_command_carries_the_input_its_digest_and_the_time_of_the_event_that_led_to_it() -> None:
    async def main() -> None:
        await alpha(1)
        await alpha(x=1, y=2)

    play = Play(main).complete(f"{A}#1")
    first, second = play.new
    assert isinstance(first, ev.StepCreated)
    assert isinstance(second, ev.StepCreated)
    assert (first.time, second.time) == (START, START + 1)
    assert (first.digest, bytes(first.input)) == encode_arguments({"x": 1}, known=KnownTypes())[::-1]
    assert (second.digest, bytes(second.input)) == encode_arguments({"x": 1, "y": 2}, known=KnownTypes())[::-1]


def test_completions_are_delivered_one_by_one_in_the_order_of_the_log() -> None:
    seen: list[int] = []

    async def watch(call: Coroutine[Any, Any, int]) -> None:
        seen.append(await call)
        await asyncio.sleep(0)
        seen.append(-1)  # the body has come to rest before the next one comes

    async def main() -> None:
        await asyncio.gather(*(watch(alpha(n)) for n in range(3)))

    play = Play(main)
    for n in (2, 0, 1):
        play.complete(f"{A}#{n + 1}", n)
    assert seen == [2, -1, 0, -1, 1, -1]
    seen.clear()
    assert play.again(main).result == "null"
    assert seen == [2, -1, 0, -1, 1, -1]


def test_a_replay_asks_for_nothing_that_the_log_holds() -> None:
    async def main() -> int:
        a, b = await asyncio.gather(alpha(1), beta(2))
        await sleep("1 hour")
        return a + b

    play = Play(main).complete(f"{B}#1", 2).complete(f"{A}#1", 1)
    again = play.again(main)
    assert (again.ids, again.body.differences) == ([], [])
    assert again.elapse("sleep#1").result == "3"


def test_a_failed_step_raises_where_it_is_awaited() -> None:
    async def main() -> str:
        try:
            await alpha()
        except KeyError as error:
            return f"caught {error!r}"
        return "nothing"

    assert Play(main).fail(f"{A}#1", KeyError("k")).result == "\"caught KeyError('k')\""


# -- other code than the log's ----------------------------------------------------------------------------------------


async def two_in_a_row() -> None:
    await alpha(1)
    await beta(2)
    await sleep("1 hour")


def recorded() -> Play:
    """Both steps have ended; the sleep has not."""
    return Play(two_in_a_row).complete(f"{A}#1").complete(f"{B}#1")


def test_a_step_that_was_added_in_front_is_asked_for_and_what_follows_comes_from_the_log() -> None:
    async def added() -> int:
        first = await stoppable()
        await two_in_a_row()
        return first

    again = recorded().again(added)
    assert (again.ids, again.body.differences) == ([f"step_created {S}#1"], [])
    again.complete(f"{S}#1", 7)
    assert again.ids == [f"step_created {S}#1"]  # alpha, beta and the sleep lie in the log
    assert again.elapse("sleep#1").result == "7"


def test_a_call_that_was_added_in_front_of_one_to_the_same_step_takes_its_number() -> None:
    async def added() -> None:
        await alpha(0)
        await two_in_a_row()

    [difference] = recorded().again(added).body.differences
    assert difference == f"{A}#1 (position 3): argument x was 1 and is now 0"


def test_a_completion_that_nobody_has_asked_for_is_kept_until_somebody_does() -> None:
    async def swapped() -> str:
        second = await beta(2)
        first = await alpha(1)
        return f"{first} {second}"

    play = Play(two_in_a_row).complete(f"{A}#1", 1).complete(f"{B}#1", 2)
    del play.log[-1]  # without the sleep
    again = play.again(swapped)
    assert (again.ids, again.body.differences, again.result) == ([], [], '"1 2"')


def test_a_kept_completion_of_a_call_that_is_then_abandoned_wakes_nobody() -> None:
    async def abandons() -> str:
        await beta(2)
        task = asyncio.ensure_future(alpha(1))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await stoppable()
        return f"cancelled {task.cancelled()}"

    play = recorded()
    del play.log[-1]
    assert play.again(abandons).complete(f"{S}#1").result == '"cancelled True"'


def test_a_completion_of_a_call_that_was_made_and_is_not_awaited_yet_is_kept_too() -> None:
    async def later() -> str:
        first = alpha(1)
        await stoppable()
        await beta(2)
        return f"{await first}"

    play = Play(two_in_a_row).complete(f"{A}#1", 1).complete(f"{B}#1")
    del play.log[-1]
    assert play.again(later).complete(f"{S}#1").result == '"1"'


def test_a_step_that_was_removed_is_a_difference_when_the_body_waits_for_something_older_or_ends() -> None:
    async def removed() -> None:
        await alpha(1)

    play = recorded()
    del play.log[-1]
    [difference] = play.again(removed).body.differences
    assert difference == f"{B}#1 is in the log at position 5, and the code never asks for it"

    async def removed_and_ends_beside_a_new_one() -> None:
        await alpha(1)
        left = asyncio.ensure_future(stoppable())
        await asyncio.sleep(0)
        assert not left.done()

    assert play.again(removed_and_ends_beside_a_new_one).body.differences == [difference]


def test_a_step_that_was_renamed_runs_under_its_new_name_and_the_old_one_is_missed_at_the_end() -> None:
    async def renamed() -> None:
        await alpha(1)
        await stoppable()

    play = recorded()
    del play.log[-1]
    again = play.again(renamed)
    assert (again.ids, again.body.differences) == ([f"step_created {S}#1"], [])
    again.complete(f"{S}#1")
    [difference] = again.again(renamed).body.differences
    assert difference.startswith(f"{B}#1 is in the log at position 5")


def test_changed_arguments_name_each_that_changed_with_its_old_and_new_value() -> None:
    async def old() -> None:
        await alpha(1, y=2)

    async def new() -> None:
        await alpha(1, y=3)

    [difference] = Play(old).again(new).body.differences
    assert difference == f"{A}#1 (position 3): argument y was 2 and is now 3"

    async def fewer() -> None:
        await alpha(1)

    [difference] = Play(old).again(fewer).body.differences
    assert difference == f"{A}#1 (position 3): argument y was 2 and is now left out"


def test_all_differences_are_collected_and_each_stops_only_its_own_task() -> None:
    async def old() -> None:
        await asyncio.gather(alpha(1), alpha(2), beta(3))
        await sleep(1)

    reached: list[int] = []

    async def then_reach(x: int) -> None:
        await alpha(x)
        reached.append(x)

    async def new() -> None:
        await asyncio.gather(then_reach(-1), then_reach(-2), beta(3))
        await sleep(1)

    play = Play(old).complete(f"{B}#1").complete(f"{A}#2").complete(f"{A}#1")
    again = play.again(new)
    assert again.body.differences == [
        f"{A}#1 (position 3): argument x was 1 and is now -1",
        f"{A}#2 (position 4): argument x was 2 and is now -2",
    ]
    assert reached == []
    error = again.body.divergence()
    assert error.differences == again.body.differences
    assert "run-1" in str(error)


def test_an_early_argument_that_changed_is_the_only_difference_though_the_log_goes_on_behind_it() -> None:
    async def old() -> None:
        await alpha(1)
        await beta(2)
        await set_attributes({"stage": "two"})
        await sleep(5)
        await asyncio.gather(alpha(3), stoppable())

    async def new() -> None:
        await alpha(-1)
        await beta(2)
        await set_attributes({"stage": "two"})
        await sleep(5)
        await asyncio.gather(alpha(3), stoppable())

    play = Play(old).complete(f"{A}#1").complete(f"{B}#1").elapse("sleep#1").complete(f"{A}#2").complete(f"{S}#1")
    again = play.again(new)
    assert again.body.differences == [f"{A}#1 (position 3): argument x was 1 and is now -1"]
    assert str(again.body.divergence()) == (
        f"run run-1: the code of {again.body.workflow.id} asks for something else than its log recorded: {A}#1 "
        "(position 3): argument x was 1 and is now -1. Keep the old order for runs that are alive (patched()), or "
        "give the new code a workflow of its own"
    )


def test_what_the_log_holds_before_a_changed_call_is_not_said_to_be_missing_the_stopped_task_may_ask_yet() -> None:
    async def swapped_and_changed() -> None:
        await beta(-2)
        await alpha(1)
        await sleep("1 hour")

    again = recorded().again(swapped_and_changed)
    assert again.body.differences == [f"{B}#1 (position 5): argument x was 2 and is now -2"]

    async def beside_one_that_goes_on() -> None:
        await asyncio.gather(swapped_and_changed(), stoppable())

    play = recorded()
    again = play.again(beside_one_that_goes_on)
    assert again.body.differences == [f"{B}#1 (position 5): argument x was 2 and is now -2"]


def test_a_sleep_where_the_log_has_a_step_stops_its_task_and_nothing_behind_it_is_said_to_be_missing() -> None:
    sleeper = app.step(name="sleep")(_nothing)
    try:

        async def old() -> None:
            await sleeper()
            await beta(2)

        async def new() -> None:
            await sleep(5)
            await beta(2)

        again = Play(old).complete("sleep#1", None).complete(f"{B}#1").again(new)
        assert again.body.differences == ["sleep#1 (position 3): the code waits, the log has StepCreated"]
    finally:
        del app.steps["sleep"]


def test_a_timeout_where_the_log_has_a_step_leaves_open_what_is_asked_for_behind_it() -> None:
    stepper = app.step(name="timeout")(_nothing)
    try:

        async def old() -> None:
            await asyncio.gather(stepper(), alpha(1), beta(2))

        async def new() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await alpha(1)
            await beta(2)

        again = Play(old).complete("timeout#1", None).complete(f"{B}#1").again(new)
        assert again.body.differences == ["timeout#1 (position 3): the code waits, the log has StepCreated"]
    finally:
        del app.steps["timeout"]


def test_a_step_where_the_log_has_a_sleep_is_another_kind() -> None:
    sleeper = app.step(name="sleep")(_nothing)
    try:

        async def old() -> None:
            await sleep(5)

        async def new() -> None:
            await sleeper()

        [difference] = Play(old).again(new).body.differences
        assert difference == "sleep#1 (position 3): the code asks for a step, the log has a different WaitCreated"
    finally:
        del app.steps["sleep"]


async def _nothing() -> None: ...


def test_the_length_of_a_sleep_may_change_and_the_recorded_time_stands() -> None:
    async def old() -> None:
        await sleep(5)

    async def new() -> None:
        await sleep(500)

    again = Play(old).again(new)
    assert again.body.differences == []
    assert again.body.timers["sleep#1"][0] == START + 5


# -- timers and calls that are left -----------------------------------------------------------------------------------


def test_a_timer_that_is_cancelled_before_the_append_is_not_written() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            pass
        await alpha()

    play = Play(main)
    assert play.ids == [f"step_created {A}#1"]
    assert (play.again(main).ids, play.again(main).body.differences) == ([], [])


def test_a_timer_that_is_cancelled_after_the_append_is_said_to_be_left_once() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await alpha()
        await beta()

    play = Play(main).complete(f"{A}#1")
    assert play.ids[2:] == ["wait_cancelled timeout#1", f"step_created {B}#1"]
    assert play.again(main).ids == []


def test_a_cancellable_step_that_is_left_is_told_so_once_and_another_is_not() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(stoppable(), alpha()), 5)
        await beta()

    play = Play(main).elapse("timeout#1")
    assert play.ids[3:] == [f"step_cancelled {S}#1", f"step_created {B}#1"]
    assert play.again(main).ids == []


def test_the_completion_of_a_call_that_was_left_changes_nothing() -> None:
    async def main() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(alpha(), 5)
        await beta()
        return "done"

    play = Play(main).elapse("timeout#1").complete(f"{A}#1", 1)
    assert play.body.outcome is None
    assert play.complete(f"{B}#1").result == '"done"'
    assert play.again(main).result == '"done"'


# -- ends, labels, patches --------------------------------------------------------------------------------------------


def test_a_body_that_waits_for_nothing_fails_and_says_where_it_waits() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    play = Play(main)
    play.body.rest()
    assert type(play.error).__name__ == "WorkflowDeadlockError"
    assert "test_replay.py" in str(play.error)


def test_a_result_that_cannot_be_recorded_fails_the_run() -> None:
    async def main() -> object:
        return object()

    play = Play(main)
    assert play.body.outcome is not None
    assert play.body.outcome.code == "USER_ERROR"
    assert type(play.error).__name__ == "SerializationError"


def test_calls_that_were_made_and_never_awaited_are_named_and_record_nothing() -> None:
    async def main() -> None:
        alpha(1)
        sleep(5)  # type: ignore[unused-coroutine]

    play = Play(main)
    assert play.ids == []
    assert play.body.forgotten() == ["alpha", "sleep"]
    assert play.body.forgotten() == []


def test_labels_are_recorded_once_and_a_change_of_theirs_is_a_difference() -> None:
    async def old() -> None:
        await set_attributes({"stage": "one"})
        await alpha()

    async def new() -> None:
        await set_attributes({"stage": "two"})
        await alpha()

    play = Play(old)
    assert play.ids == ["attributes_set set_attributes#1", f"step_created {A}#1"]
    assert play.again(old).ids == []
    [difference] = play.again(new).body.differences
    assert difference.startswith("set_attributes#1 (position 3): the labels were {'stage': 'one'}")


def test_a_patch_is_recorded_at_the_end_of_the_log_and_not_in_the_middle_of_it() -> None:
    async def old() -> None:
        await alpha(1)
        await sleep(5)

    async def new() -> None:
        once = patched("early")
        await (beta(1) if once else alpha(1))
        await sleep(5)
        await (beta(2) if patched("late") else alpha(2))
        assert patched("early") is once

    fresh = Play(new)
    assert fresh.ids == ["patch_recorded early", f"step_created {B}#1"]
    assert fresh.again(new).ids == []
    again = Play(old).complete(f"{A}#1").again(new).elapse("sleep#1")
    assert again.body.differences == []
    assert again.ids == ["patch_recorded late", f"step_created {B}#1"]
    assert again.complete(f"{B}#1").result == "null"  # what it was told once holds
