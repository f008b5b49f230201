"""Which runs a command means that works on many: all pages of a listing, by the filters that `inspect runs` has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_cloud import client
from wdk_cloud.admission import LONGEST_PAGE
from wdk_cloud.cli.console import UsageError
from wdk_cloud.cli.options import checked_version, moment
from wdk_cloud.cli.sources import find_workflow, load_apps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wdk_cloud.client import RunInfo
    from wdk_cloud.world.ports import Status


def workflow_id(name: str | None, app: str | None) -> str | None:
    """An id is taken as it is: runs of workflows that the code no longer has can be found too."""
    if name is None or "//" in name or not app:
        return name
    return find_workflow(load_apps(app), name).id


@dataclass(frozen=True, slots=True)
class Filter:
    """What `--status`, `--workflow`, `--version`, `--since` and `--until` say."""

    status: Status | None
    workflow: str | None
    version: str | None
    since: str | None
    until: str | None

    @property
    def is_open(self) -> bool:
        """Nothing was said: it means all runs."""
        return (self.status, self.workflow, self.version, self.since, self.until) == (None,) * 5

    async def runs(self, status: Status, app: str | None, namespace: str) -> AsyncGenerator[RunInfo]:
        """All runs in this status that the rest of the filter lets through, newest first."""
        workflow = workflow_id(self.workflow, app)
        version = checked_version(self.version)
        since, until = moment(self.since, "--since"), moment(self.until, "--until")
        cursor = None
        while True:
            try:
                page = await client.list_runs(
                    workflow, status, version, since, until, LONGEST_PAGE, cursor, namespace=namespace
                )
            except ValueError as error:
                raise UsageError(str(error)) from None
            for info in page:
                yield info
            if (cursor := page.cursor) is None:
                return
