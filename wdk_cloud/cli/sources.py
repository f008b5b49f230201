"""The app that WDK_APP or `--app` names, and workflows in it, as a person meant them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wdk_cloud import sources
from wdk_cloud.cli.console import UsageError, err
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from wdk_cloud.app import Workflow, Workflows


def load_apps(spec: str | None) -> list[Workflows]:
    """`sources.load_apps`; raises UsageError that says what is missing."""
    if not spec or not spec.strip(" ,"):
        raise UsageError("which app? Set WDK_APP=module:app, or pass --app module:app")
    try:
        return sources.load_apps(spec)
    except WorldConfigurationError as error:
        raise UsageError(str(error)) from error.__cause__


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
    found = sources.named(apps, name)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name!r} names several workflows; give the id: {', '.join(w.id for w in found)}")
    everything = [workflow for app in apps for workflow in app.workflows.values()]
    there = ", ".join(sorted(w.fn.__qualname__ for w in everything)) or "none; import the module that declares them"
    raise UsageError(f"there is no workflow {name!r} in the app; there are: {there}")
