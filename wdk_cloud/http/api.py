"""The API: runs are started, watched and controlled, hooks resumed, by whoever is accepted."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, cast, get_args

from wdk_cloud import client, hooks, sources
from wdk_cloud.admission import LONGEST_PAGE, check_reason, check_start
from wdk_cloud.codec.values import decode_arguments, encode
from wdk_cloud.documents import error_of, event_document, info_document, iso, stream_document, value_of
from wdk_cloud.encryption import keys_of
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import keyrings, requests, resuming
from wdk_cloud.errors import WorkflowNotRegisteredError
from wdk_cloud.http import bodies, schema
from wdk_cloud.http.answers import Refused, bad_input, document
from wdk_cloud.http.bodies import read_document, whole_number
from wdk_cloud.http.problems import BAD_REQUEST
from wdk_cloud.http.starlette import stream_response
from wdk_cloud.references import types_known_to
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

    from wdk_cloud.app import Workflow
    from wdk_cloud.client import Run
    from wdk_cloud.http.served import Served
    from wdk_cloud.streams import ReadableStream
    from wdk_cloud.world.ports import Status


class Api:
    """Each public method is an operation of `schema.OPERATIONS`."""

    def __init__(self, served: Served, base: str) -> None:
        self._served = served
        self._base = base

    async def openapi(self, request: Request) -> Response:
        """With the paths as they are here, the prefix of a host in front."""
        return document(schema.openapi(_version(), request.scope.get("root_path", "") + self._base))

    # -- runs -------------------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        order = await read_document(request, schema.StartOrder)
        workflow = self._workflow(order.workflow)
        with bad_input():
            ready = workflow.with_options(
                run_id=order.run_id,
                idempotency_key=order.idempotency_key,
                attributes=order.attributes or None,
                delay=order.delay,
            )
            data, _, _ = check_start(ready, tuple(order.args), order.kwargs)
        # A worker would find it out, and the run would fail: whoever asks over HTTP can be told at once.
        decode_arguments(data, workflow.annotations, known=workflow.app.known)
        with bad_input():
            run = await client.start(ready, *order.args, **order.kwargs)
        return document({"run_id": run.run_id}, 201)

    async def list_runs(self, request: Request) -> Response:
        query = request.query_params
        limit = whole_number(query.get("limit", "50"), "limit", 1, LONGEST_PAGE)
        with bad_input():
            page = await client.list_runs(
                workflow=query.get("workflow"),
                status=cast("Status | None", query.get("status")),
                version=query.get("version"),
                since=_moment(query.get("since"), "since"),
                until=_moment(query.get("until"), "until"),
                limit=limit,
                cursor=query.get("cursor"),
                namespace=self._served.namespace_of(request),
            )
        return document({"runs": [info_document(info) for info in page], "cursor": page.cursor})

    async def run(self, request: Request) -> Response:
        run = self._run(request)
        info = await run.info()
        world = await current_world(self._served.namespace_of(request))
        end = await requests.end_of(world, keys_of(world), await requests.last_of(world, run.run_id))
        return document(
            {
                **info_document(info),
                "attributes": await run.attributes(),
                "result": value_of(bytes(end.result)) if isinstance(end, ev.RunCompleted) else None,
                "error": error_of(bytes(end.error)) if isinstance(end, ev.RunFailed) else None,
            }
        )

    async def events(self, request: Request) -> Response:
        """The log behind the position `after`, in order; `cursor` is the `after` of the next page."""
        query = request.query_params
        limit = whole_number(query.get("limit", str(schema.EVENTS_PAGE)), "limit", 1, LONGEST_PAGE)
        after = whole_number(query.get("after", "0"), "after", 0, 999_999_999)
        run_id = self._run(request).run_id
        world = await current_world(self._served.namespace_of(request))
        head = await requests.require_head(world, run_id)
        payloads = await keyrings.payloads_of(world, keys_of(world), head)
        found: list[dict[str, object]] = []
        more = False
        for batch in await world.runs.read(head.run_id, head.birth, 0):
            if batch.at + batch.count <= after or more:
                continue
            for position, event in enumerate(ev.decode_batch(batch.data, head.run_id, batch.at).events, batch.at):
                if position > after and not (more := len(found) == limit):
                    found.append(event_document(head.run_id, position, await payloads.open_event(event)))
        cursor = str(found[-1]["position"]) if more else None
        return document({"run_id": head.run_id, "events": found, "cursor": cursor})

    async def streams(self, request: Request) -> Response:
        run = self._run(request)
        names = await run.list_streams()
        found = [stream_document(name, await run.stream_info(name)) for name in names]
        return document({"run_id": run.run_id, "streams": found})

    async def stream(self, request: Request) -> Response:
        """Follows it; the id of the last event that a client has seen says more than the query that it began with."""
        query, headers = request.query_params, request.headers
        start = bodies.index(query.get("start_index", "0"), "start_index")
        form = query.get("format") or ("raw" if _wants_bytes(headers.get("accept", "")) else "sse")
        if form not in get_args(schema.Form):
            raise Refused(400, BAD_REQUEST, f"format must be one of {', '.join(get_args(schema.Form))}")
        run = self._run(request)
        with bad_input():
            stream: ReadableStream[Any] = run.readable(request.path_params["name"], start)
        return stream_response(stream, last_event_id=headers.get("last-event-id"), raw=form == "raw")

    async def cancel(self, request: Request) -> Response:
        order = await read_document(request, schema.CancelOrder, optional=True)
        run = self._run(request)
        with bad_input():
            check_reason(order.reason)
        await run.cancel(order.reason)
        return document({"run_id": run.run_id}, 202)

    async def wake(self, request: Request) -> Response:
        await read_document(request, schema.WakeOrder, optional=True)
        run = self._run(request)
        await run.wake_up()
        return document({"run_id": run.run_id}, 202)

    # -- hooks ------------------------------------------------------------------------------------------------------

    async def hook(self, request: Request) -> Response:
        namespace = self._served.namespace_of(request)
        with bad_input():
            hook = await hooks.get_hook_by_token(request.path_params["token"], namespace=namespace)
        metadata = value_of(encode(hook.metadata, known=types_known_to(None)))
        told = {"hook_id": hook.hook_id, "run_id": hook.run_id, "created_at": iso(hook.created_at)}
        return document({**told, "metadata": metadata})

    async def resume(self, request: Request) -> Response:
        order = await read_document(request, schema.ResumeOrder)
        token, namespace = request.path_params["token"], self._served.namespace_of(request)
        with bad_input():
            found = await resuming.find_for_payload(await current_world(namespace), hooks.digest_of(token))
            known = self._served.known(namespace)
            resuming.check(found, encode(order.payload, known=known, path="payload"), known)
            await hooks.resume_hook(token, order.payload, order.key, namespace=namespace)
        owner = found.token
        return document({"hook_id": hooks.hook_id(owner.run_id, owner.hook_id), "run_id": found.head.run_id}, 202)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _workflow(self, name: str) -> Workflow[..., Any]:
        found = sources.named(self._served.apps, name)
        if len(found) > 1:
            raise Refused(
                400,
                BAD_REQUEST,
                f"{name!r} names several workflows; give the id: {', '.join(workflow.id for workflow in found)}",
            )
        if not found:
            message = (
                f"workflow {name!r:.200} is not registered here; give the id, or the function's name, of one that is"
            )
            raise Refused(404, WorkflowNotRegisteredError.slug, message)
        return found[0]

    def _run(self, request: Request) -> Run[Any]:
        with bad_input():
            return client.get_run(request.path_params["run_id"], namespace=self._served.namespace_of(request))


def _wants_bytes(accept: str) -> bool:
    named = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "application/octet-stream" in named and "text/event-stream" not in named


def _moment(text: str | None, what: str) -> datetime | None:
    """ISO 8601, in UTC where it has no zone."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, BAD_REQUEST, f"{what} must be a time as ISO 8601 writes it: 2026-01-31T12:00:00Z") from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _version() -> str:
    try:
        return version("wdk-cloud")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
