"""A workflow says how far it is: its steps write to the run's stream, and whoever likes reads along.

`python progress.py` starts a run and reads along, then comes back as a reader whose connection was lost.
"""

import asyncio

from wdk_cloud import Workflows, get_run, get_writable, start, worker

app = Workflows()


@app.step
async def write_progress(message: str) -> None:
    await get_writable(type=str).write(message)


@app.workflow
async def make_report() -> str:
    await write_progress("collecting the figures")
    await write_progress("drawing the charts")
    await write_progress("done")
    return "report.pdf"


async def watch(run_id: str, start_index: int = 0) -> None:
    """Print what is written, live; the loop ends with the run. Whoever comes back says where to go on."""
    async for index, message in get_run(run_id).readable(type=str, start_index=start_index).numbered():
        print(f"{index}: {message}")


async def main() -> None:
    async with worker(app):
        run = await start(make_report)
        await watch(run.run_id)
        print("again, from the last message on:")
        await watch(run.run_id, start_index=-1)


if __name__ == "__main__":
    asyncio.run(main())
