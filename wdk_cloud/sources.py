"""Finding the apps that WDK_APP names, and workflows in them."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdk_cloud.app import Workflow, Workflows
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


def load_apps(spec: str | None) -> list[Workflows]:
    """The apps of `package.module:app`, comma-separated. A module alone will do if there is one app in it.

    The current folder is searched first, as `python -m` does. Raises WorldConfigurationError that says what is missing.
    """
    if not spec or not spec.strip(" ,"):
        raise WorldConfigurationError("which app? Set WDK_APP=module:app, or pass one")
    search_this_folder()
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    return list(dict.fromkeys(_load(part) for part in parts))


def search_this_folder() -> None:
    """Import from the current folder first, as `python -m` does."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def named(apps: Sequence[Workflows], name: str) -> list[Workflow[..., Any]]:
    """Those of this id, else those of functions of this name; of no or of several ones it is for the caller to tell."""
    everything = [workflow for app in apps for workflow in app.workflows.values()]
    by_id = [workflow for workflow in everything if workflow.id == name]
    return by_id or [workflow for workflow in everything if name in (workflow.fn.__qualname__, workflow.fn.__name__)]


def _load(part: str) -> Workflows:
    name, _, path = part.partition(":")
    if not name:
        raise WorldConfigurationError(f"{part!r} names no module; write module:app")
    module = _import(name, part)
    if not path:
        found = [value for value in vars(module).values() if isinstance(value, Workflows)]
        if len(found) != 1:
            raise WorldConfigurationError(f"{name} holds {len(found)} apps (Workflows); name one: {name}:app")
        return found[0]
    value: Any = module
    for attribute in path.split("."):
        value = getattr(value, attribute, None)
    if not isinstance(value, Workflows):
        what = "nothing of that name" if value is None else f"a {type(value).__name__}"
        apps = ", ".join(f"{name}:{key}" for key, found in vars(module).items() if isinstance(found, Workflows))
        raise WorldConfigurationError(
            f"{part} must be an app (Workflows), there is {what}; apps of the module: {apps or 'none'}"
        )
    return value


def _import(name: str, part: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise WorldConfigurationError(
                f"{part}: there is no module {error.name!r} in {Path.cwd()} nor in the environment; write module:app"
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        if isinstance(error, SyntaxError):
            where = f"{error.filename}:{error.lineno}"
        raise WorldConfigurationError(
            f"{name} cannot be imported: {type(error).__name__}: {error} ({where}); look there"
        ) from error
