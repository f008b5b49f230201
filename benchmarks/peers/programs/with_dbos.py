"""DBOS on SQLite, without the admin server and its log. The words are a folder, and `default` or `normal`.

DBOS leaves SQLite its defaults: a rollback journal and synchronous=FULL. With `normal` each connection is told to use
the write-ahead log and synchronous=NORMAL, as wdk-cloud does by default.
"""

import asyncio
import sys
import time
from pathlib import Path

from dbos import DBOS
from protocol import serve
from sqlalchemy import Engine, event, text


@DBOS.step()
async def moment(number: int) -> int:
    return time.monotonic_ns()


@DBOS.workflow()
async def row(steps: int) -> int:
    last = 0
    for number in range(steps):
        last = await moment(number)
    return last


@DBOS.workflow()
async def gathered(steps: int) -> int:
    return max(await asyncio.gather(*(moment(number) for number in range(steps))))


def run(workflow):
    async def to_its_end(steps):
        return await (await DBOS.start_workflow_async(workflow, steps)).get_result()

    return to_its_end


def use_write_ahead_log(connection, _record):
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


EXPECTED = {"default": ("delete", 2), "normal": ("wal", 1)}
"""Journal mode and `synchronous` (2 is FULL, 1 is NORMAL) that the figures are labelled with."""


def check(instance, setting):
    with instance._sys_db.engine.connect() as connection:
        found = tuple(connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous"))
    if found != EXPECTED[setting]:
        raise SystemExit(f"DBOS uses {found}, not {EXPECTED[setting]}")


async def main(folder, setting):
    if setting == "normal":
        event.listen(Engine, "connect", use_write_ahead_log)
    instance = DBOS(
        config={
            "name": "peers",
            "system_database_url": f"sqlite:///{folder / 'dbos.db'}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    check(instance, setting)
    try:
        await serve({"row": run(row), "gathered": run(gathered)})
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
