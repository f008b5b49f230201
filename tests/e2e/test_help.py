"""The example of each `--help`, typed by a reader: found by going through the program, so that no command lacks one."""

import json
import subprocess
import sys

import click
import pytest
import typer

from tests.e2e.pages import PATIENCE, ROOT, environment
from wdk_cloud.cli.program import program

SIGNUP = """
from wdk_cloud import FatalError, Workflows, create_hook, get_writable

app = Workflows()

@app.step
async def greet(email: str) -> None:
    await get_writable().write(f"hello, {email}")

@app.workflow
async def signup(email: str) -> str:
    if "@" not in email:
        raise FatalError(f"{email} is not an address")
    await greet(email)
    return email

@app.workflow
async def approval() -> dict:
    return await create_hook("order:17")
"""


def found_in(command, words):
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from found_in(child, (*words, name))


COMMANDS = dict(found_in(typer.main.get_command(program), ("wdk",)))
EXAMPLE = "Example: "


def example_of(words):
    epilog = COMMANDS[words].epilog or ""
    assert epilog.startswith(EXAMPLE), f"{' '.join(words)} --help has no example"
    return epilog.removeprefix(EXAMPLE)


class Reader:
    """A folder with signup.py, and runs in the states that the examples speak of."""

    def __init__(self, folder):
        self.folder = folder
        self.env = environment(PYTHONPATH=str(ROOT), WDK_APP="signup:app")
        (folder / "signup.py").write_text(SIGNUP)

    def start(self, command):
        return subprocess.Popen(
            ["bash", "-c", f"exec env {command}"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command, code=0):
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == code, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def served(self, command):
        """A server under this command, once it says that it serves; and what it said."""
        process = self.start(command)
        for line in process.stdout:
            if line.startswith(("stop", "serving")):
                return process
        raise AssertionError(f"$ {command} ended with {process.wait()}")


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


def stopped(process):
    process.terminate()
    process.communicate(timeout=PATIENCE)
    return process.returncode


NEEDS_A_LIVE_RUN = {"cancel", "wake", "delete", "run", "steps", "events", "runs", "inspect", "sweep", "health"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_example_of_a_help_works(words, reader):
    example = example_of(words)
    assert " ".join(words) in example or len(words) == 1, f"the example of {' '.join(words)} is of another command"
    name = words[-1]
    if "wdk dev" in example or "wdk worker" in example:
        assert stopped(reader.served(example)) == 0
        return
    if name in ("hooks", "resume"):
        server = reader.served("wdk worker")
        reader.type("wdk start approval --run-id wrun_0123")
        while not json.loads(reader.type("wdk inspect hooks --json"))["hooks"]:
            pass  # the worker has not come to it yet
        said = reader.type(example)
        assert ("wrun_0123" in said, "order:17" in said) == (True, False)
        assert stopped(server) == 0
        return
    if name in NEEDS_A_LIVE_RUN:
        reader.type("wdk start signup you@example.com --run-id wrun_0123")
    if name == "start":
        server = reader.served("wdk worker")
        assert json.loads(reader.type(example)) == "you@example.com"
        assert stopped(server) == 0
        return
    if name in ("streams", "stream"):
        server = reader.served("wdk worker")
        reader.type("wdk start signup you@example.com --run-id wrun_0123 --wait")
        assert {"streams": '"name": "default"', "stream": "hello, you@example.com"}[name] in reader.type(example)
        assert stopped(server) == 0
        return
    if name in ("retry", "replay"):
        server = reader.served("wdk worker")
        reader.type("wdk start signup nobody --run-id wrun_0123 --wait", code=1)
        reader.type("wdk inspect events wrun_0123 --json > history.json")
        assert stopped(server) == 0
    reader.type(example)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_shows_its_example_and_what_its_options_are_for(words):
    done = subprocess.run(
        [sys.executable, "-m", "wdk_cloud.cli", *words[1:], "--help"],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert example_of(words) in " ".join(done.stdout.split())
    for option in COMMANDS[words].params:
        assert getattr(option, "help", None) or isinstance(option, click.Argument), option.name
