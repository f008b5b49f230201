"""The handler, from its wheels, under AWS's own runtime client and runtime interface emulator, and under ours."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.aws.installed import Installed, resources_as_variables
from tests.aws.runtime_api import RuntimeApi
from tests.aws.stage import LocalSession, fresh
from tests.components import COMPONENTS
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.mapping import EventSourceMapping
from wdk_aws.world import AwsWorld
from wdk_cloud import get_run
from wdk_cloud.world.opening import use_world

MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
EMULATOR = next(
    iter(COMPONENTS.glob(f"sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{MACHINE}")), None
)
PATIENCE = 60.0
SHORT = 3
"""Seconds of a function whose time-out is seen: enough for a cold start."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("installed"))
    made.make()
    return made


class Site:
    """A world on ministack, and the variables of a function that works on it."""

    def __init__(self, endpoint: str) -> None:
        self.session = LocalSession(dict.fromkeys(("dynamodb", "sqs", "s3", "scheduler"), endpoint))
        self.clients = Clients(self.session)
        self.settings: AwsSettings = fresh(self.clients, endpoint)
        self.variables = resources_as_variables(endpoint, self.settings)
        self.flow = EventSourceMapping(self.clients.sqs, self.settings.flow_queue_url)


@pytest.fixture
def site(ministack: str) -> Iterator[Site]:
    made = Site(ministack)
    yield made
    made.clients.close()


@contextmanager
def under_client(
    installed: Installed, site: Site, log: Path, **variables: str
) -> Iterator[tuple[RuntimeApi, subprocess.Popen[bytes]]]:
    """AWS's runtime client, at a Runtime API of ours."""
    api = RuntimeApi()
    command = [installed.python, "-m", "awslambdaric", "wdk_aws.handler.handler"]
    environment = {**site.variables, "AWS_LAMBDA_RUNTIME_API": api.address, **variables}
    with api.serving(), installed.running(command, environment, log) as process:
        yield api, process


@contextmanager
def under_emulator(
    installed: Installed, site: Site, log: Path, handler: str = "wdk_aws.handler.handler", **variables: str
):
    """AWS's emulator of a function, which starts its runtime client by itself; gives what invokes it."""
    assert EMULATOR is not None, "aws-lambda-rie is not installed; do so with: make .components/.installed"
    address, runtime = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    served = ["--runtime-interface-emulator-address", address, "--runtime-api-address", runtime]
    command = [EMULATOR, *served, installed.python, "-m", "awslambdaric", handler]
    with installed.running(command, {**site.variables, **variables}, log) as process:
        wait_for_port(address, process)
        yield lambda event: invoked(address, event)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_for_port(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)  # it has no other way to tell that it listens
    pytest.fail(f"the emulator does not listen at {address} (ended with {process.poll()})")


def invoked(address: str, event: Any) -> Any:
    """The function's answer; of one that was cut off the emulator's own text."""
    url = f"http://{address}/2015-03-31/functions/function/invocations"
    text = httpx.post(url, json=event, timeout=PATIENCE, trust_env=False).text
    try:
        return json.loads(text)
    except ValueError:
        return text


def received(site: Site) -> Any:
    """The one message of the flow queue, as the event of a batch."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := site.flow.receive(wait=1):
            (invocation,) = found
            return invocation
    raise AssertionError("no message came")


def head_of(site: Site, run_id: str) -> Any:
    return asyncio.run(AwsWorld(site.settings, clients=Clients(site.session)).runs.head(run_id))


def result_of(site: Site, run_id: str) -> Any:
    async def result() -> Any:
        world = AwsWorld(site.settings, clients=Clients(site.session))
        with use_world(world):
            return await get_run(run_id).return_value(timeout=PATIENCE)

    return asyncio.run(result())


def test_a_run_goes_its_way_under_the_runtime_client_of_aws(installed, site, tmp_path):
    with under_client(installed, site, tmp_path / "log") as (api, _):
        run_id = api.invoke({"start": {"workflow": "greeting", "args": ["Ada"]}}).document["run_id"]
        invocation = received(site)
        answer = api.invoke(invocation.event).document
        site.flow.settle(invocation, answer)
        assert answer == {"batchItemFailures": []}
        assert result_of(site, run_id) == "hello Ada"
        assert site.flow.receive() == []


def test_a_function_that_is_killed_in_a_step_leaves_its_message_and_the_next_one_goes_on(installed, site, tmp_path):
    name = f"killed-{tmp_path.name}"
    with under_client(installed, site, tmp_path / "log", WDK_LEASE="3 s") as (api, process):
        run_id = api.invoke({"start": {"workflow": "survivor", "args": [name]}}).document["run_id"]
        invocation = received(site)
        api.begin(invocation.event)
        assert process.wait(PATIENCE) == -9
    site.flow.show_again(invocation)
    with under_client(installed, site, tmp_path / "log", WDK_LEASE="3 s") as (api, _):
        while not head_of(site, run_id).ended:
            invocation = received(site)
            site.flow.settle(invocation, api.invoke(invocation.event).document)
    assert result_of(site, run_id) == f"{name} lives"


def test_a_run_goes_its_way_under_the_runtime_interface_emulator(installed, site, tmp_path):
    with under_emulator(installed, site, tmp_path / "log") as invoke:
        run_id = invoke({"start": {"workflow": "greeting", "args": ["Ada"]}})["run_id"]
        invocation = received(site)
        answer = invoke(invocation.event)
        site.flow.settle(invocation, answer)
        assert answer == {"batchItemFailures": []}
        assert result_of(site, run_id) == "hello Ada"


def test_a_step_that_outlives_the_function_is_cut_off_and_its_message_comes_back(installed, site, tmp_path):
    (installed.marks / "dawdling").unlink(missing_ok=True)
    with under_emulator(installed, site, tmp_path / "log", AWS_LAMBDA_FUNCTION_TIMEOUT=str(SHORT)) as invoke:
        run_id = invoke({"start": {"workflow": "dawdling"}})["run_id"]
        invocation = received(site)
        assert invoke(invocation.event) == f"Task timed out after {SHORT}.00 seconds"
        assert (installed.marks / "dawdling").exists()
        site.flow.show_again(invocation)
        again = received(site)
    head = head_of(site, run_id)
    assert (head.status, head.holder is not None) == ("running", True)
    (message,), (before,) = again.messages, invocation.messages
    assert (message["MessageId"], message["Attributes"]["ApproximateReceiveCount"]) == (before["MessageId"], "2")


def test_a_handler_that_is_not_there_is_told_by_the_emulator(installed, site, tmp_path):
    with under_emulator(installed, site, tmp_path / "log", handler="no_such.handler") as invoke:
        answer = invoke({})
    assert answer["errorType"] == "Runtime.ImportModuleError"


def test_a_stream_is_live_on_a_function_url_with_our_runtime_client(installed, site, tmp_path):
    for number in range(3):
        (installed.marks / f"go{number}").unlink(missing_ok=True)
    token = "0123456789abcdef"
    reading = RuntimeApi()
    wrapper = next((installed.folder / "venv").glob("lib/python*/site-packages/wdk_aws/streaming.sh"))
    assert os.access(wrapper, os.X_OK)
    command = [wrapper, installed.python, "/var/runtime/bootstrap.py"]
    variables = {
        **site.variables,
        "AWS_LAMBDA_RUNTIME_API": reading.address,
        "_HANDLER": "wdk_aws.handler.handler",
        "WDK_API_TOKEN": token,
    }
    with (
        under_client(installed, site, tmp_path / "log") as (api, _),
        reading.serving(),
        installed.running(command, variables, tmp_path / "log"),
    ):
        run_id = reading.invoke({"start": {"workflow": "counting"}}).document["run_id"]
        assert reading.idle.is_set()
        working = api.begin(received(site).event)
        stream = reading.begin(url_event(f"/.well-known/workflow/v1/api/runs/{run_id}/streams/default", token))
        prelude, _, text = stream.chunks.get(timeout=PATIENCE).partition(b"\0" * 8)
        assert json.loads(prelude)["statusCode"] == 200
        for number in range(3):
            while f"data: {number}\n".encode() not in text:
                assert not stream.answered.is_set()
                text += stream.chunks.get(timeout=PATIENCE)
            (installed.marks / f"go{number}").touch()
        assert working.wait().document == {"batchItemFailures": []}
        answer = stream.wait()
    assert (answer.streamed, answer.trailers) == (True, {})
    assert answer.http()[1].count(b"\nevent: end") + answer.http()[1].startswith(b"event: end") == 1


def url_event(path: str, token: str) -> dict[str, Any]:
    """A GET at a function URL, in the format 2.0."""
    host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.on.aws"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": host, "accept": "text/event-stream", "authorization": f"Bearer {token}"},
        "requestContext": {
            "accountId": "anonymous",
            "domainName": host,
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8",
            },
            "requestId": "00000000-0000-4000-8000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1767225600000,
        },
        "isBase64Encoded": False,
    }
