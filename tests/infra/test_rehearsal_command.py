"""`wdk rehearse aws`, as docs/rehearsal.md shows it."""

import inspect
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from tests.infra.rehearsing import PATIENCE, ROOT, WDK, environ, typed, until
from wdk_aws.testing.deployment import Deployed

pytestmark = pytest.mark.timeout(
    180
)  # a build, a stand-in and a run, each a process that starts: a busy machine takes long

PAGE = (ROOT / "docs/rehearsal.md").read_text()

PARCELS = """
from wdk_cloud import Request, Response, Workflows, create_webhook, get_step_metadata, get_writable, sleep

app = Workflows()

@app.step(max_retries=2)
async def pack(item: str) -> None:
    if get_step_metadata().attempt < 3:
        raise ConnectionError("no box is left")
    await get_writable(type=str).write(f"{item} is packed")

@app.step
async def ask(url: str) -> None:
    print(f"approve at {url}")

@app.step
async def answer(request: Request) -> None:
    await request.respond_with(Response(200, "thanks"))

@app.workflow
async def parcel(item: str) -> str:
    await pack(item)
    await sleep("1 s")
    webhook = create_webhook("manual")
    await ask(webhook.url)
    await answer(await webhook)
    return f"{item} is on its way"
"""


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "examples/signup/workflows.py", tmp_path)
    (tmp_path / "parcels.py").write_text(PARCELS)
    return tmp_path


@contextmanager
def kept(*words, folder):
    """A rehearsal that stays: the process, and the files of what it says to programs and to people."""
    said, told = folder / "said", folder / "told"
    with said.open("w") as out, told.open("w") as err:
        process = subprocess.Popen(
            [WDK, "rehearse", "aws", "--keep", *words], cwd=folder, env=environ(), stdout=out, stderr=err
        )
    try:
        yield process, said, told
    finally:
        process.kill()  # the stand-in ends with it
        process.wait()


def found(pattern, file, process):
    """What the pattern finds in a file, once it does: a busy machine takes a minute to build and to deploy."""

    def look():
        lines = re.search(pattern, file.read_text(), re.MULTILINE)
        assert lines or process.poll() is None, file.read_text()
        return lines

    return until(look, 2 * PATIENCE)[1]


@pytest.mark.timeout(300)  # ten processes and a deployment, of which a busy machine makes four minutes
def test_a_rehearsal_that_stays_is_worked_on_from_another_terminal(project):
    """A run that waits for somebody outlives its time: the command has failed, and stays until he has answered."""
    words = ("--app", "parcels:app", "--timeout", "1", "parcel", "tea")
    with kept(*words, folder=project) as (process, said, told):
        run = found(
            r"^error: run (\w+) has not ended after 1 s; a longer time is --timeout, and with --keep ", told, process
        )
        exported = dict(re.findall(r"^export (\w+)=(.*)$", said.read_text(), re.MULTILINE))

        def wdk(*given):
            done = subprocess.run(
                [WDK, *given], cwd=project, env=environ() | exported, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        assert all(line.startswith("export ") for line in said.read_text().splitlines())  # a shell reads it
        # The run goes on, and what its steps print is told when it comes.
        url = found(r"^worker    approve at (.*)$", told, process)
        assert httpx.post(url, trust_env=False, timeout=60).text == "thanks"
        assert wdk("inspect", "stream", run) == "tea is packed"  # it ends with the run
        seen = wdk("inspect", "run", run)
        assert [len(re.findall(rf"^{step} ", seen, re.MULTILINE)) for step in ("pack", "sleep", "answer")] == [3, 1, 1]
        assert 'result        "tea is on its way"' in seen
        other = wdk("start", "parcel", "coffee", "--app", "parcels:app")
        assert wdk("cancel", other) == f"{other} is asked to end"
        assert wdk("delete", run, "--yes") == f"{run} is erased"
        until(lambda: "cancelled" in wdk("inspect", "runs", "--status", "cancelled"))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
        assert "PYTHONHASHSEED" not in told.read_text()  # the receiver runs no bodies, and the worker's is fixed


def test_the_command_says_what_the_page_says(project):
    command, shown = re.search(r"^\$ wdk (.*)\n((?:(?!```).*\n)*)", PAGE, re.MULTILINE).groups()
    done = typed(*shlex.split(command), folder=project)
    said = (done.stderr + done.stdout).splitlines()

    def plain(lines):
        """Without what differs from one machine, and one run, to the next; what is printed has two streams."""
        return sorted(re.sub(r"\d[\d.]*|x86_64|arm64|wrun_\w+", "…", line) for line in lines)

    assert plain(said) == plain(shown.splitlines())
    assert done.stdout == '"user-you@example.com"\n'


def test_the_page_names_what_a_deployment_has():
    table = PAGE.partition("| of `deployed` | |\n")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split("|")[1])}
    assert {"run", "public", "api", "lines", "settings", "account"} <= named
    made = set(dir(Deployed)) | set(re.findall(r"self\.(\w+)", inspect.getsource(Deployed.__init__)))
    assert named - made == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("absent",), "there is no workflow 'absent'"),
        (("signup",), "email"),
        (("signup", "a@b", "--parameter", "Stage"), "--parameter takes NAME=VALUE, not 'Stage'"),
    ],
)
def test_a_wrong_word_is_said_before_anything_is_built(project, words, said):
    done = typed("rehearse", "aws", "--app", "workflows:app", *words, folder=project, code=2)
    assert said in done.stderr and "built" not in done.stderr


def test_an_environment_without_ministack_is_said(project, monkeypatch):
    monkeypatch.setattr("tests.infra.rehearsing.ENVIRONMENT", project)
    done = typed("rehearse", "aws", "--app", "workflows:app", folder=project, code=2)
    assert f"WDK_MINISTACK is {project}, and there is no bin/ministack in it" in done.stderr
