"""Steps that come with wdk-cloud: bodies of any app may call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wdk_cloud.app import Step, Workflows
from wdk_cloud.options import StepOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

_app = Workflows()
Workflows._every.discard(_app)  # pyright: ignore[reportPrivateUsage] -- it is nobody's, and no worker is to serve it

BUILT_IN: dict[str, Step[..., Any]] = _app.steps
"""By their ids."""


def built_in(fn: Callable[P, Coroutine[Any, Any, T]]) -> Step[P, T]:
    """Declare one."""
    step = Step[P, T](_app, f"step//wdk_cloud//{fn.__name__}", fn, StepOptions())
    BUILT_IN[step.id] = step
    return step
