"""`wdk health`: what it counts, and what it calls wrong."""

import json
import sqlite3

import pytest

from tests.unit.test_cli import answer, complaint, completed, document, serve, shop, wdk
from tests.unit.test_cli_replay import change_to

__all__ = ["shop"]


def unhealthy(*words):
    result = wdk("health", *words, "--json", code=1)
    return json.loads(result.stdout)


def made_overdue(run_id):
    """As if all messages of the run had been lost some time ago."""
    with sqlite3.connect(".wdk/local.db") as database:
        database.execute("DELETE FROM messages")
        database.execute("UPDATE heads SET wake_by = 1000.0 WHERE run_id = ?", (run_id,))
    database.close()


def test_a_healthy_world_is_counted():
    asleep, waiting = answer("start", "nap"), None
    serve(asleep, until="wait_created")
    completed("lost")
    waiting = answer("start", "nap")
    answer("start", "nap")
    answer("start", "nap", "--delay", "1h")
    found = document("health")
    since = document("inspect", "run", waiting)["created_at"]
    assert found == {
        "healthy": True,
        "problems": [],
        "world": "local, .wdk/local.db",
        "pending": 3,
        "running": 1,
        "failed": 1,
        "oldest_waiting": {"run_id": waiting, "workflow_name": "workflow//shop//nap", "since": since},
        "without_progress": [],
        "handed_on": [],
    }
    lines = answer("health").splitlines()
    assert lines[:4] == [
        "world    local, .wdk/local.db",
        "pending  3",
        "running  1",
        "failed   1 of those created in the last 1h",
    ]
    assert lines[4].startswith(f"oldest   {waiting} (nap) waits for a worker since ")
    assert lines[5:] == ["stuck    0 without progress, 0 that no worker can go on with"]
    assert document("health", "--lately", "0 s")["failed"] == 0


def test_runs_without_progress_are_wrong_and_the_sweep_mends_it():
    run_id = answer("start", "nap", "0.001")
    made_overdue(run_id)
    found = unhealthy()
    expected = {"run_id": run_id, "workflow_name": "workflow//shop//nap", "since": "1970-01-01T00:16:40.000000Z"}
    assert (found["healthy"], found["without_progress"]) == (False, [expected])
    told = complaint("health", code=1)
    assert told.startswith(f"error: 1 run without progress, the first of them {run_id} since 1970-01-01 00:16:40 UTC")
    assert answer("sweep") == "1 run woken"
    serve(run_id)
    assert document("health")["healthy"] is True


def test_runs_that_no_worker_can_go_on_with_are_wrong():
    run_id = answer("start", "nap")
    change_to("from wdk_cloud import Workflows\n\napp = Workflows()\n")
    with_trouble(run_id)
    found = unhealthy()
    (one,) = found["handed_on"]
    assert (one["run_id"], "is not registered" in one["reason"]) == (run_id, True)
    assert found["problems"][0].startswith(f"1 run that no worker can go on with, the first of them {run_id} since ")


def with_trouble(run_id):
    """A worker without the run's code has had it."""
    import asyncio

    import shop

    from wdk_cloud import worker
    from wdk_cloud.world.local import LocalWorld
    from wdk_cloud.world.opening import use_world

    async def main():
        world = LocalWorld()
        await world.open()
        try:
            with use_world(world):
                async with worker(shop.app):
                    while (head := await world.runs.head(run_id)).trouble is None or head.holder is not None:
                        await asyncio.sleep(0.002)
        finally:
            await world.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_world_that_cannot_be_opened_is_wrong(shop):
    assert "there are no runs here" in unhealthy()["problems"][0]
    (shop / ".wdk").mkdir()
    (shop / ".wdk" / "local.db").write_text("no database at all, but long enough to be read as one " * 100)
    assert unhealthy()["healthy"] is False
    assert complaint("health", code=1).startswith("error: ")


@pytest.mark.parametrize("words", [["--world", "moon"], ["--lately", "soon"], ["--world", "memory"]])
def test_what_cannot_be_asked_is_wrong_usage(words):
    complaint("health", *words, code=2)
