"""What the processes do that `test_removal_deaths.py` kills: `python -m tests.e2e.erasing FILE RUN_ID MOMENT`.

Each deletes the run as `wdk delete` does, and kills itself: just before the call on the world of that number, or, when
the moment is `folding`, when all is erased and the write-ahead log is yet to be folded. It prints its calls if it lives.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, NoReturn

from tests.faults import Call, FaultyWorld, Life, OfACaller, Plan
from wdk_cloud import get_run
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world


def kill_yourself() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL did nothing")


class KillAt(Plan):
    def __init__(self, number: int) -> None:
        self._number = number

    def before(self, call: Call, life: Life) -> None:
        if call.number == self._number:
            kill_yourself()


async def main(path: str, run_id: str, moment: str) -> None:
    world = LocalWorld(path)
    await world.open()
    if moment == "folding":
        database: Any = world._database
        database.fold_log = kill_yourself
        moment = "0"
    life = OfACaller(KillAt(int(moment)))
    with use_world(FaultyWorld(world, life)):
        await get_run(run_id).delete()
    await world.close()
    print(life.calls)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
