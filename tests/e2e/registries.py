"""Apps declared anew, as a process has them that has just imported its code.

Tests declare their apps in functions, which nobody can import again. So what they declared is made again:

- an app becomes a new `Workflows`, with new steps and workflows under the old ids;
- a function becomes a copy with the same code. Wherever its closure, its defaults or the globals of its module held an
  app, a step, a workflow, or another function of the tests, the copy holds the new one;
- a partial, a bound method, a plain list, tuple or dict, an instance or a class of the tests is made again only if
  something is in it that is, too;
- all else is shared with the test, above all the lists in which it counts, and its `nonlocal` numbers.

So a body that sees a step of another declaration than its own, or an engine that keeps something of a registry from one
delivery to the next, acts as it would in a process that is started for one delivery. A test that puts apps, steps or
functions into a list of its own from within a body puts them into a copy; let it take a deque, which is shared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import WRAPPER_ASSIGNMENTS, partial, update_wrapper
from types import CellType, FunctionType, MethodType
from typing import Any

from wdk_cloud import Step, Workflow, Workflows
from wdk_cloud.engine.service import Engine

REGISTERED = (Workflows, Workflow, Step)


@contextmanager
def fresh_registries() -> Iterator[None]:
    """While this lasts, an engine that looks for code finds that of an app which was declared just now.

    A delivery that finds nothing warm looks once: then each has a registry of its own.
    """
    workflow, step = Engine.workflow, Engine.step
    Engine.workflow = lambda engine, id: Anew().of(workflow(engine, id))  # type: ignore[method-assign]
    Engine.step = lambda engine, id: Anew().of(step(engine, id))  # type: ignore[method-assign]
    try:
        yield
    finally:
        Engine.workflow, Engine.step = workflow, step  # type: ignore[method-assign]


class Anew:
    """One renewal: everything is made again once, and refers to what was made with it."""

    def __init__(self) -> None:
        # By the old one's id; it is kept, so that nothing else gets its id meanwhile.
        self._made: dict[int, tuple[Any, Any]] = {}
        # What refers to itself, directly or not, is made empty, and filled when all that refers to it is there.
        self._unfilled: list[partial[None]] = []

    def of(self, old: Any) -> Any:
        new = self._of(old)
        while self._unfilled:
            self._unfilled.pop()()
        return new

    def _of(self, old: Any) -> Any:
        if id(old) not in self._made:
            self._made[id(old)] = old, old  # whatever leads back to itself meanwhile
            self._made[id(old)] = old, self._make(old)
        return self._made[id(old)][1]

    def _make(self, old: Any) -> Any:
        match old:
            case Workflows():
                return self._app(old)
            case Step():
                return self._declared(old, old.options, old._static)
            case Workflow():
                return self._declared(old, old.options)
            case FunctionType() if of_a_test(old.__module__):
                return self._function(old)
            case type() if any(isinstance(undressed(value), REGISTERED) for value in vars(old).values()):
                return self._class(old)
            case _ if of_a_test(type(old).__module__) and hasattr(old, "__dict__"):
                return self._instance(old)
            case _:
                return self._holder(old)

    def _holder(self, old: Any) -> Any:
        """Something of Python's own in which there may be something of an app; else it stays what it is."""
        match old:
            case staticmethod():
                return staticmethod(self._of(old.__func__))
            case MethodType():
                owner = self._of(old.__self__)
                return old if owner is old.__self__ else MethodType(old.__func__, owner)
            case partial():
                return partial(self._of(old.func), *map(self._of, old.args), **self._mapped(old.keywords))
            case dict():
                new: Any = self._mapped(old)
                return old if all(old[name] is new[name] for name in old) else new
            case list() | tuple() if type(old) in (list, tuple):
                new = type(old)(map(self._of, old))
                return old if all(a is b for a, b in zip(old, new, strict=True)) else new
            case _:
                return old

    def _app(self, old: Workflows) -> Workflows:
        new = Workflows(old.namespace or None)
        Workflows._every.discard(new)  # nobody is to find it but who asked for it
        new._registrations = list(old._registrations)
        self._made[id(old)] = old, new
        self._unfilled.append(partial(self._declare, old, new))
        return new

    def _declare(self, old: Workflows, new: Workflows) -> None:
        for kind in ("steps", "workflows"):
            for id, declared in getattr(old, kind).items():
                getattr(new, kind)[id] = again = self._of(declared)
                new._note_module(again.fn)

    def _declared(self, old: Any, *options: object) -> Any:
        return type(old)(self._of(old.app), old.id, self._function(old.fn), *options)

    def _function(self, old: FunctionType) -> FunctionType:
        if id(old) in self._made and self._made[id(old)][1] is not old:
            return self._made[id(old)][1]
        closure = tuple(map(self._cell, old.__closure__ or ()))
        defaults = tuple(map(self._of, old.__defaults__)) if old.__defaults__ else None
        new = FunctionType(old.__code__, self._globals(old.__globals__), old.__name__, defaults, closure)
        new.__kwdefaults__ = self._mapped(old.__kwdefaults__) if old.__kwdefaults__ else None
        update_wrapper(new, old, WRAPPER_ASSIGNMENTS)
        new.__dict__.pop("__wrapped__")
        if hasattr(old, "__wrapped__"):
            new.__wrapped__ = self._of(old.__wrapped__)
        self._made[id(old)] = old, new
        return new

    def _cell(self, old: CellType) -> CellType:
        """A new cell for what is made again; all else stays in the cell that the test sees."""
        try:
            held = old.cell_contents
        except ValueError:
            return old  # nothing is in it yet
        if not self._is_made_again(held):
            return old
        if id(old) not in self._made:
            new = CellType()
            self._made[id(old)] = old, new
            self._unfilled.append(partial(self._fill, new, held))
        return self._made[id(old)][1]

    def _fill(self, cell: CellType, held: object) -> None:
        cell.cell_contents = self._of(held)

    def _is_made_again(self, held: object) -> bool:
        return isinstance(held, (*REGISTERED, FunctionType, MethodType, partial)) or self._of(held) is not held

    def _globals(self, old: dict[str, Any]) -> dict[str, Any]:
        """Those of a module that declares an app itself."""
        if id(old) not in self._made:
            declares = any(isinstance(value, REGISTERED) for value in old.values())
            self._made[id(old)] = old, dict(old) if declares else old
            if declares:
                self._unfilled.append(partial(self._fill_globals, self._made[id(old)][1]))
        return self._made[id(old)][1]

    def _fill_globals(self, new: dict[str, Any]) -> None:
        for name, value in list(new.items()):
            if isinstance(value, (*REGISTERED, FunctionType)):
                new[name] = self._of(value)

    def _instance(self, old: Any) -> Any:
        attributes = self._mapped(vars(old))
        if all(attributes[name] is value for name, value in vars(old).items()):
            return old
        new = copy.copy(old)
        vars(new).update(attributes)
        return new

    def _class(self, old: type) -> type:
        """One that has steps for static methods; a subclass, so that the old one's instances are still its own."""
        steps = {name: value for name, value in vars(old).items() if isinstance(undressed(value), REGISTERED)}
        return type(old)(old.__name__, (old,), {"__module__": old.__module__, **self._mapped(steps)})

    def _mapped(self, old: dict[Any, Any]) -> dict[Any, Any]:
        return {name: self._of(value) for name, value in old.items()}


def undressed(attribute: object) -> object:
    return attribute.__func__ if isinstance(attribute, staticmethod) else attribute


def of_a_test(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "tests"
