"""`wdk inspect hooks` and `wdk resume`: what runs wait for from outside, and sending it.

No token is ever shown: nothing here knows one but whoever types it.
"""

import json
import sys
from dataclasses import dataclass
from typing import Annotated, NoReturn

import msgspec
import typer

from wdk_cloud.cli import jsonout, tables
from wdk_cloud.cli.console import CommandError, UsageError, command, open_world, out
from wdk_cloud.cli.options import AppSpec, Cursor, Decrypt, Json, Namespace, WorldName
from wdk_cloud.cli.reading import HIDDEN, find_head, page_of
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.cli.timeline import HookLine, Timeline
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.encryption import keys_of
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import keyrings, resuming
from wdk_cloud.hooks import digest_of, hook_id, resume_hook
from wdk_cloud.world.ports import Head, RunQuery, World

PAGE = 50

PAYLOAD = """'{"approved": true}'"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A live hook and its run."""

    head: Head
    line: HookLine


def add_to(program: typer.Typer) -> None:
    program.command(epilog=f"Example: wdk resume order:17 --payload {PAYLOAD}")(resume)


def add_to_inspect(group: typer.Typer) -> None:
    group.command("hooks", epilog="Example: wdk inspect hooks wrun_0123 --json")(hooks)


# --- listing ----------------------------------------------------------------------------------------------------------


@command
async def hooks(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only those of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = PAGE,
    cursor: Cursor = None,
    as_json: Json = False,
    decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """List the live hooks and webhooks of one run, or of all. Newest runs come first; tokens are never shown."""
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        if run is None:
            found, more = await _of_all(scoped, limit, cursor, decrypt=decrypt)
        else:
            head = await find_head(scoped, run)
            lines = [] if head.ended else await _read(scoped, head, decrypt=decrypt)
            part, more = page_of([line.position for line in lines], limit, cursor)
            found = [Listed(head, line) for line in lines[part]]
    if as_json:
        jsonout.print_json({"hooks": [_document(listed) for listed in found], "cursor": more})
        return
    _print(found)
    tables.print_more(more)


async def _of_all(world: World, limit: int, cursor: str | None, *, decrypt: bool) -> tuple[list[Listed], str | None]:
    """A page, and the cursor of the next: `POSITION RUN REST`, after which hook of which run it ended, and where the
    listing of runs goes on then. Runs are listed one by one, so that a page can end inside any of them."""
    found: list[Listed] = []
    place = _place_of(cursor)
    if place is not None:
        position, run_id, rest = place
        head = await world.runs.head(run_id)
        if head is not None and not head.ended:
            lines = await _read(world, head, decrypt=decrypt)
            found = [Listed(head, line) for line in lines if line.position > position]
        if len(found) > limit:
            return found[:limit], f"{found[limit - 1].line.position} {run_id} {rest}"
        if not rest:
            return found, None
    query = RunQuery(status="running", limit=1, cursor=place[2] if place is not None else None)
    while True:
        try:
            page = await world.runs.list_heads(query)
        except ValueError:
            raise _no_cursor(cursor) from None
        for head in page.heads:
            lines = await _read(world, head, decrypt=decrypt)
            room = limit - len(found)
            found += [Listed(head, line) for line in lines[:room]]
            if len(lines) > room or (len(found) == limit and page.cursor is not None):
                at = lines[room - 1].position if room and lines else 0
                return found, f"{at} {head.run_id} {page.cursor or ''}"
        if page.cursor is None:
            return found, None
        query = msgspec.structs.replace(query, cursor=page.cursor)


def _place_of(cursor: str | None) -> tuple[int, str, str] | None:
    if cursor is None:
        return None
    position, _, tail = cursor.partition(" ")
    run_id, _, rest = tail.partition(" ")
    if not (position.isascii() and position.isdigit()) or not run_id:
        raise _no_cursor(cursor)
    return int(position), run_id, rest


def _no_cursor(cursor: str | None) -> UsageError:
    return UsageError(
        f"--cursor {cursor!r} is none that this command has given; pass the one that came with the last page"
    )


async def _read(world: World, head: Head, *, decrypt: bool) -> list[HookLine]:
    """The live hooks of a run, those in conflict among them, in the order in which it made them. Of all payloads only
    the metadata of these is opened."""
    events: list[tuple[int, ev.AnyEvent]] = []
    try:
        for batch in await world.runs.read(head.run_id, head.birth, 0):
            decoded = ev.decode_batch(batch.data, head.run_id, batch.at).events
            events += [(position, event) for position, event in enumerate(decoded, batch.at)]
    except NewerFormatError as error:
        raise CommandError(f"{error}; a newer wdk-cloud wrote it: upgrade this one") from None
    lines = [line for line in Timeline.of(events).hooks.values() if line.ended_at is None]
    if not lines:
        return []
    payloads = None
    if head.data_key is None or decrypt:
        payloads = await keyrings.payloads_of(world, keys_of(world), head)
    for line in lines:
        line.metadata = bytes(HIDDEN) if payloads is None else await payloads.open("metadata", line.id, line.metadata)
    return lines


def _document(listed: Listed) -> dict[str, object]:
    head, line = listed.head, listed.line
    return {
        "run_id": head.run_id,
        "workflow_name": head.workflow,
        "hook_id": hook_id(head.run_id, line.id),
        "kind": line.kind,
        "created_at": jsonout.iso(line.created_at),
        "token_sha256": line.digest,
        "received": line.received,
        "conflict": line.conflict,
        "metadata": jsonout.value_of(line.metadata),
    }


def _print(found: list[Listed]) -> None:
    if not found:
        out.print("no hooks")
        return
    table = tables.table_of("run", "workflow", "hook", "kind", "created (UTC)", "received", "conflict with", "metadata")
    for listed in found:
        head, line = listed.head, listed.line
        table.add_row(
            head.run_id,
            tables.short(head.workflow),
            hook_id(head.run_id, line.id),
            line.kind,
            tables.when(line.created_at),
            str(line.received),
            tables.plain(line.conflict or ""),
            "" if line.metadata == b"null" else tables.value_line(line.metadata),
        )
    tables.print_table(table)


# --- sending ----------------------------------------------------------------------------------------------------------


@command
async def resume(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The hook's token.")],
    payload: Annotated[str, typer.Option("--payload", metavar="JSON", help="What to send; - reads it from stdin.")],
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Sent twice with the same key it is delivered once.")
    ] = None,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Send a payload to the hook that has this token. It is durable when the command returns."""
    value = _value_of(sys.stdin.read() if payload == "-" else payload)
    try:
        digest = digest_of(token)
    except ValueError as error:
        raise UsageError(str(error)) from None
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        found = await resuming.find(scoped, digest)
        if found.data.webhook is not None:
            raise CommandError(
                f"this token (SHA-256 {digest[:12]}…) is a webhook's, which takes requests: call its URL, as with curl"
            )
        try:
            await resume_hook(token, value, key, namespace=scoped.namespace)
        except ValueError as error:
            raise UsageError(str(error)) from None
    out.print(f"run {found.head.run_id} has the payload", soft_wrap=True)


def _value_of(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--payload is no JSON: {error}; text stands in quotes of its own: --payload '\"text\"'"
        ) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is none of its numbers")
