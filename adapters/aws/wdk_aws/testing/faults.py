"""Makes AWS fail for a program, at a chosen request: throttled, without an answer, or with the process gone.

    session = boto3.Session()
    faults = Faults()
    faults.attach(session)                                   # before its clients are made
    faults.at(3, Fault.ANSWER_LOST)                          # the third call: done, but nobody hears of it
    faults.on("dynamodb.PutItem", Fault.THROTTLED, attempts=EACH)
    world = AwsWorld(clients=Clients(session))

botocore's own code for repeating a request runs as ever; `without_pauses()` takes its pauses out. Calls are counted as
the program makes them, from 1; what botocore repeats by itself is part of the call that it repeats.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.hooks import first_non_none_response
from botocore.httpsession import URLLib3Session
from botocore.retries.standard import ExponentialBackoff

from wdk_aws.testing.inprocess import NOT_SENT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from boto3.session import Session
    from botocore.awsrequest import AWSPreparedRequest

EACH = 1_000
"""`attempts` for: whatever botocore repeats fails, too; more often than it ever does."""

_CONTEXT = "wdk.faults"


class Died(BaseException):
    """The process is dead, as after `kill -9`: no handler for `Exception` outlives that, and each further call of it
    raises this again until `revive()`."""


class Fault(Enum):
    THROTTLED = "throttled"
    """Refused, with the service's word for "too many requests"."""
    SERVER_ERROR = "server error"
    """Refused, with status 500."""
    TIMED_OUT = "timed out"
    """No connection: the request is never sent."""
    ANSWER_LOST = "answer lost"
    """The request is sent and done; its answer does not come. botocore repeats it."""
    CONFLICT = "conflict"
    """S3's 409: another write of the same object is under way."""
    EXPIRED = "expired"
    """Refused: the credentials have expired."""
    DEATH_BEFORE = "death before"
    """The process dies before it sends the request."""
    DEATH_AFTER = "death after"
    """The process dies when the request is done."""


@dataclass(frozen=True)
class Met:
    """A fault that came about."""

    number: int
    """Of the call, from 1."""
    operation: str
    fault: Fault


@dataclass
class _Plan:
    fault: Fault
    attempts: int
    at: int = 0
    every: int = 0
    operation: str = ""
    seen: int = 0
    """Calls of `operation`, or all calls."""

    def falls_due(self, operation: str) -> bool:
        if self.operation not in ("", operation):
            return False
        self.seen += 1
        return self.seen % self.every == 0 if self.every else self.seen == self.at


@dataclass
class _Call:
    """What a call meets, and in how many attempts yet."""

    number: int
    operation: str
    fault: Fault | None = None
    left: int = 0


class Faults:
    """Attach it to boto3 sessions before their clients are made; safe to use from all threads."""

    def __init__(self) -> None:
        self.calls = 0
        """Begun so far."""
        self.met: list[Met] = []
        self.dead = False
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._thread = threading.local()

    def at(self, number: int, fault: Fault, *, attempts: int = 1) -> None:
        """The call of this number from now (1: the next one) meets the fault, in so many of its attempts."""
        self._plan(_Plan(fault, attempts, at=number))

    def every(self, number: int, fault: Fault, *, attempts: int = 1) -> None:
        """Each call whose number, counted from now, is a multiple of this one meets the fault."""
        self._plan(_Plan(fault, attempts, every=number))

    def on(self, operation: str, fault: Fault, *, number: int = 1, attempts: int = 1) -> None:
        """The call of this number from now among those of an operation, such as `sqs.SendMessageBatch`, meets it."""
        self._plan(_Plan(fault, attempts, at=number, operation=operation))

    def clear(self) -> None:
        """Nothing more goes wrong."""
        with self._lock:
            self._plans.clear()

    def revive(self) -> None:
        """Another process takes over: its calls go through."""
        self.dead = False

    def attach(self, session: Session) -> None:
        events: Any = session.events  # its types want handlers that return nothing
        known = f"wdk-faults-{id(self)}"
        events.register("before-call", self._begin, unique_id=f"{known}-begin")
        events.register("request-created", self._sending, unique_id=f"{known}-sending")
        events.register_first("before-send.*.*", _Sender(self, events).send, unique_id=f"{known}-send")
        events.register("after-call", self._end, unique_id=f"{known}-end")

    def _plan(self, plan: _Plan) -> None:
        with self._lock:
            self._plans.append(plan)

    def _begin(self, context: dict[str, Any], event_name: str, **_: Any) -> None:
        operation = event_name.partition(".")[2]
        with self._lock:
            if self.dead:
                raise Died
            self.calls += 1
            call = _Call(self.calls, operation)
            for plan in self._plans:
                if plan.falls_due(operation):
                    call.fault, call.left = plan.fault, plan.attempts
        context[_CONTEXT] = call
        if call.fault is Fault.DEATH_BEFORE:
            self._die(call)

    def _sending(self, request: Any, **_: Any) -> None:
        self._thread.call = request.context.get(_CONTEXT)  # a request that is about to be sent does not know its call

    def _end(self, context: dict[str, Any], **_: Any) -> None:
        call: _Call = context[_CONTEXT]
        if call.fault is Fault.DEATH_AFTER:
            self._die(call)
        if self.dead:
            raise Died  # meanwhile, in another thread

    def _die(self, call: _Call) -> None:
        self.dead = True
        self._note(call, Fault.DEATH_BEFORE if call.fault is None else call.fault)
        raise Died

    def _note(self, call: _Call, fault: Fault) -> None:
        with self._lock:
            self.met.append(Met(call.number, call.operation, fault))

    def due(self) -> Fault | None:
        """What the attempt that is about to be sent in this thread meets."""
        call: _Call | None = getattr(self._thread, "call", None)
        if call is None or call.fault is None or not call.left:
            return None
        if call.fault in (Fault.DEATH_BEFORE, Fault.DEATH_AFTER):
            return None
        call.left -= 1
        self._note(call, call.fault)
        return call.fault


class _Sender:
    """Stands first among those who may answer a request in place of the network; moto is another of them."""

    def __init__(self, faults: Faults, events: Any) -> None:
        self._faults = faults
        self._events = events
        self._thread = threading.local()

    def send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        if getattr(self._thread, "through", False):
            return None
        fault = self._faults.due()
        if fault is None:
            return None
        url: str = request.url
        if fault is Fault.TIMED_OUT:
            raise ConnectTimeoutError(endpoint_url=url)
        if fault is Fault.ANSWER_LOST:
            self._through(request, event_name)
            raise ReadTimeoutError(endpoint_url=url)
        request.url = NOT_SENT  # the others are asked as well, and must find nothing to do
        return _refusal(fault, event_name.split(".")[1], url)

    def _through(self, request: AWSPreparedRequest, event_name: str) -> None:
        self._thread.through = True
        try:
            answer = first_non_none_response(self._events.emit(event_name, request=request))
        finally:
            self._thread.through = False
        if answer is None:
            session = URLLib3Session()
            try:
                _ = session.send(request).content  # once it is read, it is done
            finally:
                session.close()


# The codes and their statuses are those of the services' API references, and among those that botocore repeats.
_REFUSALS: dict[Fault, tuple[int, str, dict[str, tuple[int, str]]]] = {
    Fault.THROTTLED: (
        400,
        "ThrottlingException",
        {"s3": (503, "SlowDown"), "scheduler": (429, "ThrottlingException"), "sqs": (403, "RequestThrottled")},
    ),
    Fault.SERVER_ERROR: (500, "InternalServerError", {"s3": (500, "InternalError")}),
    Fault.CONFLICT: (409, "ConditionalRequestConflict", {}),
    Fault.EXPIRED: (400, "ExpiredTokenException", {"s3": (400, "ExpiredToken")}),
}


class _Raw(BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def _refusal(fault: Fault, service: str, url: str) -> AWSResponse:
    status, code, others = _REFUSALS[fault]
    status, code = others.get(service, (status, code))
    body = f'{{"__type": "{code}", "message": "{fault.value}"}}'
    if service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{fault.value}</Message></Error>"
    raw: Any = _Raw(body.encode())
    headers = HTTPHeaders()
    headers["x-amzn-errortype"] = code
    return AWSResponse(url, status, headers, raw)


@contextmanager
def without_pauses() -> Generator[None]:
    """botocore repeats at once what it repeats (its `standard` mode, which `Clients` ask for)."""
    with patch.object(ExponentialBackoff, "delay_amount", return_value=0.0):
        yield
