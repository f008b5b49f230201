"""`make demo`: a run survives the death of its worker. Everything here is a process of its own, as in real life."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wdk_cloud import get_run
from wdk_cloud.cli.console import open_world

HERE = Path(__file__).resolve().parent
WDK = [sys.executable, "-m", "wdk_cloud.cli"]
EMAIL = "ada@example.com"

PATIENCE = 30.0
"""Seconds after which something must have gone wrong; all of it takes about seven."""


class WorkerProcess:
    """`wdk worker` as a process, its output shown line by line."""

    def __init__(self, name: str) -> None:
        print("$ wdk worker &", flush=True)
        self._name = name
        self._process = subprocess.Popen([*WDK, "worker"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._serves = threading.Event()
        self._reader = threading.Thread(target=self._show, daemon=True)
        self._reader.start()
        self._serves.wait(PATIENCE)

    def _show(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"  {self._name} | {line.rstrip()}", flush=True)
            self._serves.set()

    def kill(self) -> None:
        """SIGKILL: no handler, no `finally`, no goodbye."""
        self._process.kill()
        self._finish()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._finish()

    def _finish(self) -> None:
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)


def wdk(*words: str) -> str:
    """Run a `wdk` command in a process of its own, and show it."""
    print(f"$ wdk {' '.join(words)}", flush=True)
    done = subprocess.run([*WDK, *words], stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE)
    print(done.stdout, end="", flush=True)
    return done.stdout.strip()


def wait_for(run_id: str, reached: Callable[[set[str]], bool]) -> None:
    """Return when the types of the run's events satisfy `reached`."""

    deadline = time.monotonic() + PATIENCE
    while not reached(asyncio.run(event_types(run_id))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} does not get on")
        time.sleep(0.05)


async def event_types(run_id: str) -> set[str]:
    async with open_world("local"):
        return {event.type async for event in get_run(run_id).events()}


def main() -> None:
    workers: list[WorkerProcess] = []
    try:
        run_id = wdk("start", "signup", EMAIL)
        workers.append(WorkerProcess("worker 1"))
        wait_for(run_id, lambda types: "wait_created" in types)
        print("\nThe workflow sleeps, and its worker is killed with SIGKILL:\n\n$ kill -9 %1", flush=True)
        workers[0].kill()
        print("\nAnother worker takes over. What is done is not done again:\n", flush=True)
        workers.append(WorkerProcess("worker 2"))
        wait_for(run_id, lambda types: bool(types & {"run_completed", "run_failed", "run_cancelled"}))
        workers[1].stop()
        print("\nThis is what happened:\n", flush=True)
        wdk("inspect", "run", run_id)
    finally:
        for worker in workers:
            worker.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="wdk-demo-") as folder:
        os.chdir(folder)  # for a `.wdk` of its own
        os.environ |= {
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "WDK_APP": "workflows:app",
            "WDK_WORLD": "local",
            "WDK_LOCAL_PATH": ".wdk/local.db",
            "WDK_LOG": "ERROR",
            "SIGNUP_SEED": "friday",  # the first welcome meets a busy mail server
            "COLUMNS": "100",
        }
        main()
