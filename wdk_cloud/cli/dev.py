"""`wdk dev` and `wdk worker`: serve the app's runs until somebody stops it."""

import asyncio
import dataclasses
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wdk_cloud.app import Workflows
from wdk_cloud.cli.console import UsageError, command, err, open_world, out, place_of
from wdk_cloud.cli.listening import PORT, Listener, answering, listen
from wdk_cloud.cli.options import AppSpec, WorldName
from wdk_cloud.cli.reload import stop_with, supervise, welcome
from wdk_cloud.cli.sources import load_apps
from wdk_cloud.worker import checked_settings, sweep_each_minute, worker
from wdk_cloud.world.opening import make_world
from wdk_cloud.world.ports import World

log = logging.getLogger("wdk_cloud.cli")

PATIENCE = 1.0
"""Seconds that a plain function in a thread gets to end before the process leaves it behind."""


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk dev --app signup:app")(dev)
    program.command("worker", epilog="Example: WDK_APP=signup:app wdk worker")(serve_quietly)


@command
async def dev(
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a Python file below this folder changes; runs go on.")
    ] = False,
    reloaded_by: Annotated[int | None, typer.Option("--reloaded-by", hidden=True, help="The watching process.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            envvar="WDK_PORT",
            help=f"Where HTTP is served: {PORT} unless given, 0 takes any.",
        ),
    ] = None,
    app: AppSpec = None,
    world: WorldName = None,
) -> None:
    """Serve the app on this machine, with HTTP, until Ctrl-C.

    A worker, its schedules, a sweep each minute and the routes of webhooks and the API, in one process.
    """
    if reload and reloaded_by is None:
        if make_world(world or "local").name == "memory":
            raise UsageError("the memory world ends with each process: nothing would be left after a reload")
        if (listener := listen(port)) is not None:
            listener.socket.close()  # it is free; and the token that was made goes to each process that serves
        await supervise(Path.cwd())
        return
    apps = load_apps(app)
    check_workflows(apps)
    await serve(apps, world, friendly=True, watched_by=reloaded_by, listener=listen(port))


@command
async def serve_quietly(app: AppSpec = None, world: WorldName = None) -> None:
    """Serve the app without HTTP.

    A worker, its schedules and a sweep each minute, until Ctrl-C.
    """
    apps = load_apps(app)
    check_workflows(apps)
    await serve(apps, world, friendly=False)


def check_workflows(apps: Sequence[Workflows]) -> None:
    if not any(app.workflows for app in apps):
        raise UsageError("the app has no workflows; does its module import the modules that declare them?")


async def serve(
    apps: list[Workflows],
    world: str | None,
    *,
    friendly: bool,
    watched_by: int | None = None,
    listener: Listener | None = None,
) -> None:
    set_up_output()
    settings = checked_settings()
    if listener is not None and not settings.public_url:
        settings = dataclasses.replace(settings, public_url=listener.url)
    stop = stop_signals()  # before anything says that it serves: whoever reads that may stop it at once
    async with (
        open_world(world, serving=True) as opened,
        worker(*apps, settings=settings) as workers,
        answering(listener, apps, workers),
    ):
        if friendly:
            introduce(apps, opened, listener, settings.public_url)
        else:
            err.print(f"serving on {place_of(opened)}", soft_wrap=True)
        beside = [asyncio.create_task(sweep_each_minute(workers))]
        if watched_by is not None:
            beside += [asyncio.create_task(stop_with(watched_by, stop)), asyncio.create_task(welcome(apps, workers))]
        await stop.wait()
        err.print("stopping; runs go on when the next worker starts")
        for task in beside:
            task.cancel()
        for outcome in await asyncio.gather(*beside, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("beside the worker something failed", exc_info=outcome)
    _leave_threads_behind()


def introduce(apps: Sequence[Workflows], world: World, listener: Listener | None, public_url: str) -> None:
    """What is served, where, and what to do next."""
    workflows = [workflow for app in apps for workflow in app.workflows.values()]
    steps = sum(len(app.steps) for app in apps)
    first = workflows[0]
    words = " ".join(name.upper() for name in first.signature.hints if name != "return")
    lines = {
        "workflows": ", ".join(workflow.fn.__qualname__ for workflow in workflows)
        + f" (and {steps} step{'s' * (steps != 1)})",
        "schedules": ", ".join(
            f"{workflow.fn.__qualname__} ({workflow.schedule.text} {workflow.schedule.timezone})"
            for workflow in workflows
            if workflow.schedule is not None
        ),
        "world": place_of(world),
        **(listener.lines(public_url) if listener is not None else {"http": "not served: install wdk-cloud[http]"}),
        "start": f"wdk start {first.fn.__qualname__} {words}".rstrip(),
        "inspect": "wdk inspect runs",
        "stop": "Ctrl-C; runs go on when the next worker starts",
    }
    for what, text in lines.items():
        if text:
            err.print(f"{what:<10} {text}", soft_wrap=True)


def set_up_output() -> None:
    """Logs to stderr at the level of WDK_LOG; what steps print appears at once, also through a pipe."""
    level = (os.environ.get("WDK_LOG") or "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"WDK_LOG={level} is no level; there are: DEBUG, INFO, WARNING, ERROR")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(line_buffering=True)


def stop_signals() -> asyncio.Event:
    """Set at the first Ctrl-C or SIGTERM; a second one ends the process as usual."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, first)
    return stop


def _leave_threads_behind() -> None:
    """A plain function cannot be ended from outside, and Python waits for it at exit: its attempt is interrupted, as
    after any death of a process, so there is nothing to wait for."""
    deadline = time.monotonic() + PATIENCE
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("wdk-step")]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    running = sum(thread.is_alive() for thread in threads)
    if running:
        message = (
            f"steps that still run in threads: {running}. They are interrupted; their runs go on with the next worker"
        )
        err.print(message, soft_wrap=True)
        out.file.flush()
        os._exit(0)
