"""Requests to a webhook, beside the same route doing one bare insert into SQLite, by turns in one run.

Both are Starlette apps behind the same server on a socket of this machine, and the same client asks, in a process of
its own, over connections that it keeps. The floor commits one row with what a webhook records of a request (method,
URL, headers, body); its database has the mode of the local world. A webhook finds its token and its run, puts the
request into the run's inbox and sends a message, each durable before it answers. The worker of the run is not here: it
would take processor time that belongs to what is done with requests, not to receiving them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.figures import Figure, Report
from benchmarks.fresh import ENVIRONMENT, PATIENCE
from benchmarks.measuring import Cost, in_turns
from benchmarks.stage import make_world, serving
from benchmarks.workflows import app, called, urls
from wdk_cloud import start
from wdk_cloud.http.application import BASE, build
from wdk_cloud.http.authentication import nobody
from wdk_cloud.http.served import Served
from wdk_cloud.http.server import serving as serving_http
from wdk_cloud.webhooks import ROUTE

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from benchmarks.measuring import Folder, Series
    from benchmarks.plan import Plan
    from wdk_cloud.world.ports import World

SHARE = 0.5
CALLERS = (32, 1)
"""At once. The target is that of many: one alone waits for each of two commits, and shares them with nobody."""

BODY = json.dumps({"approved": True, "by": "somebody@example.com", "note": "x" * 400}).encode()


def run(plan: Plan, folder: Folder) -> Report:
    figures: list[Figure] = []
    for callers in CALLERS:
        ours, floor = in_turns(
            plan.rounds,
            lambda callers=callers: asyncio.run(_webhook(folder.new_database(), plan.requests, callers)),
            lambda callers=callers: asyncio.run(_floor(folder.new_database(), plan.requests, callers)),
        )
        figures += _figures(ours, floor, plan.requests, callers)
        folder.clear()
    return Report(figures, {"requests": plan.requests, "bytes": len(BODY)})


def _figures(ours: Series, floor: Series, requests: int, callers: int) -> list[Figure]:
    name = f"webhook requests, {callers} at once"
    share = floor.multiple_of(ours)
    least = SHARE if callers == CALLERS[0] else None
    return [
        Figure(f"{name} ÷ a bare insert, per second", "local", share.wall, "×", least=least),
        Figure(f"{name} ÷ a bare insert, per CPU second", "local", share.cpu, "×"),
        Figure(f"{name}, per second", "local", requests / ours.median.wall, "requests"),
        Figure(f"a bare insert, {callers} at once, per second", "local", requests / floor.median.wall, "requests"),
    ]


async def _webhook(path: Path, requests: int, callers: int) -> Cost:
    world = make_world("local", path)
    urls.clear()
    async with serving(world) as workers:
        run = await start(called)
        while not (head := await world.runs.head(run.run_id)) or not urls or head.holder is not None:
            await asyncio.sleep(0.001)
        for one in workers:
            await one.stop()  # it would work on what comes
        token = urls[0].rpartition("/")[2]
        cost = await _asked(build(Served([app]), nobody, "receiver"), ROUTE + token, requests, callers)
        await _check(world, run.run_id, requests)
    return cost


async def _check(world: World, run_id: str, requests: int) -> None:
    head = await world.runs.head(run_id)
    assert head is not None
    came = len(await world.runs.items(run_id, head.birth))
    if came != requests:
        raise AssertionError(f"{requests} requests were sent, and {came} came")


async def _floor(path: Path, requests: int, callers: int) -> Cost:
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = NORMAL")
    sql.execute("CREATE TABLE requests (token TEXT, method TEXT, url TEXT, headers TEXT, body BLOB)")

    async def insert(request: Request) -> Response:
        headers = json.dumps(request.headers.items())
        row = (request.path_params["token"], request.method, str(request.url), headers, await request.body())
        sql.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", row)
        return Response(status_code=202)

    try:
        bare = Starlette(routes=[Route(f"{BASE}/webhook/{{token}}", insert, methods=["POST"])])
        cost = await _asked(bare, f"{ROUTE}token", requests, callers)
        (came,) = sql.execute("SELECT count(*) FROM requests").fetchone()
        if came != requests:
            raise AssertionError(f"{requests} requests were sent, and {came} came")
    finally:
        sql.close()
    return cost


async def _asked(asgi: ASGIApp, path: str, requests: int, callers: int) -> Cost:
    """Serve, and have it asked from another process. The time is the client's, the processor's that of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    order = [sys.executable, "-m", "benchmarks.webhooks", str(port), path, str(requests), str(callers)]
    async with serving_http(asgi, listener):
        cpu = time.process_time()
        client = await asyncio.create_subprocess_exec(*order, stdout=subprocess.PIPE, env=ENVIRONMENT)
        said, _ = await asyncio.wait_for(client.communicate(), PATIENCE)
        return Cost(float(said), time.process_time() - cpu)


# --- the client, in a process of its own ------------------------------------------------------------------------------


async def _ask(port: int, path: str, requests: int, callers: int) -> float:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    numbers = iter(range(requests))
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(callers)]

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in numbers:
            writer.write(head.encode() + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 202 "):
                raise AssertionError(answer)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(caller(*connection) for connection in connections))
    return time.perf_counter() - began


if __name__ == "__main__":
    print(asyncio.run(_ask(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
