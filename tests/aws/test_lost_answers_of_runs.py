"""Whole runs on the function, with the answer of each of its requests lost in turn: boto3 sends it again, no delivery and
no client fails, and no step happens twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from benchmarks.aws_stage import Performance, Theatre, theatre
from wdk_aws.testing.faults import Fault, Faults, without_pauses
from wdk_cloud import Workflows, create_hook, resume_hook, sleep, start

LARGE = random.Random(0).randbytes(6_000).hex()

app = Workflows()

done: Counter[str] = Counter()


@app.step(dispatch="inline")
async def here(text: str) -> str:
    done["here"] += 1
    return text[::-1]


@app.step(dispatch="queue")
async def elsewhere(text: str) -> str:
    done["elsewhere"] += 1
    return text[::-1]


@app.workflow
async def stepping(text: str) -> str:
    return await elsewhere(await here(text))


@app.workflow
async def sleeping() -> str:
    await sleep("2 days")
    return await here("abc")


@app.workflow
async def hooked() -> str:
    return await here(await create_hook("a token"))


@app.workflow
async def parent() -> str:
    return await (await start(stepping, "abc")).return_value()


async def step(stage: Performance) -> Any:
    return await start(stepping, LARGE)


async def rest(stage: Performance) -> Any:
    return await start(sleeping)


async def wait(stage: Performance) -> Any:
    run = await start(hooked)
    await stage.to_the_end()
    await resume_hook("a token", "abc")
    return run


async def beget(stage: Performance) -> Any:
    return await start(parent)


SCENES: dict[str, tuple[Callable[[Performance], Awaitable[Any]], str, dict[str, int]]] = {
    "steps with large values": (step, LARGE, {"here": 1, "elsewhere": 1}),
    "a sleep": (rest, "cba", {"here": 1}),
    "a hook": (wait, "cba", {"here": 1}),
    "a child": (beget, "abc", {"here": 1, "elsewhere": 1}),
}


class Lossy:
    def __init__(self, found: Theatre) -> None:
        self.theatre = found
        self.faults = Faults()
        self.faults.attach(found.stage.session)

    async def play(self, scene: str, number: int | None = None) -> tuple[int, int]:
        """How many calls and how many invocations there were; the answer of one of the calls is lost."""
        begin, result, effects = SCENES[scene]
        done.clear()
        async with self.theatre.performance([app]) as stage:
            if number is not None:
                self.faults.at(number, Fault.ANSWER_LOST)
            before = self.faults.calls
            with stage.measured() as part:
                run = await begin(stage)
                await stage.to_the_end()
            calls = self.faults.calls - before
            self.faults.clear()
            assert await run.status() == "completed", number
            assert await run.return_value() == result, number
        assert done == effects, number
        return calls, part.invocations


@pytest.fixture(scope="module")
def lossy() -> Iterator[Lossy]:
    with theatre() as found, without_pauses():
        yield Lossy(found)


@pytest.mark.parametrize("scene", SCENES)
def test_a_run_survives_each_lost_answer_and_does_nothing_twice(
    lossy: Lossy, scene: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        calls, invocations = await lossy.play(scene)
        for number in range(1, calls + 1):
            lossy.faults.met.clear()
            _, now = await lossy.play(scene, number)
            (met,) = lossy.faults.met
            # A message that is sent twice is received twice, and one that was received for nobody once more.
            again = met.operation in ("sqs.SendMessageBatch", "sqs.ReceiveMessage")
            assert now == invocations or (again and now > invocations), met

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
