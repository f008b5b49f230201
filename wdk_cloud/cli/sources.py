"""Finding the app that WDK_APP or `--app` names, and workflows in it."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdk_cloud.app import Workflow, Workflows
from wdk_cloud.cli.console import UsageError, err

if TYPE_CHECKING:
    from types import ModuleType


def load_apps(spec: str | None) -> list[Workflows]:
    """The apps of `package.module:app`, comma-separated. A module alone will do if there is one app in it.

    The current folder is searched first, as `python -m` does. Raises UsageError that says what is missing.
    """
    if not spec or not spec.strip(" ,"):
        raise UsageError("which app? Set WDK_APP=module:app, or pass --app module:app")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    return list(dict.fromkeys(_load(part) for part in parts))


def _load(part: str) -> Workflows:
    name, _, path = part.partition(":")
    if not name:
        raise UsageError(f"{part!r} names no module; write module:app")
    module = _import(name)
    if not path:
        found = [value for value in vars(module).values() if isinstance(value, Workflows)]
        if len(found) != 1:
            raise UsageError(f"{name} holds {len(found)} apps (Workflows); name one: {name}:app")
        return found[0]
    value: Any = module
    for attribute in path.split("."):
        value = getattr(value, attribute, None)
    if not isinstance(value, Workflows):
        what = "nothing of that name" if value is None else f"a {type(value).__name__}"
        apps = ", ".join(f"{name}:{key}" for key, found in vars(module).items() if isinstance(found, Workflows))
        raise UsageError(f"{part} must be an app (Workflows), there is {what}; apps of the module: {apps or 'none'}")
    return value


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {error.name!r} in {Path.cwd()} nor in the environment") from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        if isinstance(error, SyntaxError):
            where = f"{error.filename}:{error.lineno}"
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error} ({where})") from error


def namespace_of(spec: str | None, given: str | None) -> str:
    """The namespace to look into: the one given, else that of the app. Runs can be looked at without their code."""
    if given is not None or not spec:
        return given or ""
    try:
        namespaces = sorted({app.namespace for app in load_apps(spec)})
    except UsageError as error:
        err.print(f"looking without a namespace: {error}", style="yellow", soft_wrap=True)
        return ""
    if len(namespaces) > 1:
        raise UsageError(f"{spec} names several namespaces ({', '.join(namespaces)}); choose with --namespace")
    return namespaces[0]


def find_workflow(apps: list[Workflows], name: str) -> Workflow[..., Any]:
    """By id, or by the name of its function where only one has it."""
    everything = [workflow for app in apps for workflow in app.workflows.values()]
    for found in (
        [w for w in everything if w.id == name],
        [w for w in everything if name in (w.fn.__qualname__, w.fn.__name__)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{name!r} names several workflows; give the id: {', '.join(w.id for w in found)}")
    there = ", ".join(sorted(w.fn.__qualname__ for w in everything)) or "none; import the module that declares them"
    raise UsageError(f"there is no workflow {name!r} in the app; there are: {there}")
