"""The zip of `wdk build aws` under AWS's own runtime client and runtime interface emulator, beside nothing else.

A package that is missing from the bundle fails here: no other place of this checkout is without the rest.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.aws.functions import Site, head_of, received, result_of, under_client, under_emulator, url_event
from tests.aws.installed import APP, UV, Unpacked

SHORT = 3
"""Seconds of a function whose time-out is seen: enough for a cold start."""

PATIENCE = 60.0

DONE: dict[str, list[Any]] = {"batchItemFailures": []}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    made = Unpacked(tmp_path_factory.mktemp("unpacked"))
    made.make()
    return made


def deliver(site: Site, invoke: Callable[[Any], Any]) -> Any:
    """The next message, as its mapping hands it to the function."""
    invocation = received(site)
    answer = invoke(invocation.event)
    site.flow.settle(invocation, answer)
    return answer


def to_the_end(site: Site, invoke: Callable[[Any], Any], run_id: str) -> None:
    while not head_of(site, run_id).ended:
        assert deliver(site, invoke) == DONE


def errors(log: Path) -> list[str]:
    """What a function has logged as an error, without the details."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["message"].partition(":")[0] for line in lines if line.get("level") == "ERROR"]


# -- a cold start -------------------------------------------------------------------------------------------------------


def test_there_is_nothing_but_the_runtime_client_beside_the_zip(unpacked: Unpacked) -> None:
    command = [UV, "pip", "list", "--quiet", "--format", "json", "--python", unpacked.python]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [package["name"] for package in found] == ["awslambdaric", "simplejson", "snapshot-restore-py"]


def test_a_run_goes_its_way_under_the_runtime_client_of_aws(unpacked: Unpacked, site: Site, tmp_path: Path) -> None:
    before = set(unpacked.task.rglob("*"))
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        run_id = api.ask({"start": {"workflow": "greeting", "args": ["Ada"]}})["run_id"]
        assert deliver(site, api.ask) == DONE
        assert result_of(site, run_id) == "hello Ada"
        assert site.flow.receive() == []
        answer = api.ask(url_event("/.well-known/workflow/v1/health"))
        assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "ok")
    said = json.loads((unpacked.task / "wdk_build.json").read_bytes())
    assert head_of(site, run_id).version == said["code_version"]
    assert set(unpacked.task.rglob("*")) == before


def test_all_clients_of_a_function_are_in_the_zip(unpacked: Unpacked, site: Site, tmp_path: Path) -> None:
    """HTTP, S3 for a blob, EventBridge Scheduler for a long sleep: what is imported when it is first asked for."""
    url = f"{site.clients.sqs.meta.endpoint_url}/_ministack/health"
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        run_id = api.ask({"start": {"workflow": "demanding", "args": [url]}})["run_id"]
        assert deliver(site, api.ask) == DONE
    head = head_of(site, run_id)
    assert (head.status, head.trouble, head.holder) == ("running", None, None), (tmp_path / "log").read_text()
    (blob,) = site.clients.s3.list_objects_v2(Bucket=site.settings.bucket)["Contents"]
    assert blob["Size"] >= 200_000
    (schedule,) = site.clients.scheduler.list_schedules(GroupName=site.settings.scheduler_group)["Schedules"]
    assert schedule["State"] == "ENABLED"


def test_a_run_goes_its_way_under_the_runtime_interface_emulator(
    unpacked: Unpacked, site: Site, tmp_path: Path
) -> None:
    with under_emulator(unpacked, site, tmp_path / "log", AWS_LAMBDA_FUNCTION_TIMEOUT=str(SHORT)) as invoke:
        run_id = invoke({"start": {"workflow": "greeting", "args": ["Ada"]}})["run_id"]
        assert deliver(site, invoke) == DONE
        assert result_of(site, run_id) == "hello Ada"


# -- a function that ends in the middle ---------------------------------------------------------------------------------


def test_a_function_that_is_killed_in_a_step_leaves_its_message_and_the_next_one_goes_on(
    unpacked: Unpacked, site: Site, tmp_path: Path
) -> None:
    name = f"killed-{tmp_path.name}"
    with under_client(unpacked, site, tmp_path / "log", WDK_LEASE="3 s") as (api, process):
        run_id = api.ask({"start": {"workflow": "survivor", "args": [name]}})["run_id"]
        invocation = received(site)
        api.begin(invocation.event)
        assert process.wait(PATIENCE) == -9
    site.flow.show_again(invocation)
    with under_client(unpacked, site, tmp_path / "log", WDK_LEASE="3 s") as (api, _):
        to_the_end(site, api.ask, run_id)
    assert result_of(site, run_id) == f"{name} lives"


def test_a_step_that_runs_into_the_functions_limit_goes_on_with_the_next_delivery(
    unpacked: Unpacked, site: Site, tmp_path: Path
) -> None:
    limits = {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(SHORT), "WDK_LEASE": "3 s"}
    with under_emulator(unpacked, site, tmp_path / "log", **limits) as invoke:
        run_id = invoke({"start": {"workflow": "dawdling"}})["run_id"]
        invocation = received(site)
        assert invoke(invocation.event) == f"Task timed out after {SHORT}.00 seconds"
        assert (unpacked.marks / "dawdling").exists()
        head = head_of(site, run_id)
        assert (head.status, head.holder is not None) == ("running", True)
        site.flow.show_again(invocation)
        to_the_end(site, invoke, run_id)
    assert result_of(site, run_id) == "attempt 2"


# -- a function that cannot begin ---------------------------------------------------------------------------------------


def test_a_handler_that_is_not_there_is_told_by_the_emulator(unpacked: Unpacked, site: Site, tmp_path: Path) -> None:
    with under_emulator(unpacked, site, tmp_path / "log", handler="no_such.handler") as invoke:
        answer = invoke({})
    assert answer["errorType"] == "Runtime.ImportModuleError"


@pytest.mark.parametrize("package", ["msgspec", "botocore"])
def test_a_package_that_is_missing_fails_each_event_by_its_name_and_the_message_stays(
    unpacked: Unpacked, site: Site, tmp_path: Path, package: str
) -> None:
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        run_id = api.ask({"start": {"workflow": "greeting", "args": ["Ada"]}})["run_id"]
    poorer = unpacked.copy(tmp_path / "poorer", without=package)
    invocation = received(site)
    with under_client(poorer, site, tmp_path / "log") as (api, _):
        answer = api.invoke(invocation.event)
    assert (answer.kind, answer.document["errorType"]) == ("error", "ModuleNotFoundError")
    assert answer.document["errorMessage"] == f"No module named '{package}'"
    site.flow.show_again(invocation)
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        to_the_end(site, api.ask, run_id)
    assert result_of(site, run_id) == "hello Ada"


BROKEN = "raise RuntimeError('the database password is missing')\n"


def test_an_app_that_cannot_be_imported_hands_its_runs_on_and_says_why(
    unpacked: Unpacked, site: Site, tmp_path: Path
) -> None:
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        run_id = api.ask({"start": {"workflow": "greeting", "args": ["Ada"]}})["run_id"]
    log = tmp_path / "broken.log"
    with under_client(unpacked.copy(tmp_path / "broken", app=BROKEN), site, log) as (api, _):
        assert deliver(site, api.ask) == DONE
        assert api.ask(url_event("/.well-known/workflow/v1/health"))["statusCode"] == 503
        told = api.invoke({"start": {"workflow": "greeting", "args": ["Ada"]}})
    assert (told.kind, told.document["errorType"]) == ("error", "WorldConfigurationError")
    assert "jobs cannot be imported: RuntimeError: the database password is missing" in told.document["errorMessage"]
    assert errors(log) == [
        "the code of WDK_APP cannot be imported; runs are handed on until it can be",
        f"run {run_id} is handed on (1. time)",
        "the code of WDK_APP cannot be imported",
    ]
    assert "RuntimeError: the database password is missing" in log.read_text()
    head = head_of(site, run_id)
    assert (head.status, head.trouble.count) == ("running", 1)
    with under_client(unpacked, site, tmp_path / "log") as (api, _):
        to_the_end(site, api.ask, run_id)
    assert result_of(site, run_id) == "hello Ada"
    assert site.flow.receive() == []


NEWER = """

@app.workflow(name="newer")
async def newer(name: str) -> str:
    return f"{await greet(name)} again"
"""


def test_a_delivery_that_comes_to_older_code_in_a_rolling_deployment_goes_on_with_the_newer(
    unpacked: Unpacked, site: Site, tmp_path: Path
) -> None:
    deployed = unpacked.copy(tmp_path / "deployed", app=APP + NEWER)
    deployed.told = {"WDK_CODE_VERSION": "0000000002.second"}
    with under_client(deployed, site, tmp_path / "log") as (api, _):
        run_id = api.ask({"start": {"workflow": "newer", "args": ["Ada"]}})["run_id"]
    with under_client(unpacked, site, tmp_path / "older.log") as (api, _):
        assert deliver(site, api.ask) == DONE
    assert errors(tmp_path / "older.log") == [f"run {run_id} is handed on (1. time)"]
    head = head_of(site, run_id)
    assert (head.status, head.version, head.trouble.count) == ("running", "0000000002.second", 1)
    with under_client(deployed, site, tmp_path / "log") as (api, _):
        to_the_end(site, api.ask, run_id)
    assert result_of(site, run_id) == "hello Ada again"
    head = head_of(site, run_id)
    assert (head.version, head.last_version, head.trouble) == ("0000000002.second", "0000000002.second", None)
    assert site.flow.receive() == []
