"""The canonical workflows: one of each kind of waiting, run by every test that disturbs something.

A `Canonical` says what to run, what happens to it meanwhile, how it ends, and how often each of its steps begins when
nothing disturbs it. Each attempt of a step notes in `journal` that it has begun and that it has finished; in a process
that has `WDK_TEST_JOURNAL` set, the notes go into that file. `WDK_TEST_WORK` makes each step last so many seconds.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from wdk_cloud import (
    FatalError,
    HookConflictError,
    HookNotFoundError,
    ReadableStream,
    Request,
    Response,
    RetryPolicy,
    Run,
    StepFailedError,
    StepInterruptedError,
    StepTimeoutError,
    StreamError,
    Workflow,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    Workflows,
    WritableStream,
    continue_as_new,
    create_hook,
    create_webhook,
    get_run,
    get_step_metadata,
    get_workflow_metadata,
    get_writable,
    github,
    remove_attributes,
    resume_hook,
    resume_webhook,
    set_attributes,
    sleep,
    start,
)

app = Workflows()

WORK = float(os.environ.get("WDK_TEST_WORK", "0"))
JOURNAL = os.environ.get("WDK_TEST_JOURNAL")

MARK_AGE = 3.0
"""Seconds, where processes are killed in real time, after which a producer is taken for dead: theirs are through in one
second, and nobody is to wait for a minute."""

SECRET = "PROVIDER_SECRET_OF_TESTS"
os.environ.setdefault(SECRET, "known to the provider and to us")


# -- the journal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """A moment in the life of one attempt. `step_id` is the public one; `at` is the machine's time."""

    run_id: str
    step_name: str
    step_id: str
    attempt: int
    moment: Literal["begun", "finished"]
    at: float


journal: list[object] = []
"""Notes, in order; whoever watches a world adds what it saw there, so that the two can be compared."""


def note(moment: Literal["begun", "finished"]) -> None:
    info = get_step_metadata()
    entry = Note(info.run_id, info.step_name.rpartition("//")[2], info.step_id, info.attempt, moment, time.time())
    journal.append(entry)
    if JOURNAL:
        file = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(vars(entry)).encode() + b"\n")
        finally:
            os.close(file)


def read_journal(path: str | os.PathLike[str]) -> list[Note]:
    """The notes that other processes have written; a last line that a death cut short is left out."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]
    return [Note(**json.loads(line)) for line in lines]


@asynccontextmanager
async def noted() -> AsyncIterator[None]:
    note("begun")
    if WORK:
        await asyncio.sleep(WORK)
    yield
    note("finished")


@contextmanager
def noted_in_thread() -> Iterator[None]:
    note("begun")
    if WORK:
        time.sleep(WORK)
    yield
    note("finished")


# -- steps ------------------------------------------------------------------------------------------------------------


class OutOfStock(FatalError):
    """Refused for good."""


@app.step
async def add(a: int, b: int) -> int:
    async with noted():
        return a + b


@app.step
def double(n: int) -> int:
    with noted_in_thread():
        return 2 * n


@app.step
async def square(n: int) -> int:
    async with noted():
        return n * n


@app.step(dispatch="queue")
async def cube(n: int) -> int:
    async with noted():
        if n == 3 and get_step_metadata().attempt == 1:
            raise ConnectionError("the third one fails at first")
        return n**3


@app.step
async def reserve(item: str) -> str:
    async with noted():
        return f"reserved {item}"


@app.step
async def refuse(item: str) -> str:
    async with noted():
        raise OutOfStock(f"no {item} left")


@app.step
async def release(item: str) -> str:
    async with noted():
        return f"released {item}"


@app.step(max_retries=2, retry=RetryPolicy(delay=0.05))
async def breaks() -> None:
    async with noted():
        raise ValueError("broken")


@app.step(cancellable=True)
async def waits() -> None:
    """Ends only by its time-out or when it is cancelled."""
    async with noted():
        await asyncio.Event().wait()


@app.step(max_retries=0)
async def pay(amount: int) -> str:
    async with noted():
        return f"paid {amount}"


@app.step
async def label(value: str) -> None:
    async with noted():
        await set_attributes(from_step=value)


@app.step
async def large(letter: str, size: int) -> str:
    async with noted():
        return letter * size


@app.step
async def offer(token: str) -> str:
    """Begins when the hook of this token can receive: then its payloads are sent."""
    async with noted():
        return token


@app.step(dispatch="queue")
async def large_elsewhere(letter: str, size: int) -> str:
    async with noted():
        return letter * size


@app.step
async def report(n: int) -> None:
    """Two streams; an attempt that follows another writes both of them again."""
    async with noted():
        words, log = get_writable(type=str), get_writable("log", type=int)
        for i in range(n):
            await words.write(f"word {i}")
            await words.drain()
            await log.write(i)
            await log.drain()


@app.step
async def go_on(n: int) -> None:
    """One that goes on where the attempt before was."""
    async with noted():
        writer = get_writable("resumed", type=int, resume=True)
        for i in range(n):
            await writer.write(i)
            await writer.drain()


@app.step
async def fill(writable: WritableStream[int], n: int) -> None:
    async with noted():
        await writable.write_from(range(n))


@app.step
async def count_up(n: int) -> AsyncIterator[int]:
    """It begins when it is recorded, so that it notes nothing."""
    for i in range(n):
        if WORK:
            await asyncio.sleep(WORK)
        yield i


@app.step
async def doubled(numbers: ReadableStream[int]) -> AsyncIterator[int]:
    async for number in numbers:
        yield 2 * number


@app.step
async def count_all(numbers: ReadableStream[int], expected: list[int]) -> str:
    """Whether all have come; of a producer that died what was durable comes, and then StreamError."""
    async with noted():
        found: list[int] = []
        try:
            async for number in numbers:
                found.append(number)
        except StreamError:
            assert found == expected[: len(found)], found
            return "cut short"
        assert found == expected, found
        return "all"


# -- workflows --------------------------------------------------------------------------------------------------------


@app.workflow
async def sequence(n: int) -> int:
    total = 0
    for i in range(n):
        total = await add(total, i)
    return await double(total)


@app.workflow
async def gathered(n: int) -> list[int]:
    return list(await asyncio.gather(*(square(i) for i in range(n))))


@app.workflow
async def group_with_failing_sibling(nap: float) -> list[str]:
    async def later() -> None:
        await sleep(nap)
        await reserve("never")

    errors: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(reserve("a"))
            group.create_task(later())
            await first
            group.create_task(refuse("b"))
    except* OutOfStock as refused:
        errors = [str(error) for error in refused.exceptions]
    return [*errors, await release("a")]


@app.workflow
async def race_won(nap: float) -> str:
    """A step against a sleep: the step wins, and nobody cancels the sleep."""
    step, nap_over = asyncio.ensure_future(add(1, 2)), asyncio.ensure_future(sleep(nap))
    done, _ = await asyncio.wait([step, nap_over], return_when=asyncio.FIRST_COMPLETED)
    return f"{'the step' if step in done else 'the sleep'}: {await step}"


@app.workflow
async def race_lost(nap: float) -> str:
    """A step against a sleep: the sleep wins, and the step is cancelled."""
    try:
        async with asyncio.timeout(nap):
            await waits()
    except TimeoutError:
        return f"given up: {await add(3, 4)}"
    return "not reached"


@app.workflow
async def retry_to_exhaustion() -> None:
    await breaks()


@app.workflow
async def timed_out(seconds: float) -> None:
    await waits.with_options(timeout=seconds, max_retries=1)()


@app.workflow
async def child(n: int) -> int:
    return await square(n) + await add(n, 1)


@app.workflow
async def parent(n: int) -> list[int]:
    run = await start(child, n)
    return [await run.return_value(), await child(n + 1)]


@app.workflow
async def cancelled_in_flight() -> None:
    await add(1, 1)
    await waits()
    await add(2, 2)


@app.workflow
async def loop_with_labels(n: int) -> int:
    total = 0
    for i in range(n):
        total = await add(total, i)
        await set_attributes(round=str(i), passing="x")
    await label("seen")
    await remove_attributes("passing")
    return total


@app.workflow
async def fan_out(n: int) -> list[int]:
    return list(await asyncio.gather(*(cube(i) for i in range(n))))


@app.workflow
async def long_sleep(nap: float) -> int:
    before = await add(1, 2)
    await sleep(nap)
    return await add(before, 10)


@app.workflow
async def paid_once() -> str:
    await add(1, 2)
    return await pay(5)


@app.workflow
async def large_values(size: int) -> str:
    here = await large("a", size)
    there = await large_elsewhere("b", len(here))
    return here + there


@app.workflow
async def continued(n: int, total: int = 0) -> int:
    total = await add(total, n)
    await set_attributes(left=str(n))
    if n:
        continue_as_new(n - 1, total)
    return await double(total)


@app.workflow
async def parent_of_continued(n: int) -> int:
    run = await start(continued, n)
    return await run.return_value()


@app.workflow
async def cancelled_after_continuing(n: int) -> None:
    await add(n, n)
    if n:
        continue_as_new(n - 1)
    await waits()


def own_token() -> str:
    """Runs of the same canonical may be alive side by side."""
    return token_of(get_workflow_metadata().run_id)


def token_of(run_id: str) -> str:
    return f"the hook of {run_id}"


@app.workflow
async def approved() -> int:
    hook = create_hook(own_token(), schema=int)
    await offer(hook.token)
    return await add(await hook, 100)


@app.workflow
async def collected(nap: float) -> list[int]:
    """Payload after payload, with a step between two, until the body wants no more. They come while it sleeps."""
    found: list[int] = []
    with create_hook(own_token(), schema=int) as hook:
        await offer(hook.token)
        await sleep(nap)
        async for n in hook:
            found.append(await add(n, 10))
            if n == 3:
                hook.dispose()
    return [*found, await double(len(found))]


@app.workflow
async def hook_in_vain(nap: float) -> list[int]:
    """A hook against a time-out and against a step; it loses both times, and no payload is lost."""
    hook = create_hook(own_token(), schema=int)
    try:
        found = [await asyncio.wait_for(hook, nap)]
    except TimeoutError:
        found = [-1]
    waiting, step = asyncio.ensure_future(hook), asyncio.ensure_future(offer(hook.token))
    done, _ = await asyncio.wait([waiting, step], return_when=asyncio.FIRST_COMPLETED)
    if step in done and waiting not in done:
        waiting.cancel()
        await add(1, 2)
    else:
        found.append(await waiting)
    while len(found) < 4:
        found.append(await hook)
    return found


@app.workflow
async def hook_against_step() -> list[int]:
    """A hook against a step that does not end: the hook wins, and the step is cancelled."""
    hook = create_hook(own_token(), schema=int)
    step = asyncio.ensure_future(waits())
    first = await hook
    step.cancel()
    return [first, await add(first, 1), await hook]


@app.workflow
async def contender(token: str) -> str:
    with create_hook(token) as hook:
        owner = await hook.get_conflict()
        try:
            await hook
        except HookConflictError as error:
            return "theirs" if owner is not None and owner.run_id == error.run_id else f"{owner} and {error.run_id}"
    return "not reached"


@app.workflow
async def contested() -> list[Any]:
    """Another run wants the token as well, and is told whose it is."""
    hook = create_hook(own_token(), schema=int)
    told = await (await start(contender, hook.token)).return_value()
    await offer(hook.token)
    return [told, await hook]


@app.workflow
async def handed_on(left: int, token: str = "", total: int = 0) -> int:
    """One payload for each run; they are sent to the first, which takes its own only."""
    token = token or own_token()
    hook = create_hook(token, schema=int)
    if not total:
        await offer(token)
    total = 10 * total + await hook
    if left:
        continue_as_new(left - 1, token, total)
    return await double(total)


@app.workflow
async def opposite(theirs: str, mine: str) -> int:
    """Says when its own hook can receive, and what it has received twice."""
    hook = create_hook(mine, schema=int)
    await resume_hook(theirs, 1)
    return await double(await hook)


@app.workflow
async def exchanged() -> list[int]:
    """Two runs send each other payloads. This one's ends the other, which is never sent it again."""
    hook = create_hook(own_token(), schema=int)
    run = await start(opposite, hook.token, f"{hook.token}, opposite")
    first = await hook
    await resume_hook(f"{hook.token}, opposite", 10 * first)
    return [first, await run.return_value()]


@app.workflow
async def requested() -> Any:
    """A webhook whose caller is answered at once."""
    webhook = create_webhook(verify=github(SECRET))
    await offer(webhook.token)
    return (await webhook).json()


@app.workflow
async def fixed_answer() -> list[Any]:
    """One whose callers all get the same response, and are two."""
    webhook = create_webhook(Response(200, "thank you"), verify=github(SECRET))
    await offer(webhook.token)
    return [(await webhook).json(), (await webhook).json()]


@app.step
async def reply(request: Request, text: str) -> None:
    async with noted():
        await request.respond_with(Response(201, text))


@app.workflow
async def answered() -> Any:
    """One whose caller is answered by a step."""
    webhook = create_webhook("manual", timeout=0.05, verify=github(SECRET))
    await offer(webhook.token)
    request = await webhook
    await reply(request, "yes")
    return request.json()


@app.workflow
async def reported(n: int) -> str:
    await report(n)
    await go_on(n)
    return "reported"


@app.workflow
async def filled(writable: WritableStream[int], n: int) -> None:
    await fill(writable, n)


@app.workflow
async def forwarded(n: int) -> str:
    """A child writes a stream of its parent."""
    await (await start(filled, get_writable("theirs", type=int), n)).return_value()
    return "filled"


@app.workflow
async def produced(n: int) -> str:
    return await count_all(await count_up(n), list(range(n)))


@app.workflow
async def transformed(n: int) -> str:
    return await count_all(await doubled(await count_up(n)), [2 * i for i in range(n)])


# -- what to do with them, and what to expect -------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a run ends: with a result, or with these types of errors, each the cause of the one before."""

    result: object = None
    errors: tuple[type[BaseException], ...] = ()


@dataclass(frozen=True)
class Act:
    """Something that a client does, once, when a step of this name has begun."""

    when_begun: str
    do: Callable[[Run[Any]], Awaitable[None]]


@dataclass(frozen=True)
class Canonical:
    workflow: Workflow[..., Any]
    arguments: tuple[object, ...]
    ends: Ended
    bodies: Mapping[str, int]
    """How often the bodies of the steps of each name begin when nothing disturbs the run (and its child)."""
    when_cut_short: Ended | None = None
    """How it ends when a death took a producer, which is not run again."""
    streams: Mapping[str, Sequence[object]] = field(default_factory=dict[str, Sequence[object]])
    """What lies in those that it names; an attempt that was interrupted may have left a part of it before."""
    resumed: frozenset[str] = frozenset()
    """Those of them of which nothing is left twice."""
    when_interrupted: Ended | None = None
    """How it ends when a death took a step's last attempt."""
    act: Act | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    in_real_time: tuple[object, ...] | None = None
    """Arguments for tests that do not move the clock themselves."""
    steps_await_the_clock: bool = False
    """A step of it runs until the clock has moved."""

    @property
    def name(self) -> str:
        return self.workflow.fn.__name__

    @property
    def brief(self) -> tuple[object, ...]:
        return self.arguments if self.in_real_time is None else self.in_real_time


DAY = 86_400.0

_interrupted = Ended(errors=(WorkflowRunFailedError, StepFailedError, StepInterruptedError))


async def _cancel(run: Run[Any]) -> None:
    await run.cancel("no longer needed")


def _payloads(*payloads: int) -> Callable[[Run[Any]], Awaitable[None]]:
    """A caller whose every answer is lost: it sends each payload again, with its key."""

    async def do(run: Run[Any]) -> None:
        token = token_of(run.run_id)
        for payload in payloads:
            for again in (False, True):
                try:
                    await resume_hook(token, payload, key=f"payload {payload}")
                except HookNotFoundError:
                    if not again and await run.status() == "running":
                        raise

    return do


def _requests(status: int, *bodies: int, waits: bool = False) -> Callable[[Run[Any]], Awaitable[None]]:
    """A provider that sends each event twice, as providers do; what it hears is checked. One that waits for an answer
    sends it once; the worker may have died: then it is too late, and the run goes on."""

    async def do(run: Run[Any]) -> None:
        (token,) = [
            json.loads(str(event.data["input"]))["token"]
            async for event in run.events()
            if event.type == "step_created" and event.step_name == offer.id
        ]
        for body in bodies:
            for again in (False, True)[: 1 if waits else 2]:
                signed = hmac.new(os.environ[SECRET].encode(), f"{body}".encode(), "sha256").hexdigest()
                headers = {"X-Hub-Signature-256": f"sha256={signed}", "X-GitHub-Delivery": f"event {body}"}
                try:
                    answer = await resume_webhook(token, Request("POST", "/", headers, f"{body}"))
                except HookNotFoundError:
                    if not again and await run.status() == "running":
                        raise
                else:
                    assert answer.status == status or (waits and answer.status in (502, 504)), answer

    return do


CANONICALS = [
    Canonical(sequence, (4,), Ended(12), {"add": 4, "double": 1}),
    Canonical(gathered, (5,), Ended([0, 1, 4, 9, 16]), {"square": 5}),
    Canonical(
        group_with_failing_sibling,
        (3600.0,),
        Ended(["no b left", "released a"]),
        {"reserve": 1, "refuse": 1, "release": 1},
        in_real_time=(600.0,),
    ),
    Canonical(race_won, (3600.0,), Ended("the step: 3"), {"add": 1}, in_real_time=(600.0,)),
    Canonical(
        race_lost,
        (12.0,),
        Ended("given up: 7"),
        {"waits": 1, "add": 1},
        in_real_time=(0.3,),
        steps_await_the_clock=True,
    ),
    Canonical(
        retry_to_exhaustion,
        (),
        Ended(errors=(WorkflowRunFailedError, StepFailedError, ValueError)),
        {"breaks": 3},
        when_interrupted=_interrupted,
    ),
    Canonical(
        timed_out,
        (5.0,),
        Ended(errors=(WorkflowRunFailedError, StepFailedError, StepTimeoutError)),
        {"waits": 2},
        when_interrupted=_interrupted,
        in_real_time=(0.2,),
        steps_await_the_clock=True,
    ),
    Canonical(parent, (3,), Ended([13, 21]), {"square": 2, "add": 2}),
    Canonical(
        cancelled_in_flight,
        (),
        Ended(errors=(WorkflowRunCancelledError,)),
        {"add": 1, "waits": 1},
        act=Act("waits", _cancel),
    ),
    Canonical(loop_with_labels, (3,), Ended(3), {"add": 3, "label": 1}, labels={"round": "2", "from_step": "seen"}),
    Canonical(fan_out, (6,), Ended([0, 1, 8, 27, 64, 125]), {"cube": 7}),
    Canonical(long_sleep, (3 * DAY,), Ended(13), {"add": 2}, in_real_time=(0.2,)),
    Canonical(
        paid_once,
        (),
        Ended("paid 5"),
        {"add": 1, "pay": 1},
        when_interrupted=Ended(errors=(WorkflowRunFailedError, StepInterruptedError)),
    ),
    Canonical(large_values, (6000,), Ended("a" * 6000 + "b" * 6000), {"large": 1, "large_elsewhere": 1}),
    Canonical(continued, (2,), Ended(6), {"add": 3, "double": 1}, labels={"left": "0"}),
    Canonical(parent_of_continued, (1,), Ended(2), {"add": 2, "double": 1}),
    Canonical(
        cancelled_after_continuing,
        (1,),
        Ended(errors=(WorkflowRunCancelledError,)),
        {"add": 2, "waits": 1},
        act=Act("waits", _cancel),
        steps_await_the_clock=True,  # a first run whose worker died passes the cancel on when its lease is over
    ),
    Canonical(approved, (), Ended(107), {"offer": 1, "add": 1}, act=Act("offer", _payloads(7))),
    Canonical(
        collected,
        (3600.0,),
        Ended([11, 12, 13, 6]),
        {"offer": 1, "add": 3, "double": 1},
        act=Act("offer", _payloads(1, 2, 3)),
        in_real_time=(0.2,),
    ),
    Canonical(
        hook_in_vain,
        (3600.0,),
        Ended([-1, 1, 2, 3]),
        {"offer": 1, "add": 1},
        act=Act("offer", _payloads(1, 2, 3)),
        in_real_time=(0.2,),
    ),
    Canonical(
        hook_against_step,
        (),
        Ended([1, 2, 2]),
        {"waits": 1, "add": 1},
        act=Act("waits", _payloads(1, 2)),
        steps_await_the_clock=True,
    ),
    Canonical(contested, (), Ended(["theirs", 5]), {"offer": 1}, act=Act("offer", _payloads(5))),
    Canonical(
        handed_on,
        (2,),
        Ended(246),
        {"offer": 1, "double": 1},
        act=Act("offer", _payloads(1, 2, 3)),
        steps_await_the_clock=True,  # a first run whose worker died passes on what it has when its lease is over
    ),
    Canonical(exchanged, (), Ended([1, 20]), {"double": 1}),
    Canonical(requested, (), Ended(7), {"offer": 1}, act=Act("offer", _requests(202, 7))),
    Canonical(fixed_answer, (), Ended([7, 8]), {"offer": 1}, act=Act("offer", _requests(200, 7, 8))),
    Canonical(
        answered,
        (),
        Ended(7),
        {"offer": 1, "reply": 1},
        act=Act("offer", _requests(201, 7, waits=True)),
    ),
    Canonical(
        reported,
        (3,),
        Ended("reported"),
        {"report": 1, "go_on": 1},
        streams={"default": ["word 0", "word 1", "word 2"], "log": [0, 1, 2], "resumed": [0, 1, 2]},
        resumed=frozenset({"resumed"}),
    ),
    Canonical(forwarded, (3,), Ended("filled"), {"fill": 1}, streams={"theirs": [0, 1, 2]}),
    Canonical(
        produced,
        (3,),
        Ended("all"),
        {"count_all": 1},
        when_cut_short=Ended("cut short"),
        steps_await_the_clock=True,  # a reader learns by it that its producer has died
    ),
    Canonical(
        transformed,
        (3,),
        Ended("all"),
        {"count_all": 1},
        when_cut_short=Ended("cut short"),
        steps_await_the_clock=True,
    ),
]


async def chain_of(run: Run[Any]) -> list[Run[Any]]:
    """The run, and those that go on for it."""
    runs = [run]
    while (following := (await runs[-1].info()).continued_to) is not None:
        runs.append(get_run(following))
    return runs


async def how_it_ended(run: Run[Any], timeout: float = 5.0) -> Ended:
    try:
        return Ended(await run.return_value(timeout=timeout))
    except (WorkflowRunFailedError, WorkflowRunCancelledError) as error:
        errors: list[type[BaseException]] = []
        link: BaseException | None = error
        while link is not None:
            errors.append(type(link))
            link = link.__cause__
        return Ended(errors=tuple(errors))
