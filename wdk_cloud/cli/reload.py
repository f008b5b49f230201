"""`wdk dev --reload`: a process that serves, and one above it that starts it anew when a source file changes.

A new process, not new modules in the old one: whatever the old code holds is gone with it, and its leases count as run
out at once. Each serving process has a code version of its own that no other can be compared with. A run whose log
asks for other code than today's is then handed on, as in a deployment that is rolled back, and does not fail: it goes
on when the code fits again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import typer

from wdk_cloud.cli.console import CommandError, err
from wdk_cloud.cli.replay import compare_run
from wdk_cloud.cli.tables import plain
from wdk_cloud.errors import WorkflowError
from wdk_cloud.world.ports import Message, RunQuery

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path

    from wdk_cloud.app import Workflows
    from wdk_cloud.worker import Worker

POLL = 0.4
"""Seconds between two looks at the files: soon enough after a save, and a thousand files cost a few milliseconds."""

LONGEST_STOP = 10.0
"""Seconds that the serving process gets to put its messages back; after that its death does it."""

MOST_COMPARED = 100
"""Running runs that a new process compares with its code, newest first: more would keep it from serving."""

NOT_OURS = frozenset(("__pycache__", "node_modules", "site-packages"))

Snapshot = dict[str, tuple[int, int]]


def snapshot(folder: Path) -> Snapshot:
    """Time and size of all Python files below the folder, without hidden folders and environments."""
    found: Snapshot = {}
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_OURS]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        for name in files:
            if name.endswith(".py"):
                with contextlib.suppress(OSError):  # it is gone again; editors do that while they save
                    stat = os.stat(file := os.path.join(path, name))
                    found[file] = stat.st_mtime_ns, stat.st_size
    return found


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """The files that are new, gone or different."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


async def supervise(folder: Path) -> None:
    """Keep a serving process of today's code until somebody stops this one."""
    stop, by_terminal = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: (by_terminal.set(), stop.set()))
    seen, generation = snapshot(folder), 0
    while not stop.is_set():
        generation += 1
        child = await _start(generation)
        seen = await _until_change(child, folder, seen, stop, first=generation == 1)
        # Ctrl-C goes to both of us; a second signal would end the serving process before it has put anything back.
        await _end(child, tell=not by_terminal.is_set())


async def _until_change(child: Process, folder: Path, seen: Snapshot, stop: asyncio.Event, *, first: bool) -> Snapshot:
    """The files as they are when one has changed, or somebody stops us."""
    told = False
    while not stop.is_set():
        now = snapshot(folder)
        if files := changed(seen, now):
            err.print(f"\n{', '.join(file.removeprefix(f'{folder}/') for file in files)} changed; starting anew")
            return now
        if child.returncode is not None:
            if first:
                raise typer.Exit(child.returncode)  # as without --reload
            if not told:
                err.print("not serving; waiting for the next change")
                told = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL)
    return seen


async def _start(generation: int) -> Process:
    environment = {
        **os.environ,
        "WDK_CODE_VERSION": f"reload-{os.getpid()}-{generation}",
        # A file that is saved twice in a second with one length looks to Python's cache as if it were the same.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *sys.orig_argv[1:], "--reloaded-by", str(os.getpid())]
    return await asyncio.create_subprocess_exec(*command, env=environment)


async def _end(child: Process, *, tell: bool) -> None:
    for number in (signal.SIGTERM if tell else None, signal.SIGTERM, signal.SIGKILL):
        if child.returncode is not None:
            return
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), LONGEST_STOP)


# --- in the serving process -------------------------------------------------------------------------------------------


async def stop_with(parent: int, stop: asyncio.Event) -> None:
    """Set `stop` when the process that watches the files is gone: nobody would start us anew."""
    while os.getppid() == parent:  # noqa: ASYNC110 -- the system tells nobody, on every platform, that a parent died
        await asyncio.sleep(POLL)
    stop.set()


async def welcome(apps: Sequence[Workflows], workers: Sequence[Worker]) -> None:
    """Try again at once what was handed on, and show what of the running runs today's code does not fit."""
    for worker in workers:
        world, engine = worker.engine.world, worker.engine
        heads = (await world.runs.list_heads(RunQuery(status="running", limit=MOST_COMPARED))).heads
        again = [
            (Message(kind="sweep", run_id=head.run_id, birth=head.birth, identity=engine.identity()), 0.0)
            for head in heads
            if head.trouble is not None
        ]
        if again:
            await world.queue.send(again)
        for head in heads:
            try:
                compared = await compare_run(apps, world, head)
            except (WorkflowError, CommandError) as error:
                err.print(f"run {head.run_id} cannot be compared with the code: {error}", soft_wrap=True)
                continue
            if not compared.agrees:
                err.print(f"run {head.run_id} does not fit this code and waits for code that it fits:", soft_wrap=True)
                for difference in compared.differences:
                    err.print(f"  - {plain(difference, 2000)}", style="red", soft_wrap=True)
