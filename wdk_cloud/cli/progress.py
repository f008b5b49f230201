"""Progress of commands that take their time: a bar on stderr, for as long as it lasts, where somebody looks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wdk_cloud.cli.console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console


@contextmanager
def progress(what: str, total: int | None = None, console: Console = err) -> Generator[Callable[[], None]]:
    """Gives a function to be called for each thing that is done. The bar leaves nothing behind.

    `total` is None where it is not known; then the bar only moves. In a file or a pipe nothing appears.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
