"""The handler as a function has it: from the wheels, in an environment of its own, beside an app in a task folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

STOP_WITHIN = 10.0
"""Seconds; a process that was told to end ends at once."""

APP = """
import asyncio
import os
import signal
from pathlib import Path

from wdk_cloud import Workflows, get_writable

app = Workflows()
here = Path(os.environ["MARKS"])


@app.step
async def greet(name: str) -> str:
    return f"hello {name}"


@app.step(max_retries=1)
async def die_once(name: str) -> str:
    mark = here / name
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{name} lives"


@app.step
async def count() -> None:
    async with get_writable() as writer:
        for number in range(3):
            await writer.write(number)
            await writer.drain()
            while not (here / f"go{number}").exists():
                await asyncio.sleep(0.01)


@app.step
async def dawdle() -> None:
    (here / "dawdling").touch()
    await asyncio.sleep(60)


@app.workflow(name="greeting")
async def greeting(name: str) -> str:
    return await greet(name)


@app.workflow(name="survivor")
async def survivor(name: str) -> str:
    return await die_once(name)


@app.workflow(name="counting")
async def counting() -> None:
    await count()


@app.workflow(name="dawdling")
async def dawdling() -> None:
    await dawdle()
"""


class Installed:
    """An environment with the wheels and what they need, and nothing of this checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv/bin/python"
        self.task = folder / "task"
        self.marks = folder / "marks"

    def make(self) -> None:
        wheels = self.folder / "wheels"
        for project in (ROOT, ROOT / "adapters/aws"):
            _run(
                UV,
                "build",
                "--quiet",
                "--wheel",
                "--no-build-isolation",
                "--python",
                sys.executable,
                "--out-dir",
                wheels,
                project,
            )
        _run(UV, "venv", "--quiet", "--python", sys.executable, self.folder / "venv")
        constraints = ROOT / "requirements/dev.txt"
        wanted = [*sorted(wheels.glob("*.whl")), "awslambdaric"]
        _run(UV, "pip", "install", "--quiet", "--python", self.python, "--constraint", constraints, *wanted)
        self.task.mkdir()
        self.marks.mkdir()
        (self.task / "jobs.py").write_text(APP)

    @contextmanager
    def running(
        self, command: Sequence[str | Path], environ: Mapping[str, str], log: Path
    ) -> Iterator[subprocess.Popen[bytes]]:
        plain = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LAMBDA_TASK_ROOT": str(self.task),
            "MARKS": str(self.marks),
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": str(self.task),
            "WDK_APP": "jobs:app",
            **environ,
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=self.task, env=plain, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(STOP_WITHIN)


def _run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def resources_as_variables(endpoint: str, settings: object) -> dict[str, str]:
    """What a function is told of a world that stands at one endpoint."""
    from wdk_aws.settings import VARIABLES

    named = {variable: getattr(settings, name) for name, variable in VARIABLES.items()}
    return {
        **named,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
