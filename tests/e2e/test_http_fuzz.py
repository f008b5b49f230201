"""Random requests, right ones and wrong ones, made from the OpenAPI document: no answer that the document does not
tell of, no failure of the server, and the runs are unharmed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.e2e.browsing import BASE, TOKEN, serve
from wdk_cloud import WorkflowRunCancelledError, Workflows, create_hook, get_run, resume_hook, start, worker
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

EXAMPLES = 30
"""Requests of each kind to each operation: some ten seconds in all."""

AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

PATHS = {"run_id": ["alive", "deleted"], "token": ["open"], "name": ["default"]}
"""What is there, put into some of the paths: random ones lead nowhere."""

ENDED = {"run_id": ["ended", "deleted"]}
"""For the streams, which are followed until their run has ended."""

BEYOND_SCHEMA = ("start", "list_runs")
"""Arguments, delays and cursors are text that may make no sense all the same: 400 then."""


def shop() -> Workflows:
    app = Workflows()

    @app.workflow(name="waits")
    async def waits(number: int = 0) -> Any:
        return [number, await create_hook("open" if number == 0 else f"open:{number}")]

    return app


async def prepare(app: Workflows) -> None:
    async with worker(app):
        workflow = app.workflows["waits"]
        await start(workflow.with_options(run_id="alive"))
        await start(workflow.with_options(run_id="kept"), 1)
        run = await start(workflow.with_options(run_id="deleted"), 2)
        ended = await start(workflow.with_options(run_id="ended"), 3)
        await ended.cancel()
        with pytest.raises(WorkflowRunCancelledError):
            await ended.return_value(timeout=10)
        while "hook_created" not in [event.type async for event in get_run("kept").events()]:
            await asyncio.sleep(0)
        await run.delete()


async def end(app: Workflows) -> Any:
    """The run that no request has meant goes on as if nothing had been."""
    async with worker(app):
        await resume_hook("open:1", "payload")
        return await get_run("kept").return_value(timeout=10)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_random_requests_get_the_answers_that_the_document_tells_of(mode: GenerationMode) -> None:
    app = shop()
    statuses: Counter[int] = Counter()
    with use_world(MemoryWorld()):
        asyncio.run(prepare(app))
        operations = operations_of(serve(app))
        assert len(operations) == 10
        for operation in operations:
            fuzz(operation, mode, statuses)
        assert asyncio.run(end(app)) == [1, "payload"]
    wanted = {200, 201, 202, 404, 410} if mode is GenerationMode.POSITIVE else {400, 404}
    assert wanted <= set(statuses), statuses
    assert max(statuses) < 500


def operations_of(app: Any) -> list[Any]:
    """Those of the document. Who may send them is not fuzzed: all requests bring the token."""
    told = schemathesis.openapi.from_asgi(f"{BASE}/api/openapi.json", app, headers=AUTHORIZATION).raw_schema
    document = schemathesis.openapi.from_dict({name: part for name, part in told.items() if name != "security"})
    document.app = app
    return [result.ok() for result in document.get_all_operations()]


def fuzz(operation: Any, mode: GenerationMode, statuses: Counter[int]) -> None:
    label = operation.definition.raw["operationId"]
    paths = {**PATHS, **ENDED} if label == "stream" else PATHS
    places = [parameter for parameter in paths if f"{{{parameter}}}" in operation.path]
    acceptance = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    there = st.fixed_dictionaries({}, optional={name: st.sampled_from(paths[name]) for name in places})

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=there, is_waits=st.booleans())
    def send(case: Any, known: dict[str, str], is_waits: bool) -> None:
        if mode is GenerationMode.POSITIVE:
            case.path_parameters = {**(case.path_parameters or {}), **known}
            if is_waits and label == "start":
                case.body["workflow"] = "waits"
        response = case.call(headers=AUTHORIZATION)
        statuses[response.status_code] += 1
        skipped = [acceptance] if label in BEYOND_SCHEMA or response.status_code == 410 else []
        case.validate_response(response, excluded_checks=skipped, headers=AUTHORIZATION)

    send()
