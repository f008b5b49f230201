"""A short way to servers of this process, under Google's clients: two thirds of what a request costs a test are gRPC's
threads, on both sides.

What a client sends is written as bytes and read by the server, and so is the answer; metadata and statuses come as they
would. For tests that are about what a request does; those of the servers and of connections take gRPC's own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import grpc
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.serving import GrpcServer
from wdk_gcp.testing.stage import PROJECT, InlineClients, Stage

UNUSED = "no call of the Google Cloud world goes this way; whichever does first needs it to be written"


class ShortStage(Stage):
    """Its clients of Firestore and Cloud Tasks ask without a connection."""

    def __init__(self, mischief: Mischief | None = None) -> None:
        super().__init__(mischief)
        self.clients = InlineClients(
            GcpSettings(project=PROJECT), firestore=self._firestore, tasks=self._tasks, storage=self.storage.client
        )

    def _firestore(self) -> Any:
        client: Any = self.firestore.client(PROJECT)
        client._emulator_channel = lambda _: Channel(self.firestore._grpc)
        return client

    def _tasks(self) -> CloudTasksClient:
        return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=Channel(self.tasks._grpc)))


class Status(grpc.Call):
    """What a call is asked when it is over. `answers` are bytes."""

    def __init__(self) -> None:
        self.answers: Sequence[bytes] = ()
        self._code, self._details = grpc.StatusCode.OK, ""
        self._initial: tuple[Any, ...] = ()

    # -- as the server sees it --------------------------------------------------------------------------------------

    def send_initial_metadata(self, initial_metadata: tuple[Any, ...]) -> None:
        self._initial = initial_metadata

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self._code, self._details = code, details
        raise Aborted

    # -- as the client does -----------------------------------------------------------------------------------------

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def initial_metadata(self) -> tuple[Any, ...]:
        return self._initial

    def trailing_metadata(self) -> tuple[Any, ...]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> None:
        """It is over."""

    def add_callback(self, callback: Any) -> bool:
        return False

    def _be_like(self, other: Status) -> None:
        self._code, self._details, self._initial = other.code(), other.details(), other.initial_metadata()

    def checked(self) -> Status:
        if self._code is not grpc.StatusCode.OK:
            raise Failed(self)
        return self


class Aborted(Exception):
    """The server answers with a status."""


class Failed(grpc.RpcError, Status):
    """A call that is its own error."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.code(), status.details())
        Status.__init__(self)
        self._be_like(status)

    def result(self, timeout: float | None = None) -> NoReturn:
        raise self


class Channel(grpc.Channel):
    """To one server, which answers in the thread of whoever asks."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server

    def ask(self, path: str, request: bytes) -> Status:
        status, name = Status(), path.rpartition("/")[2]
        method = self._server.methods.get(name)
        with suppress(Aborted):  # the status says why
            if method is None:
                status.abort(grpc.StatusCode.UNIMPLEMENTED, f"{path} is not known here")
            found = self._server.answered(name, method, method.read(request), status)
            status.answers = [method.write(one) for one in (found if method.streaming else [found])]
        return status

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, *_: Any) -> Any:
        return _Unary(self, method, request_serializer, response_deserializer)

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, *_: Any) -> Any:
        return _Stream(self, method, request_serializer, response_deserializer)

    def stream_unary(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(UNUSED)

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        return _Unheard()  # transports ask for all of their methods

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """There is no connection."""

    def unsubscribe(self, callback: Any) -> None:
        """There is no connection."""

    def close(self) -> None:
        """There is no connection."""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        """There is no connection."""


class _Asking:
    def __init__(self, channel: Channel, method: str, write: Any, read: Any) -> None:
        self._channel, self._method = channel, method
        self._write, self._read = write, read

    def _ask(self, request: Any) -> Status:
        return self._channel.ask(self._method, self._write(request))


class _Unary(_Asking, grpc.UnaryUnaryMultiCallable):
    def __call__(self, request: Any, *_: Any, **__: Any) -> Any:
        return self.with_call(request)[0]

    def with_call(self, request: Any, *_: Any, **__: Any) -> tuple[Any, Status]:
        status = self._ask(request).checked()
        return self._read(status.answers[0]), status

    def future(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(UNUSED)


class _Stream(_Asking, grpc.UnaryStreamMultiCallable):
    def __call__(self, request: Any, *_: Any, **__: Any) -> Any:
        return _Answers(self._ask(request), self._read)


class _Unheard(grpc.StreamStreamMultiCallable):
    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(UNUSED)


class _Answers(Status):
    def __init__(self, status: Status, read: Any) -> None:
        super().__init__()
        self._be_like(status)
        self._left = map(read, status.answers)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.checked()
        return next(self._left)
