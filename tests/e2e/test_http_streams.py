"""Streams over HTTP: server-sent events that a client resumes, and bytes, live, for any number of clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from typing import Any

import pytest

from tests.e2e.browsing import Listener, Messages, browser, listen, scope_of, serve
from tests.e2e.running import Play, until
from wdk_cloud import ReadableStream, Run, StreamError, Workflows, get_writable, start, worker
from wdk_cloud.http import live
from wdk_cloud.http.server import serving
from wdk_cloud.http.starlette import CutOff, stream_response
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

PATH = "/api/runs/run/streams/default"
VALUES = ["text\n\nof two", 1, None, {"done": [True, 1.5]}, b"\x00bytes"]


class Studio:
    """An app whose step writes what the test sends, and ends when it sends None."""

    def __init__(self, namespace: str | None = None) -> None:
        self.app = Workflows(namespace)
        self.sent = sent = asyncio.Queue[Any]()

        @self.app.step(name="show")
        async def show(stream: str | None) -> None:
            writer = get_writable(stream)
            while (chunk := await sent.get()) is not None:
                await writer.write(chunk[0])
                await writer.drain()

        @self.app.workflow(name="live")
        async def live(stream: str | None = None) -> None:
            await show(stream)

        @self.app.step(name="write")
        async def write(chunks: list[Any], stream: str | None) -> None:
            writer = get_writable(stream)
            await writer.write_from(chunks)

        @self.app.workflow(name="written")
        async def written(chunks: list[Any], stream: str | None = None) -> None:
            await write(chunks, stream)

        self.live, self.written = live, written

    def send(self, *chunks: Any) -> None:
        for chunk in chunks:
            self.sent.put_nowait([chunk])

    def end(self) -> None:
        self.sent.put_nowait(None)


async def begun(env: WorkflowEnv, studio: Studio, stream: str | None = None) -> Run[Any]:
    """A run that waits for chunks to write."""
    return await env.start(studio.live.with_options(run_id="run"), stream)


async def written(env: WorkflowEnv, studio: Studio, chunks: list[Any], stream: str | None = None) -> Run[Any]:
    run = await env.start(studio.written.with_options(run_id="run"), chunks, stream)
    await env.run_to_end(run)
    return run


async def messages(app: Any, path: str, *headers: tuple[str, str], method: str = "GET") -> Messages:
    """What a client gets of a response that ends by itself."""
    client = listen(app, path, *headers, method=method)
    await client.task
    return [client.messages.get_nowait() for _ in range(client.messages.qsize())]


def content(sent: Messages) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


def readers(env: WorkflowEnv) -> int:
    """How many subscriptions to runs are open."""
    return sum(map(len, env.world._store.watches._open.values()))


# -- events ------------------------------------------------------------------------------------------------------------


def test_a_stream_is_sent_as_events_each_with_its_index_and_ends_with_one(play: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, VALUES)
        client = listen(serve(studio.app), PATH)
        begin = await client.start()
        headers = {name.decode(): value.decode() for name, value in begin["headers"]}
        return begin["status"], headers, await client.events()

    status, headers, events = play.scene(scenario, studio.app)
    assert status == 200
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    assert events == [
        {"id": "0", "data": '"text\\n\\nof two"'},
        {"id": "1", "data": "1"},
        {"id": "2", "data": "null"},
        {"id": "3", "data": '{"done":[true,1.5]}'},
        {"id": "4", "data": '{"$bytes":"AGJ5dGVz"}'},
        {"event": "end", "data": '{"tail_index":4}'},
    ]


def test_a_chunk_is_sent_when_it_is_written_and_the_end_when_the_run_ends(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        client = listen(serve(studio.app), PATH)
        assert (await client.start())["status"] == 200
        assert await client.event() == {"retry": "1000"}
        for number in range(3):
            studio.send(number)
            assert await client.event() == {"id": str(number), "data": str(number)}
        studio.end()
        assert await client.event() == {"event": "end", "data": '{"tail_index":2}'}
        assert await client.event() is None
        await client.task

    warm.scene(scenario, studio.app)


def test_silence_is_broken_by_comments(warm: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio()
    monkeypatch.setattr(live, "KEEP_ALIVE", 0.01)

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        client = listen(serve(studio.app), PATH)
        await client.start()
        got = [await client.event() for _ in range(4)]
        studio.send("at last")
        studio.end()
        return got, await client.events()

    got, rest = warm.scene(scenario, studio.app)
    assert got == [{"retry": "1000"}, *[{"": "keep-alive"}] * 3]
    assert rest == [{"id": "0", "data": '"at last"'}, {"event": "end", "data": '{"tail_index":0}'}]
    assert live.KEEP_ALIVE == 0.01


def test_the_pause_before_a_comment_is_fifteen_seconds() -> None:
    assert live.KEEP_ALIVE == 15


@pytest.mark.parametrize("raw", [False, True], ids=["events", "bytes"])
def test_a_producer_that_fails_ends_the_events_with_its_error_and_breaks_bytes_off(raw: bool, warm: Play) -> None:
    app = Workflows()

    @app.step
    async def produce() -> Any:
        yield "one"
        raise ValueError("no more")

    @app.step
    async def consume(stream: ReadableStream[Any]) -> None:
        with contextlib.suppress(StreamError):
            async for _ in stream:
                pass

    @app.workflow
    async def body() -> Any:
        stream = await produce()
        await consume(stream)
        return stream

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        stream: ReadableStream[Any] = await env.run_to_end(run)
        client = Listener(stream_response(stream, raw=raw), scope_of("GET", "/anywhere"))
        await client.start()
        if raw:
            with pytest.raises(CutOff, match="no more"):
                await client.task
            return [await client.piece(), client.messages.qsize()]
        return await client.events()

    got = warm.scene(scenario, app)
    if raw:
        assert got == [b"one", 0]  # and no end
        return
    chunk, error = got
    assert chunk == {"id": "0", "data": '"one"'}
    assert error["event"] == "error"
    told = json.loads(error["data"])
    assert told["error"] == "stream"
    assert "its producer failed with ValueError: no more" in told["message"]


# -- where to begin ----------------------------------------------------------------------------------------------------

FROM = {
    "the beginning": ("", (), [0, 1, 2, 3, 4]),
    "an index": ("?start_index=3", (), [3, 4]),
    "the end, counted back": ("?start_index=-2", (), [3, 4]),
    "before the beginning": ("?start_index=-99", (), [0, 1, 2, 3, 4]),
    "behind the end": ("?start_index=99", (), []),
    "behind the event that came last": ("", ("1",), [2, 3, 4]),
    "behind the last event of all": ("", ("4",), []),
    "behind an event that never was": ("", ("999999999999999",), []),
    "behind the event that came last, whatever the query said at first": ("?start_index=-1", ("0",), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("place", FROM)
def test_a_client_begins_where_it_likes_and_beyond_either_end_at_the_end(place: str, warm: Play) -> None:
    studio = Studio()
    query, last, wanted = FROM[place]

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [0, 1, 2, 3, 4])
        client = listen(serve(studio.app), PATH + query, *[("last-event-id", id) for id in last])
        await client.start()
        return await client.events()

    events = warm.scene(scenario, studio.app)
    end = {"event": "end", "data": '{"tail_index":4}'}
    assert events == [*({"id": str(number), "data": str(number)} for number in wanted), end]


def test_a_client_that_comes_back_again_and_again_gets_each_chunk_once(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        app, seen = serve(studio.app), []
        for number in range(20):
            studio.send(number, -number)
            resumed = [("last-event-id", seen[-1][0])] if seen else []
            client = listen(app, PATH, *resumed)
            await client.start()
            while len(seen) < 2 * number + 1:  # one of the two; the other one comes after the break
                event = await client.event()
                assert event is not None
                seen += [(event["id"], event["data"])] if "id" in event else []
            await client.hang_up()
        studio.end()
        client = listen(app, PATH, ("last-event-id", seen[-1][0]))
        await client.start()
        rest = [(event["id"], event["data"]) for event in await client.events() if "id" in event]
        return [*seen, *rest]

    seen = warm.scene(scenario, studio.app)
    assert seen == [(str(2 * n + half), str(n * (1 - 2 * half))) for n in range(20) for half in (0, 1)]


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("?format=raw", None),
        ("", "application/octet-stream"),
        ("", "text/html, Application/Octet-Stream; q=0.5"),
        ("?format=raw", "text/event-stream"),
    ],
)
def test_a_stream_is_sent_as_bytes_to_whoever_asks_for_them(query: str, accept: str | None, warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["grüße", b"\x00\xff", {"a": 1}, "end"])
        headers = [] if accept is None else [("accept", accept)]
        return await messages(serve(studio.app), PATH + query, *headers)

    sent = warm.scene(scenario, studio.app)
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/octet-stream"
    assert content(sent) == "grüße".encode() + b"\x00\xff" + b'{"a":1}\n' + b"end"
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "text/event-stream, application/octet-stream"])
def test_all_others_get_events(accept: str, warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["a"])
        return await messages(serve(studio.app), PATH, ("accept", accept))

    assert b"event: end" in content(warm.scene(scenario, studio.app))


def test_bytes_begin_where_the_client_says_too(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [b"one ", b"two ", b"three"])
        app = serve(studio.app)
        return [
            content(await messages(app, PATH + "?format=raw&start_index=-1")),
            content(await messages(app, PATH + "?format=raw", ("last-event-id", "0"))),
        ]

    assert warm.scene(scenario, studio.app) == [b"three", b"two three"]


# -- which there are ---------------------------------------------------------------------------------------------------


def test_the_streams_of_a_run_are_listed_with_how_far_they_are(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio, "logs/of today")
        async with browser(serve(studio.app)) as user:
            none = (await user.get("/api/runs/run/streams")).json()
            studio.send(1, 2)
            await until(studio.sent.empty)
            while (some := (await user.get("/api/runs/run/streams/")).json())["streams"][:1] != [
                {"name": "logs/of today", "tail_index": 1, "closed": False}
            ]:
                await asyncio.sleep(0)
            studio.end()
            await env.run_until_blocked()
            return none, some, (await user.get("/api/runs/run/streams")).json()

    none, some, ended = warm.scene(scenario, studio.app)
    assert none == {"run_id": "run", "streams": []}
    assert some == {"run_id": "run", "streams": [{"name": "logs/of today", "tail_index": 1, "closed": False}]}
    assert ended == {"run_id": "run", "streams": [{"name": "logs/of today", "tail_index": 1, "closed": True}]}


def test_a_name_with_a_slash_or_a_space_in_it_is_percent_encoded(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["a"], "logs/of tödäy")
        async with browser(serve(studio.app)) as user:
            answer = await user.get("/api/runs/run/streams/logs%2Fof%20t%C3%B6d%C3%A4y", params={"format": "raw"})
            return answer.content

    assert warm.scene(scenario, studio.app) == b"a"


def test_a_stream_of_an_app_with_a_namespace_is_found_there(warm: Play) -> None:
    studio = Studio("shop")

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["a"])
        app = serve(studio.app)
        there = content(await messages(app, PATH + "?format=raw&namespace=shop"))
        (elsewhere, *_) = await messages(app, PATH + "?namespace=other")
        return there, content(await messages(app, PATH + "?format=raw")), elsewhere["status"]

    assert warm.scene(scenario, studio.app) == (b"a", b"a", 404)


def test_a_stream_that_nobody_has_written_yet_is_waited_for_while_its_run_lives(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        app = serve(studio.app)
        early, never = listen(app, PATH), listen(app, "/api/runs/run/streams/never")
        assert [(await client.start())["status"] for client in (early, never)] == [200, 200]
        assert [await client.event() for client in (early, never)] == [{"retry": "1000"}] * 2
        studio.send("now")
        studio.end()
        return await early.events(), await never.events()

    early, never = warm.scene(scenario, studio.app)
    assert early == [{"id": "0", "data": '"now"'}, {"event": "end", "data": '{"tail_index":0}'}]
    assert never == [{"event": "end", "data": '{"tail_index":-1}'}]


# -- bad input ---------------------------------------------------------------------------------------------------------

WRONG = {
    "an unknown run": ("/api/runs/nobody/streams/default", (), 404, "workflow-run-not-found"),
    "an unknown run, as bytes": ("/api/runs/nobody/streams/default?format=raw", (), 404, "workflow-run-not-found"),
    "the streams of an unknown run": ("/api/runs/nobody/streams", (), 404, "workflow-run-not-found"),
    "a run that was deleted": ("/api/runs/deleted/streams/default", (), 410, "run-expired"),
    "what can be no run": ("/api/runs/a b/streams/default", (), 400, "bad-request"),
    "a stream that is a value": ("/api/runs/run/streams/@x%231", (), 400, "bad-request"),
    "a name that is too long": ("/api/runs/run/streams/" + 129 * "x", (), 400, "bad-request"),
    "a name that cannot be printed": ("/api/runs/run/streams/a\x00", (), 400, "bad-request"),
    "an index that is no number": (PATH + "?start_index=one", (), 400, "bad-request"),
    "an index without digits": (PATH + "?start_index=-", (), 400, "bad-request"),
    "an empty index": (PATH + "?start_index=", (), 400, "bad-request"),
    "an index in other digits": (PATH + "?start_index=%D9%A3", (), 400, "bad-request"),
    "an index without end": (PATH + "?start_index=" + 5000 * "9", (), 400, "bad-request"),
    "a half": (PATH + "?start_index=0.5", (), 400, "bad-request"),
    "an id that is no number": (PATH, (("last-event-id", "abc"),), 400, "bad-request"),
    "an id below all": (PATH, (("last-event-id", "-1"),), 400, "bad-request"),
    "an empty id": (PATH, (("last-event-id", ""),), 400, "bad-request"),
    "an id without end": (PATH, (("last-event-id", 5000 * "9"),), 400, "bad-request"),
    "an unknown format": (PATH + "?format=xml", (), 400, "bad-request"),
    "an unknown parameter": (PATH + "?from=1", (), 400, "bad-request"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(wrong: str, warm: Play) -> None:
    studio = Studio()
    path, headers, status, slug = WRONG[wrong]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await written(env, studio, [1])
        deleted = await env.start(studio.written.with_options(run_id="deleted"), [1])
        await env.run_to_end(deleted)
        await deleted.delete()
        sent = await messages(serve(studio.app), path, *headers)
        return sent, [chunk async for chunk in run.readable()], readers(env)

    sent, chunks, open_readers = warm.scene(scenario, studio.app)
    assert (sent[0]["status"], json.loads(content(sent))["error"]) == (status, slug)
    assert json.loads(content(sent))["message"]
    assert (chunks, open_readers) == ([1], 0)


def test_only_those_who_are_accepted_get_streams(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, ["secret"])
        async with browser(serve(studio.app), token=None) as stranger:
            return [(await stranger.get(path)).status_code for path in (PATH, "/api/runs/run/streams")]

    assert warm.scene(scenario, studio.app) == [401, 401]


@pytest.mark.parametrize(("role", "status"), [("all", 200), ("worker", 200), ("receiver", 404)])
def test_a_receiver_has_no_streams(role: str, status: int, warm: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio()
    monkeypatch.setenv("WDK_ROLE", role)

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [1])
        return (await messages(serve(studio.app), PATH))[0]["status"]

    assert warm.scene(scenario, studio.app) == status


def test_head_tells_the_headers_and_reads_nothing(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)  # lives, so a GET would not end
        sent = await messages(serve(studio.app), PATH, method="HEAD")
        studio.end()
        return sent[0]["status"], content(sent), readers(env)

    assert warm.scene(scenario, studio.app) == (200, b"", 0)


@pytest.mark.parametrize("raw", [False, True], ids=["events", "bytes"])
def test_a_run_that_is_deleted_meanwhile_ends_events_with_that_and_breaks_bytes_off(raw: bool, warm: Play) -> None:
    studio = Studio()
    chunk = 1024 * 1024 * "x"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await written(env, studio, [chunk] * 10)
        client = listen(serve(studio.app), PATH + ("?format=raw" if raw else ""), window=1)
        await client.start()
        await until(client.messages.full)
        await run.delete()
        if raw:
            pieces: list[bytes | None] = []
            while not client.messages.empty():
                pieces.append(await client.piece())
                await env.settle()
            with pytest.raises(CutOff, match="deleted"):
                await client.task
            return 0 < len(pieces) < 10 and set(pieces) == {chunk.encode()}
        *some, last = await client.events()
        return 0 < len(some) < 10, last["event"], json.loads(last["data"])["error"]

    assert warm.scene(scenario, studio.app) == (True if raw else (True, "error", "run-expired"))


# -- many clients, slow ones, and those that go away -------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?format=raw"], ids=["events", "bytes"])
def test_a_client_that_goes_away_ends_its_reader_at_once(query: str, warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await begun(env, studio)
        client = listen(serve(studio.app), PATH + query)
        await client.start()
        await until(lambda: readers(env) == 1)
        await client.hang_up()
        gone = readers(env)
        studio.send("to nobody")
        studio.end()
        await env.run_until_blocked()
        return gone

    assert warm.scene(scenario, studio.app) == 0


def test_a_client_that_goes_away_while_it_is_sent_to_ends_its_reader_too(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [100_000 * b"x"] * 50)
        client = listen(serve(studio.app), PATH + "?format=raw", window=1)
        await client.start()
        await until(client.messages.full)
        was = readers(env)
        await client.hang_up()
        return was, readers(env)

    assert warm.scene(scenario, studio.app) == (1, 0)


def test_a_server_that_says_by_an_error_that_the_client_is_gone_ends_the_reader(warm: Play) -> None:
    studio = Studio()

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [1, 2, 3])
        sent = 0

        async def send(message: dict[str, Any]) -> None:
            nonlocal sent
            sent += 1
            if sent == 2:
                raise OSError("gone")

        async def receive() -> dict[str, Any]:
            return await asyncio.get_running_loop().create_future()

        (begin, *_) = [listen(serve(studio.app), PATH)]
        await begin.task
        scope = scope_of("GET", PATH, [("authorization", "Bearer the-token-of-the-tests")])
        await serve(studio.app)(scope, receive, send)
        return sent, readers(env)

    assert warm.scene(scenario, studio.app) == (2, 0)


def test_a_slow_client_holds_back_only_itself_and_nothing_is_read_ahead_of_it(warm: Play) -> None:
    studio = Studio()
    megabyte = 1024 * 1024 * b"x"

    async def scenario(env: WorkflowEnv) -> Any:
        await written(env, studio, [megabyte] * 20)
        store, asked = env.world._store, []
        get = store.get

        async def counted(*args: Any) -> Any:
            found = await get(*args)
            asked.extend([None] * len(found))
            return found

        store.get = counted
        app = serve(studio.app)
        slow = listen(app, PATH + "?format=raw", window=1)
        await slow.start()
        await until(slow.messages.full)
        await env.settle()
        ahead = len(asked)
        quick = await messages(app, PATH + "?format=raw")
        before = len(asked)
        pieces = [await slow.piece() for _ in range(3)]
        await env.settle()
        more = len(asked) - before
        await slow.hang_up()
        return ahead, len(content(quick)), [len(piece) for piece in pieces if piece], more

    ahead, quick, pieces, more = warm.scene(scenario, studio.app)
    assert quick == 20 * len(megabyte)
    assert pieces == [len(megabyte)] * 3
    # One piece waits to be read, the next one to be sent; its object is all that is held.
    assert ahead <= 2
    assert more <= 3


MANY = 1000


def test_a_thousand_clients_of_one_process_get_what_is_written_each_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio()
    wanted = [*({"id": str(n), "data": str(n)} for n in range(3)), {"event": "end", "data": '{"tail_index":2}'}]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * MANY)), hard))

    async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = "/.well-known/workflow/v1" + PATH
        headers = "Host: test\r\nAuthorization: Bearer the-token-of-the-tests\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
        assert b"retry: 1000" in await reader.readuntil(b"retry: 1000\n\n")
        return reader, writer

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[dict[str, str]]:
        text = b""
        while not text.endswith(b"\r\n0\r\n\r\n"):
            text += await reader.read(65536)
        writer.close()
        found: list[dict[str, str]] = []
        for event in text.decode().split("\n\n"):
            lines = [line for line in event.split("\n") if line.startswith(("id: ", "data: ", "event: "))]
            if lines:
                found.append(dict(line.split(": ", 1) for line in lines))
        return found

    async def scenario() -> Any:
        with socket.create_server(("127.0.0.1", 0), backlog=MANY) as listener:
            async with worker(studio.app), serving(serve(studio.app), listener):
                await start(studio.live.with_options(run_id="run"))
                port = listener.getsockname()[1]
                clients = [await connected(port) for _ in range(MANY)]
                for number in range(3):
                    studio.send(number)
                studio.end()
                return await asyncio.gather(*(events(*client) for client in clients))

    with use_world(MemoryWorld()):
        got = asyncio.run(asyncio.wait_for(scenario(), 50))
    assert len(got) == MANY
    assert all(each == wanted for each in got)
