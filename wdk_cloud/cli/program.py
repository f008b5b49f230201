"""The commands of `wdk`, put together."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from wdk_cloud.cli import cancel, control, dev, doctor, health, hooks, init, inspect, replay, retry, start
from wdk_cloud.cli.adapters import Commands
from wdk_cloud.cli.console import out

program = typer.Typer(
    name="wdk",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # what is no error of ours is a bug: then the plain traceback is what helps
    rich_markup_mode=None,
    help="Durable workflows for Python.",
    epilog="Example: WDK_APP=signup:app wdk dev",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"wdk {current_version()}")
        raise typer.Exit


def current_version() -> str:
    try:
        return version("wdk-cloud")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


@program.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


init.add_to(program)
dev.add_to(program)
start.add_to(program)
inspect.add_to(program)
cancel.add_to(program)
retry.add_to(program)
control.add_to(program)
hooks.add_to(program)
replay.add_to(program)
health.add_to(program)
doctor.add_to(program)
