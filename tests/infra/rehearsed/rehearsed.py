"""What the rehearsal's stacks run, beside the example signup. Each effect is a line in a file that the run names."""

import asyncio
import os
from pathlib import Path

from wdk_cloud import (
    Request,
    Response,
    RetryPolicy,
    Workflows,
    create_hook,
    create_webhook,
    get_step_metadata,
    get_writable,
    sleep,
)

app = Workflows()

VERSION = "first"  # the second deployment has another one

LOOK_EVERY = 0.05


def note(ledger: str, line: str) -> None:
    with Path(ledger).open("a") as file:
        file.write(f"{line}\n")


# --- retries ----------------------------------------------------------------------------------------------------------


@app.step(max_retries=3, retry=RetryPolicy(delay=1.5, backoff=1))
async def stubborn(ledger: str) -> int:
    attempt = get_step_metadata().attempt
    note(ledger, f"attempt {attempt}")
    if attempt < 3:
        raise RuntimeError("not yet")
    return attempt


@app.step(dispatch="queue")
async def elsewhere(ledger: str) -> str:
    note(ledger, "elsewhere")
    return "elsewhere"


@app.workflow(name="persistent")
async def persistent(ledger: str) -> list[int | str]:
    return [await stubborn(ledger), await elsewhere(ledger)]


# --- webhooks ---------------------------------------------------------------------------------------------------------


@app.step
async def publish(ledger: str, urls: list[str]) -> None:
    for url in urls:
        note(ledger, url)


@app.step
async def answer(request: Request) -> None:
    await request.respond_with(Response(201, f"made {request.text()}", {"X-Made-By": "a step"}))


@app.workflow(name="asked")
async def asked(ledger: str) -> list[str]:
    plain = create_webhook()
    fixed = create_webhook(respond_with=Response(200, "thanks", {"X-Kind": "fixed"}))
    manual = create_webhook(respond_with="manual")
    await publish(ledger, [plain.url, fixed.url, manual.url])
    requests = [await plain, await fixed]
    requests.append(await manual)
    await answer(requests[-1])
    return [f"{request.method} {request.text()}" for request in requests]


# --- a stream ---------------------------------------------------------------------------------------------------------


@app.step
async def speak(ledger: str, signal: str) -> None:
    async with get_writable() as writer:
        await writer.write("one")
        await writer.write("two")
        await writer.drain()
        note(ledger, "spoken")
        while not Path(signal).exists():
            await asyncio.sleep(LOOK_EVERY)
        await writer.write("three")


@app.workflow(name="speaker")
async def speaker(ledger: str, signal: str) -> None:
    await speak(ledger, signal)


# --- a death ----------------------------------------------------------------------------------------------------------


@app.step
async def step_of(ledger: str, name: str) -> str:
    note(ledger, name)
    return name


@app.step
async def dies(ledger: str) -> int:
    attempt = get_step_metadata().attempt
    note(ledger, f"dies {attempt} {os.getpid()}")
    while attempt == 1:
        await asyncio.sleep(LOOK_EVERY)  # until somebody kills this process
    return attempt


@app.workflow(name="mortal")
async def mortal(ledger: str) -> list[int | str]:
    return [await step_of(ledger, "before"), await dies(ledger), await step_of(ledger, "after")]


# --- a second deployment ----------------------------------------------------------------------------------------------


@app.step
async def version(ledger: str) -> str:
    note(ledger, VERSION)
    return VERSION


@app.workflow(name="overtaken")
async def overtaken(ledger: str, token: str) -> list[str]:
    before = await version(ledger)
    payload = await create_hook(token=token)
    return [before, payload, await version(ledger)]


# --- schedules --------------------------------------------------------------------------------------------------------


@app.workflow(name="hourly", schedule="every 1 hour")
async def hourly() -> None:
    await sleep(0.1)
