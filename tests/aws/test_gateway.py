"""HTTP requests of function URLs and of API Gateway: what comes in, what goes out, and where the limits are."""

import asyncio
import base64
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.aws.invoking import SETTINGS, Hands, Played, played_at
from wdk_aws import gateway
from wdk_aws.answers import MOST_ANSWER, Collected
from wdk_aws.gateway import MOST_BODY
from wdk_cloud import Response, Workflows, create_webhook, get_run, get_writable, start
from wdk_cloud.webhooks import ROUTE

TOKEN = "a-secret-of-sixteen-and-more"
API = "/.well-known/workflow/v1/api"
HEALTH = "/.well-known/workflow/v1/health"


def url_event(method: str, path: str, body: bytes = b"", query: str = "", **headers: str) -> dict[str, Any]:
    """As the developer guide of Lambda shows it ("Request payload format" of function URLs)."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": ["cookie1", "cookie2=a b"],
        "headers": {"host": "abc.lambda-url.eu-central-1.on.aws", **headers},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "authentication": None,
            "domainName": "abc.lambda-url.eu-central-1.on.aws",
            "domainPrefix": "abc",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "123.123.123.123",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
        "pathParameters": None,
        "stageVariables": None,
    }


def rest_event(method: str, path: str, body: str | None = None, **headers: str) -> dict[str, Any]:
    """As the developer guide of API Gateway shows it (format 1.0), of a stage with a name."""
    return {
        "version": "1.0",
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {"limit": "1"},
        "multiValueQueryStringParameters": {"limit": ["1"]},
        "requestContext": {"stage": "prod", "path": path, "identity": {"sourceIp": "1.2.3.4"}},
        "body": body,
        "isBase64Encoded": False,
    }


@pytest.fixture
def played(dynoxide: str, monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setenv("WDK_API_TOKEN", TOKEN)
    return functools.partial(
        played_at, dynoxide, settings=dataclasses.replace(SETTINGS, public_url="https://hooks.example")
    )


def signups() -> Workflows:
    app = Workflows()

    @app.workflow(name="greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    return app


def authorized(**headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", **headers}


# -- the API ------------------------------------------------------------------------------------------------------------


def test_a_run_is_started_and_read_over_a_function_url(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        order = json.dumps({"workflow": "greet", "args": ["a"]}).encode()
        answer = await hands.invoke(url_event("POST", f"{API}/start", order, **authorized()))
        assert (answer["statusCode"], answer["isBase64Encoded"], answer["cookies"]) == (201, False, [])
        assert answer["headers"]["content-type"] == "application/json"
        run_id = json.loads(answer["body"])["run_id"]
        await hands.invoke({"Records": hands.received("wdk-flow")})
        answer = await hands.invoke(url_event("GET", f"{API}/runs/{run_id}", **authorized()))
        assert json.loads(answer["body"])["result"] == "hello a"
        assert await get_run(run_id).status() == "completed"

    played(scenario, signups())


def test_a_rest_api_with_a_stage_is_answered_in_its_format(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        for _ in range(2):
            await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        answer = await hands.invoke(rest_event("GET", f"/prod{API}/runs", Authorization=f"Bearer {TOKEN}"))
        assert answer["statusCode"] == 200
        assert answer["multiValueHeaders"]["content-type"] == ["application/json"]
        assert "headers" not in answer
        page = json.loads(answer["body"])
        assert len(page["runs"]) == 1, "the query has a limit of 1"
        assert page["cursor"] is not None

    played(scenario, signups())


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer another-secret-of-sixteen"}])
def test_nobody_uses_the_api_without_its_token(played: Played, headers: dict[str, str]) -> None:
    async def scenario(hands: Hands) -> None:
        answer = await hands.invoke(url_event("GET", f"{API}/runs", **headers))
        assert answer["statusCode"] == 401
        assert answer["headers"]["www-authenticate"] == "Bearer"

    played(scenario, signups())


ROUTES = {
    "all": {HEALTH, ROUTE + "x", f"{API}/runs"},
    "worker": {HEALTH, f"{API}/runs"},
    "receiver": {HEALTH, ROUTE + "x"},
}
"""The routes that each role answers, of these and the one of pushed messages: on Lambda they come from SQS."""


@pytest.mark.parametrize("role", ROUTES)
def test_each_role_answers_its_routes(played: Played, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ROLE", role)

    async def scenario(hands: Hands) -> set[str]:
        answered = set()
        for path in {*ROUTES["all"], "/.well-known/workflow/v1/flow"}:
            answer = await hands.invoke(url_event("GET", path))
            # A webhook that nobody has is 404 without a body; a route that is not there says so.
            if answer["statusCode"] != 404 or not answer["body"]:
                answered.add(path)
        return answered

    assert played(scenario, signups()) == ROUTES[role]


# -- webhooks -----------------------------------------------------------------------------------------------------------


class Posted:
    def __init__(self) -> None:
        self.app = Workflows()
        self.urls: list[str] = []

        @self.app.step
        async def mail(url: str) -> None:
            self.urls.append(url)

        @self.app.workflow(name="post")
        async def post() -> list[Any]:
            webhook = create_webhook(respond_with=Response(201, b"\xff\x00", {"Set-Cookie": "a=1", "X-Two": "1"}))
            await mail(webhook.url)
            request = await webhook
            return [request.method, request.url, request.body, request.headers["cookie"]]

        self.post = post

    async def path(self, hands: Hands) -> tuple[Any, str]:
        run = await start(self.post)
        await hands.invoke({"Records": hands.received("wdk-flow")})
        return run, self.urls[0].removeprefix("https://hooks.example")


def test_a_webhook_gets_the_request_as_it_was_sent(played: Played) -> None:
    posted = Posted()

    async def scenario(hands: Hands) -> None:
        run, path = await posted.path(hands)
        answer = await hands.invoke(url_event("PUT", path, b"\x00\xfe binary", "a=1&b=%20"))
        assert answer["statusCode"] == 201
        assert (answer["isBase64Encoded"], base64.b64decode(answer["body"])) == (True, b"\xff\x00")
        assert answer["cookies"] == ["a=1"]
        assert answer["headers"]["x-two"] == "1"
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await run.return_value() == [
            "PUT",
            f"https://hooks.example{path}?a=1&b=%20",
            b"\x00\xfe binary",
            "cookie1; cookie2=a b",
        ]

    played(scenario, posted.app)


def test_a_body_over_the_limit_of_the_platform_is_told(played: Played) -> None:
    posted = Posted()

    async def scenario(hands: Hands) -> None:
        run, path = await posted.path(hands)
        answer = await hands.invoke(url_event("POST", path, bytes(MOST_BODY + 1)))
        assert answer["statusCode"] == 413
        assert json.loads(answer["body"]) == {
            "error": "too-large",
            "message": "the body is larger than the 4,000,000 bytes that a function on AWS Lambda takes",
        }
        assert await run.status() == "running"
        assert (await hands.invoke(url_event("POST", path, bytes(MOST_BODY))))["statusCode"] == 201

    played(scenario, posted.app)


def test_a_body_that_is_no_base64_is_a_bad_request(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        event = url_event("POST", f"{API}/start", **authorized()) | {"body": "§", "isBase64Encoded": True}
        assert (await hands.invoke(event))["statusCode"] == 400

    played(scenario, signups())


# -- what does not fit, and what goes wrong -----------------------------------------------------------------------------


def collected(body: bytes, media: str) -> Collected:
    one = Collected()
    one.add({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media.encode())]})
    one.add({"type": "http.response.body", "body": body})
    return one


@pytest.mark.parametrize(
    ("media", "body", "encoded"),
    [
        ("application/json", '{"ä": 1}'.encode(), False),
        ("text/event-stream", b"data: 1\n\n", False),
        ("text/plain; charset=latin-1", "ä".encode("latin-1"), True),
        ("application/octet-stream", b"abc", True),
        ("image/png", b"", False),
    ],
)
def test_text_is_text_and_all_else_is_base64(media: str, body: bytes, encoded: bool) -> None:
    answer = collected(body, media).as_answer(rest=False)
    assert answer["isBase64Encoded"] is encoded
    assert (base64.b64decode(answer["body"]) if encoded else answer["body"].encode()) == body


def test_an_answer_over_the_limit_of_the_platform_is_told() -> None:
    most = MOST_ANSWER * 3 // 4
    assert collected(bytes(most - 1000), "image/png").as_answer(rest=False)["statusCode"] == 200
    answer = collected(bytes(most), "image/png").as_answer(rest=True)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["error"] == "answer-too-large"


def test_without_code_requests_are_told_to_come_again(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken_gateway_app.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WDK_APP", "broken_gateway_app")

    async def scenario(hands: Hands) -> None:
        for event in (url_event("GET", HEALTH), rest_event("GET", HEALTH)):
            assert (await hands.invoke(event))["statusCode"] == 503
        assert hands.telemetry.counts == {"MissingCode": 2}

    played(scenario, from_environment=True)
    assert "not today" in caplog.text


def test_a_receiver_needs_no_code(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ROLE", "receiver")
    monkeypatch.delenv("WDK_APP", raising=False)

    async def scenario(hands: Hands) -> None:
        assert (await hands.invoke(url_event("GET", HEALTH)))["statusCode"] == 200

    played(scenario, from_environment=True)


# -- streams ------------------------------------------------------------------------------------------------------------


def streaming(release: asyncio.Event) -> Workflows:
    app = Workflows()

    @app.step(dispatch="queue")
    async def tell() -> None:
        async with get_writable() as out:
            await out.write("one")
            await out.drain()
            await release.wait()
            await out.write("two")

    @app.workflow(name="told")
    async def told() -> None:
        await tell()

    return app


def test_a_live_stream_is_answered_with_what_has_come_and_goes_on_behind_it(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "GATHER", 0.01)
    release = asyncio.Event()

    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["told"])
        await hands.invoke({"Records": hands.received("wdk-flow")})
        at_work = asyncio.create_task(hands.invoke({"Records": hands.received("wdk-step")}))
        path = f"{API}/runs/{run.run_id}/streams/default"
        answer = await hands.invoke(url_event("GET", path, **authorized()))
        assert answer["headers"]["content-type"].startswith("text/event-stream")
        assert answer["body"] == 'retry: 1000\n\nid: 0\ndata: "one"\n\n'
        release.set()
        await at_work
        answer = await hands.invoke(url_event("GET", path, **authorized(**{"last-event-id": "0"})))
        assert answer["body"].startswith('retry: 1000\n\nid: 1\ndata: "two"\n\n')

    played(scenario, streaming(release))


def test_the_bytes_of_a_stream_that_goes_on_are_not_taken_for_the_whole(played: Played) -> None:
    release = asyncio.Event()

    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["told"])
        await hands.invoke({"Records": hands.received("wdk-flow")})
        at_work = asyncio.create_task(hands.invoke({"Records": hands.received("wdk-step")}))
        path = f"{API}/runs/{run.run_id}/streams/default"
        answer = await hands.invoke(url_event("GET", path, query="format=raw", **authorized()), timeout=0.5)
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (504, "timeout")
        release.set()
        await at_work

    played(scenario, streaming(release))
