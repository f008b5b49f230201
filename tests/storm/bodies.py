"""The workflow that carries out a program of `programs.py`, and its steps.

Steps note in the journal that an attempt has begun; slow ones take their time on the virtual clock of the test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from tests.canonical import note
from tests.storm.programs import FAR, Node, token_of
from tests.storm.streamed import piped, stream_of
from wdk_cloud import (
    FatalError,
    Hook,
    HookConflictError,
    HookNotFoundError,
    ReadableStream,
    RetryPolicy,
    StepFailedError,
    StepInterruptedError,
    StreamError,
    WorkflowRunCancelledError,
    Workflows,
    WritableStream,
    continue_as_new,
    create_hook,
    get_hook_by_token,
    get_step_metadata,
    get_workflow_metadata,
    get_writable,
    patched,
    resume_hook,
    set_attributes,
    sleep,
    start,
)
from wdk_cloud.world.clock import VirtualClock

app = Workflows()

PATIENT = 60
"""Tries that no fault plan uses up: an interruption counts as one."""

clock: VirtualClock | None = None
"""Of the world that the steps run in; none where bodies are only replayed."""


begun_at: dict[tuple[str, int], float] = {}
"""When each attempt began."""

produced: Counter[str] = Counter()
"""How often each producer has begun, by its step; it is recorded before it does."""

cut_short: set[int] = set()
"""The producers whose chunks have not all come to those who wait for them."""


def begin() -> None:
    note("begun")
    step = get_step_metadata()
    if clock is not None:
        begun_at[step.step_id, step.attempt] = clock.now()


class OutOfLuck(FatalError):
    """Refused for good."""


async def _work(seconds: float) -> None:
    assert clock is not None
    over = asyncio.get_running_loop().create_future()
    handle = clock.call_at(clock.now() + seconds, lambda: over.done() or over.set_result(None))
    try:
        await over
    finally:
        handle.cancel()


@app.step(name="add", max_retries=PATIENT)
async def add(n: int) -> int:
    begin()
    return n + 1


@app.step(name="far", max_retries=PATIENT, dispatch="queue")
async def far(n: int) -> int:
    begin()
    return n


@app.step(name="far_slow", max_retries=PATIENT, dispatch="queue")
async def far_slow(n: int, seconds: float) -> int:
    begin()
    await _work(seconds)
    return n


@app.step(name="tag", max_retries=PATIENT, dispatch="queue")
async def tag(n: int) -> int:
    begin()
    await set_attributes({f"tag-{n}": str(n)})
    return n


@app.step(name="slow", max_retries=PATIENT)
async def slow(n: int, seconds: float) -> int:
    begin()
    await _work(seconds)
    return n


@app.step(name="flaky", max_retries=PATIENT, retry=RetryPolicy(delay=2))
async def flaky(n: int, failures: int) -> int:
    begin()
    if get_step_metadata().attempt <= failures:
        raise ConnectionError(f"not yet: {n}")
    return n


@app.step(name="once", max_retries=0)
async def once(n: int) -> int:
    begin()
    return n


@app.step(name="far_once", max_retries=0, dispatch="queue")
async def far_once(n: int) -> int:
    begin()
    return n


@app.step(name="fatal", max_retries=PATIENT)
async def fatal(n: int) -> int:
    begin()
    raise OutOfLuck(f"{n}")


@app.step(name="exhaust", max_retries=2)
async def exhaust(n: int) -> int:
    begin()
    raise ValueError(f"{n}")


@app.step(name="overdue", max_retries=1)
async def overdue(n: int) -> int:
    begin()
    await asyncio.Event().wait()
    return n


@app.step(name="blocked", max_retries=PATIENT, cancellable=True)
async def blocked(n: int) -> int:
    begin()
    await asyncio.Event().wait()
    return n


@app.step(name="blocked_far", max_retries=PATIENT, cancellable=True, dispatch="queue")
async def blocked_far(n: int) -> int:
    begin()
    await asyncio.Event().wait()
    return n


@app.step(name="offer", max_retries=PATIENT)
async def offer(n: int, token: str | None) -> int | str:
    """Somebody is told of the hook: it must be able to receive."""
    begin()
    try:
        if token is not None:
            await get_hook_by_token(token)
    except HookNotFoundError:
        return f"the token of {n} is not there"
    return n


# -- steps that write and read ----------------------------------------------------------------------------------------


async def _pour(writable: WritableStream[list[int]], writer: int, count: int, failures: int) -> None:
    attempt = get_step_metadata().attempt
    for i in range(count):
        if attempt <= failures and i > count // 2:
            break
        await writable.write([writer, attempt, i])
        if i % 2:
            await writable.drain()
    if attempt <= failures:
        raise ConnectionError(f"not yet: {writer}")


@app.step(name="write", max_retries=PATIENT, retry=RetryPolicy(delay=2))
async def write(n: int, writer: int, count: int, resume: bool, failures: int) -> int:
    begin()
    await _pour(get_writable(stream_of(n), resume=resume), writer, count, failures)
    return n


@app.step(name="write_far", max_retries=PATIENT, retry=RetryPolicy(delay=2), dispatch="queue")
async def write_far(n: int, writer: int, count: int, resume: bool, failures: int) -> int:
    begin()
    await _pour(get_writable(stream_of(n), resume=resume), writer, count, failures)
    return n


@app.step(name="write_to", max_retries=PATIENT)
async def write_to(writable: WritableStream[list[int]], n: int, count: int) -> int:
    begin()
    await _pour(writable, 0, count, 0)
    return n


@app.step(name="produce", max_retries=PATIENT)
async def produce(n: int, count: int, pause: float) -> AsyncIterator[list[int]]:
    produced[get_step_metadata().step_id] += 1
    for i in range(count):
        if pause:
            await _work(pause)
        yield [n, i, count]


@app.step(name="transform", max_retries=PATIENT)
async def transform(stream: ReadableStream[list[int]], hop: int) -> AsyncIterator[list[int]]:
    produced[get_step_metadata().step_id] += 1
    async for chunk in stream:
        yield [*chunk, hop]


@app.step(name="consume", max_retries=PATIENT)
async def consume(stream: ReadableStream[list[int]], n: int, leave: int) -> tuple[list[list[int]], bool]:
    begin()
    return await _all_of(stream, n, leave)


@app.step(name="consume_far", max_retries=PATIENT, dispatch="queue")
async def consume_far(stream: ReadableStream[list[int]], n: int, leave: int) -> tuple[list[list[int]], bool]:
    begin()
    return await _all_of(stream, n, leave)


async def _all_of(stream: ReadableStream[list[int]], n: int, leave: int) -> tuple[list[list[int]], bool]:
    """The chunks, and whether they are all. Leaves after some, and comes back for what follows."""
    found: list[list[int]] = []
    handle = stream._handle
    try:
        while True:
            last = len(found) + leave
            async for number, chunk in ReadableStream[list[int]](handle, start_index=len(found)).numbered():
                assert number == len(found), f"chunk {number} comes after {len(found)}"
                found.append(chunk)
                if len(found) == last:
                    break
            else:
                return found, True
    except StreamError:
        cut_short.add(n)
        return found, False


@app.workflow(name="pour")
async def pour(writable: WritableStream[list[int]], n: int, count: int) -> int:
    return await write_to(writable, n, count)


@app.workflow(name="storm")
async def storm(program: list[Any]) -> Any:
    return await perform(program)


# -- carrying out one node --------------------------------------------------------------------------------------------


async def perform(node: Node) -> Any:  # noqa: C901 -- a case for each kind
    kind, *rest = node
    match kind, rest:
        case "add", [n]:
            return await add(n)
        case "far", [n]:
            return await far(n)
        case "slow", [n, seconds]:
            return await slow(n, seconds)
        case "far_slow", [n, seconds]:
            return await far_slow(n, seconds)
        case "tag", [n]:
            return await tag(n)
        case "flaky", [n, failures]:
            return await flaky(n, failures)
        case (("once" | "far_once"), [n]):
            try:
                return await (once if kind == "once" else far_once)(n)
            except StepInterruptedError:
                return n
        case "fatal", [n]:
            try:
                return await fatal(n)
            except OutOfLuck as error:
                return f"fatal {error}"
        case "exhaust", [n]:
            try:
                return await exhaust(n)
            except StepFailedError:
                return f"exhaust {n}"
        case "overdue", [n, seconds]:
            try:
                return await overdue.with_options(timeout=seconds)(n)
            except StepFailedError:
                return f"overdue {n}"
        case "blocked", [n]:
            return await blocked(n)
        case "blocked_far", [n]:
            return await blocked_far(n)
        case "offer", [n]:
            return await offer(n, None)
        case "nap", [seconds]:
            await sleep(seconds)
            return seconds
        case "zero", []:
            await asyncio.sleep(0)
            return 0
        case "label", [key, value]:
            await set_attributes({key: value})
            return key
        case _:
            return await compose(kind, rest)


async def compose(kind: str, rest: list[Any]) -> Any:  # noqa: C901 -- a case for each kind
    match kind, rest:
        case "seq", [nodes]:
            return [await perform(one) for one in nodes]
        case "gather", [nodes]:
            return list(await asyncio.gather(*(perform(one) for one in nodes)))
        case "group", [nodes]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(perform(one)) for one in nodes]
            return [task.result() for task in tasks]
        case "wait", [nodes]:
            half = len(nodes) // 2
            waits: list[Any] = [asyncio.gather(*(perform(one) for one in nodes[:half]))]
            waits += [asyncio.ensure_future(perform(one)) for one in nodes[half:]]
            pending: set[Any] = set(waits)
            while pending:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            return [*waits[0].result(), *(task.result() for task in waits[1:])]
        case "helper", [_, inner]:

            async def nested(depth: int) -> Any:
                return await (nested(depth - 1) if depth else perform(inner))

            return await nested(3)
        case "patched", [n, inner]:
            return await perform(inner) if patched(f"patch-{n}") else "the old way"
        case "semaphore", [limit, nodes]:
            room = asyncio.Semaphore(limit)

            async def inside(one: Node) -> Any:
                async with room:
                    return await perform(one)

            return list(await asyncio.gather(*(inside(one) for one in nodes)))
        case "queue", [workers, numbers]:
            return await _through_a_queue(workers, numbers)
        case "again", [program]:
            continue_as_new(program)
        case (("hook" | "hook_waits"), _) | (("conflict" | "theirs" | "contest" | "anew" | "released" | "in_turn"), _):
            return await wait_for_payloads(kind, rest)
        case (("contend" | "sends_itself"), _):
            return await wait_for_payloads(kind, rest)
        case (("writes" | "forwarded" | "piped" | "unread" | "left"), _):
            return await through_a_stream(kind, rest)
        case "cancelled_child", [n, inner]:
            run = await start(storm, inner)
            await run.cancel()
            try:
                return await run.return_value()
            except WorkflowRunCancelledError:
                return f"child {n} cancelled"
        case "child", [_, program]:
            return await (await start(storm, program)).return_value()
        case _:
            return await race(kind, rest)


async def race(kind: str, rest: list[Any]) -> Any:  # noqa: C901 -- a case for each kind
    match kind, rest:
        case "group_fails", [n, nodes]:
            failures: list[str] = []
            try:
                async with asyncio.TaskGroup() as group:
                    for one in nodes:
                        group.create_task(perform(one))
                    group.create_task(fatal(n))
            except* OutOfLuck as failed:
                failures = [str(error) for error in failed.exceptions]
            _forgive()
            return f"group {'+'.join(failures)} failed"
        case "cancelled", [n, nodes]:
            return await _cancelled(n, nodes)
        case "cancel_all", [n]:
            return await _cancel_all(n)
        case "completed", [naps]:
            return [await one for one in asyncio.as_completed([_napped(seconds) for seconds in naps])]
        case "completed_steps", [numbers]:
            return sorted([await one for one in asyncio.as_completed([add(n) for n in numbers])])
        case "first", [n, cancel]:
            return await _first(add(n), sleep(FAR), cancel)
        case "naps_race", [soon, late, cancel]:
            return await _first(_napped(soon), _napped(late), cancel)
        case "deadline", [seconds, inner]:
            try:
                async with asyncio.timeout(seconds):
                    return await perform(inner)
            except TimeoutError:
                return "too late"
        case "in_time", [_, inner]:
            return await asyncio.wait_for(perform(inner), FAR)
        case "shielded", [_, inner]:
            return await asyncio.shield(perform(inner))
        case "generator", [nodes, taken, finally_steps, n]:
            return await _left_early(nodes, taken, finally_steps, n)
        case "forgotten", [inner]:
            _forgotten = asyncio.create_task(perform(inner))  # noqa: RUF006
            return "forgotten"
        case _:
            raise AssertionError(f"no such node: {kind} {rest}")


# -- streams ----------------------------------------------------------------------------------------------------------


async def through_a_stream(kind: str, rest: list[Any]) -> Any:
    match kind, rest:
        case "writes", [n, counts, where, resume, failures]:
            step = write_far if where == "far" else write
            await asyncio.gather(*(step(n, at, count, resume, failures) for at, count in enumerate(counts)))
            return n
        case "forwarded", [n, count]:
            return await (await start(pour, get_writable(stream_of(n)), n, count)).return_value()
        case "piped", [n, count, hops, readers, leave, pause, where]:
            stream = await produce(n, count, pause)
            for hop in range(hops):
                stream = await transform(stream, hop)
            step = consume_far if where == "far" else consume
            read = await asyncio.gather(*(step(stream, n, leave) for _ in range(readers)))
            found, complete = read[0]
            assert all(one == read[0] for one in read), f"not every reader sees the same: {read}"
            assert found == (whole := piped(n, count, hops)) or (not complete and found == whole[: len(found)]), read
            return n
        case "unread", [n, count, pause]:
            await produce(n, count, pause)
            return n
        case "left", [n, count]:
            _left = asyncio.create_task(_written(n, count))  # noqa: RUF006
            await asyncio.sleep(0)
            return n
        case _:
            raise AssertionError(f"no such node: {kind} {rest}")


async def _written(n: int, count: int) -> int:
    return await write_far(n, 0, count, False, 0)


# -- hooks ------------------------------------------------------------------------------------------------------------


async def wait_for_payloads(kind: str, rest: list[Any]) -> Any:  # noqa: C901 -- a case for each kind
    match kind, rest:
        case "hook", [n, how, payloads, inner]:
            return await _hooked(n, how, payloads, inner)
        case "hook_waits", [n]:
            return await create_hook(token_of(n))
        case "conflict", [n, _]:
            return await _in_conflict_with_itself(n)
        case "theirs", [n, _]:
            hook = create_hook(token_of(n))
            told = await (await start(storm, ["contend", n])).return_value()
            assert told == f"lost {n}", told
            return await hook
        case "contest", [n, payload]:
            return await _contest(n, payload)
        case "contend", [n]:
            return await _contend(n)
        case "anew", [n, payload]:
            create_hook(token_of(n)).dispose()
            return await _sends_itself(n, payload)
        case "released", [n, payload]:
            with create_hook(token_of(n)):
                await add(n)
            return await (await start(storm, ["sends_itself", n, payload])).return_value()
        case "in_turn", [n, payload]:
            for _ in range(2):
                assert await (await start(storm, ["sends_itself", n, payload])).return_value() == payload
            return payload
        case "sends_itself", [n, payload]:
            return await _sends_itself(n, payload)
        case _:
            raise AssertionError(f"no such node: {kind} {rest}")


async def _hooked(n: int, how: str, payloads: list[Any], inner: Node | None) -> Any:
    hook = create_hook(token_of(n), schema=int)
    senders = {number: sender for sender, _, number, _, _ in payloads}
    taken = [payload for payload in payloads if not payload[4]]

    async def between() -> Any:
        if inner is None:
            return None
        return await (offer(inner[1], hook.token) if inner[0] == "offer" else perform(inner))

    if how == "beside":
        before, found = await asyncio.gather(between(), _taken(hook, len(taken)))
    else:
        before = await between()
        if how == "never":
            return [before, f"never {n}"]
        found = await _in_some_way(n, how, hook, len(taken))
    by_sender: dict[int, list[int]] = {sender: [] for sender in sorted({payload[0] for payload in taken})}
    for number in found:
        by_sender[senders[number]].append(number)
    return [before, list(by_sender.values())]


async def _taken(hook: Hook[int], count: int) -> list[int]:
    return [await hook for _ in range(count)]


async def _in_some_way(n: int, how: str, hook: Hook[int], count: int) -> list[int]:
    found: list[int] = []
    match how:
        case "iterate":
            with hook:
                async for number in hook:
                    found.append(number)
                    if len(found) == count:
                        break
        case "gather":
            found = await asyncio.gather(*(_next(hook) for _ in range(count)))
        case "timed":
            for seconds in (0.5, 5.0):
                with suppress(TimeoutError):
                    found.append(await asyncio.wait_for(_next(hook), seconds))
                if len(found) == count:
                    break
            _forgive()
        case "raced" | "napped" | "blocked":
            rival = add(n) if how == "raced" else sleep(FAR) if how == "napped" else blocked_far(n)
            found = await _against(hook, rival, ends=how == "raced")
        case _:
            pass
    return [*found, *await _taken(hook, count - len(found))]


async def _next(hook: Hook[int]) -> int:
    return await hook


async def _against(hook: Hook[int], rival: Any, ends: bool) -> list[int]:
    """What has come of it; the hook loses against a step that ends, and wins against what does not end."""
    waiting, other = asyncio.ensure_future(_next(hook)), asyncio.ensure_future(rival)
    done, _ = await asyncio.wait([waiting, other], return_when=asyncio.FIRST_COMPLETED)
    if waiting not in done:
        waiting.cancel()
        return []
    if ends:
        await other
    else:
        other.cancel()
    return [waiting.result()]


async def _in_conflict_with_itself(n: int) -> Any:
    """The first of two hooks has the token."""
    first, second = create_hook(token_of(n)), create_hook(token_of(n))
    owner = await second.get_conflict()
    try:
        await second
    except HookConflictError as error:
        assert owner is not None
        assert owner.run_id == error.run_id == get_workflow_metadata().run_id
        return await first
    return "two hooks have one token"


async def _contest(n: int, payload: int) -> Any:
    """Two runs want one token: one is told that it is the other's, and then that one gets a payload."""
    runs = [await start(storm, ["contend", n]) for _ in range(2)]
    ends = [asyncio.ensure_future(run.return_value()) for run in runs]
    (lost, *more), (wins, *_) = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert not more
    assert lost.result() == f"lost {n}"
    await resume_hook(token_of(n), payload)
    return await wins


async def _sends_itself(n: int, payload: int) -> int:
    hook = create_hook(token_of(n), schema=int)
    await resume_hook(hook, payload)
    return await hook


async def _contend(n: int) -> Any:
    hook = create_hook(token_of(n))
    owner = await hook.get_conflict()
    try:
        return await hook
    except HookConflictError as error:
        assert owner is not None
        assert owner.run_id == error.run_id
        return f"lost {n}"


def _forgive() -> None:
    """A TaskGroup that failed leaves its own request to cancel standing, up to 3.12; the `asyncio.timeout` of 3.11.2
    takes that for somebody else's, and lets a CancelledError out instead of a TimeoutError."""
    task = asyncio.current_task()
    assert task is not None
    while task.cancelling():
        task.uncancel()


async def _napped(seconds: float) -> float:
    await sleep(seconds)
    return seconds


async def _first(quick: Any, slow: Any, cancel: bool) -> Any:
    tasks = [asyncio.ensure_future(quick), asyncio.ensure_future(slow)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert tasks[0] in done
    if cancel:
        for task in pending:
            task.cancel()
    return tasks[0].result()


async def _cancelled(n: int, nodes: list[Node]) -> str:
    tasks = [asyncio.create_task(perform(one)) for one in nodes]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    return f"cancelled {n}"


async def _cancel_all(n: int) -> str:
    """Everything else that is alive, in the order in which asyncio's set of tasks gives it."""
    tasks = [asyncio.create_task(perform([kind, FAR])) for _ in range(n) for kind in ("blocked", "nap")]
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return f"all {n}"


async def _through_a_queue(workers: int, numbers: list[int]) -> list[int]:
    queue: asyncio.Queue[int | None] = asyncio.Queue(2)
    results: list[int] = []

    async def work() -> None:
        while (n := await queue.get()) is not None:
            results.append(await add(n))

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
        for n in numbers:
            await queue.put(n)
        for _ in range(workers):
            await queue.put(None)
    return sorted(results)


async def _left_early(nodes: list[Node], taken: int, finally_steps: bool, n: int) -> list[Any]:
    async def values() -> AsyncIterator[Any]:
        try:
            for one in nodes:
                yield await perform(one)
        finally:
            if finally_steps:
                await add(n)

    found: list[Any] = []
    async for value in values():
        found.append(value)
        if len(found) == taken:
            break
    return found
