"""`wdk inspect streams|stream`: what runs write while they work, followed live."""

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wdk_cloud.cli import jsonout, tables
from wdk_cloud.cli.console import CommandError, UsageError, command, err, open_world, out
from wdk_cloud.cli.options import AppSpec, Cursor, Decrypt, Json, Limit, Namespace, RunId, WorldName
from wdk_cloud.cli.reading import find_head, page_of, run_of
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.documents import stream_document
from wdk_cloud.engine.follower import Indexed

if TYPE_CHECKING:
    from wdk_cloud.streams import ReadableStream

Name = Annotated[str, typer.Argument(metavar="[NAME]", help="Which one: its namespace.", show_default=True)]
StartIndex = Annotated[
    int, typer.Option("--start-index", metavar="N", help="From this chunk on; a negative one counts back from the end.")
]
Lines = Annotated[bool, typer.Option("--json", help="One JSON document for programs on each line, for each chunk.")]
Most = Annotated[int | None, typer.Option("--limit", min=1, help="End after so many chunks.")]


def add_to_inspect(group: typer.Typer) -> None:
    group.command("streams", epilog="Example: wdk inspect streams wrun_0123 --json")(streams)
    group.command("stream", epilog="Example: wdk inspect stream wrun_0123 --start-index -5")(stream)


@command
async def streams(
    run: RunId,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    _decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """List the streams of a run, with the number of their chunks."""
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        await find_head(scoped, run)
        handle = run_of(run, scoped.namespace)
        names = await handle.list_streams()
        part, more = page_of(range(1, len(names) + 1), limit, cursor)
        found = [(name, await handle.stream_info(name)) for name in names[part]]
    if as_json:
        documents = [stream_document(name, info) for name, info in found]
        jsonout.print_json({"run_id": run, "streams": documents, "cursor": more})
        return
    if not found:
        out.print("no streams")
        return
    table = tables.table_of("stream", "chunks", "state")
    for name, info in found:
        table.add_row(tables.plain(name), str(info.tail_index + 1), "closed" if info.closed else "open")
    tables.print_table(table)
    tables.print_more(more)


@command
async def stream(
    run: RunId,
    name: Name = "default",
    start_index: StartIndex = 0,
    limit: Most = None,
    as_json: Lines = False,
    decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Follow a stream live, until it is closed.

    Text and bytes come as they are, other values as lines of JSON.
    """
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        head = await find_head(scoped, run)
        if head.data_key is not None and not decrypt:
            raise CommandError(f"the chunks of run {run} are encrypted; pass --decrypt, which needs WDK_ENCRYPTION_KEY")
        handle = run_of(run, scoped.namespace)
        try:
            wanted: ReadableStream[Any] = handle.readable(name, start_index)
        except ValueError as error:
            raise UsageError(str(error)) from None
        printer = _Printer(as_json=as_json)
        left = limit
        async with aclosing((await wanted.follower()).batches()) as batches:
            async for batch in batches:
                printer.print(batch[:left])
                left = None if left is None else left - len(batch[:left])
                if left == 0:
                    break
        printer.end()
        if not printer.used and name not in (written := await handle.list_streams()):
            there = ", ".join(map(tables.plain, written)) or "none"
            err.print(f"nothing was written to a stream {name}; streams of the run: {there}", soft_wrap=True)


class _Printer:
    """Writes bytes, and each batch at once: whoever reads may be a program. A terminal gets nothing that it obeys."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._terminal = sys.stdout.isatty()
        self._last = b"\n"
        self.used = False

    def print(self, batch: list[Indexed]) -> None:
        text = b"".join(map(_line if self._as_json else Indexed.as_bytes, batch))
        self._write(_shown(text) if self._terminal else text)

    def end(self) -> None:
        """A prompt begins on a line of its own."""
        if self._terminal and self._last != b"\n":
            self._write(b"\n")

    def _write(self, text: bytes) -> None:
        self._last = text[-1:] or self._last
        self.used = True
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


def _line(chunk: Indexed) -> bytes:
    return b'{"index":%d,"value":%s}\n' % (chunk.number, chunk.as_json())


def _shown(text: bytes) -> bytes:
    lines = text.decode("utf-8", "backslashreplace").split("\n")
    return "\n".join(tables.plain(line, len(line)) for line in lines).encode("utf-8", "backslashreplace")
