"""Several streams of one run: each namespace is a stream of its own, with a type of its own.

`python channels.py` starts a run and reads both.
"""

import asyncio
from dataclasses import dataclass

from wdk_cloud import Workflows, get_writable, start, worker

app = Workflows()


@dataclass
class LogEntry:
    level: str
    message: str


@dataclass
class Metric:
    cpu: int
    memory: int


@app.step
async def write_logs() -> None:
    logs = get_writable("logs", type=LogEntry)
    await logs.write(LogEntry("info", "started"))
    await logs.write(LogEntry("info", "at work"))


@app.step
async def write_metrics() -> None:
    metrics = get_writable("metrics", type=Metric)
    await metrics.write(Metric(cpu=45, memory=512))
    await metrics.write(Metric(cpu=52, memory=520))


@app.step
async def close_streams() -> None:
    """The end of the run would close them, too; who reads one is done sooner."""
    await get_writable("logs").close()
    await get_writable("metrics").close()


@app.workflow
async def work() -> None:
    await write_logs()
    await write_metrics()
    await close_streams()


async def main() -> None:
    async with worker(app):
        run = await start(work)
        async for entry in run.readable("logs", type=LogEntry):
            print(f"{entry.level}: {entry.message}")
        async for metric in run.readable("metrics", type=Metric):
            print(f"{metric.cpu} % of the processor, {metric.memory} MB")


if __name__ == "__main__":
    asyncio.run(main())
