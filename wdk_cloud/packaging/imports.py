"""Which modules a program imports, found out by reading it: nothing of it is run.

An import that may fail, says the code around it, is optional: one below `try: … except ImportError`, below a question
for Python's version, or below any `if` at the top of a module. Imports for type checkers are none.
"""

from __future__ import annotations

import ast
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

COMPILED = (".so", ".pyd")

CAUGHT = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")
"""What is caught by whoever can do without an import."""

FILES_KNOWN = 4096
"""Files whose imports are kept: a function has a thousand, and they are walked for several questions."""


@dataclass(frozen=True, slots=True)
class Import:
    """One that is written down: `name` in full, and for `from name import …` what is taken from it."""

    name: str
    taken: tuple[str, ...] = ()
    line: int = 0
    optional: bool = False
    lazy: bool = False
    """Within a function."""


@dataclass(slots=True)
class Reach:
    """What can be reached from the modules where a walk began."""

    files: set[str] = field(default_factory=set[str])
    importers: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """By the top-level name of what is imported, the top-level names of its importers."""
    missing: list[str] = field(default_factory=list[str])
    """A line for each import that leads nowhere."""


class Modules:
    """The modules among some files, named by their paths below a folder that Python would search."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes]) -> None:
        self._read = read
        self._files: dict[str, str] = {}
        self._folders: set[str] = set()
        # A source file wins over a compiled one of the same name, and a package over a module: hence the order.
        for name in sorted(names, key=lambda name: (not name.endswith("/__init__.py"), name.endswith(COMPILED), name)):
            module = module_of(name)
            if module is not None:
                self._files.setdefault(module, name)
                parts = module.split(".")
                self._folders.update(".".join(parts[:end]) for end in range(1, len(parts)))

    def has(self, module: str) -> bool:
        """As a file, or as a folder without `__init__.py` that holds some. What lies below a plain module, that module
        makes by itself, as `six` does."""
        parents = [module]
        while "." in parents[-1]:
            parents.append(parents[-1].rpartition(".")[0])
        plain = (name for name in parents[1:] if not self._files.get(name, "/__init__.py").endswith("/__init__.py"))
        return module in self._files or module in self._folders or any(plain)

    def walk(
        self, roots: Iterable[str], follow: Callable[[str, Import], bool], standard: frozenset[str] = frozenset()
    ) -> Reach:
        """Go along all imports that `follow` says yes to, from the modules `roots`. It is asked with the file of the
        import. `standard` are top-level names that every Python has."""
        reach = Reach()
        waiting: deque[str] = deque()
        for root in roots:
            if not self.has(root):
                reach.missing.append(f"{root} is not there")
            self._enter(root, reach, waiting)
        while waiting:
            file = waiting.popleft()
            for found in self._imports(file):
                if follow(file, found):
                    self._go_along(found, file, reach, waiting, standard)
        return reach

    def _go_along(self, found: Import, file: str, reach: Reach, waiting: deque[str], standard: frozenset[str]) -> None:
        top = found.name.partition(".")[0]
        reach.importers.setdefault(top, set()).add(top_of(file))
        self._enter(found.name, reach, waiting)
        for taken in found.taken:
            if f"{found.name}.{taken}" in self._files:
                self._enter(f"{found.name}.{taken}", reach, waiting)
        if top not in standard and not self.has(found.name):
            reach.missing.append(f"{file}:{found.line} imports {found.name}, which is not there")

    def _enter(self, module: str, reach: Reach, waiting: deque[str]) -> None:
        """A module, and before it the packages that it lies in."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            file = self._files.get(".".join(parts[:end]))
            if file is not None and file not in reach.files:
                reach.files.add(file)
                waiting.append(file)

    def _imports(self, file: str) -> tuple[Import, ...]:
        return imports_of(self._read(file), file) if file.endswith(".py") else ()


def every(_file: str, _found: Import) -> bool:
    """Follow all of them."""
    return True


def top_of(path: str) -> str:
    """The name under which the package or module of a file is imported."""
    return path.partition("/")[0].partition(".")[0]


def module_of(path: str) -> str | None:
    """The dotted name of a file; None if it is no module."""
    folder, _, name = path.rpartition("/")
    if name.endswith(".py"):
        stem = name.removesuffix(".py")
    elif name.endswith(COMPILED):
        stem = name.partition(".")[0]
    else:
        return None
    parts = [*folder.split("/"), stem] if folder else [stem]
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


@lru_cache(FILES_KNOWN)
def imports_of(source: bytes, path: str) -> tuple[Import, ...]:
    """All imports of a file. One that is not Python of today has none: it could not be imported either."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    package = (module_of(path) or "").split(".")
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    return tuple(_found(tree.body, package, optional=False, lazy=False))


def _found(body: Iterable[ast.AST], package: list[str], *, optional: bool, lazy: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, optional, lazy)
        elif isinstance(node, ast.ImportFrom):
            if name := _absolute(node, package):
                yield Import(name, tuple(alias.name for alias in node.names), node.lineno, optional, lazy)
        else:
            for inner, may_fail, inside in _parts(node, lazy):
                yield from _found(inner, package, optional=optional or may_fail, lazy=lazy or inside)


def _parts(node: ast.AST, lazy: bool) -> Iterator[tuple[Iterable[ast.AST], bool, bool]]:
    """What lies in a statement: for each part, whether an import there may fail, and whether it is in a function."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.body, False, True
        case ast.If() if _names(node.test, "TYPE_CHECKING"):
            yield node.orelse, False, False
        case ast.If():
            # Inside a function an `if` is a path like any other; at the top of a module it asks for the machine.
            yield [*node.body, *node.orelse], not lazy or _names(node.test, "version_info"), False
        case ast.Try() if any(_catches(handler) for handler in node.handlers):
            yield [*node.body, *node.handlers], True, False
            yield [*node.orelse, *node.finalbody], False, False
        case ast.With() if any(_names(item.context_expr, *CAUGHT) for item in node.items):
            yield node.body, True, False
        case _:
            # Only statements lie in these; an expression imports nothing.
            for field_name in ("body", "handlers", "orelse", "finalbody", "cases"):
                yield getattr(node, field_name, ()), False, False


def _catches(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or _names(handler.type, *CAUGHT)


def _names(expression: ast.AST, *wanted: str) -> bool:
    """Whether one of these names is in an expression, alone or as an attribute."""
    for node in ast.walk(expression):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        if name in wanted:
            return True
    return False


def _absolute(node: ast.ImportFrom, package: list[str]) -> str:
    if not node.level:
        return node.module or ""
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)
