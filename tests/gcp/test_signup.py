"""The signup example, unchanged, on the service: uvicorn in a process of its own, started by a client without it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gcp.service import API_TOKEN, Cloud, serving
from wdk_cloud import start
from wdk_cloud.world.opening import close_worlds
from wdk_gcp.testing import create_resources
from wdk_gcp.testing.containers import Container, free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "signup"


@pytest.fixture
def signup_service(gcp_service: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """A service for the example; this process is a client of it."""
    environment = gcp_service.environment(free_port())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    create_resources()
    # The first welcome meets a busy mail server.
    with serving({**environment, "WDK_APP": "workflows:app", "SIGNUP_SEED": "friday"}, EXAMPLE) as service:
        service.until_healthy()
        yield service


def test_the_signup_example_runs_on_the_service(gcp_service: Cloud, signup_service: Container) -> None:
    spec = importlib.util.spec_from_file_location("workflows", EXAMPLE / "workflows.py")
    assert spec is not None and spec.loader is not None
    workflows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(workflows)

    async def client() -> tuple[str, object]:
        run = await start(workflows.signup, "ada@example.com")
        try:
            return run.run_id, await run.return_value(timeout=40)
        finally:
            await close_worlds()

    before = len(gcp_service.tasks.attempts)
    run_id, result = asyncio.run(client())
    assert result == "user-ada@example.com"
    answer = signup_service.ask("GET", f"api/runs/{run_id}", API_TOKEN)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    gcp_service.tasks.idle()
    assert [(one.status, one.retry_count) for one in gcp_service.tasks.attempts[before:]] == [(200, 0), (200, 0)]
    assert signup_service.terminate() == -15
    printed = [line for line in signup_service.lines if not line.startswith(("{", "INFO:"))]
    assert printed == [
        "creating a user for ada@example.com",
        "the mail server is busy: the welcome will be tried again",
        "welcome, ada@example.com",
        "how is it going, ada@example.com?",
    ]
