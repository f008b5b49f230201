"""Webhooks: requests from outside as payloads, and what their callers get."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from typing import Any

import pytest

from tests.e2e.running import Play
from wdk_cloud import (
    HookNotFoundError,
    Request,
    Response,
    WorkflowContextError,
    Workflows,
    WorldConfigurationError,
    continue_as_new,
    create_hook,
    create_webhook,
    get_hook_by_token,
    get_run,
    github,
    resume_hook,
    resume_webhook,
    slack,
    sleep,
    stripe,
)
from wdk_cloud.testing import replay, workflow_env
from wdk_cloud.testing.environment import WorkflowEnv

SECRET = "a secret that only the provider and we know"


class Mailed:
    """An app with a step that hands out the URL of a webhook, as a mail would."""

    def __init__(self) -> None:
        self.app = Workflows()
        self.urls = urls = list[str]()

        @self.app.step(name="mail")
        async def mail(url: str) -> None:
            urls.append(url)

        self.mail = mail

    @property
    def token(self) -> str:
        return self.urls[-1].rpartition("/")[2]


async def started(env: WorkflowEnv, workflow: Any, *args: Any) -> Any:
    run = await env.start(workflow.with_options(run_id="run"), *args)
    await env.run_until_blocked()
    return run


async def count(type: str, run_id: str = "run") -> int:
    return [event.type async for event in get_run(run_id).events()].count(type)


def test_a_request_comes_as_it_was_sent_and_its_caller_hears_that_it_was_accepted(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> Any:
        webhook = create_webhook()
        await post.mail(webhook.url)
        request = await webhook
        return [
            request.method,
            request.url,
            request.headers["CONTENT-type"],
            list(request.headers.pairs),
            request.body,
            request.text(),
            request.json(),
        ]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        assert post.urls[-1] == f"http://127.0.0.1:8787/.well-known/workflow/v1/webhook/{post.token}"
        headers = [("Content-Type", "application/json"), ("X-Two", "1"), ("x-two", "2")]
        sent = Request("put", "https://example.org/hook?a=b", headers, '{"grüße": 1}')
        answer = await resume_webhook(post.token, sent)
        assert (answer.status, answer.body) == (202, b"")
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == [
        "PUT",
        "https://example.org/hook?a=b",
        "application/json",
        [("content-type", "application/json"), ("x-two", "1"), ("x-two", "2")],
        '{"grüße": 1}'.encode(),
        '{"grüße": 1}',
        {"grüße": 1},
    ]


def test_a_payload_that_is_no_request_does_not_come_to_a_webhook(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> str:
        webhook = create_webhook()
        await post.mail(webhook.url)
        return (await webhook).method

    @post.app.workflow
    async def sender(token: str) -> str:
        try:
            await resume_hook(token, {"method": "POST"})
        except HookNotFoundError as error:
            return str(error)
        return "taken"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        with pytest.raises(HookNotFoundError, match="of a webhook of run run, which takes requests only") as caught:
            await resume_hook(post.token, {"method": "POST"})
        assert post.token not in str(caught.value)
        told = await env.run_to_end(await env.start(sender, post.token))
        await resume_webhook(post.token, Request("GET"))
        return told, await env.run_to_end(run)

    told, method = play.scene(scenario, post.app)
    assert "which takes requests only" in told
    assert method == "GET"


def test_a_webhook_with_a_response_of_its_own_gives_that(play: Play) -> None:
    post = Mailed()
    fixed = Response(303, "over there", {"Location": "/thanks"})

    @post.app.workflow
    async def body() -> str:
        webhook = create_webhook(fixed)
        await post.mail(webhook.url)
        return (await webhook).method

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        assert await resume_webhook(post.token, Request("GET")) == fixed
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == "GET"


def answering(post: Mailed, **options: Any) -> Any:
    """A workflow that answers each of two requests by a step, with what was asked and the number of the answer."""

    @post.app.step(name="reply")
    async def reply(request: Request, number: int) -> None:
        await request.respond_with(Response(201, f"{number}: {request.text()}", {"x-number": str(number)}))

    @post.app.workflow(name="answering")
    async def body() -> list[str]:
        webhook = create_webhook("manual", **options)
        await post.mail(webhook.url)
        seen: list[str] = []
        for number in range(2):
            request = await webhook
            seen.append(request.text())
            await reply(request, number)
        return seen

    return body


def test_a_step_answers_the_caller_who_waits(play: Play) -> None:
    post = Mailed()
    body = answering(post)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        first = await resume_webhook(post.token, Request(body="who"))
        second = await resume_webhook(post.token, Request(body="where"))
        assert first == Response(201, "0: who", {"x-number": "0", "content-type": "text/plain; charset=utf-8"})
        assert second == Response(201, "1: where", {"x-number": "1", "content-type": "text/plain; charset=utf-8"})
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == ["who", "where"]


def test_two_callers_who_wait_at_once_each_get_their_own_answer(play: Play) -> None:
    post = Mailed()
    body = answering(post)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        asked = [asyncio.ensure_future(resume_webhook(post.token, Request(body=text))) for text in ("a", "b")]
        answers = [answer.text() for answer in await asyncio.gather(*asked)]
        seen = await env.run_to_end(run)
        assert answers == [f"{seen.index(text)}: {text}" for text in ("a", "b")]
        return sorted(seen)

    assert play.scene(scenario, post.app) == ["a", "b"]


def test_the_first_answer_counts(play: Play) -> None:
    post = Mailed()

    @post.app.step
    async def reply(request: Request) -> None:
        await request.respond_with(Response(200, "first"))
        await request.respond_with(Response(500, "second"))

    @post.app.workflow
    async def body() -> None:
        webhook = create_webhook("manual")
        await post.mail(webhook.url)
        await reply(await webhook)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        answer = await resume_webhook(post.token, Request())
        await env.run_to_end(run)
        return answer.text()

    assert play.scene(scenario, post.app) == "first"


def test_a_run_that_ends_without_an_answer_says_so_to_the_caller(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body(fails: bool) -> None:
        webhook = create_webhook("manual")
        await post.mail(webhook.url)
        await webhook
        if fails:
            raise ValueError("before the answer")

    async def scenario(env: WorkflowEnv) -> Any:
        answers: list[tuple[int, str]] = []
        for fails in (False, True):
            await env.start(body, fails)
            await env.run_until_blocked()
            answer = await resume_webhook(post.token, Request())
            answers.append((answer.status, answer.text()))
        return answers

    assert play.scene(scenario, post.app) == [(502, "the workflow has ended without an answer")] * 2


def test_a_caller_whose_answer_takes_too_long_is_told_so_and_the_run_goes_on_with_the_request(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> str:
        webhook = create_webhook("manual", timeout=0.05)
        await post.mail(webhook.url)
        request = await webhook
        await sleep("1 day")
        return request.text()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        assert (await resume_webhook(post.token, Request(body="patience"))).status == 504
        assert await run.status() == "running"
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == "patience"


def test_a_request_that_a_run_hands_to_the_one_after_it_is_answered_there(play: Play) -> None:
    post = Mailed()

    @post.app.step
    async def reply(request: Request) -> None:
        await request.respond_with(Response(200, f"later: {request.text()}"))

    @post.app.workflow
    async def body(request: Request | None) -> str:
        if request is None:
            webhook = create_webhook("manual")
            await post.mail(webhook.url)
            continue_as_new(await webhook)
        await reply(request)
        return "done"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body, None)
        answer = await resume_webhook(post.token, Request(body="question"))
        assert answer.text() == "later: question"
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == "done"


def test_a_webhook_can_be_called_before_the_step_that_mails_its_url_has_ended(play: Play) -> None:
    app = Workflows()

    @app.step
    async def mail_and_click(url: str) -> int:
        return (await resume_webhook(url.rpartition("/")[2], Request(body="quick"))).status

    @app.workflow
    async def body() -> Any:
        webhook = create_webhook()
        status = await mail_and_click(webhook.url)
        return [status, (await webhook).text()]

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await env.start(body))

    assert play.scene(scenario, app) == [202, "quick"]


def test_what_is_no_live_webhook_is_not_found_and_plain_hooks_are_not_reached(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> Any:
        plain = create_hook("plain")
        webhook = create_webhook()
        await post.mail(webhook.url)
        await webhook
        webhook.dispose()
        return await plain

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        refused: list[str] = []

        async def expect_refusal(token: str) -> None:
            with pytest.raises(HookNotFoundError) as caught:
                await resume_webhook(token, Request())
            refused.append(str(caught.value))
            assert token not in refused[-1] or token == "plain"

        await expect_refusal("unknown")
        await expect_refusal("plain")
        assert (await resume_webhook(post.token, Request())).status == 202
        await env.run_until_blocked()
        await expect_refusal(post.token)  # disposed of
        assert await count("hook_received") == 1
        await resume_hook("plain", "end")
        result = await env.run_to_end(run)
        await expect_refusal(post.token)  # ended
        return [result, len(refused)]

    assert play.scene(scenario, post.app) == ["end", 4]


def test_a_body_larger_than_the_webhook_takes_is_refused_and_one_of_megabytes_comes_whole(play: Play) -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> Any:
        webhook = create_webhook(max_body="2 MB")
        await post.mail(webhook.url)
        request = await webhook
        return [len(request.body), hashlib.sha256(request.body).hexdigest()]

    large = bytes(range(256)) * 7812

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        assert (await resume_webhook(post.token, Request(body=b"x" * 2_000_001))).status == 413
        await env.run_until_blocked()
        assert await count("hook_received") == 0
        assert (await resume_webhook(post.token, Request(body=large))).status == 202
        return await env.run_to_end(run)

    assert play.scene(scenario, post.app) == [len(large), hashlib.sha256(large).hexdigest()]


# -- signatures -------------------------------------------------------------------------------------------------------


def mac(text: bytes) -> str:
    return hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()


def of_github(body: bytes, now: float, event: str) -> Request:
    return Request("POST", "", {"X-Hub-Signature-256": f"sha256={mac(body)}", "X-GitHub-Delivery": event}, body)


def of_stripe(body: bytes, now: float, event: str) -> Request:
    body = json.dumps({"id": event, "object": "event"}).encode()
    signature = mac(b"%d.%b" % (int(now), body))
    return Request("POST", "", {"Stripe-Signature": f"t={int(now)},v1={'0' * 64},v1={signature},v0=old"}, body)


def of_slack(body: bytes, now: float, event: str) -> Request:
    body = json.dumps({"event_id": event}).encode()
    signature = mac(b"v0:%d:%b" % (int(now), body))
    headers = {"X-Slack-Signature": f"v0={signature}", "X-Slack-Request-Timestamp": str(int(now))}
    return Request("POST", "", headers, body)


PROVIDERS = {"github": (github, of_github), "stripe": (stripe, of_stripe), "slack": (slack, of_slack)}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_signed_requests_come_once_each_and_forged_ones_not_at_all(
    play: Play, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", SECRET)
    declare, signed = PROVIDERS[provider]
    post = Mailed()
    body = answering(post, verify=declare("THE_SECRET"))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        now = env.clock.now()
        first = signed(b"{}", now, "event-1")
        changed = Request("POST", "", first.headers.pairs, first.body + b" ")
        bare = Request("POST", "", {}, first.body)
        for forged in (changed, bare):
            assert (await resume_webhook(post.token, forged)).status == 401
        assert await count("hook_received") == 0
        answers = [await resume_webhook(post.token, first) for _ in range(3)]
        assert [answer.headers["x-number"] for answer in answers] == ["0", "0", "0"]  # one event, one delivery
        assert await count("hook_received") == 1
        second = await resume_webhook(post.token, signed(b"{}", now, "event-2"))
        assert second.headers["x-number"] == "1"
        return len(await env.run_to_end(run))

    assert play.scene(scenario, post.app) == 2


@pytest.mark.parametrize("provider", ["stripe", "slack"])
def test_a_signature_that_is_more_than_five_minutes_old_is_refused(
    play: Play, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", SECRET)
    declare, signed = PROVIDERS[provider]
    post = Mailed()

    @post.app.workflow
    async def body() -> None:
        webhook = create_webhook(verify=declare("THE_SECRET"))
        await post.mail(webhook.url)
        async for _ in webhook:
            pass

    async def scenario(env: WorkflowEnv) -> Any:
        await started(env, body)
        now = env.clock.now()
        offsets = (-302, -300, 0, 300, 302)
        return [(await resume_webhook(post.token, signed(b"", now + by, f"e{by}"))).status for by in offsets]

    assert play.scene(scenario, post.app) == [401, 202, 202, 202, 401]


def test_a_webhook_whose_secret_is_not_set_says_so_to_its_owner_and_delivers_nothing(play: Play) -> None:
    post = Mailed()
    body = answering(post, verify=github("NOT_SET_ANYWHERE"))

    async def scenario(env: WorkflowEnv) -> Any:
        await started(env, body)
        with pytest.raises(WorldConfigurationError, match="NOT_SET_ANYWHERE, which is not set here"):
            await resume_webhook(post.token, of_github(b"{}", 0, "event"))
        return await count("hook_received")

    assert play.scene(scenario, post.app) == 0


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_has_128_random_bits_that_run_id_and_code_do_not_yield_and_is_nowhere_in_the_store_or_the_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    app = Workflows()

    @app.workflow
    async def body() -> int:
        webhook = create_webhook()
        tokens.append(webhook.token)
        return len(await webhook)  # type: ignore[arg-type] -- fails: the traceback is in the logs too

    tokens: list[str] = []

    async def once() -> str:
        async with workflow_env("memory", app) as env:
            run = await started(env, body)
            token = tokens[0]
            await resume_webhook(token, Request("GET", f"/webhook/{token}"))
            await env.run_until_blocked()
            assert await run.status() == "failed"
            with pytest.raises(HookNotFoundError) as caught:
                await get_hook_by_token(token)
            assert token not in str(caught.value)
            created = [event.data async for event in run.events() if event.type == "hook_created"]
            assert created[0]["digest"] == hashlib.sha256(token.encode()).hexdigest()
            assert token not in str(created)
            return token

    found: list[str] = []
    for _ in range(2):
        tokens.clear()
        found.append(asyncio.run(once()))
    assert found[0] != found[1]
    assert [len(token) for token in found] == [22, 22]  # 128 bits, six to a letter
    assert not any(token in caplog.text for token in found)


def test_the_url_stays_the_same_wherever_the_body_runs_again() -> None:
    post = Mailed()

    @post.app.workflow
    async def body() -> str:
        webhook = create_webhook()
        await post.mail(webhook.url)
        await webhook
        return webhook.url

    async def once(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_webhook(post.token, Request())
        await env.run_to_end(run)
        return [event async for event in run.events()]

    async def main() -> Any:
        from wdk_cloud.engine.settings import Settings

        settings = Settings(public_url="https://orders.example/base/")
        async with workflow_env("memory", post.app, settings=settings) as env:
            return await once(env)

    history = asyncio.run(main())
    assert post.urls == [f"https://orders.example/base/.well-known/workflow/v1/webhook/{post.token}"]
    replay(body, history)  # in a process with another base


# -- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"respond_with": "automatic"}, ValueError, 'respond_with= is None, a Response or "manual"'),
        ({"respond_with": 202}, ValueError, 'respond_with= is None, a Response or "manual"'),
        ({"respond_with": Response(200, b"x" * 16_385)}, ValueError, "at most 16,384 bytes"),
        ({"timeout": 0}, ValueError, "timeout= is more than nothing"),
        ({"timeout": "2 hours"}, ValueError, "at most 3600 s"),
        ({"timeout": "soon"}, ValueError, "soon"),
        ({"max_body": "101 MB"}, ValueError, "at most 100,000,000 bytes"),
        ({"max_body": "large"}, ValueError, "'large' is not understood"),
        ({"max_body": -1}, ValueError, "cannot be -1"),
        ({"max_body": 1.5}, TypeError, "not float"),
        ({"verify": "github:SECRET"}, TypeError, "not str"),
    ],
)
def test_terms_that_make_no_sense_raise_in_the_body(
    play: Play, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        with pytest.raises(error) as caught:
            create_webhook(**options)
        return str(caught.value)

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await env.start(body))

    assert says in play.scene(scenario, app)


def test_a_secret_given_in_the_place_of_its_name_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="takes the name of an environment variable") as caught:
        stripe("whsec_abc/def+")
    assert "whsec" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Evil": "a\r\nSet-Cookie: admin=1"},
        {"X-Evil": "a\nb"},
        {"X-Evil": "a\0b"},
        {"X-Evil: a\r\nSet-Cookie": "b"},
        {"": "b"},
        {"X Evil": "b"},
        {"X-Evil": "snow ☃"},
        {"X-Evil": 1},
    ],
)
def test_a_header_that_would_break_the_message_is_refused_where_it_is_made(headers: Any) -> None:
    with pytest.raises(ValueError, match="header"):
        Response(200, "", headers)


@pytest.mark.parametrize("status", [0, 100, 199, 600, "200", True, None])
def test_a_response_needs_a_status_of_http(status: Any) -> None:
    with pytest.raises(ValueError, match="a status from 200 to 599"):
        Response(status)


def test_an_answer_is_given_by_a_step_and_only_where_one_is_waited_for(play: Play) -> None:
    post = Mailed()

    @post.app.step(max_retries=0)
    async def reply(request: Request) -> str:
        with pytest.raises(WorkflowContextError) as caught:
            await request.respond_with(Response())
        return str(caught.value)

    @post.app.workflow
    async def body() -> list[str]:
        manual, plain = create_webhook("manual", timeout=0.01), create_webhook()
        await post.mail(plain.url)
        await post.mail(manual.url)
        says: list[str] = []
        with pytest.raises(WorkflowContextError) as caught:
            await (await manual).respond_with(Response())
        says.append(str(caught.value))
        says.append(await reply(await plain))
        return says

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        await resume_webhook(post.token, Request())
        await resume_webhook(post.urls[-2].rpartition("/")[2], Request())
        return await env.run_to_end(run)

    in_body, not_manual = play.scene(scenario, post.app)
    assert "call it in a step" in in_body
    assert "has its answer already" in not_manual


def test_webhooks_are_made_in_bodies_and_called_elsewhere(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        with pytest.raises(WorkflowContextError) as caught:
            await resume_webhook("token", Request())
        return str(caught.value)

    async def scenario(env: WorkflowEnv) -> Any:
        with pytest.raises(WorkflowContextError):
            create_webhook()
        with pytest.raises(TypeError, match="takes a Request, not dict"):
            await resume_webhook("token", {})  # type: ignore[arg-type]
        return await env.run_to_end(await env.start(body))

    assert "call it in a step" in play.scene(scenario, app)
