"""The handler as a function has it: from the wheels beside an app, or from the zip of `wdk build aws`; each in an
environment of its own."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV, WDK = (Path(sys.executable).with_name(name) for name in ("uv", "wdk"))
CONSTRAINTS = ROOT / "requirements/dev.txt"

MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
"""This one, as Lambda calls it."""

STOP_WITHIN = 10.0
"""Seconds; a process that was told to end ends at once."""

APP = """
import asyncio
import os
import signal
from pathlib import Path

from wdk_cloud import Workflows, fetch, get_step_metadata, get_writable, sleep

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
async def dawdle() -> str:
    # For longer than any function of these tests has, but the first time only.
    mark = here / "dawdling"
    if not mark.exists():
        mark.touch()
        await asyncio.sleep(60)
    return f"attempt {get_step_metadata().attempt}"


@app.step
async def draw(size: int) -> bytes:
    return os.urandom(size)


@app.workflow(name="greeting")
async def greeting(name: str) -> str:
    return await greet(name)


@app.workflow(name="survivor")
async def survivor(name: str) -> str:
    return await die_once(name)


@app.workflow(name="demanding")
async def demanding(url: str) -> int:
    # Asks for all that the function has clients for: HTTP, a blob, a schedule.
    found = await fetch(url)
    drawn = await draw(found.status * 1000)
    await sleep("2 days")
    return len(drawn)


@app.workflow(name="counting")
async def counting() -> None:
    await count()


@app.workflow(name="dawdling")
async def dawdling() -> str:
    return await dawdle()
"""


class Function:
    """An environment, and the folder of a function's code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv/bin/python"
        self.task = folder / "task"
        self.marks = folder / "marks"
        self.told: dict[str, str] = {}
        """What the function's settings say of its code."""

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
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),  # nobody may write beside a function's code
            **self.told,
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


class Installed(Function):
    """The wheels and what they need, and nothing of this checkout."""

    def make(self, distributions: Path) -> None:
        wheels = [wheel for name in ("wdk_cloud", "wdk_cloud_aws") for wheel in distributions.glob(f"{name}-*.whl")]
        make_environment(self.folder / "venv", *wheels, "awslambdaric")
        self.task.mkdir()
        self.marks.mkdir()
        (self.task / "jobs.py").write_text(APP)
        self.told = {"WDK_APP": "jobs:app"}


class Unpacked(Function):
    """The zip of `wdk build aws` for this machine and this Python; beside it AWS's runtime client and nothing else."""

    def make(self) -> None:
        project, output = self.folder / "project", self.folder / "build"
        project.mkdir()
        self.marks.mkdir()
        (project / "jobs.py").write_text(APP)
        options = ("--app", "jobs:app", "--project", project, "--architecture", MACHINE, "--output", output)
        _run(WDK, "build", "aws", *options, MARKS=str(self.marks))
        with zipfile.ZipFile(output / "function.zip") as opened:
            for entry in opened.infolist():
                Path(opened.extract(entry, self.task)).chmod(entry.external_attr >> 16)
        make_environment(self.folder / "venv", "awslambdaric")

    def copy(self, folder: Path, without: str | None = None, app: str | None = None) -> Unpacked:
        """The same without one of its packages, or with another app, as a second deployment has it."""
        made = Unpacked(folder)
        made.python, made.marks = self.python, self.marks
        shutil.copytree(self.task, made.task)
        if without is not None:
            shutil.rmtree(made.task / without)
        if app is not None:
            (made.task / "jobs.py").write_text(app)
        return made


def make_environment(folder: Path, *wanted: str | Path) -> None:
    """With these packages, at the versions of this checkout, and what they need."""
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin/python"
    _run(UV, "pip", "install", "--quiet", "--python", python, "--constraint", CONSTRAINTS, *wanted)


def _run(*command: object, **environ: str) -> None:
    words = list(map(str, command))
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
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
