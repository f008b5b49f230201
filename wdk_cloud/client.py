"""Starting runs and watching them, from anywhere: outside a workflow, in a step, and in a body (then recorded)."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from wdk_cloud import admission
from wdk_cloud.app import Workflow, check_namespace, current_body
from wdk_cloud.encryption import keys_of
from wdk_cloud.errors import WorkflowContextError
from wdk_cloud.runstreams import RunStreams, uploads
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.events import AnyEvent
    from wdk_cloud.engine.replay import Body
    from wdk_cloud.world.ports import Head, Status, World

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_WAIT = 3600.0
"""Seconds of one wait for a notice; then the head is read again anyway."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run without reading its log."""

    run_id: str
    workflow_name: str
    """The workflow's id."""
    status: Status
    created_at: datetime
    ended_at: datetime | None = None
    """Both in UTC."""
    error: BaseException | None = None
    """How a failed run failed: the exception of its body."""
    error_code: str | None = None
    """In which way, such as `USER_ERROR`."""
    version: str = ""
    """Of the code that started it."""
    parent: str | None = None
    """The run that started it from its body."""
    idempotency_key: str | None = None
    continued_from: str | None = None
    """The run whose body asked for this one with `continue_as_new`."""
    continued_to: str | None = None
    """The run that goes on for this one, which has ended by `continue_as_new`."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event of a run's log: its `position` from 1 on, its `type` such as "step_completed", its `time` in UTC.

    `step_id` and `step_name` are those of events of a step, else None; `run_id` is the run's. `data` holds the other
    fields; payloads are JSON text as the codec writes it.
    """

    run_id: str
    position: int
    type: str
    time: datetime
    step_id: str | None
    step_name: str | None
    data: dict[str, object]


class RunPage(list[RunInfo]):
    """One page of runs, newest first: a list of `RunInfo`. `cursor` leads to the next page, None on the last."""

    def __init__(self, infos: Sequence[RunInfo], cursor: str | None) -> None:
        super().__init__(infos)
        self.cursor = cursor


class Run(RunStreams, Generic[T]):
    """A handle on a run, which `start` and `get_run` give. In a body its awaitable methods are recorded operations.

    Where the run has ended by `continue_as_new`, `return_value`, `status`, `attributes`, `cancel` and `wake_up` are
    about the last of the runs that go on for it, and `info` tells its end. `exists` and `events` are about this run.
    """

    def __init__(self, run_id: str, workflow: Workflow[..., T] | None = None, namespace: str | None = None) -> None:
        self.run_id = run_id
        self._workflow = workflow
        self._namespace = workflow.app.namespace if workflow is not None else namespace

    def __repr__(self) -> str:
        return f"<run {self.run_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and cast("Run[Any]", other).run_id == self.run_id

    def __hash__(self) -> int:
        return hash(self.run_id)

    # -- asking -----------------------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """`pending`, `running`, `completed`, `failed` or `cancelled`; raises WorkflowRunNotFoundError."""
        if (body := current_body()) is not None:
            return await self._recorded(body, "status", str)
        from wdk_cloud.engine import requests

        return requests.status_of(await requests.last_of(await self._world(), self.run_id), self.run_id)

    async def exists(self) -> bool:
        """Whether there is such a run here. Not after it was deleted, and not longer than it is kept."""
        if (body := current_body()) is not None:
            return await self._recorded(body, "exists", bool)
        from wdk_cloud.engine import requests

        world = await self._world()
        head = await world.runs.head(self.run_id)
        return head is not None and not requests.is_gone(world, head)

    async def info(self) -> RunInfo:
        """All fields of the run; raises WorkflowRunNotFoundError.

        Of a run that has ended by `continue_as_new`, `status`, `ended_at` and `error` are those of the last run that
        goes on for it.
        """
        if (body := current_body()) is not None:
            return _info_of(await self._recorded(body, "info"))
        from wdk_cloud.engine import requests

        fields, last = await requests.info(await self._world(), self.run_id)
        return _info_of(fields, await self._error(last) if last.status == "failed" else None)

    async def attributes(self) -> dict[str, str]:
        """The run's labels; raises WorkflowRunNotFoundError, RunExpiredError."""
        if (body := current_body()) is not None:
            return await self._recorded(body, "attributes", dict[str, str])
        from wdk_cloud.engine import requests

        return await requests.attributes(await self._world(), self.run_id)

    async def return_value(self, timeout: float | None = None) -> T:
        """Wait for the run's end and give its result; where it continues as another run, for the end of that one.

        Raises WorkflowRunFailedError with the body's exception as its cause, WorkflowRunCancelledError,
        WorkflowRunNotFoundError, RunExpiredError; `TimeoutError` after `timeout` seconds of real time.
        """
        admission.check_timeout(timeout)
        if (body := current_body()) is not None:
            waiting = self._awaited_in_body(body)
            return await (waiting if timeout is None else asyncio.wait_for(waiting, timeout))
        from wdk_cloud.engine import requests

        world = await self._world()
        deadline = None if timeout is None else time.monotonic() + timeout
        run_id = self.run_id
        while True:
            subscription = world.subscribe(run_id)
            try:
                while not (head := await requests.last_of(world, run_id)).ended and head.run_id == run_id:
                    left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(f"run {self.run_id} has not ended within {timeout} s; it goes on")
                    await subscription.wait(min(left, LONGEST_WAIT))
            finally:
                subscription.close()
            if head.ended:
                return cast("T", await self._result(world, head))
            run_id = head.run_id

    async def _awaited_in_body(self, body: Body) -> T:
        returns = self._workflow.returns if self._workflow is not None else Any
        return await self._recorded(body, "return_value", returns)

    async def events(self) -> AsyncIterator[EventRecord]:
        """The run's log as it is now, in order. That of a run which goes on for it is of its own: `continued_to`.

        Raises WorkflowRunNotFoundError, RunExpiredError, CorruptedEventLogError, WorkflowContextError in a body.
        """
        if current_body() is not None:
            raise WorkflowContextError("events() cannot be read in a workflow body; do it in a step")
        from wdk_cloud.engine import events as ev
        from wdk_cloud.engine import keyrings

        world = await self._world()
        head = await self._head()
        payloads = await keyrings.payloads_of(world, keys_of(world), head)
        for batch in await world.runs.read(head.run_id, head.birth, 0):
            for position, event in enumerate(ev.decode_batch(batch.data, head.run_id, batch.at).events, batch.at):
                yield _record(head.run_id, position, await payloads.open_event(event))

    # -- acting -----------------------------------------------------------------------------------------------------

    async def cancel(self, reason: str | None = None) -> None:
        """Ask for the run's end: it comes at its next suspension. Idempotent; an ended run stays as it is.

        `reason` is text for whoever looks at the run. Raises WorkflowRunNotFoundError.
        """
        admission.check_reason(reason)
        if (body := current_body()) is not None:
            return await self._recorded(body, "cancel", reason=reason)
        from wdk_cloud.engine import requests

        await requests.cancel(await self._world(), self.run_id, reason)
        return None

    terminate = cancel

    async def wake_up(self) -> None:
        """End the run's pending sleeps now; raises WorkflowRunNotFoundError."""
        if (body := current_body()) is not None:
            return await self._recorded(body, "wake_up")
        from wdk_cloud.engine import requests

        await requests.wake_up(await self._world(), self.run_id, f"wake_up:{os.urandom(12).hex()}")
        return None

    async def delete(self) -> None:
        """End the run if needed and erase everything of it but id and time, with the runs that go on for it.

        One that somebody works on is cancelled first and has a minute to end. Repeating it finishes what a death left.
        """
        if (body := current_body()) is not None:
            return await self._recorded(body, "delete")
        from wdk_cloud.engine import erasure

        return await erasure.delete(await self._world(), self.run_id)

    # -- parts ------------------------------------------------------------------------------------------------------

    async def _world(self) -> World:
        return await current_world(self._namespace or "")

    async def _recorded(self, body: Body, method: str, returns: object = Any, **more: object) -> Any:
        """The method as an operation of a body: its turn sees the runs of its own app's namespace."""
        theirs, mine = self._namespace, body.workflow.app.namespace
        if theirs is not None and theirs != mine:
            raise WorkflowContextError(
                f"run {self.run_id} is in the namespace {theirs!r} and the body that asks for it in {mine!r}; a body "
                "deals with runs of its own namespace: do it in a step"
            )
        return await body.operation(f"run.{method}", {"run_id": self.run_id, **more}, returns)

    async def _head(self) -> Head:
        from wdk_cloud.engine import requests

        return await requests.require_head(await self._world(), self.run_id)

    def _known(self) -> KnownTypes:
        if self._workflow is not None:
            return self._workflow.app.known
        from wdk_cloud.references import types_known_to

        return types_known_to(None)

    async def _result(self, world: World, head: Head) -> object:
        from wdk_cloud.engine import requests

        returns = self._workflow.returns if self._workflow is not None else Any
        return await requests.result(world, keys_of(world), head, known=self._known(), returns=returns)

    async def _error(self, head: Head) -> BaseException | None:
        from wdk_cloud.codec.errors import decode_error
        from wdk_cloud.engine import events as ev
        from wdk_cloud.engine import requests

        world = await self._world()
        end = await requests.end_of(world, keys_of(world), head)
        return decode_error(bytes(end.error), known=self._known()) if isinstance(end, ev.RunFailed) else None


def get_run(run_id: str, *, namespace: str | None = None) -> Run[Any]:
    """A handle on the run `run_id`; asks nothing. Raises `ValueError` for what cannot be a run id, or a namespace.

    `namespace` is that of the run's app (`app.namespace`). Left out it is that of apps without one; in a workflow body
    that of the body's own app.
    """
    return Run(admission.check_run_id(run_id), namespace=check_namespace(namespace) if namespace else namespace)


async def start(workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Run[T]:
    """Start a run of `workflow`; returns when it is durable and enqueued. In a body it is recorded, once.

    Raises `TypeError` for arguments that do not fit, SerializationError, RunExistsError, IdempotencyConflictError;
    WorkflowContextError in a body, for a workflow of another namespace.
    """
    if not isinstance(workflow, Workflow):
        raise TypeError(f"start() takes a workflow (a function under @app.workflow), not {workflow!r}")
    from wdk_cloud.engine import requests, runids
    from wdk_cloud.engine.version import version_of

    body = current_body()
    with uploads(allowed=body is None) as streams:
        data, digest, attributes = admission.check_start(workflow, args, kwargs)
    options = workflow.options
    key = options.idempotency_key
    if body is not None:
        if workflow.app.namespace != body.workflow.app.namespace:
            raise WorkflowContextError(
                f"{workflow.id} belongs to the namespace {workflow.app.namespace!r} and the body that starts it to "
                f"{body.workflow.app.namespace!r}; a body starts runs of its own namespace: do it in a step"
            )
        order = {
            "workflow": workflow.id,
            "input": data,
            "digest": digest,
            "run_id": options.run_id,
            "idempotency_key": key,
            "attributes": attributes,
            "not_before": requests.due_of(options.delay, body.loop.now),
        }
        return Run(await body.operation("start", order, str), workflow)
    world = await current_world(workflow.app.namespace)
    now = world.clock.now()
    run_id = options.run_id or runids.new_run_id(now)
    if key is not None:
        run_id = runids.derived_run_id("key", workflow.id, key)
    order = requests.Order(
        workflow=workflow.id,
        input=data,
        digest=digest,
        run_id=run_id,
        version=os.environ.get("WDK_CODE_VERSION") or version_of(workflow.app),
        attributes=attributes,
        not_before=requests.due_of(options.delay, now),
        idempotency_key=key,
    )
    started = await requests.start(world, keys_of(world), order)
    run = Run(started.run_id, workflow)
    if streams and started.payloads is not None:
        await run.upload(streams, started.payloads)
    return run


async def list_runs(
    workflow: Workflow[..., Any] | str | None = None,
    status: Status | None = None,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
    *,
    namespace: str | None = None,
) -> RunPage:
    """One page of runs, newest first, with all of the given `workflow`, `status` and code `version`.

    `since` ≤ created_at < `until`, both aware. `limit` is the length of a page, `cursor` that of the page before.
    `namespace` is as in `get_run`; a `workflow` that is no mere id brings that of its app. Raises `ValueError` and
    `TypeError` for a filter that makes no sense, WorkflowContextError in a body.
    """
    if current_body() is not None:
        raise WorkflowContextError("list_runs() cannot be called in a workflow body; call it in a step")
    from wdk_cloud.engine import requests

    query = admission.query(workflow, status, version, since, until, limit, cursor)
    if isinstance(workflow, Workflow):
        namespace = workflow.app.namespace
    elif namespace:
        check_namespace(namespace)
    page = await (await current_world(namespace or "")).runs.list_heads(query)
    return RunPage([_info_of(requests.described(head)) for head in page.heads], page.cursor)


def _info_of(fields: dict[str, Any], error: BaseException | None = None) -> RunInfo:
    def when(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    created = when(fields["created_at"])
    assert created is not None  # every run has been created
    parent = fields["parent"]
    return RunInfo(
        run_id=fields["run_id"],
        workflow_name=fields["workflow_name"],
        status=fields["status"],
        created_at=created,
        ended_at=when(fields["ended_at"]),
        error=error,
        error_code=fields["error_code"],
        version=fields["version"],
        parent=parent.partition("/")[0] if parent else None,
        idempotency_key=fields["idempotency_key"],
        continued_from=fields.get(
            "continued_from"
        ),  # what a body asked for may have been recorded before there was one
        continued_to=fields.get("continued_to"),
    )


def _record(run_id: str, position: int, event: AnyEvent) -> EventRecord:
    import msgspec

    from wdk_cloud.context import step_id

    fields: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name != "time" and value is not None:
            if isinstance(value, msgspec.Raw):
                value = bytes(value).decode()
            fields[name] = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
    kind = str(event.__struct_config__.tag)
    id = getattr(event, "id", None)
    call = id if kind.startswith("step_") and isinstance(id, str) else None
    return EventRecord(
        run_id=run_id,
        position=position,
        type=kind,
        time=datetime.fromtimestamp(event.time, UTC),
        step_id=None if call is None else step_id(run_id, call),
        step_name=None if call is None else call.rpartition("#")[0],
        data=fields,
    )
