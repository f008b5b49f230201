"""The example document-review, on every world: opened, approved, refused, and forgotten."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pages import ROOT
from wdk_cloud import HookNotFoundError, Request, Response, Run, resume_webhook
from wdk_cloud.testing import workflow_env
from wdk_cloud.testing.environment import WorkflowEnv

EXAMPLE = ROOT / "examples" / "document-review" / "workflows.py"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, as `WDK_APP=workflows:app` loads it, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("workflows", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "workflows", module)
    spec.loader.exec_module(module)
    return module


def reviewed(
    world: str, example: Any, scenario: Callable[[WorkflowEnv, Run[str]], Awaitable[Any]], document: str = "Report"
) -> Any:
    async def main() -> Any:
        async with workflow_env(world, example.app, path="local.db") as env:
            run = await env.start(example.review, document, "ada@example.com")
            await env.run_until_blocked()
            return await scenario(env, run)

    return asyncio.run(main())


async def call(method: str, body: str = "", headers: dict[str, str] = FORM) -> Response:
    """What a browser, or a scanner, sends to the link that was mailed."""
    url = Path("link.txt").read_text()
    return await resume_webhook(url.rpartition("/")[2], Request(method, url, headers, body))


worlds = pytest.mark.parametrize("world", ["memory", "local"])


@worlds
@pytest.mark.parametrize("decision", ["approved", "refused"])
def test_opening_the_link_shows_buttons_and_the_one_that_is_pressed_decides(
    world: str, example: Any, decision: str
) -> None:
    async def scenario(env: WorkflowEnv, run: Run[str]) -> str:
        for method in ("GET", "HEAD", "GET", "OPTIONS"):  # scanners, previews, and a person
            shown = await call(method)
            assert (shown.status, shown.headers["cache-control"]) == (200, "no-store")
            assert '<form method="post">' in shown.text()
        assert await run.status() == "running"
        thanks = await call("POST", f"decision={decision}")
        assert f"You have {decision} it." in thanks.text()
        assert "<form" not in thanks.text()
        result = await run.return_value(timeout=20)
        with pytest.raises(HookNotFoundError):
            await call("GET")
        return result

    assert reviewed(world, example, scenario) == f"Report: {decision} by ada@example.com"


@worlds
@pytest.mark.parametrize("body", ["", "decision=", "decision=perhaps", "decision", "\0", "approved"])
def test_a_post_that_says_neither_decides_nothing(world: str, example: Any, body: str) -> None:
    async def scenario(env: WorkflowEnv, run: Run[str]) -> str:
        assert '<form method="post">' in (await call("POST", body)).text()
        assert await run.status() == "running"
        await call("POST", "decision=approved")
        return await run.return_value(timeout=20)

    assert reviewed(world, example, scenario) == "Report: approved by ada@example.com"


@worlds
def test_a_review_that_nobody_decides_is_over_after_a_week_and_its_link_is_dead(world: str, example: Any) -> None:
    async def scenario(env: WorkflowEnv, run: Run[str]) -> str:
        await env.advance("6 days")
        assert (await call("GET")).status == 200
        assert await run.status() == "running"
        await env.advance("1 day")
        with pytest.raises(HookNotFoundError):
            await call("POST", "decision=approved")
        return await run.return_value(timeout=20)

    assert reviewed(world, example, scenario) == "Report: nobody decided within 7 days"


@worlds
def test_what_a_document_is_called_is_no_html(world: str, example: Any) -> None:
    async def scenario(env: WorkflowEnv, run: Run[str]) -> str:
        return (await call("GET")).text()

    page = reviewed(world, example, scenario, "<script>alert(1)</script>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
