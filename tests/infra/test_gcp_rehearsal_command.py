"""`wdk rehearse gcp`, as docs/rehearsal.md shows it."""

import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading

import httpx
import pytest

from tests.infra.rehearsing import ROOT, WDK, typed, until
from wdk_gcp.testing.rehearsal import Deployed

pytestmark = [
    pytest.mark.xdist_group("gcp-rehearsal"),
    pytest.mark.timeout(180),  # a build and services, each a process that starts: a busy machine takes long
]

PAGE = (ROOT / "docs/rehearsal.md").read_text().partition("\n## On Google Cloud\n")[2]

PARCELS = """
from wdk_cloud import Response, Workflows, create_webhook, get_step_metadata, get_writable, sleep

app = Workflows()


@app.step
async def pack(item: str) -> str:
    if get_step_metadata().attempt < 3:
        raise ConnectionError("the machine is busy")
    return f"a box of {item}"


@app.step
async def move(box: str) -> None:
    await get_writable(type=str).write_from([f"{box} moves", f"{box} is there"])


@app.step
async def tell(text: str) -> None:
    print(text)


@app.workflow
async def parcel(item: str) -> str:
    box = await pack(item)
    await sleep("0.1 s")
    webhook = create_webhook(Response(200, "thanks"))
    await tell(f"approve at {webhook.url}")
    await webhook
    await move(box)
    return box
"""


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "examples/signup/workflows.py", tmp_path)
    (tmp_path / "parcels.py").write_text(PARCELS)
    return tmp_path


def exported(file):
    """What a shell has of it."""
    done = subprocess.run(["sh", "-c", f". {file} && env"], env={}, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_the_command_says_what_the_page_says(project):
    command, shown = re.search(r"^\$ wdk (.*)\n((?:(?!```).*\n)*)", PAGE, re.MULTILINE).groups()
    (project / "gcp.tfvars.json").write_text(json.dumps({"environment": {"SIGNUP_SEED": "1"}}))
    done = typed(*shlex.split(command), folder=project)

    def plain(lines):
        """Without what differs from one run to the next; what is printed has two streams."""
        return sorted(re.sub(r"\d[\d.]*|wrun_\w+", "…", line) for line in lines)

    assert plain((done.stderr + done.stdout).splitlines()) == plain(shown.splitlines())
    assert done.stdout == '"user-you@example.com"\n'


def test_a_newcomer_works_on_what_stays(project):
    """A retry, a sleep, a webhook and a stream; another run is cancelled, and one is erased."""
    words = [WDK, "rehearse", "gcp", "--app", "parcels:app", "--mode", "single", "--keep"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WDK_")}
    file = project / "rehearsal.env"
    with file.open("w") as variables:
        process = subprocess.Popen(words, cwd=project, env=environ, stdout=variables, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(process.stderr.readline, "")), daemon=True)
    reader.start()
    try:
        until(lambda: [line for line in said if line.startswith("staying")] or process.poll() is not None)
        environ |= exported(file)
        key = {"Authorization": f"Bearer {environ['WDK_API_TOKEN']}"}

        def wdk(*given):
            done = subprocess.run([WDK, *given], cwd=project, env=environ, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run = wdk("start", "parcel", "tea", "--app", "parcels:app").strip()
        (url,) = until(lambda: [line.split()[-1] for line in said if "approve at" in line])
        assert httpx.post(url, trust_env=False).text == "thanks"
        assert wdk("inspect", "stream", run, "--json").count("a box of tea") == 2
        api = f"{environ['WDK_GCP_WORKER_URL']}/.well-known/workflow/v1/api/"
        until(lambda: httpx.get(f"{api}runs/{run}", headers=key, trust_env=False).json()["status"] == "completed")
        seen = wdk("inspect", "run", run)
        assert [len(re.findall(rf"^{step} ", seen, re.MULTILINE)) for step in ("pack", "sleep", "move")] == [3, 1, 1]
        other = wdk("start", "parcel", "coffee", "--app", "parcels:app").strip()
        wdk("cancel", other)
        until(lambda: httpx.get(f"{api}runs/{other}", headers=key, trust_env=False).json()["status"] == "cancelled")
        assert wdk("delete", run, "--yes") == f"{run} is erased\n"
        assert "wrong" not in wdk("doctor", "--app", "parcels:app")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        reader.join(60)
        process.stderr.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("absent",), "there is no workflow 'absent'"),
        (("signup",), "email"),
        (("signup", "a@b", "--env", "SEED"), "--env takes NAME=VALUE, not 'SEED'"),
    ],
)
def test_a_wrong_word_is_said_before_anything_is_built(project, words, said):
    done = typed("rehearse", "gcp", "--app", "workflows:app", *words, folder=project, code=2)
    assert said in done.stderr and "built" not in done.stderr


def test_code_that_wants_a_variable_is_said_once_and_at_once(project, monkeypatch):
    """It is there for the build, which imports the code, and not on Cloud Run."""
    monkeypatch.setenv("PATH_OF_MAIL", "here")
    source = """import os\nfrom wdk_cloud import Workflows\n\napp = Workflows()\nos.environ["PATH_OF_MAIL"]\n"""
    (project / "needy.py").write_text(source)
    done = typed("rehearse", "gcp", "--app", "needy:app", "--mode", "single", folder=project, code=2)
    lines = done.stderr.splitlines()
    (told,) = [line for line in lines if line.startswith("all ")]
    assert "needy cannot be imported: KeyError: 'PATH_OF_MAIL'" in told
    assert lines[-3] == "error: the service all does not serve; it has written:"
    assert told.endswith(lines[-2]) and "Traceback" not in done.stderr
    assert lines[-1].startswith("Nothing of your environment reaches it: what the app needs there is given with --env")


def test_variables_that_cannot_be_are_said_before_anything_is_built(project):
    (project / "gcp.tfvars.json").write_text('{"mode": "both"}')
    done = typed("rehearse", "gcp", "--app", "workflows:app", folder=project, code=2)
    assert done.stderr == """error: the mode of gcp.tfvars.json is 'both', and there are "split" and "single"\n"""


def test_the_page_names_what_a_deployment_has():
    table = PAGE.partition("| of `deployed` | |\n")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split("|")[1])}
    assert {"run", "public", "api", "documents", "settings", "cloud"} <= named
    made = set(dir(Deployed)) | set(re.findall(r"self\.(\w+)", inspect.getsource(Deployed.__init__)))
    assert named - made == set()
