"""A runtime client for Lambda that streams HTTP answers, which the managed Python runtime does not.

Started by `streaming.sh` in that one's place, it takes events from the Runtime API one by one. An HTTP event is
answered while its answer is made; every other one goes through the function's handler. The protocol is the one that AWS
documents under "Using the Lambda runtime API" and "Building a custom runtime".
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from wdk_aws.streamed import ERROR_TYPE, StreamedAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

BASE = "/2018-06-01/runtime"

LONGEST_TRACE = 8192
"""Characters of a traceback that is reported: the service keeps little of it, and the log has it whole."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler is told about its invocation; the names are AWS's."""

    aws_request_id: str
    invoked_function_arn: str
    deadline_ms: int
    function_name: str
    function_version: str
    memory_limit_in_mb: str
    log_group_name: str
    log_stream_name: str
    client_context: None = None
    identity: None = None

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self.deadline_ms - int(time.time() * 1000))


class Function(Protocol):
    """What `lambda_handler` makes."""

    def __call__(self, event: Any, context: Context, /) -> Any: ...

    def stream(self, event: Any, context: Context, answer: StreamedAnswer, /) -> bool:
        """Answer an HTTP event while the answer is made; False: it is no such event."""
        ...


class RuntimeApi:
    """The service's side, at the address of AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection = HTTPConnection(address)  # no time-out: a frozen process waits for its next event for hours

    def next(self) -> tuple[Any, Context]:
        """Wait for an event. Raises ConnectionError when the service gives none any more."""
        self._connection.request("GET", f"{BASE}/invocation/next")
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ConnectionError(f"the Runtime API answered {response.status} instead of an event")
        trace = response.headers.get("Lambda-Runtime-Trace-Id")
        if trace:
            os.environ["_X_AMZN_TRACE_ID"] = trace  # where tracing libraries look for it
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        return json.loads(body), _context(response.headers, os.environ)

    def respond(self, id: str, body: bytes) -> None:
        self._post(f"invocation/{id}/response", body, {"Content-Type": "application/json"})

    def streamed(self, id: str) -> StreamedAnswer:
        """For an answer in parts, on a connection of its own that ends with it."""
        return StreamedAnswer(HTTPConnection(self.address), f"{BASE}/invocation/{id}/response")

    def fail(self, id: str, error: BaseException) -> None:
        self._post(f"invocation/{id}/error", described(error), {ERROR_TYPE: type(error).__name__})

    def fail_to_start(self, error: BaseException) -> None:
        self._post("init/error", described(error), {ERROR_TYPE: f"Runtime.{type(error).__name__}"})

    def close(self) -> None:
        self._connection.close()

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        connection = HTTPConnection(self.address)
        try:
            connection.request("POST", f"{BASE}/{path}", body, dict(headers))
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 500:  # documented as: the environment is lost, end it
                raise ConnectionError(f"the Runtime API answered {answer.status} to {path}")
            if answer.status >= 400:
                # 413: the answer is larger than the service takes; the caller is told by the service itself.
                sys.stderr.write(f"the Runtime API refused {path} of {len(body)} bytes: {answer.status}\n")
        finally:
            connection.close()


def described(error: BaseException) -> bytes:
    """In the shape in which the service shows the errors of functions."""
    trace = "".join(traceback.format_exception(error))[-LONGEST_TRACE:]
    document = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": trace.splitlines()}
    return json.dumps(document).encode()


def serve(api: RuntimeApi, function: Function) -> None:
    """Take events for as long as there are any. Raises ConnectionError when the service has gone."""
    while True:
        event, context = api.next()
        answer = api.streamed(context.aws_request_id)
        try:
            if function.stream(event, context, answer):
                continue
            body = json.dumps(function(event, context)).encode()
        except Exception as error:
            traceback.print_exc()
            if answer.begun:
                with suppress(OSError):  # nobody reads that answer any more; the next event may come all the same
                    answer.fail(error)
            else:
                api.fail(context.aws_request_id, error)
            continue
        api.respond(context.aws_request_id, body)


def main() -> None:
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        function = _named(os.environ["_HANDLER"])
    except Exception as error:
        traceback.print_exc()
        api.fail_to_start(error)
        raise SystemExit(1) from error
    try:
        serve(api, function)
    except ConnectionError as error:
        raise SystemExit(f"the runtime client ends: {error}") from error


def _named(path: str) -> Function:
    """`package.module.name`, as the function's setting has it; a slash does for a dot."""
    module, _, name = path.replace("/", ".").rpartition(".")
    function = getattr(import_module(module), name)
    if not callable(getattr(function, "stream", None)):
        raise TypeError(
            f"{path} is no handler of wdk_aws.handler, and streams nothing; make one with lambda_handler(app)"
        )
    return function


def _context(headers: Message, environ: Mapping[str, str]) -> Context:
    return Context(
        aws_request_id=headers["Lambda-Runtime-Aws-Request-Id"],
        invoked_function_arn=headers.get("Lambda-Runtime-Invoked-Function-Arn", ""),
        deadline_ms=int(headers["Lambda-Runtime-Deadline-Ms"]),
        function_name=environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        function_version=environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        memory_limit_in_mb=environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", ""),
        log_group_name=environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""),
        log_stream_name=environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
    )


if __name__ == "__main__":
    main()
