"""What a worker says of the runs that its sweep wakes."""

import asyncio
import importlib
import logging
from types import SimpleNamespace

from wdk_cloud import Workflows, start, use_world
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld

workers = importlib.import_module("wdk_cloud.worker")  # the package has a function of that name

DAY = 86400

app = Workflows()


@app.workflow
async def nothing() -> None:
    pass


def test_what_waited_while_no_worker_was_there_is_no_reason_for_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(workers, "SWEEP_EVERY", 0.001)
    caplog.set_level(logging.INFO, "wdk_cloud")

    async def main():
        world = MemoryWorld(clock=VirtualClock())
        await world.open()
        with use_world(world):
            await start(nothing)
            world.clock.advance_to(world.clock.now() + DAY)
            engine = workers.engine_for(world, [app])
            sweeping = asyncio.create_task(workers.sweep_each_minute([SimpleNamespace(engine=engine)]))
            while len(caplog.records) < 2:  # nobody works here, so each sweep finds the run
                await asyncio.sleep(0)
            sweeping.cancel()
            engine.close()

    asyncio.run(main())
    assert [(record.levelname, record.getMessage()) for record in caplog.records[:2]] == [
        ("INFO", "the sweep woke 1 run that waited for a worker"),
        ("WARNING", "the sweep woke 1 run that showed no progress"),
    ]
