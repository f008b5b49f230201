"""`wdk replay`: stored histories, and runs of the open world, against today's code."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from wdk_cloud.app import Workflow, Workflows
from wdk_cloud.cli.console import CommandError, UsageError, command, open_world, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json, Namespace, WorldName
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.reading import find_head, read_log
from wdk_cloud.cli.sources import load_apps, namespace_of
from wdk_cloud.cli.tables import plain, print_table, short, state, table_of
from wdk_cloud.errors import CorruptedEventLogError, NondeterminismError, WorkflowRunNotFoundError
from wdk_cloud.testing import histories
from wdk_cloud.world.ports import Head, World

LONGEST_DIFFERENCE = 2000
"""Characters: one names both values in full, and `--json` has all of it."""

WRITE_ONE = "a history is what `wdk inspect events RUN --json` prints"


@dataclass(slots=True)
class Compared:
    """What a replay found out about one history."""

    source: str
    """As it was named: a file, or the run's id."""
    run_id: str
    workflow_name: str
    events: int
    differences: list[str] = field(default_factory=list[str])

    @property
    def agrees(self) -> bool:
        return not self.differences


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk replay history.json wrun_0123")(replay)


@command
async def replay(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="HISTORY...",
            help="Files that `wdk inspect events RUN --json` wrote, folders of such (*.json), or ids of runs.",
        ),
    ],
    as_json: Json = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Run stored histories against today's code. No step runs, nothing is written; differences make it fail."""
    apps = load_apps(app)
    files, run_ids = sorted_out(sources)
    compared: list[Compared] = []
    with progress("replaying", len(files) + len(run_ids)) as advance:
        for file in files:
            compared.append(_compare_file(apps, file))
            advance()
        if run_ids:
            async for one in _compare_runs(apps, run_ids, world, namespace_of(app, namespace)):
                compared.append(one)
                advance()
    if as_json:
        print_json({"histories": [_document(one) for one in compared]})
    else:
        print_compared(compared)
    if differing := sum(not one.agrees for one in compared):
        raise CommandError(f"today's code differs from {differing} of {_count(len(compared))}")


def _count(number: int) -> str:
    return f"{number} {'history' if number == 1 else 'histories'}"


def sorted_out(sources: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files and the run ids among what was named. A word with a dot or a slash can be no run id."""
    files: list[Path] = []
    run_ids: list[str] = []
    for word in dict.fromkeys(sources):
        path = Path(word)
        if path.is_dir():
            found = sorted(path.glob("*.json"))
            if not found:
                raise UsageError(f"there is no history (*.json) in the folder {word}")
            files += found
        elif path.is_file():
            files.append(path)
        elif "." in word or "/" in word:
            raise UsageError(f"there is no file {word}, and a run's id has neither a dot nor a slash")
        else:
            run_ids.append(word)
    return files, run_ids


def _compare_file(apps: Sequence[Workflows], file: Path) -> Compared:
    try:
        document: object = json.loads(file.read_bytes())
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}; {WRITE_ONE}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    fields = cast("Mapping[str, Any]", document) if isinstance(document, dict) else {"events": document}
    events = fields.get("events")
    if not isinstance(events, list):
        raise UsageError(f'{file} is no history, it has no "events"; {WRITE_ONE}')
    name = _workflow_name(fields, cast("list[object]", events))
    if not name:
        raise UsageError(f"{file} is no history, nothing in it says of which workflow; {WRITE_ONE}")
    compared = Compared(str(file), str(fields.get("run_id", "")), name, len(cast("list[object]", events)))
    try:
        _judge(apps, compared, lambda workflow: histories.replay(workflow, fields))
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from None
    return compared


def _workflow_name(fields: Mapping[str, Any], events: list[Any]) -> str:
    """The document says it; a mere list of events does in its first."""
    if (name := fields.get("workflow_name")) is None:
        with contextlib.suppress(LookupError, TypeError):
            name = events[0]["data"]["workflow"]
    return str(name or "")


async def _compare_runs(
    apps: Sequence[Workflows], run_ids: Sequence[str], world: str | None, namespace: str
) -> AsyncIterator[Compared]:
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace)
        for run_id in run_ids:
            try:
                head = await find_head(scoped, run_id)
            except WorkflowRunNotFoundError as error:
                raise CommandError(f"{error}. There is no file or folder {run_id} here either") from None
            yield await compare_run(apps, scoped, head)


async def compare_run(apps: Sequence[Workflows], world: World, head: Head) -> Compared:
    """One run of the open world, as its log is now."""
    events = [logged.event for logged in await read_log(world, head, decrypt=True)]
    compared = Compared(head.run_id, head.run_id, head.workflow, len(events))
    if events:  # else no worker has had the run yet, and any code agrees
        _judge(apps, compared, partial(histories.check, run_id=head.run_id, events=events))
    return compared


def _judge(apps: Sequence[Workflows], compared: Compared, check: Callable[[Workflow[..., Any]], None]) -> None:
    found = [app.workflows[compared.workflow_name] for app in apps if compared.workflow_name in app.workflows]
    if not found:
        compared.differences = [f"the app has no workflow {compared.workflow_name!r}"]
        return
    try:
        # What a body prints behind the end of its log must not stand in the middle of our document.
        with contextlib.redirect_stdout(sys.stderr):
            check(found[0])
    except NondeterminismError as error:
        compared.differences = error.differences
    except CorruptedEventLogError as error:
        compared.differences = [str(error)]


def print_compared(compared: Sequence[Compared]) -> None:
    """A row for each history, and one more for each further difference."""
    table = table_of("history", "workflow", "events", "code", "difference")
    for one in compared:
        word = state("agrees" if one.agrees else "differs")
        first, *more = one.differences or [""]
        name = short(one.workflow_name)
        table.add_row(plain(one.source), name, str(one.events), word, plain(first, LONGEST_DIFFERENCE))
        for difference in more:
            table.add_row("", "", "", "", plain(difference, LONGEST_DIFFERENCE))
    print_table(table)
    if all(one.agrees for one in compared):
        out.print(f"today's code agrees with {_count(len(compared))}")


def _document(one: Compared) -> dict[str, object]:
    return {
        "source": one.source,
        "run_id": one.run_id,
        "workflow_name": one.workflow_name,
        "events": one.events,
        "agrees": one.agrees,
        "differences": one.differences,
    }
