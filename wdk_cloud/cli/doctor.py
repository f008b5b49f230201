"""`wdk doctor`: which setting is wrong, and the command that mends it."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from wdk_cloud.cli import checkup, variables
from wdk_cloud.cli.console import CommandError, command, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json, WorldName
from wdk_cloud.cli.tables import plain
from wdk_cloud.cli.variables import Setting
from wdk_cloud.documents import Document
from wdk_cloud.findings import GROUP, Doctor, Finding
from wdk_cloud.world.opening import make_world

LONGEST = 2000
"""Characters of what was seen: some have names of a dozen things in them, and an error of somebody else has no end."""


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk doctor --json")(doctor)


@command
async def doctor(
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function",
            metavar="NAME",
            envvar="WDK_FUNCTION",
            help="What runs in the cloud (a Lambda function, a Cloud Run service); may be given several times.",
        ),
    ] = None,
    as_json: Json = False,
    app: AppSpec = None,
    world: WorldName = None,
) -> None:
    """Check the settings, here and in the cloud.

    What is wrong comes with the command that mends it, and makes it fail. It looks only: nothing is made or changed.
    """
    name = world or "local"
    chosen = _doctor_of(name)
    found = [checkup.versions(), *variables.examine(chosen.variables), checkup.app_of(app)]
    found += await chosen.examine(function or ())
    set_here = variables.settings(chosen.variables, {**os.environ, "WDK_WORLD": name} if world else None)
    if as_json:
        print_json(_document(name, found, set_here))
    else:
        _print(found, set_here)
    wrong = [finding.slug for finding in found if not finding.well]
    if wrong:
        things = f"{len(wrong)} thing{'s are' if len(wrong) != 1 else ' is'}"
        raise CommandError(f"{things} wrong: {', '.join(dict.fromkeys(wrong))}")


def _doctor_of(name: str) -> Doctor:
    """Raises WorldConfigurationError for a world that nobody knows."""
    if name == "local":
        return checkup.LOCAL
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()

    async def examine(functions: Sequence[str]) -> list[Finding]:
        return [checkup.hash_seed(), Finding("world", f"{name} can be made; it brings no check-up of its own")]

    make_world(name)
    return Doctor(examine, {})


def _print(found: Sequence[Finding], set_here: Sequence[Setting]) -> None:
    for setting in set_here:
        value = "" if setting.value is None else plain(setting.value)
        out.print(f"{setting.name:<27} {value or '-'} ({setting.origin})", soft_wrap=True)
    out.print()
    width = max(len(finding.slug) for finding in found)
    for finding in found:
        state, style = ("well ", "green") if finding.well else ("wrong", "red")
        out.print(
            Text.assemble((state, style), f"  {finding.slug:<{width}}  {plain(finding.seen, LONGEST)}"), soft_wrap=True
        )
        if finding.mend:
            out.print(f"       {'':<{width}}  $ {finding.mend}", soft_wrap=True)


def _document(world: str, found: Sequence[Finding], set_here: Sequence[Setting]) -> Document:
    return {
        "healthy": all(finding.well for finding in found),
        "world": world,
        "findings": [finding.document() for finding in found],
        "settings": [{"name": each.name, "value": each.value, "from": each.origin} for each in set_here],
    }
