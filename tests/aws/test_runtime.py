"""The runtime client that streams, against a Runtime API of our own."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.aws.runtime_api import PATIENCE, RuntimeApi
from wdk_aws import runtime
from wdk_aws.streamed import StreamedAnswer

Stream = Callable[[Any, runtime.Context, StreamedAnswer], bool]


class Echo:
    """A function that streams what it is told to."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __call__(self, event: Any, context: runtime.Context) -> Any:
        if event == "bad":
            raise ValueError("no such thing")
        return {"event": event, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis()}


@contextmanager
def client(stream: Stream = lambda *_: False) -> Iterator[RuntimeApi]:
    """A Runtime API with our client at work on it, in a thread that ends with it."""
    ended: list[BaseException] = []

    def work() -> None:
        try:
            runtime.serve(asked, Echo(stream))
        except ConnectionError as error:
            ended.append(error)

    api = RuntimeApi()
    asked = runtime.RuntimeApi(api.address)
    thread = threading.Thread(target=work)
    with api.serving():
        thread.start()
        yield api
    thread.join(PATIENCE)
    asked.close()
    assert [str(error) for error in ended] == ["the Runtime API answered 410 instead of an event"]


def test_an_event_is_answered_by_the_handler_with_its_id_and_the_time_that_is_left():
    with client() as api:
        answer = api.invoke({"a": "ü"}, deadline=20)
    assert (answer.kind, answer.headers["content-type"]) == ("response", "application/json")
    document = answer.document
    assert 19_000 < document.pop("left") <= 20_000
    assert document == {"event": {"a": "ü"}, "id": "invocation-0"}


def test_an_error_of_the_handler_is_told_and_the_next_event_is_taken():
    with client() as api:
        answer = api.invoke("bad")
        assert api.invoke("good").document["event"] == "good"
    assert (answer.kind, answer.headers["lambda-runtime-function-error-type"]) == ("error", "ValueError")
    document = answer.document
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "no such thing")
    assert document["stackTrace"][-1] == "ValueError: no such thing"


def test_a_streamed_answer_arrives_while_it_is_made():
    go_on = threading.Event()

    def stream(_event: Any, _context: runtime.Context, answer: StreamedAnswer) -> bool:
        answer.begin(
            201, [("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", "1"), ("x", "2")]
        )
        answer.write(b"first")
        assert go_on.wait(PATIENCE)
        answer.write(b"")
        answer.write(b"second")
        answer.end()
        return True

    with client(stream=stream) as api:
        invocation = api.begin({})
        prelude = invocation.chunks.get(timeout=PATIENCE)
        assert invocation.chunks.get(timeout=PATIENCE) == b"first"
        assert not invocation.answered.is_set()
        go_on.set()
        answer = invocation.wait()
    assert answer.streamed
    assert answer.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    assert answer.chunks == [prelude, b"first", b"second"]
    assert answer.http() == (
        {"statusCode": 201, "headers": {"content-type": "text/plain", "x": "1, 2"}, "cookies": ["a=1", "b=2"]},
        b"firstsecond",
    )
    assert answer.trailers == {}


def test_an_answer_that_fails_in_its_middle_says_so_in_its_trailers():
    def stream(_event: Any, _context: runtime.Context, answer: StreamedAnswer) -> bool:
        answer.begin(200, [])
        answer.write(b"first")
        raise ValueError("the rest is gone")

    with client(stream=stream) as api:
        answer = api.invoke({})
    assert (answer.kind, answer.http()[1]) == ("response", b"first")
    assert answer.trailers["lambda-runtime-function-error-type"] == "ValueError"
    body = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
    assert body["errorMessage"] == "the rest is gone"


def test_an_answer_that_nobody_reads_any_more_is_not_the_end_of_the_process():
    def stream(event: Any, _context: runtime.Context, answer: StreamedAnswer) -> bool:
        if event != "left alone":
            return False
        answer.begin(200, [])
        connection: Any = answer._connection
        connection.sock.shutdown(socket.SHUT_RDWR)
        answer.write(b"first")
        raise AssertionError("it was written to nobody")

    with client(stream=stream) as api:
        api.begin("left alone")
        assert api.invoke("next").document["event"] == "next"


def test_an_answer_that_fails_before_it_begins_is_an_error_as_any_other():
    def stream(_event: Any, _context: runtime.Context, _answer: StreamedAnswer) -> bool:
        raise ValueError("nothing to send")

    with client(stream=stream) as api:
        answer = api.invoke({})
    assert (answer.kind, answer.document["errorMessage"]) == ("error", "nothing to send")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        ("no_such_module.handler", "Runtime.ModuleNotFoundError"),
        ("wdk_aws.runtime.nothing", "Runtime.AttributeError"),
        ("json.dumps", "Runtime.TypeError"),
    ],
)
def test_a_handler_that_cannot_be_found_ends_the_start(handler, error):
    api = RuntimeApi()
    with api.serving():
        environment = {**os.environ, "AWS_LAMBDA_RUNTIME_API": api.address, "_HANDLER": handler}
        done = subprocess.run(
            [sys.executable, "-m", "wdk_aws.runtime"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        answer = api.started.wait()
    assert (done.returncode, answer.kind) == (1, "init")
    assert answer.headers["lambda-runtime-function-error-type"] == error


def test_the_wrapper_puts_our_client_in_the_place_of_the_managed_one():
    wrapper = os.path.join(os.path.dirname(runtime.__file__), "streaming.sh")
    api = RuntimeApi()
    with api.serving():
        environment = {**os.environ, "AWS_LAMBDA_RUNTIME_API": api.address, "_HANDLER": "no_such.handler"}
        command = [wrapper, sys.executable, "/var/runtime/bootstrap.py"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert api.started.wait().document["errorType"] == "ModuleNotFoundError"
