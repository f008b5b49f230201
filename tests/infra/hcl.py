"""Terraform modules as data: what python-hcl2 reads, without its quotes and marks.

Text of HCL comes as it stands there; an expression is kept in its `${…}`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

_MARKS = ("__is_block__", "__comments__", "__inline_comments__")


class Module:
    """All files of a folder together, as Terraform sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blocks: dict[str, list[Any]] = {}
        for path in sorted(folder.glob("*.tf")):
            for kind, found in read(path).items():
                self._blocks.setdefault(kind, []).extend(found)

    @property
    def locals(self) -> dict[str, Any]:
        return {name: value for block in self._blocks.get("locals", []) for name, value in block.items()}

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        return self._named("variable")

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        return self._named("output")

    @property
    def modules(self) -> dict[str, dict[str, Any]]:
        return self._named("module")

    @property
    def resources(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By type, then by name."""
        return self._typed("resource")

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return self.resources.get(kind, {})

    @property
    def data(self) -> dict[str, dict[str, dict[str, Any]]]:
        return self._typed("data")

    @property
    def terraform(self) -> dict[str, Any]:
        (found,) = self._blocks["terraform"]
        return found

    def _named(self, kind: str) -> dict[str, dict[str, Any]]:
        return {name: body for block in self._blocks.get(kind, []) for name, body in block.items()}

    def _typed(self, kind: str) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for block in self._blocks.get(kind, []):
            for type, named in block.items():
                found.setdefault(type, {}).update(named)
        return found

    def text(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.tf")))


@cache
def module(folder: Path) -> Module:
    return Module(folder)


def read(path: Path) -> dict[str, list[Any]]:
    return _plain(hcl2.loads(path.read_text()))


def references(value: Any, kind: str) -> set[str]:
    """The names of what is meant by `kind.name` anywhere in a value: `var.x`, `local.x`."""
    return set(
        re.findall(rf"\b{kind}\.([A-Za-z_][A-Za-z0-9_]*)", value if isinstance(value, str) else json.dumps(value))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items() if key not in _MARKS}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return value


def decoded(expression: str) -> Any:
    """What `base64encode("…")` says, where it is the text of a document of JSON."""
    (text,) = re.findall(r'base64encode\("(.*)"\)', expression)
    return json.loads(text.replace('\\"', '"'))
