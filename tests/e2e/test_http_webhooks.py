"""The public route of webhooks: what is delivered, what callers get, and what they never do."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest

from tests.e2e.browsing import browser, call, scope_of, serve
from tests.e2e.running import Play
from wdk_cloud import Request, Response, Workflows, create_hook, create_webhook, get_run, github, resume_hook
from wdk_cloud.testing.environment import WorkflowEnv


class Shop:
    """An app with a step that hands out the URL of a webhook, as a mail would, and its public routes."""

    def __init__(self, namespace: str | None = None) -> None:
        self.app = Workflows(namespace)
        self.urls = urls = list[str]()

        @self.app.step(name="mail")
        async def mail(url: str) -> None:
            urls.append(url)

        self.mail = mail

    @property
    def url(self) -> str:
        return self.urls[-1]

    @property
    def path(self) -> str:
        return "/webhook/" + self.url.rpartition("/")[2]

    def waiting(self, **terms: Any) -> Any:
        """A workflow that waits for one request and gives what it says."""

        @self.app.workflow(name="waiting")
        async def waiting() -> Any:
            webhook = create_webhook(**terms)
            await self.mail(webhook.url)
            request = await webhook
            return [request.method, request.url.rpartition("/")[2], request.body]

        return waiting


async def started(env: WorkflowEnv, workflow: Any, *args: Any) -> Any:
    run = await env.start(workflow.with_options(run_id="run"), *args)
    await env.run_until_blocked()
    return run


async def received(run_id: str = "run", namespace: str | None = None) -> int:
    events = get_run(run_id, namespace=namespace).events()
    return [event.type async for event in events].count("hook_received")


def test_a_request_reaches_the_run_whole_and_its_caller_hears_202(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def body() -> Any:
        webhook = create_webhook()
        await shop.mail(webhook.url)
        request = await webhook
        return [
            request.method,
            request.url == webhook.url + "?a=b&c=%2F",
            request.headers["content-type"],
            [value for name, value in request.headers.pairs if name == "x-two"],
            request.json(),
        ]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            headers = [("content-type", "application/json"), ("x-two", "1"), ("x-two", "2")]
            answer = await public.put(shop.path + "?a=b&c=%2F", headers=headers, content='{"grüße": 1}'.encode())
        assert (answer.status_code, answer.content) == (202, b"")
        return await env.run_to_end(run)

    assert play.scene(scenario, shop.app) == ["PUT", True, "application/json", ["1", "2"], {"grüße": 1}]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_that_does_something_is_delivered(method: str, warm: Play) -> None:
    shop = Shop()
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            assert (await public.request(method, shop.path)).status_code == 202
        return (await env.run_to_end(run))[0]

    assert warm.scene(scenario, shop.app) == method


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_only_look_and_deliver_nothing(method: str, warm: Play) -> None:
    shop = Shop()
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            looked = await public.request(method, shop.path)
            assert (looked.status_code, looked.content) == (204, b"")
            assert looked.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
            unknown = await public.request(method, "/webhook/unknown")
            assert (unknown.status_code, unknown.content) == (404, b"")
            await env.run_until_blocked()
            assert await received() == 0
            assert (await public.post(shop.path)).status_code == 202
        return (await env.run_to_end(run))[0]

    assert warm.scene(scenario, shop.app) == "POST"


def test_a_fixed_response_goes_out_with_each_of_its_headers(warm: Play) -> None:
    shop = Shop()
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Length", "7"), ("Cache-Control", "max-age=1")]
    body = shop.waiting(respond_with=Response(418, "tea", cookies))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            answer = await public.post(shop.path)
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert answer.headers.get_list("content-length") == ["3"]  # the server's own, not one that would break it
        assert answer.headers.get_list("cache-control") == ["max-age=1"]
        assert answer.headers["referrer-policy"] == "no-referrer"  # a page must not hand its URL on
        await env.run_to_end(run)
        return [answer.status_code, answer.text]

    assert warm.scene(scenario, shop.app) == [418, "tea"]


@pytest.mark.parametrize("name", ["X-A\r\nX-B", "X A", ""])
def test_a_header_that_would_begin_another_one_is_refused_where_it_is_made(name: str) -> None:
    with pytest.raises(ValueError, match="a header cannot be called"):
        Response(200, "", {name: "1"})


@pytest.mark.parametrize("value", ["1\r\nSet-Cookie: a=1", "1\n\nbody", "1\0"])
def test_a_value_that_would_begin_another_header_is_refused_where_it_is_made(value: str) -> None:
    with pytest.raises(ValueError, match="the header X-A has a value with a line break"):
        Response(200, "", {"X-A": value})


def answering(shop: Shop, respond: Any = None, **terms: Any) -> Any:
    @shop.app.step(name="reply")
    async def reply(request: Request) -> None:
        await request.respond_with(Response(201, request.text().upper(), {"x-by": "step"}))

    @shop.app.workflow(name="answering")
    async def body() -> str:
        webhook = create_webhook("manual", **terms)
        await shop.mail(webhook.url)
        request = await webhook
        if respond is not None:
            await respond(request)
        await reply(request)
        return request.text()

    return body


def test_the_answer_of_a_step_is_what_its_caller_gets(play: Play) -> None:
    shop = Shop()
    body = answering(shop)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            answer = await public.post(shop.path, content=b"hello")
        await env.run_to_end(run)
        return [answer.status_code, answer.text, answer.headers["x-by"]]

    assert play.scene(scenario, shop.app) == [201, "HELLO", "step"]


def test_a_caller_who_hangs_up_while_the_answer_is_pending_leaves_the_run_unharmed(warm: Play) -> None:
    shop = Shop()
    asked, gone = asyncio.Event(), asyncio.Event()

    @shop.app.step(name="until gone")
    async def until_gone(request: Request) -> None:
        asked.set()
        await gone.wait()

    body = answering(shop, until_gone)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        parts = iter([{"type": "http.request", "body": b"hello", "more_body": False}])

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            await asked.wait()
            return {"type": "http.disconnect"}

        sent = await call(serve(shop.app), scope_of("POST", shop.path), receive)
        assert sent == []  # nobody hears anything any more
        gone.set()
        return await env.run_to_end(run)

    assert warm.scene(scenario, shop.app) == "hello"


def test_a_body_that_its_caller_breaks_off_is_not_delivered(warm: Play) -> None:
    shop = Shop()
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        parts = iter([{"type": "http.request", "body": b"half of", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(parts)

        assert await call(serve(shop.app), scope_of("POST", shop.path), receive) == []
        await env.run_until_blocked()
        assert await received() == 0
        async with browser(serve(shop.app), token=None) as public:
            assert (await public.post(shop.path, content=b"whole")).status_code == 202
        return (await env.run_to_end(run))[2]

    assert warm.scene(scenario, shop.app) == b"whole"


def test_a_body_shorter_than_announced_is_refused_and_not_delivered(warm: Play) -> None:
    shop = Shop()
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        await started(env, body)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"half of", "more_body": False}

        start, end = await call(serve(shop.app), scope_of("POST", shop.path, [("Content-Length", "20")]), receive)
        assert b"the body ends after 7 of the 20 bytes announced" in end["body"]
        await env.run_until_blocked()
        return [start["status"], await received()]

    assert warm.scene(scenario, shop.app) == [400, 0]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_past_the_cap_is_refused_before_all_of_it_is_read(announced: bool, warm: Play) -> None:
    shop = Shop()
    body = shop.waiting(max_body=1000)
    sent: list[int] = []

    async def too_much() -> Any:
        for number in range(100):
            sent.append(number)
            yield b"x" * 100

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            headers = {"Content-Length": "10000"} if announced else {}
            answer = await public.post(shop.path, content=too_much(), headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (413, "too-large")
            assert len(sent) <= (1 if announced else 11)
            await env.run_until_blocked()
            assert await received() == 0
            assert (await public.post(shop.path, content=b"x" * 1000)).status_code == 202
        return len((await env.run_to_end(run))[2])

    assert warm.scene(scenario, shop.app) == 1000


def test_unknown_disposed_finished_plain_empty_and_overlong_tokens_all_look_the_same(warm: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def body() -> None:
        plain = create_hook("plain")
        webhook = create_webhook()
        await shop.mail(webhook.url)
        await webhook
        webhook.dispose()
        await plain

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:

            async def look(path: str) -> tuple[int, bytes, httpx.Headers]:
                answer = await public.post(path, content=b"x")
                return answer.status_code, answer.content, answer.headers

            unknown = await look("/webhook/unknown")
            assert unknown[:2] == (404, b"")
            assert (await look(shop.path))[0] == 202
            await env.run_until_blocked()
            for path in (shop.path, "/webhook/plain", "/webhook/" + "x" * 257, "/webhook/%00", "/webhook/%C3%BC"):
                assert await look(path) == unknown, path
            assert (await look("/webhook/"))[0] == 404
            await resume_hook("plain")
            await env.run_to_end(run)
            assert await look(shop.path) == unknown

    warm.scene(scenario, shop.app)


def test_one_event_of_a_provider_that_comes_twice_is_delivered_once_and_answered_alike(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    import hmac

    monkeypatch.setenv("THE_SECRET", "s")
    shop = Shop()
    body = shop.waiting(verify=github("THE_SECRET"))
    mac = hmac.new(b"s", b"{}", hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Delivery": "event-1"}

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            assert (await public.post(shop.path, content=b"{ }", headers=headers)).status_code == 401
            twice = [(await public.post(shop.path, content=b"{}", headers=headers)).status_code for _ in range(2)]
        await env.run_to_end(run)
        return [twice, await received()]

    assert play.scene(scenario, shop.app) == [[202, 202], 1]


def test_a_missing_secret_is_said_in_the_log_and_not_to_the_public(warm: Play, caplog: Any) -> None:
    shop = Shop()
    body = shop.waiting(verify=github("NOT_SET_HERE"))

    async def scenario(env: WorkflowEnv) -> Any:
        await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            answer = await public.post(shop.path)
        return [answer.status_code, answer.content, await received()]

    assert warm.scene(scenario, shop.app) == [500, b"", 0]
    assert "NOT_SET_HERE" in caplog.text


def test_webhooks_of_an_app_with_a_namespace_are_found(warm: Play) -> None:
    shop = Shop("shop")
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        async with browser(serve(shop.app), token=None) as public:
            assert (await public.post(shop.path)).status_code == 202
        return (await env.run_to_end(run))[0]

    assert warm.scene(scenario, shop.app) == "POST"


def test_tokens_are_in_no_log(warm: Play, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    shop = Shop()
    body = shop.waiting()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await started(env, body)
        app = serve(shop.app)
        for name in ("uvicorn.access", "hypercorn.access"):
            # As uvicorn writes it; the app hides what comes after the route.
            args = ("127.0.0.1:1", "POST", f"/app/.well-known/workflow/v1{shop.path}?a=b", "1.1", 202)
            logging.getLogger(name).info('%s - "%s %s HTTP/%s" %d', *args)
        async with browser(app) as user:
            assert (await user.get("/api/hooks/my-own-token")).status_code == 404
            assert (await user.post(shop.path)).status_code == 202
        await env.run_to_end(run)

    warm.scene(scenario, shop.app)
    assert '"POST /app/.well-known/workflow/v1/webhook/…?a=b HTTP/1.1" 202' in caplog.text
    assert "/webhook/…" in caplog.text
    assert shop.path.rpartition("/")[2] not in caplog.text
    assert "my-own-token" not in caplog.text
