"""Pages of documentation, run as their readers would: Python block after block, `$ wdk …` line after line.

A Python block that begins with `# name.py` is that file in the reader's folder. One that calls `asyncio.run` is a
program of its own. All others are typed into one session: what earlier blocks of the page made is there, `await` works
at the top, `env` is the session's workflow_env, and a worker serves every app of the page. The session's clock moves on
whenever nothing else does, so an example may sleep for a month.
"""

import ast
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

from wdk_cloud import Workflows, worker
from wdk_cloud.testing import workflow_env

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")

PATIENCE = 40
"""Seconds for a page; the longest takes some ten."""


A_STEP = 0.05
"""Real seconds that a step of an example gets before the clock moves on without it; none needs a tenth of that."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    @property
    def file(self):
        found = FILE.match(self.text)
        return found[1] if found else None

    @property
    def is_program(self):
        return "asyncio.run(" in self.text


def blocks(page):
    text = page.read_text()
    return [
        Block(found[2], found[3], text.count("\n", 0, found.start()) + 2)
        for found in BLOCK.finditer(text)
        if not found[1]
    ]


def environment(**more):
    """As in a terminal: nothing of ours is set, and the hash seed is nobody's business."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("WDK_", "PYTHONHASHSEED"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), plain["PATH"]])
    fixed = {"PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}
    # Several pages are read at once on this machine, and one port serves one of them.
    return {**plain, **fixed, "WDK_PORT": "0", **more}


# --- Python -----------------------------------------------------------------------------------------------------------


def run_python(page, folder):
    """Every Python block of a page; raises what a block raises."""
    session = [block for block in blocks(page) if block.language == "python"]
    for block in session:
        if block.file:
            (folder / block.file).write_text(block.text)
    for block in session:
        if block.is_program:
            run_program(block, folder)
    session = [block for block in session if not block.file and not block.is_program]
    if session:
        asyncio.run(asyncio.wait_for(Session(page).run(session), PATIENCE))


def run_program(block, folder):
    name = block.file or "program.py"
    (folder / name).write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=folder,
        env=environment(PYTHONHASHSEED="0"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Session:
    """The blocks of one page, executed in one module."""

    def __init__(self, page):
        self.page = page
        self.module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
        self.served = contextlib.AsyncExitStack()
        self.apps = set()

    async def run(self, session):
        sys.modules[self.module.__name__] = self.module
        try:
            async with workflow_env("memory", start_worker=False) as env, self.served:
                vars(self.module)["env"] = env  # for pages that wait until somebody would send something
                clock = asyncio.create_task(self.keep_moving(env))
                for block in session:
                    await self.execute(block, env)
                clock.cancel()
        finally:
            del sys.modules[self.module.__name__]

    async def execute(self, block, env):
        """Statement by statement: what one declares is served before the next one awaits it."""
        for statement in ast.parse("\n" * (block.line - 1) + block.text, str(self.page)).body:
            part = ast.Module([statement], [])
            waiting = eval(compile(part, str(self.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), self.module.__dict__)
            if waiting is not None:
                await waiting
            await self.serve(env)

    async def serve(self, env):
        for value in list(vars(self.module).values()):
            if isinstance(value, Workflows) and value not in self.apps:
                self.apps.add(value)
                env.workers += await self.served.enter_async_context(worker(value))

    async def keep_moving(self, env):
        """Nothing is worked on, or only a step that waits for something itself, and so does the example: time passes."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(env.run_until_blocked(), A_STEP)
            due = env.clock.next_due()
            if due is not None:
                env.clock.advance_to(due)
            await asyncio.sleep(0.001)


# --- the command line -------------------------------------------------------------------------------------------------


class Terminal:
    """A folder with the README's signup, or the page's own files, and what is typed there."""

    def __init__(self, folder, app):
        self.folder = folder
        self.env = environment(WDK_APP=app)
        # The README's mail server is busy at random; with this seed it never is six times in a row.
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text("import random\n\nrandom.seed(1)\n")
        self.env["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), str(ROOT)])
        self.servers = []
        self.run_id = None

    def type(self, page):
        """Every `$ wdk …`, `$ until wdk …`, `$ export …` and `$ python -m pytest …` of the page, in a folder with the
        page's files; where the page shows what comes back, that has to come."""
        for block in blocks(page):
            if block.file:
                (self.folder / block.file).write_text(block.text)
        try:
            for block in blocks(page):
                if block.language == "console":
                    for command, shown in commands(block):
                        self.enter(command, shown)
        finally:
            self.leave()

    def enter(self, command, shown):
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.env[name] = subprocess.run(
                ["bash", "-c", f"printf %s {value}"], env=self.env, capture_output=True, text=True, check=True
            ).stdout
        elif re.match(r"(\w+=\S+ )*wdk (dev|worker)\b(?!.*--help)", command):
            self.start_server(command, shown)
        elif re.match(r"(until )?(\w+=\S+ )*(wdk|python -m pytest)\b", command):
            self.call(command, shown)

    def start_server(self, command, shown):
        self.leave()
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {command.removesuffix('&')}"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.servers.append(process)
        said = []
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith(("stop", "serving")):
                break
        else:
            raise AssertionError(f"$ {command}\n" + "\n".join(said))
        if shown:
            assert without_blanks(quiet(said)) == quiet(shown), f"$ {command}"
        return said

    def call(self, command, shown):
        if "RUN_ID" in command:
            assert self.run_id, f"$ {command}: no run was started before"
            command = command.replace("RUN_ID", self.run_id)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        fails = any(line.startswith("error:") for line in shown)
        assert (done.returncode != 0) is fails, f"$ {command}\n{done.stdout}"
        if shown:
            assert without_blanks(quiet(done.stdout.splitlines())) == quiet(shown), f"$ {command}\n{done.stdout}"
        found = re.search(r"\bwrun_\w{26}\b", done.stdout)
        if "wdk start" in command and found:
            self.run_id = found[0]

    def leave(self):
        while self.servers:
            process = self.servers.pop()
            process.kill()
            process.communicate()


def commands(block):
    """Each line after `$ `, with the lines that the page shows as its output."""
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  #")[0].strip(), []))
        elif found and line.strip():
            found[-1][1].append(line)
    return found


def quiet(lines):
    """Ids, times, ports, tokens and widths vary; all the rest has to be the same each time."""
    text = "\n".join(lines)
    text = re.sub(r"wrun_\w{26}|\bRUN_ID\b", "RUN", text)
    text = re.sub(r"\b\d{10}\.[0-9a-f]{12}\b", "VERSION", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"(<?\d+(\.\d+)?) (ms|s)\b", "TIME", text)
    text = re.sub(r"\b127\.0\.0\.1:\d+", "HOST", text)
    text = re.sub(r"^(token +)[\w-]{32}(?!\S)", r"\1TOKEN", text, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def without_blanks(lines):
    return [line for line in lines if line]
