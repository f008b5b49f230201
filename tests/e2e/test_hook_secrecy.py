"""Tokens are secrets: they are in no log line, no message and no file, and nobody can work out one that was made."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from pathlib import Path
from typing import Any

import pytest

from wdk_cloud import (
    HookConflictError,
    HookNotFoundError,
    Request,
    Response,
    SerializationError,
    Workflows,
    create_hook,
    create_webhook,
    get_hook_by_token,
    github,
    resume_hook,
    resume_webhook,
    sleep,
)
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing import workflow_env
from wdk_cloud.testing.environment import WorkflowEnv

CHOSEN = "order:17:of-ada-lovelace"


class Secrets:
    """An app whose runs have tokens of each kind, which the test learns beside what is recorded."""

    def __init__(self) -> None:
        self.app = Workflows()
        self.tokens: dict[str, str] = {"chosen": CHOSEN}

        @self.app.step(name="reply", max_retries=0)
        async def reply(request: Request) -> None:
            await request.respond_with(Response(200, "seen"))

        @self.app.step(name="unlucky", max_retries=1)
        async def unlucky() -> None:
            raise RuntimeError("no luck")

        @self.app.workflow(name="waiting")
        async def waiting() -> int:
            chosen, made = create_hook(CHOSEN, schema=int), create_hook(metadata={"of": "ada"})
            manual, signed = create_webhook("manual"), create_webhook(verify=github("HOOK_SECRET"))
            self.tokens |= {"made": made.token, "manual": manual.token, "signed": signed.token}
            logging.getLogger("app").info("%s %r %s", made, manual, [signed])
            number = await chosen
            logging.getLogger("app").info("%r", await made)
            await reply(await manual)
            logging.getLogger("app").info("%r", await signed)
            for hook in (chosen, made, manual, signed):
                hook.dispose()
            with pytest.raises(RuntimeError):
                await asyncio.gather(unlucky(), sleep(1))
            return number

        @self.app.workflow(name="rival")
        async def rival() -> int:
            return await create_hook(CHOSEN)

        @self.app.workflow(name="clumsy")
        async def clumsy() -> int:
            made = create_hook(schema=int)
            self.tokens["clumsy"] = made.token
            return await made

        self.waiting, self.rival, self.clumsy = waiting, rival, clumsy


async def everything(env: WorkflowEnv, secrets: Secrets) -> list[str]:
    """All that tokens are used for, and used wrongly for; the messages of what was raised."""
    said: list[str] = []

    async def refused(kind: type[Exception], ask: Any) -> None:
        with pytest.raises(kind) as caught:
            await ask
        said.append("\n".join([str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", [])]))

    tokens = secrets.tokens
    run = await env.start(secrets.waiting)
    await env.run_until_blocked()
    await refused(HookNotFoundError, resume_webhook(CHOSEN, Request()))
    await refused(HookNotFoundError, resume_webhook(tokens["made"], Request()))
    await refused(SerializationError, resume_hook(tokens["made"], object()))
    rival = await env.start(secrets.rival)
    await env.run_until_blocked()
    await refused(Exception, rival.return_value())
    assert isinstance((await rival.info()).error, HookConflictError)
    clumsy = await env.start(secrets.clumsy)
    await env.run_until_blocked()
    await resume_hook(tokens["clumsy"], "no number")
    await env.run_until_blocked()
    await refused(Exception, clumsy.return_value())
    forged = Request("POST", "", {"X-Hub-Signature-256": "sha256=0"})
    assert (await resume_webhook(tokens["signed"], forged)).status == 401
    await resume_hook(await get_hook_by_token(CHOSEN), 1)
    await resume_hook(tokens["made"], "payload", key="event")
    assert (await resume_webhook(tokens["manual"], Request("POST", body="who"))).text() == "seen"
    signature = "sha256=" + hmac.new(b"of github", b"{}", hashlib.sha256).hexdigest()
    signed = Request("POST", "", {"X-Hub-Signature-256": signature}, "{}")
    assert (await resume_webhook(tokens["signed"], signed)).status == 202
    await env.run_until_blocked()
    await run.cancel()
    await env.run_until_blocked()
    for token in tokens.values():
        await refused(HookNotFoundError, resume_hook(token, 1))
        await refused(HookNotFoundError, get_hook_by_token(token))
    said.append(repr([event async for event in run.events()]))
    return said


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every logger there is, at its most talkative."""
    caplog.set_level(1)
    before = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    for name in before:
        caplog.set_level(1, name)
    return caplog


@pytest.mark.parametrize("cached_runs", [1000, 0], ids=["warm", "cold"])
@pytest.mark.parametrize("world", ["memory", "local"])
def test_no_token_is_in_a_log_line_or_a_message(
    world: str,
    cached_runs: int,
    logged: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "of github")
    secrets = Secrets()
    settings = Settings(code_version="1", cached_runs=cached_runs)

    async def main() -> list[str]:
        async with workflow_env(world, secrets.app, path=tmp_path / "local.db", settings=settings) as env:
            return await everything(env, secrets)

    said = asyncio.run(main())
    assert len(secrets.tokens) == 5
    shown = "\n".join([*said, logged.text, *map(repr, logged.records), *capfd.readouterr()])
    assert "<Hook hook_" in shown  # what was written on purpose is there
    assert "run wrun_" in shown
    for kind, token in secrets.tokens.items():
        assert token not in shown, kind


@pytest.mark.parametrize("open_still", [True, False], ids=["while it lives", "after its end"])
def test_the_file_has_the_sha_256_of_a_token_and_the_token_nowhere(
    open_still: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "of github")
    secrets = Secrets()

    def scan() -> bytes:
        return b"\n".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())

    async def main() -> bytes:
        async with workflow_env("local", secrets.app, path=tmp_path / "local.db") as env:
            if open_still:
                await env.start(secrets.waiting)
                await env.run_until_blocked()
                await resume_hook(CHOSEN, 1)
                await resume_hook(secrets.tokens["made"], 1)
                await resume_webhook(secrets.tokens["manual"], Request("POST", "/hook", body="who"))
                await env.run_until_blocked()
            else:
                await everything(env, secrets)
            return scan()

    stored = asyncio.run(main()) + scan()
    for kind, token in secrets.tokens.items():
        digest = hashlib.sha256(token.encode())
        assert digest.hexdigest().encode() in stored or digest.digest() in stored, kind
        assert token.encode() not in stored, kind
        if kind != "chosen":
            assert base64.urlsafe_b64decode(token + "==") not in stored, kind


def test_each_of_the_128_bits_of_a_token_is_drawn_anew_for_each_run_of_the_same_id_and_code() -> None:
    app, found = Workflows(), list[str]()

    @app.workflow
    async def body() -> None:
        found.append(create_webhook().token)

    async def once() -> None:
        async with workflow_env("memory", app) as env:
            await env.run_to_end(await env.start(body.with_options(run_id="the-same")))

    for _ in range(64):
        asyncio.run(once())
    numbers = [int.from_bytes(base64.urlsafe_b64decode(token + "==")) for token in found]
    assert {len(base64.urlsafe_b64decode(token + "==")) for token in found} == {16}
    assert len(set(numbers)) == 64
    always, ever = -1, 0
    for number in numbers:
        always, ever = always & number, ever | number
    assert (always, ever) == (0, 2**128 - 1)  # no bit is the same in all of them; by chance, once in 10**17


def test_the_tokens_of_one_run_have_nothing_in_common() -> None:
    app, found = Workflows(), list[str]()

    @app.workflow
    async def body() -> None:
        found.extend(create_webhook().token for _ in range(1000))

    async def main() -> None:
        async with workflow_env("memory", app) as env:
            await env.run_to_end(await env.start(body))

    asyncio.run(main())
    assert len({token[:8] for token in found}) == len({token[-8:] for token in found}) == 1000
