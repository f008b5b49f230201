"""The container's start command behind the servers of `wdk_gcp.testing`, as one service and as three."""

import asyncio
import os
import shutil
import signal
import time
from itertools import count

import httpx
import pytest
from google.cloud.tasks_v2 import types

from tests.infra.rehearsing import APPS, SECOND, VARIABLES, Ledger, info, result, start, until
from wdk_cloud import Workflows, client
from wdk_cloud.world.opening import close_worlds
from wdk_gcp.settings import VARIABLES as OF_THE_WORLD
from wdk_gcp.testing.containers import ROUTES
from wdk_gcp.testing.rehearsal import KINDS, Deployed

pytestmark = [pytest.mark.xdist_group("gcp-rehearsal"), pytest.mark.timeout(180)]

LOCATION = "europe-west1"
_numbers = count(1)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    for path in APPS:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def deployed(request, gcp_service, code):
    variables = {"WDK_APP": "rehearsed:app,workflows:app", **VARIABLES}
    with Deployed(gcp_service, code, request.param, variables) as one:
        yield one
    assert gcp_service.tasks.slowing == 0  # no answer that slows a queue


class as_client:
    """This process, outside of the deployment: its variables are in the environment."""

    def __init__(self, deployed):
        self._environment = deployed.variables

    def __enter__(self):
        self._before = dict(os.environ)
        os.environ.update(self._environment)

    def __exit__(self, *_):
        os.environ.clear()
        os.environ.update(self._before)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def quiet(deployed):
    """Once no queue of the deployment has a task, nor a service one in its hands."""
    names = [queue_of(deployed, variable) for variable in ("flow_queue", "step_queue")]
    queues = deployed.cloud.tasks.queues
    return until(lambda: not any(queues[name].tasks for name in names))


def queue_of(deployed, variable):
    environment = deployed.variables
    project = environment[OF_THE_WORLD["project"]]
    return f"projects/{project}/locations/{LOCATION}/queues/{environment[OF_THE_WORLD[variable]]}"


def printed(deployed):
    return [line for one in deployed.containers.values() for line in one.lines if not line.startswith(("{", "INFO:"))]


def test_the_example_signup_runs(deployed):
    before = len(printed(deployed))
    assert result(deployed, start(deployed, "signup", "ada@example.com")) == "user-ada@example.com"
    quiet(deployed)
    said = until(lambda: lines if len(lines := printed(deployed)[before:]) >= 3 else None)
    for once in ("creating a user for ada@", "welcome, ada@", "how is it going, ada@"):
        assert [line.startswith(once) for line in said].count(True) == 1, once


def test_a_step_is_retried_and_one_has_a_delivery_of_its_own(deployed, ledger):
    before = len(deployed.cloud.tasks.attempts)
    assert result(deployed, start(deployed, "persistent", ledger.path)) == [3, "elsewhere"]
    quiet(deployed)
    assert ledger.lines() == ["attempt 1", "attempt 2", "attempt 3", "elsewhere"]
    steps = deployed.variables["WDK_GCP_STEP_URL"]
    attempts = deployed.cloud.tasks.attempts[before:]
    assert {one.status for one in attempts} == {200}
    own = [one for one in attempts if "/queues/step/" in one.task]
    assert len(own) == 1 and own[0].url.startswith(steps)


def test_a_webhook_is_answered_three_ways(deployed, ledger):
    run_id = start(deployed, "asked", ledger.path)
    plain, fixed, manual = ledger.wait_for(3)
    assert plain.startswith(deployed.url("public"))
    answers = [deployed.public.post(url, content=text) for url, text in ((plain, "a"), (fixed, "b"), (manual, "c"))]
    assert [(one.status_code, one.text) for one in answers] == [(202, ""), (200, "thanks"), (201, "made c")]
    assert answers[1].headers["X-Kind"] == "fixed" and answers[2].headers["X-Made-By"] == "a step"
    assert result(deployed, run_id) == ["POST a", "POST b", "POST c"]
    gone = until(lambda: one if (one := deployed.public.post(plain)).status_code == 404 else None)
    assert gone.content == b""


def test_the_public_service_has_webhooks_and_no_more(deployed):
    public = deployed.url("public")
    asked = {
        path: httpx.request(method, f"{public}{ROUTES}{path}", trust_env=False).status_code
        for method, path in (("GET", "api/runs"), ("POST", "flow"), ("POST", "sweep"), ("POST", "tick"))
    }
    split = "public" in deployed.containers
    assert set(asked.values()) == ({404} if split else {401}), asked


def test_a_stream_is_read_while_its_step_writes(deployed, ledger, tmp_path):
    told = tmp_path / "told"
    run_id = start(deployed, "speaker", ledger.path, told)
    ledger.wait_for(1)
    found = []
    with deployed.api.stream("GET", f"runs/{run_id}/streams/default") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(line.removeprefix("data: "))
            if found == ['"one"', '"two"'] and not told.exists():
                assert info(deployed, run_id)["status"] == "running"
                told.touch()
    assert found == ['"one"', '"two"', '"three"', '{"tail_index":2}']
    assert result(deployed, run_id) is None


def test_a_worker_that_is_killed_in_a_step_costs_an_attempt_and_seconds(deployed, ledger):
    name = deployed.worker.name
    run_id = start(deployed, "mortal", ledger.path)
    began, died = ledger.wait_for(2)
    assert int(died.split()[2]) == deployed.containers[name].process.pid
    killed = time.monotonic()
    os.kill(int(died.split()[2]), signal.SIGKILL)
    deployed.containers[name].process.wait()
    deployed.begin(name)
    assert result(deployed, run_id, within=60) == ["before", 2, "after"]
    assert time.monotonic() - killed < 60
    quiet(deployed)
    first, again = [line.rpartition(" ") for line in ledger.lines() if line.startswith("dies")]
    assert (first[0], again[0]) == ("dies 1", "dies 2") and first[2] != again[2]
    assert [line for line in ledger.lines() if not line.startswith("dies")] == [began, "after"]


def test_a_queue_that_is_paused_keeps_its_runs_until_it_goes_on(deployed, ledger):
    name = queue_of(deployed, "flow_queue")
    tasks = deployed.cloud.tasks.client()
    try:
        assert tasks.pause_queue(name=name).state == types.Queue.State.PAUSED
        run_id = start(deployed, "persistent", ledger.path)
        assert [task.dispatch_count for task in tasks.list_tasks(parent=name)] == [0]
        assert (info(deployed, run_id)["status"], ledger.lines()) == ("pending", [])
        tasks.resume_queue(name=name)
    finally:
        tasks.transport.close()
    assert result(deployed, run_id) == [3, "elsewhere"]
    quiet(deployed)
    assert ledger.lines() == ["attempt 1", "attempt 2", "attempt 3", "elsewhere"]


def hook_of(deployed, token):
    return until(lambda: answer if (answer := deployed.api.get(f"hooks/{token}")).status_code == 200 else None)


def begun_by_newer_code(deployed, path):
    """A run of a workflow that the deployed code does not have, as a client with newer code starts it."""
    app = Workflows()

    @app.workflow(name="novelty")
    async def novelty(ledger: str) -> str:
        return ledger

    async def begin():
        try:
            run = await client.start(novelty, str(path))
            return run.run_id
        finally:
            await close_worlds()

    with as_client(deployed):
        return asyncio.run(begin())


def test_a_second_revision_comes_in_the_middle_of_runs(deployed, tmp_path):
    """One waits, with a step done; of another one the code is not there yet. It is the last test: the code stays."""
    old, new = Ledger(tmp_path / "old"), Ledger(tmp_path / "new")
    old.path.parent.mkdir()
    new.path.parent.mkdir()
    waiting = start(deployed, "overtaken", old.path, "overtaken")
    hook_of(deployed, "overtaken")
    early = begun_by_newer_code(deployed, new.path)
    worker = deployed.worker.name
    handed_on = f"run {early} is handed on (2. time)"
    until(lambda: [line for line in deployed.documents(worker) if handed_on in line["message"]])
    assert (info(deployed, early)["status"], new.lines()) == ("running", [])
    first = info(deployed, waiting)["version"]
    second = shutil.copytree(deployed.folder, tmp_path / "second")
    source = (second / "rehearsed.py").read_text()
    (second / "rehearsed.py").write_text(source.replace('VERSION = "first"', 'VERSION = "second"') + SECOND)
    deployed.replace(second)
    answer = deployed.api.post("hooks/overtaken", json={"payload": "go on", "key": "once"})
    assert answer.status_code == 202, answer.text
    assert result(deployed, waiting) == ["first", "go on", "second"]
    assert result(deployed, early, within=60) == "second"
    assert (old.lines(), new.lines()) == (["first", "second"], ["second"])
    assert info(deployed, waiting)["version"] == first  # a run is told by the code that started it
