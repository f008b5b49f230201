"""A Cloud Tasks that runs here: the real clients over gRPC on one side, real HTTP to the receivers on the other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import grpc
from google.cloud.tasks_v2 import CloudTasksAsyncClient, CloudTasksClient, types
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcAsyncIOTransport,
    CloudTasksGrpcTransport,
)
from google.protobuf.empty_pb2 import Empty

from wdk_cloud.world.clock import SystemClock
from wdk_gcp.testing.deliveries import Attempt, Deliveries
from wdk_gcp.testing.messages import Message, copied, raw
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.queues import PAUSED, RUNNING, QueueState, TaskState, checked, new_queue, refuse
from wdk_gcp.testing.serving import GrpcServer, HttpAnswer, HttpRequest, HttpServer, Method
from wdk_gcp.testing.tokens import TokenSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wdk_cloud.world.ports import Clock

PAGE = 1000
"""Tasks or queues in a page at most, and if the request does not say."""


class CloudTasksServer:
    """Cloud Tasks on 127.0.0.1, while it is entered as a context.

        with CloudTasksServer() as tasks:
            client = tasks.client()
            client.create_queue(parent="projects/p/locations/l", queue={"name": "projects/p/locations/l/queues/q"})

    Tasks that are due are posted to their URLs with the documented headers, and with an OIDC token where they ask for
    one; what answers other than 2xx comes back after the back-off of its queue. With a `VirtualClock` of
    `wdk_cloud.world.clock` for its `clock` tasks become due when it is moved: `next_due()` says until when, `idle()`
    waits for what the move began. `mischief` are its faults, `signer` makes its tokens, `deliveries` brings tasks to
    their receivers: by HTTP, unless another kind is given. There are no App Engine tasks, and dispatches per second are
    stored but not obeyed.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        mischief: Mischief | None = None,
        signer: TokenSigner | None = None,
        deliveries: Callable[..., Deliveries] = Deliveries,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.mischief = Mischief() if mischief is None else mischief
        self.signer = TokenSigner() if signer is None else signer
        self.queues: dict[str, QueueState] = {}
        """By their full names; to be changed by requests only, while tasks are delivered."""
        self._lock = threading.Condition()
        self.deliveries = deliveries(self.queues, self._lock, self.clock, self.signer, self.mischief)
        self._grpc = GrpcServer("google.cloud.tasks.v2.CloudTasks", self._methods(), self.mischief)
        self._http = HttpServer(self._certified)
        self.calls = self._grpc.calls
        self.address = self._grpc.address
        """Host and port of the gRPC service: an insecure channel reaches it."""
        self.certs_url = f"{self._http.url}/oauth2/v1/certs"
        """For `google.oauth2.id_token.verify_token(…, certs_url=…)`: certificates in PEM."""
        self.keys_url = f"{self._http.url}/oauth2/v3/certs"
        """The same key as a JSON web key."""

        self.granted: frozenset[str] | None = None
        """The permissions that callers have, for those who ask which; None is all. No request is held to them."""

    def __enter__(self) -> Self:
        self._http.start()
        self.deliveries.start()
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop()
        self.deliveries.stop()
        self._http.stop()

    def client(self) -> CloudTasksClient:
        """A new client of this server; close its transport after use."""
        return tasks_client(self.address)

    def async_client(self) -> CloudTasksAsyncClient:
        """A new client of this server for the running loop; close its transport after use."""
        return async_tasks_client(self.address)

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The deliveries that have ended, in that order."""
        with self._lock:
            return list(self.deliveries.ended)

    @property
    def slowing(self) -> int:
        """How many answers would have made Cloud Tasks slow the whole queue down: 429 and 5xx. Here nothing slows."""
        return sum(1 for attempt in self.attempts if attempt.status is not None and _slows(attempt.status))

    def waiting(self) -> int:
        """How many tasks there are, those being delivered included."""
        with self._lock:
            return sum(len(queue.tasks) for queue in self.queues.values())

    def under_way(self) -> int:
        """How many deliveries have begun and not ended."""
        with self._lock:
            return sum(queue.running for queue in self.queues.values())

    def next_due(self) -> float | None:
        """The time at which the next task is due; None if none waits in a queue that delivers."""
        with self._lock:
            dues = [queue.next_due() for queue in self.queues.values()]
        return min((due for due in dues if due is not None), default=None)

    def idle(self, timeout: float = 30.0) -> None:
        """Wait until nothing is due or under way. Raises TimeoutError after `timeout` (real) seconds."""
        with self._lock:
            if not self._lock.wait_for(self.deliveries.idle, timeout):
                raise TimeoutError(f"tasks are still due or being delivered after {timeout} s")

    def cut(self) -> int:
        """End all deliveries that are under way without an answer, as if their deadlines had passed; their tasks come
        back. Returns how many there were."""
        return self.deliveries.cut()

    # -- the service ------------------------------------------------------------------------------------------------

    def _methods(self) -> dict[str, Method]:
        task, queue = _written(types.Task), _written(types.Queue)
        tasks, queues = _written(types.ListTasksResponse), _written(types.ListQueuesResponse)
        nothing = Empty.SerializeToString
        return {
            "CreateTask": Method(self._create_task, _read(types.CreateTaskRequest), task),
            "GetTask": Method(self._get_task, _read(types.GetTaskRequest), task),
            "DeleteTask": Method(self._delete_task, _read(types.DeleteTaskRequest), nothing),
            "ListTasks": Method(self._list_tasks, _read(types.ListTasksRequest), tasks),
            "RunTask": Method(self._run_task, _read(types.RunTaskRequest), task),
            "CreateQueue": Method(self._create_queue, _read(types.CreateQueueRequest), queue),
            "GetQueue": Method(self._get_queue, _read(types.GetQueueRequest), queue),
            "UpdateQueue": Method(self._update_queue, _read(types.UpdateQueueRequest), queue),
            "ListQueues": Method(self._list_queues, _read(types.ListQueuesRequest), queues),
            "PauseQueue": Method(self._pause_queue, _read(types.PauseQueueRequest), queue),
            "ResumeQueue": Method(self._resume_queue, _read(types.ResumeQueueRequest), queue),
            "PurgeQueue": Method(self._purge_queue, _read(types.PurgeQueueRequest), queue),
            "TestIamPermissions": _testing(lambda: self.granted),
            "DeleteQueue": Method(self._delete_queue, _read(types.DeleteQueueRequest), nothing),
        }

    def _create_task(self, request: Message) -> Message:
        task = copied(request.task)
        task.name = task.name or f"{request.parent}/tasks/{uuid4().int % 10**20}"
        with self._lock:
            queue = self._queue(request.parent)
            now = self.clock.now()
            checked(request.parent, task, now)
            shown = queue.add(task, now).shown()
        self.deliveries.look()
        return shown

    def _get_task(self, request: Message) -> Message:
        with self._lock:
            return self._task(request.name)[1].shown()

    def _delete_task(self, request: Message) -> Message:
        with self._lock:
            queue, state = self._task(request.name)
            queue.remove(state, self.clock.now())
            self._lock.notify_all()
        return Empty()

    def _run_task(self, request: Message) -> Message:
        with self._lock:
            queue, state = self._task(request.name)
            if not state.running:
                queue.schedule(state, self.clock.now())
            shown = state.shown()
        self.deliveries.look()
        return shown

    def _list_tasks(self, request: Message) -> Message:
        with self._lock:
            named = self._queue(request.parent).tasks
            names, token = _page(sorted(named), request)
            return raw(types.ListTasksResponse)(tasks=[named[name].shown() for name in names], next_page_token=token)

    def _create_queue(self, request: Message) -> Message:
        queue = new_queue(request.queue)
        if not queue.name.startswith(f"{request.parent}/queues/"):
            refuse(grpc.StatusCode.INVALID_ARGUMENT, "The queue's name must begin with its parent")
        with self._lock:
            if queue.name in self.queues:
                refuse(grpc.StatusCode.ALREADY_EXISTS, "Queue already exists")
            self.queues[queue.name] = QueueState(queue)
            return copied(queue)

    def _update_queue(self, request: Message) -> Message:
        """Of what the mask names; of a queue that is not there it makes one."""
        asked = new_queue(request.queue)
        with self._lock:
            state = self.queues.setdefault(asked.name, QueueState(asked))
            for name in request.update_mask.paths or ("rate_limits", "retry_config"):
                if name not in ("rate_limits", "retry_config"):
                    refuse(grpc.StatusCode.INVALID_ARGUMENT, f"Queue.{name} cannot be updated here")
                getattr(state.queue, name).CopyFrom(getattr(asked, name))
            return copied(state.queue)

    def _get_queue(self, request: Message) -> Message:
        with self._lock:
            return copied(self._queue(request.name).queue)

    def _list_queues(self, request: Message) -> Message:
        with self._lock:
            names, token = _page(sorted(name for name in self.queues if name.startswith(f"{request.parent}/")), request)
            queues = [self.queues[name].queue for name in names]
            return raw(types.ListQueuesResponse)(queues=queues, next_page_token=token)

    def _pause_queue(self, request: Message) -> Message:
        return self._set_state(request.name, PAUSED)

    def _resume_queue(self, request: Message) -> Message:
        return self._set_state(request.name, RUNNING)

    def _set_state(self, name: str, to: int) -> Message:
        with self._lock:
            queue = self._queue(name).queue
            queue.state = to
            answer = copied(queue)
            self._lock.notify_all()
        self.deliveries.look()
        return answer

    def _purge_queue(self, request: Message) -> Message:
        with self._lock:
            queue = self._queue(request.name)
            for state in list(queue.tasks.values()):
                queue.remove(state, self.clock.now())
            self._lock.notify_all()
            return copied(queue.queue)

    def _delete_queue(self, request: Message) -> Message:
        with self._lock:
            for state in self._queue(request.name).tasks.values():
                state.gone = True
            del self.queues[request.name]
            self._lock.notify_all()
        return Empty()

    def _queue(self, name: str) -> QueueState:
        if (queue := self.queues.get(name)) is None:
            refuse(grpc.StatusCode.NOT_FOUND, "Queue does not exist.")
        return queue

    def _task(self, name: str) -> tuple[QueueState, TaskState]:
        queue = self._queue(name.partition("/tasks/")[0])
        if (state := queue.tasks.get(name)) is not None:
            return queue, state
        if queue.blocked.get(name, 0.0) > self.clock.now():
            refuse(
                grpc.StatusCode.NOT_FOUND,
                "The task no longer exists, though a task with this name existed recently. "
                "The task either successfully completed or was deleted.",
            )
        refuse(grpc.StatusCode.NOT_FOUND, "Requested entity was not found.")

    def _certified(self, request: HttpRequest) -> HttpAnswer:
        if request.path == "/oauth2/v1/certs":
            return HttpAnswer.of(self.signer.certificates())
        if request.path == "/oauth2/v3/certs":
            return HttpAnswer.of(self.signer.keys())
        return HttpAnswer(404)


def tasks_client(address: str) -> CloudTasksClient:
    """A client of the server at this `address`, which may be another process's."""
    return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel(address)))


def async_tasks_client(address: str) -> CloudTasksAsyncClient:
    """A client for asyncio of the server at this `address`; made on the loop that uses it."""
    return CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(address)))


def _read(request: object) -> Callable[[bytes], Message]:
    return raw(request).FromString


def _written(answer: object) -> Callable[[Message], bytes]:
    return raw(answer).SerializeToString


def _slows(status: int) -> bool:
    return status == 429 or status >= 500


def _page(names: Sequence[str], request: Message) -> tuple[Sequence[str], str]:
    """Those after the request's token, which is the name of the last one before; and the token of the next page."""
    size = min(request.page_size or PAGE, PAGE)
    later = [name for name in names if name > request.page_token]
    return later[:size], later[size - 1] if len(later) > size else ""


def _testing(granted: Callable[[], frozenset[str] | None]) -> Method:
    """`TestIamPermissions`: which of the permissions that are asked for the caller has."""
    from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest, TestIamPermissionsResponse

    def answer(request: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
        has = granted()
        return TestIamPermissionsResponse(permissions=[one for one in request.permissions if has is None or one in has])

    return Method(answer, TestIamPermissionsRequest.FromString, TestIamPermissionsResponse.SerializeToString)
