"""Bad input as values: what cannot be recorded is refused with its path, what looks bad and can be comes back as it was.

`test_bad_input.py` says where the rest of the bad input is tested.
"""

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Play, describe
from wdk_cloud import SerializationError, Workflows, list_runs, sleep, start, use_world, worker
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.local import LocalWorld


@dataclass
class Item:
    lock: object


@dataclass
class Order:
    items: list[Item]


def deep(levels: int = 10_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def with_a_lock() -> dict[str, Any]:
    return {"items": [0, 1, 2, {"lock": threading.Lock()}]}


def objects_with_a_lock() -> Order:
    return Order([Item(0), Item(1), Item(2), Item(threading.Lock())])


_A_LOCK = (
    f"a value of type {type(threading.Lock()).__module__}.{type(threading.Lock()).__qualname__} cannot be recorded; pass "
    "what it is made of, or register the class with register_serializable(cls, serialize=…, deserialize=…)"
)
_DEEP = "is nested more than 200 levels deep, or contains itself; pass a flatter value"

BAD: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a lock": (with_a_lock, ".items[3].lock", _A_LOCK),
    "a lock in an object": (objects_with_a_lock, ".items[3].lock", _A_LOCK),
    "10,000 deep": (deep, "[0]" * 7 + "…" + "[0]" * 8, _DEEP),
    "cyclic": (cyclic, ".self" * 7 + "…" + ".self" * 8, _DEEP),
    "a function": (lambda: [len], "[0]", "builtin_function_or_method"),
}
each_bad_value = pytest.mark.parametrize(("make", "place", "reason"), BAD.values(), ids=BAD)


def check(path: str, text: str, owner: str, name: str, place: str, reason: str) -> None:
    """The error begins with whose value it is and where in it, and says why."""
    if "…" in place:  # of a long path both ends are shown, eight places each with the name where it begins the path
        head, _, tail = place.partition("…")
        assert path.startswith(name + head)
        assert path.endswith("…" + tail)
    else:
        assert path == name + place
    assert text.startswith(f"{owner}: {path}: ")
    assert reason in text


@each_bad_value
def test_a_start_argument_that_cannot_be_recorded_starts_nothing(
    warm: Play, make: Callable[[], Any], place: str, reason: str
) -> None:
    app = Workflows()

    @app.workflow(name="sell")
    async def body(order: object, _typed: Order | None = None) -> None: ...

    async def scenario(env: WorkflowEnv) -> None:
        with pytest.raises(SerializationError) as caught:
            await start(body, make())
        check(caught.value.path, str(caught.value), "workflow sell", "order", place, reason)
        assert await list_runs() == []
        assert env.clock.next_due() is None

    warm.scene(scenario, app, start_worker=False)


@each_bad_value
def test_an_argument_of_a_step_that_cannot_be_recorded_calls_nothing_and_the_run_stays_healthy(
    play: Play, make: Callable[[], Any], place: str, reason: str
) -> None:
    app = Workflows()
    calls: list[object] = []

    @app.step(name="pack")
    async def pack(order: object, _typed: Order | None = None) -> str:
        calls.append(order)
        return "packed"

    @app.workflow
    async def body() -> list[str]:
        try:
            await pack(make())
        except SerializationError as error:
            path, text = error.path, str(error)
        return [path, text, await pack("a hat")]

    finished = play(body)
    path, text, packed = finished.value
    check(path, text, "step pack", "order", place, reason)
    assert (packed, calls, finished.count("step_created")) == ("packed", ["a hat"], 1)


@each_bad_value
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_result_of_a_step_that_cannot_be_recorded_fails_it_without_retry(
    play: Play, dispatch: Any, make: Callable[[], Any], place: str, reason: str
) -> None:
    app = Workflows()
    attempts = 0

    @app.step(name="pack", dispatch=dispatch)
    async def pack(_typed: Order | None = None) -> Any:
        nonlocal attempts
        attempts += 1
        return make()

    @app.workflow
    async def body() -> list[str]:
        try:
            await pack()
        except SerializationError as error:
            await sleep(1)
            return [error.path, str(error)]
        return []

    finished = play(body)
    check(*finished.value, "step pack", "result", place, reason)
    assert (attempts, finished.count("step_failed"), finished.count("step_completed")) == (1, 1, 0)


@each_bad_value
def test_a_result_of_a_workflow_that_cannot_be_recorded_fails_the_run(
    play: Play, make: Callable[[], Any], place: str, reason: str
) -> None:
    app = Workflows()

    @app.workflow(name="sell")
    async def body(_typed: Order | None = None) -> Any:
        await sleep(1)
        return make()

    finished = play(body)
    assert type(finished.error) is SerializationError
    check(finished.error.path, str(finished.error), "workflow sell", "result", place, reason)
    assert finished.info.error_code == "USER_ERROR"
    assert (
        str(finished.failure)
        == f"run {finished.run.run_id} of sell failed with USER_ERROR: SerializationError: {finished.error}"
    )
    assert finished.types[-2:] == ["wait_completed", "run_failed"]


# -- what looks bad and is not ------------------------------------------------------------------------------------------------

STRANGE: dict[str, Any] = {
    "inf": [math.inf, -math.inf, -0.0],
    "lone surrogates": ["\ud800", {"\udfff": "a\udc80b"}],
    "large integers": [2**63, 2**64, -(2**64) - 1, 10**400, {2**70: 2**65 + 1}],
    "0 bytes": b"",
    "empty": ["", [], {}, (), set(), frozenset()],
    "199 levels": deep(198),
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_strange_value_comes_back_as_it_was_by_every_way(play: Play, dispatch: Any, value: Any) -> None:
    app = Workflows()
    received: list[Any] = []

    @app.step(dispatch=dispatch)
    async def echo(value: Any) -> Any:
        received.append(value)
        return value

    @app.workflow
    async def body(value: Any) -> Any:
        echoed = await echo(value)
        await sleep(1)
        assert repr(echoed) == repr(value)
        return echoed

    finished = play(body, value)
    for copy in (received[0], finished.value):
        assert copy == value
        assert repr(copy) == repr(value)
    assert len(received) == 1


def test_nan_comes_back_as_nan_by_every_way(play: Play) -> None:
    app = Workflows()

    @app.step
    async def echo(value: float) -> float:
        return value

    @app.workflow
    async def body(value: float) -> list[float]:
        return [value, await echo(value), await echo(math.nan)]

    result = play(body, math.nan).value
    assert len(result) == 3
    assert all(map(math.isnan, result))


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_result_may_have_100_megabytes(tmp_path: Path, warm: Play, kind: str) -> None:
    app = Workflows()
    size = 100_000_000
    attempts = 0

    @app.step
    async def load() -> bytes:
        nonlocal attempts
        attempts += 1
        return bytes(size)

    @app.workflow
    async def body() -> bytes:
        return await load()

    async def on_disk() -> bytes:
        world = LocalWorld(tmp_path / "local.db")
        await world.open()
        try:
            with use_world(world):
                async with worker(app):
                    return await (await start(body)).return_value(timeout=50)
        finally:
            await world.close()

    result = asyncio.run(on_disk()) if kind == "local" else warm(body).value
    assert len(result) == size
    assert not result.strip(b"\0")
    assert attempts == 1


def test_a_result_beyond_the_limit_fails_its_step_without_retry_and_says_what_to_do(
    warm: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdk_cloud.codec.values.HARD_LIMIT", 1000)  # 256 MB would take a gigabyte of the test's memory
    app = Workflows()
    attempts = 0

    @app.step(name="load")
    async def load() -> str:
        nonlocal attempts
        attempts += 1
        return "x" * 999

    @app.workflow
    async def body() -> str:
        try:
            await load()
        except SerializationError as error:
            return str(error)
        return "?"

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.run_until_blocked()
        assert (await describe(run)).value == (
            "step load: result: takes 1,001 bytes as JSON, more than the 1,000 that can be recorded; put it into a file or "
            "an object store and pass its name"
        )
        assert attempts == 1
        with pytest.raises(SerializationError, match="put it into a file or an object store and pass its name"):
            await start(takes, "x" * 999)
        assert len(await list_runs()) == 1

    @app.workflow
    async def takes(text: str) -> None: ...

    warm.scene(scenario, app)
