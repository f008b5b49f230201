"""A history is replayed by processes that share nothing but the hash seed: other heaps, other addresses, other ages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROCESSES = 10

ORDERS = """
import asyncio, pathlib, pickle, sys

padding = [object() for _ in range(int(sys.argv[3]) * 1009)]  # every later object has another address

from wdk_cloud import NondeterminismError, Workflows
from wdk_cloud.testing import replay, workflow_env

app = Workflows()


@app.step(name="pack")
async def pack(word: str) -> str:
    return word


@app.workflow(name="orders")
async def orders() -> list[str]:
    words = {f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in ("cup", "box", "pen", "hat")}
    packed = [await pack(word) for word in words]
    both = frozenset(packed) | {"one more"}
    return packed + list(await asyncio.gather(*[pack(word) for word in both]))


async def record():
    async with workflow_env("memory", app) as env:
        run = await env.start(orders)
        await env.run_to_end(run)
        return [event async for event in run.events()]


history = pathlib.Path(sys.argv[2])
if sys.argv[1] == "record":
    history.write_bytes(pickle.dumps(asyncio.run(record())))
else:
    try:
        replay(orders, pickle.loads(history.read_bytes()))
    except NondeterminismError as error:
        print("another order:", error.differences[0])
    else:
        print("the same beside", len(padding))
"""


def run(task: str, history: Path, padding: int, seed: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ORDERS, task, str(history), str(padding)],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "history"
    assert run("record", path, 0) == ""
    return path


def test_a_body_that_iterates_a_set_of_strings_replays_in_ten_fresh_processes(history: Path) -> None:
    answers = [run("replay", history, number) for number in range(1, PROCESSES + 1)]
    assert answers == [f"the same beside {number * 1009}" for number in range(1, PROCESSES + 1)]


def test_with_another_hash_seed_it_takes_another_order_and_the_replay_says_so(history: Path) -> None:
    assert run("replay", history, 1, seed=1).startswith("another order: ")
