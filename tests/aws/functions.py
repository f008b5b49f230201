"""A function on a world of ministack: its code under AWS's own runtime client and runtime interface emulator."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.aws.installed import MACHINE, Function, resources_as_variables
from tests.aws.runtime_api import RuntimeApi
from tests.aws.stage import LocalSession, fresh
from tests.components import COMPONENTS
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.mapping import EventSourceMapping
from wdk_aws.world import AwsWorld
from wdk_cloud import get_run
from wdk_cloud.world.opening import use_world

EMULATOR = next(
    iter(COMPONENTS.glob(f"sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{MACHINE}")), None
)
PATIENCE = 60.0


class Site:
    """A world on ministack, and the variables of a function that works on it."""

    def __init__(self, endpoint: str) -> None:
        self.session = LocalSession(dict.fromkeys(("dynamodb", "sqs", "s3", "scheduler"), endpoint))
        self.clients = Clients(self.session)
        self.settings: AwsSettings = fresh(self.clients, endpoint)
        self.variables = resources_as_variables(endpoint, self.settings)
        self.flow = EventSourceMapping(self.clients.sqs, self.settings.flow_queue_url)


@contextmanager
def under_client(
    function: Function, site: Site, log: Path, **variables: str
) -> Iterator[tuple[RuntimeApi, subprocess.Popen[bytes]]]:
    """AWS's runtime client, at a Runtime API of ours."""
    api = RuntimeApi()
    command = [function.python, "-m", "awslambdaric", "wdk_aws.handler.handler"]
    environment = {**site.variables, "AWS_LAMBDA_RUNTIME_API": api.address, **variables}
    with api.serving(), function.running(command, environment, log) as process:
        yield api, process


@contextmanager
def under_emulator(
    function: Function, site: Site, log: Path, handler: str = "wdk_aws.handler.handler", **variables: str
) -> Iterator[Callable[[Any], Any]]:
    """AWS's emulator of a function, which starts its runtime client by itself; gives what invokes it."""
    assert EMULATOR is not None, "aws-lambda-rie is not installed; do so with: make .components/.installed"
    address, runtime = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    served = ["--runtime-interface-emulator-address", address, "--runtime-api-address", runtime]
    command = [EMULATOR, *served, function.python, "-m", "awslambdaric", handler]
    with function.running(command, {**site.variables, **variables}, log) as process:
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


def url_event(path: str, token: str = "") -> dict[str, Any]:
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
