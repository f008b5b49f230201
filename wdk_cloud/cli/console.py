"""What commands share: the two consoles, errors as one red line, and the open world."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import typer
from rich.console import Console

from wdk_cloud.errors import WorkflowError, WorldConfigurationError
from wdk_cloud.sources import search_this_folder
from wdk_cloud.world.opening import make_world, use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from wdk_cloud.world.ports import World

P = ParamSpec("P")

# What runs carry is anybody's text: no markup is read from it, and nothing in it is coloured by chance.
out = Console(markup=False, highlight=False, emoji=False)
err = Console(markup=False, highlight=False, emoji=False, stderr=True)

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class CommandError(Exception):
    """A command could not do what it was asked for; its text becomes one red line."""

    code = FAILED


class UsageError(CommandError):
    """The command was called in a way that cannot work."""

    code = WRONG_USAGE


def command(work: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a command of a coroutine function: errors of ours become one red line and an exit code, no traceback."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await work(*args, **kwargs)

        try:
            asyncio.run(main())
        except (CommandError, WorkflowError) as error:
            complain(str(error) or type(error).__name__)
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return run


def exit_code(error: Exception) -> int:
    """That of a command which such an error has ended."""
    if isinstance(error, CommandError):
        return error.code
    return WRONG_USAGE if isinstance(error, WorldConfigurationError) else FAILED


def confirm(question: str, unchanged: str) -> None:
    """Go on only when somebody who sits here agrees; raises with `unchanged`, which says what is as it was.

    Where nobody can be asked (in a script, in CI), consent is given beforehand: `--yes`.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{unchanged}: nobody can be asked here; add --yes")
    if not agreed(question):
        raise CommandError(unchanged)


def agreed(question: str) -> bool:
    """Asks whoever sits there; the end of the input is a no. Ctrl-C ends the command at once, and what it has begun is
    cleared away on the way out.

    The loop of asyncio takes the first Ctrl-C for itself and asks its task to end, which waits for an answer here.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as aborted:
        err.print()
        if isinstance(aborted.__context__, EOFError):
            return False
        err.print("Aborted.")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def complain(message: str) -> None:
    """One red line to stderr; it is not wrapped, so that programs and people can search for it."""
    err.print(f"error: {message}", style="red", soft_wrap=True)


@asynccontextmanager
async def open_world(name: str | None, *, serving: bool = False, must_exist: bool = False) -> AsyncGenerator[World]:
    """The world of that name (`--world`, WDK_WORLD, else `local`), in use until the block is left.

    With `must_exist`, a database file that is not there is an error: a reader in the wrong folder should not make one.
    """
    if name is not None and ":" in name:
        search_this_folder()  # where an app would be found, a factory of worlds is, too
    world = make_world(name or "local")
    if world.name == "memory" and not serving:
        raise UsageError("the memory world ends with the process that made it; name another with --world or WDK_WORLD")
    path = file_of(world)
    if must_exist and path is not None and not path.exists():
        raise CommandError(
            f"there are no runs here: {path} does not exist. Start one with `wdk start`, or name the file that has "
            "them with WDK_LOCAL_PATH"
        )
    await world.open()
    try:
        with use_world(world):
            yield world
    finally:
        await world.close()


def file_of(world: World) -> Path | None:
    """The file that holds the world's runs, where there is one."""
    path = getattr(world, "path", None)
    return path if isinstance(path, Path) else None


def place_of(world: World) -> str:
    """The world and its file, for people."""
    path = file_of(world)
    if path is None:
        return world.name
    below = path.is_relative_to(Path.cwd())
    return f"{world.name}, {path.relative_to(Path.cwd()) if below else path}"
