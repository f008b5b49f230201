"""Commands that adapters bring along: entry points of the group `wdk_cloud.commands`.

The name of an entry point is that of its command, with a dot before a part that stands in a group: `build.aws` is
`wdk build aws`. Its value is a function `add_to(program)` that declares the command, as ours have one. Installed
distributions are looked through only when a command is asked for that is not one of ours, or for help: that costs as
much as all the rest of a short command.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from wdk_cloud.cli.console import FAILED, complain

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

GROUP = "wdk_cloud.commands"

ABOUT = {
    "aws": "A first run on AWS, without a deployment.",
    "build": "Build what a cloud is given to run.",
    "deploy": "Bring what was built to a cloud.",
    "gcp": "A first run on Google Cloud, without a deployment.",
    "iam": "The rights that processes need.",
    "rehearse": "Deploy to a stand-in for a cloud, on this machine.",
}
"""What the groups are for; adapters share them, so their text is here."""


CLOUDS = ("aws", "gcp")
"""The adapters of ours, by their extras."""

FOR_EACH_CLOUD = ("build", "deploy", "rehearse")
"""The groups in which each of them has a command that is called as its cloud is."""


class Commands(TyperGroup):
    """Our commands, and behind them those of the adapters that are installed."""

    # Click's own classes have no name here: some versions of typer bring them along, others stand on the package.

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted({name.partition(".")[0] for name in _found()})]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What our documentation types, and no adapter is here to bring, is no misspelling."""
        first, second = [*args, "", ""][:2]
        one_of_many = first in FOR_EACH_CLOUD and second in CLOUDS and f"{first}.{second}" not in _found()
        if first in ABOUT and (one_of_many or self.get_command(ctx, first) is None):
            wanted = [cloud for cloud in CLOUDS if cloud in (first, second)] or CLOUDS
            extras = " or ".join(f'pip install "wdk-cloud[{cloud}]"' for cloud in wanted)
            ctx.fail(f"`wdk {first}` comes with an adapter, and none that has it is installed: {extras}")
        return super().resolve_command(ctx, args)


@cache
def _found() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _command(name: str) -> Any:
    found = _found()
    program = typer.Typer(name=name, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if name in found:
        _add(program, name, found[name])
        return typer.main.get_command(program)
    inner = {rest: point for key, point in found.items() for first, _, rest in [key.partition(".")] if first == name}
    if not inner:
        return None
    # With a callback it stays a group when it has one command only.
    program.callback(help=ABOUT.get(name), no_args_is_help=True)(lambda: None)
    for rest, point in sorted(inner.items()):
        _add(program, rest, point)
    return typer.main.get_command(program)


def _add(program: typer.Typer, name: str, point: EntryPoint) -> None:
    """What a distribution brings. One that is broken breaks its own command, not the help of all others."""
    try:
        add_to: Callable[[typer.Typer], None] = point.load()
    except Exception as error:
        text = f"{point.value} ({GROUP}) cannot be loaded: {type(error).__name__}: {error}"

        def broken() -> None:
            complain(text)
            raise typer.Exit(FAILED)

        program.command(name, help="It cannot be loaded.")(broken)
    else:
        add_to(program)
