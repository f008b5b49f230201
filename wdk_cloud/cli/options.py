"""Options and arguments that several commands have, each with one name and one text."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from wdk_cloud import durations
from wdk_cloud.cli.console import UsageError
from wdk_cloud.world.ports import Status

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
AppSpec = Annotated[
    str | None,
    typer.Option("--app", metavar="MODULE:APP", envvar="WDK_APP", help="Where the workflows are; several by comma."),
]
WorldName = Annotated[
    str | None,
    typer.Option("--world", metavar="NAME", envvar="WDK_WORLD", help="Where the runs live: local unless named."),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="The app's namespace, where the app is not at hand.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document for programs, instead of tables.")]
Decrypt = Annotated[bool, typer.Option("--decrypt", help="Show encrypted payloads; needs WDK_ENCRYPTION_KEY.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many; all of them unless given.")]
Cursor = Annotated[str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where the last page ended.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help='From then on: an ISO 8601 time (UTC), or "2h" ago.')
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help='Before then: an ISO 8601 time (UTC), or "2h" ago.')
]
OfWorkflow = Annotated[
    str | None, typer.Option("--workflow", metavar="WORKFLOW", help="Only this one: its id, or its name in --app.")
]
OfVersion = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="Only runs that code of this version has started.")
]
RunStatus = Annotated[Status | None, typer.Option("--status", help="Only runs in this status.")]


def checked_version(text: str | None) -> str | None:
    """An empty one is a variable that is not set in the shell: it would find none, and say that all have ended."""
    if text is not None and not text.strip():
        raise UsageError("--version is empty; `wdk inspect runs` shows which versions have started runs")
    return text


def moment(text: str | None, option: str) -> datetime | None:
    """The point in time that a person means: an ISO 8601 time, UTC where it has no zone, or a duration before now."""
    if text is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=durations.seconds(text))
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'{option} {text!r} is not understood; write "2026-01-31T12:00" (UTC) or "2h" for two hours ago'
        ) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
