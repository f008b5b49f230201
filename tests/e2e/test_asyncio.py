"""Plain asyncio is durable in a body."""

import asyncio

import pytest

from tests.e2e.running import Finished, Play, finish, until
from wdk_cloud import StepFailedError, Workflows, sleep
from wdk_cloud.testing.environment import WorkflowEnv


class Bench:
    """An app with steps for bodies to play with; it counts what ran."""

    def __init__(self) -> None:
        self.app = Workflows()
        self.ran: list[object] = []

        @self.app.step(name="say")
        async def say(word: object) -> object:
            self.ran.append(word)
            return word

        @self.app.step(name="fail", max_retries=0)
        async def fail(word: str) -> None:
            self.ran.append(word)
            raise ValueError(word)

        @self.app.step(name="far", dispatch="queue")
        async def far(word: object) -> object:
            self.ran.append(word)
            return word

        self.say, self.fail, self.far = say, fail, far

    def play(self, play: Play, body: object) -> Finished:
        return play(self.app.workflow(body))  # type: ignore[call-overload]


def test_gather_gives_results_in_the_order_of_its_arguments(play: Play) -> None:
    bench = Bench()

    async def after(delay: int, word: str) -> object:
        await sleep(delay)
        return await bench.say(word)

    async def body() -> list[object]:
        return await asyncio.gather(after(3, "a"), after(1, "b"), after(2, "c"), bench.far("d"))

    assert bench.play(play, body).value == ["a", "b", "c", "d"]
    assert bench.ran == ["d", "b", "c", "a"]


def test_gather_raises_the_first_failure_and_the_others_go_on(play: Play) -> None:
    bench = Bench()

    async def late() -> object:
        await sleep(5)
        return await bench.say("late")

    async def body() -> list[str]:
        task = asyncio.create_task(late())
        try:
            await asyncio.gather(task, bench.fail("x"))
        except StepFailedError as error:
            return [str(error.__cause__), str(await task)]
        return []

    assert bench.play(play, body).value == ["x", "late"]
    assert bench.ran == ["x", "late"]


def test_gather_returns_exceptions_when_asked(play: Play) -> None:
    bench = Bench()

    async def body() -> list[object]:
        await sleep(1)
        results = await asyncio.gather(bench.say(1), bench.fail("x"), return_exceptions=True)
        return [results[0], type(results[1]).__name__]

    assert bench.play(play, body).value == [1, "StepFailedError"]


def test_a_task_group_waits_for_all_its_tasks(play: Play) -> None:
    bench = Bench()

    async def nap(n: int) -> object:
        await sleep(n)
        return await bench.say(n)

    async def body() -> list[object]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(nap(n)) for n in (2, 1, 3)]
        return [task.result() for task in tasks]

    finished = bench.play(play, body)
    assert finished.value == [2, 1, 3]
    assert bench.ran == [1, 2, 3]
    assert finished.times("run_completed") == [3]


def test_a_task_group_cancels_the_siblings_of_a_failed_task(play: Play) -> None:
    bench = Bench()
    ends: list[str] = []

    async def sleeper() -> None:
        try:
            await sleep("1 day")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def failing() -> None:
        await sleep(1)
        await bench.fail("x")

    async def body() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sleeper())
                group.create_task(failing())
        except* StepFailedError as errors:
            found = [type(error.__cause__).__name__ for error in errors.exceptions]
        await sleep(1)
        return found

    finished = bench.play(play, body)
    assert finished.value == ["ValueError"]
    assert set(ends) == {"cancelled"}
    assert finished.times("run_completed") == [2]
    assert finished.count("wait_cancelled") == 1


@pytest.mark.parametrize("when", [asyncio.FIRST_COMPLETED, asyncio.ALL_COMPLETED, asyncio.FIRST_EXCEPTION])
def test_wait_returns_done_and_pending(play: Play, when: str) -> None:
    bench = Bench()

    async def nap(n: int) -> int:
        await sleep(n)
        return n

    async def failing() -> None:
        await sleep(2)
        await bench.fail("x")

    async def body() -> list[int]:
        tasks = [asyncio.create_task(nap(1)), asyncio.create_task(nap(3)), asyncio.create_task(failing())]
        done, pending = await asyncio.wait(tasks, return_when=when)
        for task in done:
            task.exception()
        return [len(done), len(pending)]

    expected = {asyncio.FIRST_COMPLETED: [1, 2], asyncio.FIRST_EXCEPTION: [2, 1], asyncio.ALL_COMPLETED: [3, 0]}
    assert bench.play(play, body).value == expected[when]


def test_wait_with_a_timeout_gives_what_is_done_by_then(play: Play) -> None:
    bench = Bench()

    async def nap(n: int) -> int:
        await sleep(n)
        return n

    async def body() -> list[list[int]]:
        tasks = [asyncio.create_task(nap(n)) for n in (1, 2, 30)]
        done, pending = await asyncio.wait(tasks, timeout=10)
        return [sorted(task.result() for task in done), [len(pending)]]

    finished = bench.play(play, body)
    assert finished.value == [[1, 2], [1]]
    assert finished.times("run_completed") == [10]


def test_as_completed_gives_tasks_in_the_order_of_their_ends(play: Play) -> None:
    bench = Bench()

    async def nap(n: int) -> object:
        await sleep(n)
        return await bench.say(n)

    async def body() -> list[object]:
        return [await each for each in asyncio.as_completed([nap(3), nap(1), nap(2)])]

    assert bench.play(play, body).value == [1, 2, 3]


def test_as_completed_of_steps_begins_them_in_the_order_of_its_arguments(play: Play) -> None:
    bench = Bench()

    async def body() -> list[object]:
        return [await each for each in asyncio.as_completed([bench.say(n) for n in range(8)])]

    assert sorted(bench.play(play, body).value) == list(range(8))
    assert bench.ran == list(range(8))


def test_as_completed_with_a_timeout_raises_when_it_is_over(play: Play) -> None:
    bench = Bench()

    async def nap(n: int) -> int:
        await sleep(n)
        return n

    async def body() -> list[object]:
        found: list[object] = []
        try:
            for each in asyncio.as_completed([nap(1), nap(100)], timeout=10):
                found.append(await each)
        except TimeoutError:
            found.append("late")
        return found

    finished = bench.play(play, body)
    assert finished.value == [1, "late"]
    assert finished.times("run_completed") == [10]


def test_wait_for_a_step_that_is_in_time(play: Play) -> None:
    bench = Bench()

    async def body() -> object:
        result = await asyncio.wait_for(bench.say("in time"), 60)
        await sleep("1h")
        return result

    finished = bench.play(play, body)
    assert finished.value == "in time"
    assert finished.times("run_completed") == [3600]


def test_wait_for_a_sleep_that_is_too_long(play: Play) -> None:
    bench = Bench()

    async def body() -> str:
        try:
            await asyncio.wait_for(sleep("1 day"), 60)
        except TimeoutError:
            return "late"
        return "?"

    finished = bench.play(play, body)
    assert finished.value == "late"
    assert finished.times("run_completed") == [60]


def test_timeout_bounds_a_block(play: Play) -> None:
    bench = Bench()

    async def body() -> list[object]:
        found: list[object] = []
        try:
            async with asyncio.timeout(90):
                found.append(await bench.say("first"))
                await sleep(60)
                found.append(await bench.say("second"))
                await sleep(60)
                found.append("never")
        except TimeoutError:
            found.append("late")
        await sleep(1)
        return found

    finished = bench.play(play, body)
    assert finished.value == ["first", "second", "late"]
    assert finished.times("run_completed") == [91]


def test_timeout_at_uses_the_loops_time(play: Play) -> None:
    bench = Bench()

    async def body() -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(loop.time() + 30):
                await sleep("1h")
        except TimeoutError:
            return "late"
        return "?"

    finished = bench.play(play, body)
    assert finished.value == "late"
    assert finished.times("run_completed") == [30]


def test_a_timeout_can_be_moved(play: Play) -> None:
    bench = Bench()

    async def body() -> str:
        async with asyncio.timeout(10) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 100)
            await sleep(50)
            limit.reschedule(None)
            await sleep(500)
        return "no limit"

    assert bench.play(play, body).value == "no limit"


def test_shield_keeps_the_inner_task_from_the_outer_cancellation(play: Play) -> None:
    bench = Bench()

    async def inner() -> object:
        await sleep(100)
        return await bench.say("inner")

    async def body() -> list[object]:
        task = asyncio.create_task(inner())
        try:
            await asyncio.wait_for(asyncio.shield(task), 10)
        except TimeoutError:
            return ["late", await task]
        return []

    finished = bench.play(play, body)
    assert finished.value == ["late", "inner"]
    assert finished.times("run_completed") == [100]


def test_a_queue_passes_values_between_tasks(play: Play) -> None:
    bench = Bench()

    async def body() -> list[object]:
        queue: asyncio.Queue[object] = asyncio.Queue(maxsize=2)
        found: list[object] = []

        async def producer() -> None:
            for n in range(5):
                await sleep(1)
                await queue.put(await bench.say(n))
            await queue.put(None)

        task = asyncio.create_task(producer())
        while (item := await queue.get()) is not None:
            await sleep(2)
            found.append(item)
        await task
        return found

    assert bench.play(play, body).value == [0, 1, 2, 3, 4]
    assert bench.ran == [0, 1, 2, 3, 4]


def test_an_event_wakes_all_who_wait_in_their_order(play: Play) -> None:
    bench = Bench()

    async def body() -> list[str]:
        event, order = asyncio.Event(), []

        async def waiter(name: str) -> None:
            await event.wait()
            order.append(name)

        tasks = [asyncio.create_task(waiter(name)) for name in "abc"]
        await sleep(10)
        event.set()
        await asyncio.gather(*tasks)
        return order

    assert bench.play(play, body).value == ["a", "b", "c"]


def test_a_lock_lets_one_at_a_time_through(play: Play) -> None:
    bench = Bench()

    async def body() -> list[str]:
        lock, log = asyncio.Lock(), []

        async def enter(name: str) -> None:
            async with lock:
                log.append(f"{name} in")
                await sleep(5)
                await bench.say(name)
                log.append(f"{name} out")

        await asyncio.gather(*(enter(name) for name in "abc"))
        return log

    finished = bench.play(play, body)
    assert finished.value == ["a in", "a out", "b in", "b out", "c in", "c out"]
    assert finished.times("run_completed") == [15]


def test_a_semaphore_bounds_how_many_run(play: Play) -> None:
    bench = Bench()

    async def body() -> int:
        semaphore = asyncio.Semaphore(2)
        inside = most = 0

        async def enter() -> None:
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await sleep(10)
                inside -= 1

        await asyncio.gather(*(enter() for _ in range(6)))
        return most

    finished = bench.play(play, body)
    assert finished.value == 2
    assert finished.times("run_completed") == [30]


def test_a_condition_and_a_barrier_work_too(play: Play) -> None:
    bench = Bench()

    async def body() -> list[str]:
        condition, barrier, log = asyncio.Condition(), asyncio.Barrier(2), []

        async def waiter() -> None:
            async with condition:
                await condition.wait()
                log.append("notified")
            await barrier.wait()
            log.append("met")

        task = asyncio.create_task(waiter())
        await sleep(1)
        async with condition:
            condition.notify_all()
        await sleep(1)
        await barrier.wait()
        await task
        return log

    assert bench.play(play, body).value == ["notified", "met"]


def test_a_created_task_runs_beside_the_body(play: Play) -> None:
    bench = Bench()

    async def background() -> object:
        await sleep(5)
        return await bench.say("background")

    async def body() -> list[object]:
        task = asyncio.create_task(background(), name="mine")
        found = [await bench.say("front"), task.get_name()]
        await sleep(2)
        return [*found, task.done(), await task]

    assert bench.play(play, body).value == ["front", "mine", False, "background"]
    assert bench.ran == ["front", "background"]


def test_a_cancelled_task_raises_where_it_waits_and_may_clean_up_with_steps(play: Play) -> None:
    bench = Bench()

    async def work() -> None:
        try:
            await sleep("1 day")
        finally:
            await bench.say("clean up")

    async def body() -> str:
        task = asyncio.create_task(work())
        await sleep(10)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        return "?"

    finished = bench.play(play, body)
    assert finished.value == "cancelled"
    assert bench.ran == ["clean up"]
    assert finished.times("run_completed") == [10]


def test_a_race_between_a_step_and_a_sleep_can_go_either_way(play: Play) -> None:
    bench = Bench()

    async def body() -> list[bool]:
        async def first(*these: object) -> int:
            tasks = [asyncio.ensure_future(one) for one in these]  # type: ignore[arg-type]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return tasks.index(done.pop())

        async def slow() -> None:
            await sleep("2h")
            await bench.say("slow")

        return [await first(bench.say("quick"), sleep("1h")) == 0, await first(slow(), sleep("1h")) == 1]

    finished = bench.play(play, body)
    assert finished.value == [True, True]
    assert bench.ran == ["quick"]


def test_when_a_body_returns_its_unfinished_tasks_are_closed_without_effect(play: Play) -> None:
    bench = Bench()
    ends: list[str] = []

    async def endless() -> None:
        try:
            await sleep("1 day")
            await bench.say("after")
        finally:
            ends.append("closed")
            await bench.say("in finally")

    async def body() -> str:
        asyncio.create_task(endless())  # noqa: RUF006 -- left behind on purpose
        await sleep(1)
        return "done"

    finished = bench.play(play, body)
    assert finished.value == "done"
    assert bench.ran == []
    assert finished.count("step_created") == 0
    assert ends


def test_a_step_that_runs_when_the_body_returns_goes_on_to_its_end(play: Play) -> None:
    bench = Bench()
    gate: list[asyncio.Event] = []
    ends: list[str] = []

    @bench.app.step
    async def slow() -> None:
        gate.append(asyncio.Event())
        await gate[0].wait()
        ends.append("ended")

    @bench.app.workflow
    async def body() -> str:
        task = asyncio.create_task(slow())
        await bench.say("quick")
        del task
        return "done"

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        assert await run.return_value(timeout=10) == "done"
        assert ends == []
        gate[0].set()
        await until(lambda: ends == ["ended"])
        await env.run_until_blocked()
        assert await run.status() == "completed"

    play.scene(scenario, bench.app)


def test_async_generators_work_and_are_closed_when_the_body_returns(play: Play) -> None:
    bench = Bench()

    async def numbers():
        try:
            for n in range(100):
                await sleep(1)
                yield await bench.say(n)
        finally:
            await bench.say("closed")

    async def body() -> list[object]:
        found: list[object] = []
        async for n in numbers():
            found.append(n)
            if n == 2:
                break
        await sleep(1)
        return found

    finished = bench.play(play, body)
    assert finished.value == [0, 1, 2]
    assert bench.ran == [0, 1, 2, "closed"]


def test_an_async_context_manager_may_call_steps(play: Play) -> None:
    from contextlib import asynccontextmanager

    bench = Bench()

    @asynccontextmanager
    async def reservation():
        yield await bench.say("reserve")
        await bench.say("release")

    async def body() -> object:
        async with reservation() as found:
            await sleep("1h")
        return found

    assert bench.play(play, body).value == "reserve"
    assert bench.ran == ["reserve", "release"]


def test_a_finally_block_of_a_run_that_goes_on_has_its_effects_once(play: Play) -> None:
    bench = Bench()

    async def body() -> str:
        try:
            await sleep("1h")
            await sleep("1h")
        finally:
            await bench.say("finally")
        return "done"

    finished = bench.play(play, body)
    assert finished.value == "done"
    assert bench.ran == ["finally"]
    assert finished.count("step_created") == 1


def test_context_variables_follow_tasks(play: Play) -> None:
    import contextvars

    bench = Bench()
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="none")

    async def body() -> list[str]:
        async def child() -> str:
            await sleep(1)
            return current.get()

        current.set("mine")
        task = asyncio.create_task(child())
        current.set("later")
        return [await task, current.get()]

    token = current.set("the host's")
    try:
        assert bench.play(play, body).value == ["mine", "later"]
    finally:
        current.reset(token)


@pytest.mark.not_on_cloudrun("ends of steps that ran elsewhere are read by the names of their items, not as they came")
@pytest.mark.not_on_lambda(
    "ends of steps that ran elsewhere are read by the numbers of the steps there, not as they came"
)
def test_a_hundred_gathered_steps_each_run_once(play: Play) -> None:
    bench = Bench()

    async def body() -> int:
        return sum(await asyncio.gather(*(bench.say(n) for n in range(100))))  # type: ignore[arg-type]

    assert bench.play(play, body).value == 4950
    assert sorted(bench.ran) == list(range(100))  # type: ignore[type-var]


def test_a_gather_of_sleeping_tasks_survives_in_one_scene_with_others(play: Play) -> None:
    bench = Bench()

    @bench.app.workflow
    async def body(n: int) -> int:
        await sleep(n)
        await bench.say(n)
        return n

    async def scenario(env: WorkflowEnv) -> None:
        runs = [await env.start(body, n) for n in range(1, 21)]
        for n, run in enumerate(runs, 1):
            assert (await finish(env, run)).value == n
        assert bench.ran == list(range(1, 21))

    play.scene(scenario, bench.app)
