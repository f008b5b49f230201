"""Streams as responses of FastAPI, Starlette, Flask and Django, each the real one; and the examples that show it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import django
import fastapi
import flask
import httpx
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.urls import path
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Route
from werkzeug.test import EnvironBuilder, run_wsgi_app

import wdk_cloud.http.django
import wdk_cloud.http.flask
import wdk_cloud.http.starlette
from tests.e2e.browsing import Listener, scope_of
from tests.e2e.pages import ROOT, environment
from tests.e2e.running import Play
from tests.e2e.test_http_streams import Studio, begun, content, readers, written
from wdk_cloud import get_run, sync
from wdk_cloud.testing.environment import WorkflowEnv

PATIENCE = 40
"""Seconds for a server that takes two to start."""

# -- sites: /{run_id}, with ?raw=1 as bytes -----------------------------------------------------------------------------


def fastapi_site() -> Any:
    site = fastapi.FastAPI()

    @site.get("/{run_id}")
    async def progress(run_id: str, request: fastapi.Request) -> Any:
        last, raw = request.headers.get("last-event-id"), "raw" in request.query_params
        stream = get_run(run_id).readable()
        return wdk_cloud.http.starlette.stream_response(stream, last_event_id=last, raw=raw)

    return site


def starlette_site() -> Any:
    async def progress(request: Request) -> Any:
        last, raw = request.headers.get("last-event-id"), "raw" in request.query_params
        stream = get_run(request.path_params["run_id"]).readable()
        return wdk_cloud.http.starlette.stream_response(stream, last_event_id=last, raw=raw)

    return Starlette(routes=[Route("/{run_id}", progress)])


def flask_site() -> Any:
    site = flask.Flask(__name__)

    @site.get("/<run_id>")
    def progress(run_id: str) -> Any:
        last, raw = flask.request.headers.get("Last-Event-ID"), "raw" in flask.request.args
        stream = sync.get_run(run_id).readable()
        return wdk_cloud.http.flask.stream_response(stream, last_event_id=last, raw=raw)

    return site


def blocking_view(request: HttpRequest, run_id: str) -> Any:
    last, raw = request.headers.get("Last-Event-ID"), "raw" in request.GET
    stream = sync.get_run(run_id).readable()
    return wdk_cloud.http.django.stream_response(stream, last_event_id=last, raw=raw)


async def async_view(request: HttpRequest, run_id: str) -> Any:
    last, raw = request.headers.get("Last-Event-ID"), "raw" in request.GET
    stream = get_run(run_id).readable()
    return await wdk_cloud.http.django.astream_response(stream, last_event_id=last, raw=raw)


urlpatterns = [path("async/<slug:run_id>", async_view), path("<slug:run_id>", blocking_view)]


def django_site(handler: Callable[[], Any]) -> Any:
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="tests", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], USE_TZ=True)
        django.setup()
    return handler()


class Site(NamedTuple):
    make: Callable[[], Any]
    wsgi: bool = False
    prefix: str = ""


SITES = {
    "fastapi": Site(fastapi_site),
    "starlette": Site(starlette_site),
    "flask": Site(flask_site, wsgi=True),
    "django under wsgi": Site(lambda: django_site(WSGIHandler), wsgi=True),
    "django under asgi": Site(lambda: django_site(ASGIHandler), prefix="/async"),
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def events(self) -> list[dict[str, str]]:
        found = []
        for text in self.body.decode().split("\n\n"):
            event = dict(line.split(": ", 1) for line in text.split("\n") if line)
            found += [event] if "data" in event else []
        return found


async def get(site: Site, target: str, **headers: str) -> Answer:
    """The whole of an answer that ends by itself."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if site.wsgi:
        return await asyncio.to_thread(lambda: whole(*opened(site, target, headers)))
    client = listener(site, target, headers)
    await client.task
    sent = [client.messages.get_nowait() for _ in range(client.messages.qsize())]
    told = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], told, content(sent))


def opened(site: Site, target: str, headers: dict[str, str]) -> tuple[Any, str, Any]:
    where, _, query = target.partition("?")
    builder = EnvironBuilder(where, query_string=query, headers=headers)
    return run_wsgi_app(site.make(), builder.get_environ())


def whole(pieces: Any, status: str, headers: Any) -> Answer:
    try:
        return Answer(int(status.split()[0]), {name.lower(): value for name, value in headers}, b"".join(pieces))
    finally:
        if close := getattr(pieces, "close", None):
            close()


def listener(site: Site, target: str, headers: dict[str, str] | None = None) -> Listener:
    where, _, query = (site.prefix + target).partition("?")
    scope = scope_of("GET", "", (headers or {}).items())
    return Listener(site.make(), {**scope, "path": where, "raw_path": where.encode(), "query_string": query.encode()})


each_site = pytest.mark.parametrize("name", SITES)
under_asgi = pytest.mark.parametrize("name", [name for name, site in SITES.items() if not site.wsgi])
under_wsgi = pytest.mark.parametrize("name", [name for name, site in SITES.items() if site.wsgi])


@each_site
def test_a_handler_answers_with_a_stream_as_events_or_as_bytes(name: str, warm: Play) -> None:
    studio, site = Studio(), SITES[name]

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["a", 1])
        return await get(site, "/run"), await get(site, "/run?raw=1"), readers(env)

    events, raw, open_readers = warm.scene(scenario, studio.app)
    assert (events.status, raw.status) == (200, 200)
    assert re.match(r"text/event-stream(; charset=utf-8)?$", events.headers["content-type"])
    assert raw.headers["content-type"] == "application/octet-stream"
    for answer in (events, raw):
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in answer.headers
    assert events.events() == [
        {"id": "0", "data": '"a"'},
        {"id": "1", "data": "1"},
        {"event": "end", "data": '{"tail_index":1}'},
    ]
    assert raw.body == b"a1\n"
    assert open_readers == 0


@each_site
def test_a_client_goes_on_behind_the_event_that_came_last(name: str, warm: Play) -> None:
    studio, site = Studio(), SITES[name]

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [0, 1, 2])
        return await get(site, "/run", Last_Event_ID="1")

    events = warm.scene(scenario, studio.app).events()
    assert events == [{"id": "2", "data": "2"}, {"event": "end", "data": '{"tail_index":2}'}]


@each_site
def test_what_makes_no_sense_is_told_before_anything_is_sent(name: str, warm: Play) -> None:
    studio, site = Studio(), SITES[name]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await written(env, studio, [0])
        malformed = await get(site, "/run", Last_Event_ID="x")
        await run.delete()
        return [malformed, await get(site, "/nobody"), await get(site, "/run")]

    answers = warm.scene(scenario, studio.app)
    told = [(answer.status, json.loads(answer.body)["error"]) for answer in answers]
    assert told == [(400, "bad-request"), (404, "workflow-run-not-found"), (410, "run-expired")]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}


@under_asgi
def test_under_asgi_chunks_come_live_and_a_client_that_goes_away_ends_its_reader_at_once(name: str, warm: Play) -> None:
    studio, site = Studio(), SITES[name]

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        client = listener(site, "/run")
        assert (await client.start())["status"] == 200
        assert await client.event() == {"retry": "1000"}
        for number in range(2):
            studio.send(number)
            assert await client.event() == {"id": str(number), "data": str(number)}
        assert readers(env) == 1
        await client.hang_up()
        gone = readers(env)
        studio.end()
        return gone

    assert warm.scene(scenario, studio.app) == 0


@under_wsgi
def test_under_wsgi_chunks_come_live_and_the_server_ends_the_reader(name: str, warm: Play) -> None:
    studio, site = Studio(), SITES[name]

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        pieces, status, _ = await asyncio.to_thread(opened, site, "/run", {})
        got = [await asyncio.to_thread(next, pieces)]
        for number in range(2):
            studio.send(number)
            got.append(await asyncio.to_thread(next, pieces))
        was = readers(env)
        await asyncio.to_thread(pieces.close)
        gone = readers(env)
        studio.end()
        return status, got, was, gone

    status, got, was, gone = warm.scene(scenario, studio.app)
    assert status == "200 OK"
    assert got == [b"retry: 1000\n\n", b"id: 0\ndata: 0\n\n", b"id: 1\ndata: 1\n\n"]
    assert (was, gone) == (1, 0)


def test_a_background_task_of_the_host_runs_after_the_response(warm: Play) -> None:
    studio, ran = Studio(), []

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [0])
        response = wdk_cloud.http.starlette.stream_response(get_run("run").readable())
        response.background = BackgroundTask(ran.append, "after")
        client = Listener(response, scope_of("GET", "/x"))
        await client.task
        return client.messages.qsize()

    assert warm.scene(scenario, studio.app) == 5  # the headers, the beginning, a chunk, the end, and the body's end
    assert ran == ["after"]


@pytest.mark.parametrize("module", ["starlette", "flask", "django"])
def test_what_is_no_stream_of_a_run_is_refused_where_it_is_passed(module: str) -> None:
    helper = getattr(wdk_cloud.http, module).stream_response
    with pytest.raises(TypeError, match=r"run\.readable"):
        helper(["no", "stream"])


def test_neither_a_framework_nor_a_server_is_imported_before_it_is_asked_for() -> None:
    program = "import sys, wdk_cloud, wdk_cloud.http, wdk_cloud.sync, wdk_cloud.http.live; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert "wdk_cloud" in found
    assert not found & {"flask", "django", "fastapi", "starlette", "werkzeug", "uvicorn", "pydantic"}


@pytest.mark.parametrize("module", ["flask", "django"])
def test_a_wsgi_framework_does_without_what_an_asgi_server_needs(module: str) -> None:
    program = f"import sys, wdk_cloud.http.{module}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {"starlette", "uvicorn"}


# -- the blocking client -----------------------------------------------------------------------------------------------


def test_a_thread_reads_a_stream_as_await_does(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["a", 1])

        def read() -> Any:
            run = sync.get_run("run")
            readable = run.readable(start_index=-2)
            info = run.stream_info()
            return list(readable), list(readable), list(run.readable_bytes()), run.list_streams(), tuple(info)

        return await asyncio.to_thread(read)

    assert warm.scene(scenario, studio.app) == (["a", 1], ["a", 1], [b"a", b"1\n"], ["default"], (1, True))


def test_a_thread_that_stops_reading_ends_the_reader(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        studio.send("first")

        def read() -> Any:
            chunks = iter(sync.get_run("run").readable())
            first = next(chunks)
            was = readers(env)
            chunks.close()  # type: ignore[attr-defined]
            return first, was, readers(env)

        got = await asyncio.to_thread(read)
        studio.end()
        return got

    assert warm.scene(scenario, studio.app) == ("first", 1, 0)


# -- the examples ------------------------------------------------------------------------------------------------------

SERVERS = {
    "fastapi": ([[sys.executable, "-m", "uvicorn", "main:site", "--port", "PORT"]], {}),
    "flask": (
        [
            [sys.executable, "-m", "wdk_cloud.cli", "worker"],
            [sys.executable, "-m", "flask", "--app", "main:site", "run", "--port", "PORT"],
        ],
        {"WDK_APP": "workflows:app"},
    ),
    "django": ([[sys.executable, "-m", "uvicorn", "asgi:application", "--port", "PORT"]], {}),
}


@contextmanager
def served(example: str, folder: Path) -> Iterator[str]:
    """The URL of the example's site; its processes run until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    commands, variables = SERVERS[example]
    url = f"http://127.0.0.1:{port}"
    env = environment(
        PYTHONHASHSEED="0",
        PYTHONPATH=os.pathsep.join([str(ROOT / "examples" / example), str(ROOT)]),
        WDK_PUBLIC_URL=url + "/wf",
        **variables,
    )
    processes = [
        subprocess.Popen(
            [port if word == "PORT" else word for word in command],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    try:
        for process in processes:
            until_it_serves(process)
        yield url
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate(timeout=PATIENCE)


def until_it_serves(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if re.search(r"running on http|^serving", line, re.IGNORECASE):
            return
    raise AssertionError("".join(said))


def events_of(response: httpx.Response) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "data" in event:
            yield event
            event = {}
        else:
            event = {}


@pytest.mark.parametrize("example", SERVERS)
def test_an_example_starts_a_run_from_a_post_shows_its_progress_and_serves_its_webhook(
    example: str, tmp_path: Path
) -> None:
    with served(example, tmp_path) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        ordered = client.post("/reports", json={"pages": 3})
        assert ordered.status_code == 202, ordered.text
        progress = f"/reports/{ordered.json()['run_id']}/progress"
        approve = None
        got = []
        with client.stream("GET", progress) as response:
            assert response.status_code == 200
            for event in events_of(response):
                got.append(event)
                if "approve" in event["data"]:  # it came while the run waits for just this
                    approve = json.loads(event["data"])["approve"]
                    assert approve.startswith(f"{url}/wf/.well-known/workflow/v1/webhook/")
                    thanked = httpx.post(approve)
                    assert (thanked.status_code, thanked.text) == (200, "thank you\n")
        assert got[:3] == [{"id": str(n), "data": f'{{"page":{n + 1},"of":3}}'} for n in range(3)]
        assert got[4:] == [{"event": "end", "data": '{"tail_index":3}'}]
        resumed = client.get(progress, headers={"Last-Event-ID": "2"})
        assert [line for line in resumed.text.split("\n") if line.startswith("id:")] == ["id: 3"]
        assert httpx.post(approve).status_code == 404
        assert client.post("/reports", json={"pages": -1}).status_code == 422
        assert client.get("/reports/nobody/progress").status_code == 404
