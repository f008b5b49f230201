"""`fetch`: HTTP requests as steps, against a server on a socket of this machine."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.running import Play
from wdk_cloud import FatalError, Response, StepFailedError, Workflows, continue_as_new, fetch
from wdk_cloud.testing.environment import WorkflowEnv


class Site(BaseHTTPRequestHandler):
    """Gives back what it got; some paths do something else."""

    server: Any

    def answer(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        self.server.hits[self.path] += 1
        status, sent, headers = 200, b"", [("content-type", "application/json")]
        match self.path:
            case "/moved":
                status, headers = 302, [("location", "/echo")]
            case "/round":
                status, headers = 302, [("location", "/round")]
            case "/busy":
                status, sent = 503, b"busy"
            case "/zipped":
                sent, headers = (
                    gzip.compress(b"unpacked"),
                    [("content-encoding", "gzip"), ("set-cookie", "a=1"), ("set-cookie", "b=2")],
                )
            case "/broken":
                self.close_connection = True
                if self.server.hits[self.path] <= 2:
                    return
                sent = b"mended"
            case "/short":
                headers = [("content-length", "100")]
                sent = b"half"
            case _:
                told = {
                    "method": self.command,
                    "path": self.path,
                    "x": self.headers.get("x-mine"),
                    "body": body.decode(),
                }
                told["type"] = self.headers.get("content-type")
                sent = json.dumps(told).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.path != "/short":
            self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.hits = Counter[str]()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["warm", "cold"])
def way(request: pytest.FixtureRequest) -> Play:
    """Ports and dates differ each time, so the logs of the ways cannot be compared."""
    return request.getfixturevalue(request.param)


def fetching(*args: Any, **kwargs: Any) -> Any:
    """A workflow that fetches, and gives what came."""
    app = Workflows()

    @app.workflow(name="fetching")
    async def fetching() -> Any:
        response = await fetch(*args, **kwargs)
        assert isinstance(response, Response)
        return [response.status, response.text(), sorted(response.headers)]

    return fetching


def test_a_request_goes_out_once_and_its_response_is_replayed(way: Play, site: Any) -> None:
    app = Workflows()
    url, hits = site.url, site.hits
    hits.clear()

    @app.workflow(name="fetching")
    async def body() -> Any:
        first = await fetch(url + "/echo?a=b", method="POST", headers={"x-mine": "1"}, json={"n": 1})
        second = await fetch(url + "/echo", method="PUT", content=b"raw")
        told = first.json()
        assert first.headers["Content-Type"] == "application/json"
        return [
            first.status,
            told["method"],
            told["path"],
            told["x"],
            json.loads(told["body"]),
            told["type"],
            second.json()["body"],
        ]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        result = await env.run_to_end(run)
        names = [event.step_name async for event in run.events() if event.type == "step_completed"]
        assert names == ["step//wdk_cloud//fetch"] * 2
        return [result, dict(hits)]

    assert way.scene(scenario, app) == [
        [200, "POST", "/echo?a=b", "1", {"n": 1}, "application/json", "raw"],
        {"/echo?a=b": 1, "/echo": 1},
    ]


def test_redirects_are_followed_and_a_body_comes_unpacked(warm: Play, site: Any) -> None:
    moved = warm(fetching(site.url + "/moved")).value
    assert (moved[0], json.loads(moved[1])["path"]) == (200, "/echo")
    zipped = warm(fetching(site.url + "/zipped")).value
    assert zipped[1] == "unpacked"
    assert not {"content-encoding", "content-length"} & set(zipped[2])  # it may answer a webhook as it is
    assert "set-cookie" in zipped[2]


def test_any_status_is_a_response_and_no_failure(warm: Play, site: Any) -> None:
    assert warm(fetching(site.url + "/busy")).value[:2] == [503, "busy"]
    assert site.hits == {"/busy": 1}


def test_a_connection_that_breaks_is_tried_again_as_any_step_is(warm: Play, site: Any) -> None:
    finished = warm(fetching(site.url + "/broken"))
    assert finished.value[1] == "mended"
    assert (site.hits["/broken"], finished.count("step_retrying")) == (3, 2)


def test_options_are_those_of_a_step(warm: Play, site: Any) -> None:
    app, url = Workflows(), site.url

    @app.workflow
    async def body() -> Any:
        await fetch.with_options(max_retries=0)(url + "/broken")

    error = warm(body).error
    assert isinstance(error, StepFailedError)
    assert isinstance(error.__cause__, ConnectionError)
    assert str(error.__cause__).startswith("http://127.0.0.1: ")
    assert site.hits == {"/broken": 1}


def test_a_body_that_ends_too_soon_is_no_response(warm: Play, site: Any) -> None:
    error = warm(fetching(site.url + "/short")).error
    assert isinstance(error.__cause__, ConnectionError)
    assert site.hits == {"/short": 4}


BAD = {
    "no URL": (("nowhere",), {}, "cannot send this request"),
    "another scheme": (("file:///etc/passwd",), {}, "cannot send this request"),
    "a header": (("URL/echo",), {"headers": {"x": "1\r\ny: 2"}}, "cannot send this request"),
    "two bodies": (("URL/echo",), {"json": 1, "content": "x"}, "json= or content=, not both"),
    "a circle": (("URL/round",), {}, "cannot send this request"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_cannot_be_sent_is_not_tried_again(case: str, warm: Play, site: Any) -> None:
    (url,), more, why = BAD[case]
    finished = warm(fetching(url.replace("URL", site.url), **more))
    assert isinstance(finished.error, FatalError)
    assert why in str(finished.error)
    assert finished.count("step_started") == 1


def test_a_wrong_call_is_a_type_error_in_the_body(warm: Play) -> None:
    assert isinstance(warm(fetching("http://x", methd="GET")).error, TypeError)


def test_outside_a_workflow_a_request_is_just_sent(site: Any) -> None:
    response = asyncio.run(fetch(site.url + "/echo", method="DELETE"))
    assert (response.status, response.json()["method"]) == (200, "DELETE")


def test_many_requests_at_once_and_from_a_run_that_goes_on(warm: Play, site: Any) -> None:
    app, url = Workflows(), site.url

    @app.workflow
    async def body(last: bool) -> Any:
        answers = await asyncio.gather(*(fetch(f"{url}/{number}") for number in range(20)))
        if not last:
            continue_as_new(True)
        return [answer.json()["path"] for answer in answers]

    assert warm(body, False).value == [f"/{number}" for number in range(20)]
    assert set(site.hits.values()) == {2}


def test_a_token_in_a_url_is_in_no_log_and_in_no_error(warm: Play, site: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    path = "/.well-known/workflow/v1/webhook/a-secret-token"
    assert warm(fetching(site.url + path)).value[0] == 200
    gone = "http://127.0.0.1:1" + path
    error = warm(fetching(gone)).error
    assert "a-secret-token" not in f"{error} {error.__cause__} {caplog.text}"


def test_a_server_that_goes_silent_is_a_time_out(warm: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdk_cloud.fetching.GAP", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = warm(fetching(f"http://127.0.0.1:{silent.getsockname()[1]}/x")).error
    assert isinstance(error.__cause__, TimeoutError)
    assert str(error.__cause__) == "no answer came from http://127.0.0.1 within 0.05 s"


def test_a_response_that_is_too_large_is_refused(warm: Play, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdk_cloud.fetching.MAX_BODY", 7)
    error = warm(fetching(site.url + "/zipped")).error
    assert isinstance(error, FatalError)
    assert "more than 7 bytes" in str(error)
