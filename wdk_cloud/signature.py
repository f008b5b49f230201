"""How calls and records of calls meet the parameters of a function."""

from __future__ import annotations

import inspect
import types
import typing
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

AnyFunction = typing.Callable[..., Any]


class Signature:
    """How the arguments of a function are bound to its parameters' names, and given back to it."""

    def __init__(self, fn: AnyFunction) -> None:
        self._fn = fn
        self._signature = inspect.signature(fn)
        kinds = [parameter.kind for parameter in self._signature.parameters.values()]
        self._names = tuple(self._signature.parameters)
        self._plain = all(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
        self._by_name = all(
            kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY) for kind in kinds
        )
        self._required = sum(p.default is inspect.Parameter.empty for p in self._signature.parameters.values())
        self._hints: dict[str, object] | None = None

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments by parameter name, in the order of the parameters; defaults are not applied."""
        if self._plain and not kwargs and self._required <= len(args) <= len(self._names):
            return dict(zip(self._names, args, strict=False))
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise TypeError(f"{self._fn.__qualname__}{self._signature}: {error}") from None

    def call(self, arguments: Mapping[str, object]) -> Any:
        try:
            if self._by_name:
                return self._fn(**arguments)
            bound = inspect.BoundArguments(self._signature, dict(arguments))
            return self._fn(*bound.args, **bound.kwargs)
        except StopIteration as error:  # the future of a thread cannot carry one, and is never done before 3.12
            raise RuntimeError(f"{self._fn.__qualname__} raised StopIteration") from error

    @property
    def hints(self) -> dict[str, object]:
        """Annotations by parameter, and `return`; one that cannot be resolved counts as none."""
        if self._hints is None:
            try:
                self._hints = typing.get_type_hints(self._fn, include_extras=True)
            except (NameError, AttributeError, TypeError):
                self._hints = _hints_one_by_one(self._fn)
            for name, parameter in self._signature.parameters.items():
                if name in self._hints and parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                    self._hints[name] = types.GenericAlias(tuple, (self._hints[name], ...))
                elif name in self._hints and parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    self._hints[name] = types.GenericAlias(dict, (str, self._hints[name]))
        return self._hints


def _hints_one_by_one(fn: AnyFunction) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, annotation in fn.__annotations__.items():
        probe = partial(_nothing)
        probe.__annotations__ = {name: annotation}
        try:
            found.update(typing.get_type_hints(probe, fn.__globals__, include_extras=True))
        except (NameError, AttributeError, TypeError):
            continue
    return found


def _nothing() -> None: ...
