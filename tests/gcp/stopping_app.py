"""What `test_stopping.py` has served: each beginning of a body is a line in a file, and a long step goes on until
another file is there."""

import asyncio
import os
import time
from pathlib import Path

from wdk_cloud import Workflows, get_step_metadata

app = Workflows()

EFFECTS, GO = Path(os.environ.get("EFFECTS", "")), Path(os.environ.get("GO", ""))


def note(what: str) -> None:
    with EFFECTS.open("a") as file:
        file.write(f"{what}\n")


@app.step
async def before() -> None:
    note("before")


@app.step(max_retries=2)
async def inline() -> None:
    note(f"inline {get_step_metadata().attempt}")
    while not GO.exists():
        await asyncio.sleep(0.02)


@app.step(max_retries=2)
def thread() -> None:
    note(f"thread {get_step_metadata().attempt}")
    while not GO.exists():
        time.sleep(0.02)


@app.step(max_retries=2, dispatch="queue")
async def queued() -> None:
    note(f"queued {get_step_metadata().attempt}")
    while not GO.exists():
        await asyncio.sleep(0.02)


@app.step
async def after() -> None:
    note("after")


@app.workflow(name="long")
async def long(kind: str) -> str:
    await before()
    await {"inline": inline, "thread": thread, "queued": queued}[kind]()
    await after()
    return "done"
