"""Hooks: a run waits for payloads that somebody sends to a token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from tests.e2e.running import Play
from wdk_cloud import (
    BaseHook,
    Hook,
    HookConflictError,
    HookDisposedError,
    HookNotFoundError,
    SerializationError,
    WorkflowContextError,
    WorkflowDeadlockError,
    Workflows,
    continue_as_new,
    create_hook,
    get_hook_by_token,
    get_run,
    resume_hook,
    sleep,
)
from wdk_cloud.testing.environment import WorkflowEnv


@dataclass
class Approval(BaseHook):
    approved: bool
    at: datetime | None = None


class Order(BaseHook, BaseModel):
    number: int
    lines: list[str] = []


async def started(env: WorkflowEnv, workflow: Any, *args: Any, run_id: str = "run") -> Any:
    run = await env.start(workflow.with_options(run_id=run_id), *args)
    await env.run_until_blocked()
    return run


async def types(run_id: str = "run") -> list[str]:
    return [event.type async for event in get_run(run_id).events()]


def test_a_payload_wakes_the_body_that_awaits_it(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> Any:
        return await create_hook("token")

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", {"answer": [1, None, "x"], "at": datetime(2026, 1, 1, tzinfo=UTC)})
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == {"answer": [1, None, "x"], "at": datetime(2026, 1, 1, tzinfo=UTC)}


def test_a_typed_hook_gives_instances_of_its_class(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> tuple[bool, bool, bool]:
        approval = await Approval.wait("approval")
        order = await Order.wait("order")
        plain = await Order.wait("plain")
        return (
            approval == Approval(True, datetime(2026, 1, 1, tzinfo=UTC)),
            order == Order(number=7, lines=["a"]),
            plain == Order(number=8),
        )

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await Approval(True, datetime(2026, 1, 1, tzinfo=UTC)).resume("approval")
        await env.run_until_blocked()
        await Order(number=7, lines=["a"]).resume(await get_hook_by_token("order"))
        await env.run_until_blocked()
        await resume_hook("plain", {"number": 8})
        return await env.run_to_end(run)

    assert tuple(play.scene(scenario, app)) == (True, True, True)


def test_payloads_that_arrive_early_are_kept_in_the_order_of_their_sender(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[int]:
        hook = create_hook("token", schema=int)
        await sleep(60)
        return [await hook for _ in range(5)]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        for number in range(5):
            await resume_hook("token", number)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == [0, 1, 2, 3, 4]


def test_iteration_takes_payload_after_payload_until_the_hook_is_disposed_of(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[int]:
        found: list[int] = []
        with create_hook("token", schema=int) as hook:
            async for payload in hook:
                found.append(payload)
                if payload == 3:
                    break
        return found

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        for number in (1, 2, 3):
            await resume_hook("token", number)
            await env.run_until_blocked()
        with pytest.raises(HookNotFoundError):
            await resume_hook("token", 4)
        return await env.run_to_end(run), await types()

    found, kinds = play.scene(scenario, app)
    assert found == [1, 2, 3]
    assert kinds == [
        "run_created",
        "run_started",
        "hook_created",
        *["hook_received"] * 3,
        "hook_disposed",
        "run_completed",
    ]


def test_a_resume_repeated_with_its_key_is_delivered_once(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        hook = create_hook("token", schema=str)
        return [await hook, await hook]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        for _ in range(3):
            await resume_hook("token", "first", key="event-1")
            await env.run_until_blocked()
        assert (await types()).count("hook_received") == 1
        await resume_hook("token", "second", key="event-2")
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == ["first", "second"]


def test_a_token_is_claimable_before_the_step_that_is_called_after_it(play: Play) -> None:
    app, mailed = Workflows(), list[str]()

    @app.step
    async def mail(token: str) -> None:
        mailed.append((await get_hook_by_token(token)).hook_id)
        await resume_hook(token, "by the step itself")

    @app.workflow
    async def body() -> str:
        hook = create_hook("token", schema=str)
        await mail(hook.token)
        return f"{await hook} {hook.hook_id}"

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await started(env, body))

    found = play.scene(scenario, app)
    assert found == f"by the step itself {mailed[0]}"
    assert len(set(mailed)) == 1


@pytest.mark.parametrize("rival", ["sleep", "timeout", "step"])
def test_a_hook_that_loses_a_race_keeps_its_payload_for_whoever_awaits_it_next(play: Play, rival: str) -> None:
    app = Workflows()

    @app.step
    async def quick() -> None: ...

    @app.workflow
    async def body() -> list[Any]:
        hook = create_hook("token", schema=int)
        first: Any
        match rival:
            case "timeout":
                try:
                    first = await asyncio.wait_for(hook, 60)
                except TimeoutError:
                    first = "too late"
            case _:
                waiting = asyncio.ensure_future(hook)
                other = asyncio.ensure_future(sleep(60) if rival == "sleep" else quick())
                done, _ = await asyncio.wait((waiting, other), return_when=asyncio.FIRST_COMPLETED)
                assert done == {other}
                waiting.cancel()
                first = "too late"
        return [first, await hook]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await env.advance(60)
        await resume_hook("token", 5)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == ["too late", 5]


def test_a_payload_that_comes_together_with_the_end_of_its_time_is_not_lost(play: Play) -> None:
    """Both are delivered before the waiting task runs: it is cancelled although it was woken."""
    app = Workflows()

    @app.workflow
    async def body() -> list[Any]:
        hook = create_hook("token", schema=int)
        results: list[Any] = []
        for _ in range(3):
            try:
                async with asyncio.timeout(60):
                    results.append(await hook)
            except TimeoutError:
                results.append("too late")
        return results

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        await env.run_until_blocked()
        env.clock.advance_to(env.clock.now() + 60)  # its timer is due, and nothing has looked at it yet
        await resume_hook("token", 1)
        await resume_hook("token", 2)
        return await env.run_to_end(run)

    results = play.scene(scenario, app)
    assert [result for result in results if result != "too late"] == [1, 2]
    assert len(results) == 3


def test_a_hook_that_wins_leaves_the_others_alone(play: Play) -> None:
    app, finished = Workflows(), list[str]()

    @app.workflow
    async def body() -> str:
        hook = create_hook("token", schema=str)
        nap = asyncio.ensure_future(sleep(600))
        async with asyncio.timeout(3600):
            first = await hook
        await nap
        finished.append("slept")
        return first

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", "won")
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == "won"


def test_a_hook_that_is_never_awaited_holds_nothing(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        create_hook("token")
        return "done"

    async def scenario(env: WorkflowEnv) -> Any:
        found = await env.run_to_end(await started(env, body))
        with pytest.raises(HookNotFoundError, match="no live hook has this token"):
            await resume_hook("token", 1)
        return found

    assert play.scene(scenario, app) == "done"


def test_a_token_of_a_live_run_is_a_conflict_for_others_and_free_after_its_end(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def owner() -> Any:
        return await create_hook("token")

    @app.workflow
    async def other() -> list[str]:
        hook = create_hook("token")
        run = await hook.get_conflict()
        assert run is not None
        with pytest.raises(HookConflictError) as refused:
            await hook
        return [run.run_id, refused.value.run_id]

    async def scenario(env: WorkflowEnv) -> Any:
        first = await started(env, owner, run_id="owner")
        found = await env.run_to_end(await started(env, other, run_id="other"))
        await resume_hook("token", "first")
        assert await env.run_to_end(first) == "first"
        second = await started(env, owner, run_id="second")
        await resume_hook("token", "second")
        return found, await env.run_to_end(second)

    found, second = play.scene(scenario, app)
    assert found == ["owner", "owner"]
    assert second == "second"


@pytest.mark.parametrize("apart", [False, True], ids=["made together", "made apart"])
def test_of_two_hooks_of_one_run_on_one_token_the_first_receives(play: Play, apart: bool) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        first = create_hook("token", schema=str)
        found = [await first] if apart else []
        with pytest.raises(HookConflictError) as refused:
            await create_hook("token")
        return [*found, await first, refused.value.run_id]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        for payload in ("one", "two")[not apart :]:
            await resume_hook("token", payload)
            await env.run_until_blocked()
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == (["one", "two", "run"] if apart else ["two", "run"])


def test_a_hook_without_a_conflict_says_so(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> bool:
        return await create_hook("token").get_conflict() is None

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await started(env, body))

    assert play.scene(scenario, app) is True


def test_of_fifty_runs_that_want_one_token_one_has_it(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        try:
            return await create_hook("token", schema=str)
        except HookConflictError as error:
            return error.run_id

    async def scenario(env: WorkflowEnv) -> Any:
        runs = [await env.start(body.with_options(run_id=f"run-{n}")) for n in range(50)]
        await env.run_until_blocked()
        await resume_hook("token", "mine")
        return [await env.run_to_end(run) for run in runs]

    results = play.scene(scenario, app)
    assert results.count("mine") == 1
    winner = f"run-{results.index('mine')}"
    assert [result for result in results if result != "mine"] == [winner] * 49


def test_a_disposed_hook_receives_nothing_and_its_token_can_be_made_anew(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        hook = create_hook("token")
        hook.dispose()
        hook.dispose()
        with pytest.raises(HookDisposedError, match="hook#1 was disposed of; make a new hook to receive more"):
            await hook
        async with create_hook("token", schema=str) as again:
            return [await again]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", "to the second")
        return await env.run_to_end(run), (await types()).count("hook_disposed")

    assert play.scene(scenario, app) == (["to the second"], 2)


def test_whoever_awaits_a_hook_that_another_task_disposes_of_is_told(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        hook = create_hook("token")

        async def wait() -> str:
            try:
                return str(await hook)
            except HookDisposedError:
                return "disposed"

        waiting = [asyncio.ensure_future(wait()) for _ in range(2)]
        await sleep(1)
        hook.dispose()
        return list(await asyncio.gather(*waiting))

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await started(env, body))

    assert play.scene(scenario, app) == ["disposed", "disposed"]


def test_a_loop_over_a_hook_that_another_task_disposes_of_ends(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[int]:
        hook, seen = create_hook("token", schema=int), list[int]()

        async def listen() -> None:
            async for payload in hook:
                seen.append(payload)

        listening = asyncio.ensure_future(listen())
        await sleep(1)
        hook.dispose()
        await listening
        return seen

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", 1)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == [1]


def test_several_that_await_one_hook_are_served_in_their_order(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[int]:
        hook: Hook[int] = create_hook("token", schema=int)

        async def one() -> int:
            return await hook

        return list(await asyncio.gather(*(one() for _ in range(3))))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        for number in (1, 2, 3):
            await resume_hook("token", number)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == [1, 2, 3]


def test_a_payload_that_does_not_fit_the_schema_raises_where_it_is_awaited_and_the_next_one_comes(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[Any]:
        hook = Order.wait("token")
        with pytest.raises(SerializationError) as refused:
            await hook
        assert "the payload of hook#1" in str(refused.value)
        return [(await hook).number]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", {"number": "many"})
        await resume_hook("token", {"number": 3})
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == [3]


def test_what_is_asked_of_a_token_from_outside(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> Any:
        return await create_hook("token", metadata={"order": 7, "lines": ["a"]})

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        hook = await get_hook_by_token("token")
        assert (hook.token, hook.run_id, hook.metadata) == ("token", "run", {"order": 7, "lines": ["a"]})
        assert hook.hook_id.startswith("hook_")
        assert hook.created_at == datetime.fromtimestamp(env.clock.now(), UTC)
        assert "token" not in repr(hook)
        with pytest.raises(WorkflowContextError, match="in the workflow body that made it only"):
            await hook
        await resume_hook(hook)
        assert await env.run_to_end(run) is None
        for ask in (get_hook_by_token("token"), get_hook_by_token("never"), resume_hook("never")):
            with pytest.raises(HookNotFoundError) as missing:
                await ask
            assert "never" not in str(missing.value).replace("was never made", "")

    play.scene(scenario, app)


@pytest.mark.parametrize("token", ["", "x" * 257, "a\nb", 7, None])
def test_what_cannot_be_a_token_is_refused_in_the_body_and_outside(play: Play, token: Any) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        with pytest.raises(ValueError, match="a token is text of 1 to 256 printable characters"):
            create_hook(7 if token is None else token)
        return "refused"

    async def scenario(env: WorkflowEnv) -> Any:
        for ask in (resume_hook(token, 1), get_hook_by_token(token)):
            with pytest.raises(ValueError, match="a token is text of 1 to 256 printable characters"):
                await ask
        return await env.run_to_end(await started(env, body))

    assert play.scene(scenario, app) == "refused"


def test_tokens_that_are_made_for_the_caller_are_those_of_its_run_alone(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        hooks = [create_hook(), create_hook()]
        await sleep(1)
        return [hook.token for hook in hooks]

    async def scenario(env: WorkflowEnv) -> Any:
        return [
            *await env.run_to_end(await started(env, body, run_id="a")),
            *await env.run_to_end(await started(env, body, run_id="b")),
        ]

    tokens = play.scene(scenario, app)
    assert len(set(tokens)) == 4
    assert {len(token) for token in tokens} == {22}


def test_a_body_resumes_another_runs_hook_once(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def receiving() -> list[str]:
        hook = create_hook("token", schema=str)
        return [await hook, await hook]

    @app.workflow
    async def sending() -> None:
        await resume_hook("token", "one")
        await sleep(1)
        await resume_hook("token", "two")
        with pytest.raises(HookNotFoundError):
            await resume_hook("nobody's", 1)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, receiving)
        await env.run_to_end(await started(env, sending, run_id="sending"))
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == ["one", "two"]


def test_payloads_for_a_run_that_goes_on_as_another_reach_that(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def counting(total: int, left: int) -> int:
        hook = create_hook("token", schema=int)
        total += await hook
        if left:
            continue_as_new(total, left - 1)
        return total

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, counting, 0, 3)
        for number in (1, 10, 100, 1000):  # all before the first has gone on
            await resume_hook("token", number)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == 1111


@pytest.mark.parametrize("remade", [True, False], ids=["each run makes the hook", "one between makes none"])
def test_a_key_that_an_earlier_run_has_received_delivers_nothing_to_the_one_that_goes_on(
    play: Play, remade: bool
) -> None:
    app = Workflows()

    @app.workflow
    async def body(number: int, found: list[str]) -> list[str]:
        if number == 1 and not remade:
            await sleep(60)
        else:
            found = [*found, await create_hook("token", schema=str)]
        if number < 2:
            continue_as_new(number + 1, found)
        return found

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body, 0, [])
        for payload in ("one", "one", "two", "one", "two", "three"):
            await resume_hook("token", payload, key=f"the key of {payload}")
            await env.run_until_blocked()
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == (["one", "two", "three"] if remade else ["one", "two"])


def test_a_body_that_waits_for_a_hook_is_no_deadlock_and_one_that_waits_for_its_own_future_is(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        hook = create_hook("token")
        await hook
        hook.dispose()
        await asyncio.get_running_loop().create_future()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        assert await run.status() == "running"
        await resume_hook("token")
        await env.run_until_blocked()
        return (await run.info()).error

    error = play.scene(scenario, app)
    assert isinstance(error, WorkflowDeadlockError) or "WorkflowDeadlockError" in repr(error)


def test_large_payloads_lie_in_blobs_and_come_whole(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> int:
        return len(await create_hook("token", schema=str))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_hook("token", "x" * 1_000_000)
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == 1_000_000


def test_hooks_are_made_in_bodies_only() -> None:
    with pytest.raises(WorkflowContextError, match="create_hook"):
        create_hook("token")
