"""What `samconfig.toml` says of a stage: the file that `sam` reads, so that both deploy the same."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.cli.console import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "samconfig.toml"

STAGE = "default"
"""The stage that `sam` takes unless one is named."""

_LONG = re.compile(r"ParameterKey=(?P<name>[^,]+),ParameterValue=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stage:
    """Of the file only what is not left to `sam`."""

    name: str
    stack: str
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    region: str | None = None
    profile: str | None = None
    bucket: str = ""
    """Where the zip is uploaded to; "" is the bucket that `sam` keeps for that."""
    capabilities: bool = False
    """Whether the file says which are granted."""


def read(file: Path, stage: str, stack: str | None) -> Stage:
    """The stage of the file; where there is no file, `stack` says all that there is to say. Raises UsageError."""
    if not file.exists():
        if stage != STAGE:
            raise UsageError(f"--stage {stage} is one of {file}, and there is no such file")
        if not stack:
            raise UsageError(f"which stack? There is no {file}: name the stack with --stack")
        return Stage(stage, stack)
    document = _document(file)
    if not isinstance(document.get(stage), dict):
        stages = ", ".join(name for name, said in document.items() if isinstance(said, dict)) or "none"
        raise UsageError(f"there is no stage {stage!r} in {file}; there are: {stages}")
    said: dict[str, Any] = {}
    for of_command in ("global", "deploy"):
        said |= _table(document, (stage, of_command, "parameters"), file)
    named = stack or said.get("stack_name")
    if not named:
        raise UsageError(f"{file} names no stack_name for the stage {stage!r}; write one, or name it with --stack")
    return Stage(
        stage,
        named,
        parameters(said.get("parameter_overrides", ""), str(file)),
        said.get("region"),
        said.get("profile"),
        said.get("s3_bucket", ""),
        "capabilities" in said,
    )


def parameters(said: object, where: str) -> dict[str, str]:
    """As `sam` takes them: text or a list, each `NAME=VALUE` or `ParameterKey=NAME,ParameterValue=VALUE`."""
    if not isinstance(said, str | list):
        raise UsageError(f"{where}: {said!r} are no parameters; write text or a list of NAME=VALUE")
    try:
        words = shlex.split(said) if isinstance(said, str) else [str(word) for word in cast("list[object]", said)]
    except ValueError as error:  # a quotation mark that stands alone
        raise UsageError(
            f"{where}: {said!r} are no parameters: {error}; write NAME=VALUE, or NAME='SOME VALUE'"
        ) from None
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if long := _LONG.fullmatch(word):
            name, value = long["name"], long["value"]
        if not equals or not name:
            raise UsageError(f"{where}: {word!r} is no parameter; write NAME=VALUE")
        found[name] = value
    return found


def _table(document: dict[str, Any], path: Sequence[str], file: Path) -> dict[str, Any]:
    """What the file says there, which may be nothing. Raises UsageError for what is no table."""
    found = document
    for depth, name in enumerate(path, 1):
        said: object = found.get(name, {})
        if not isinstance(said, dict):
            raise UsageError(f"{file}: {'.'.join(path[:depth])} is {said!r}, and has to be a table of TOML")
        found = cast("dict[str, Any]", said)
    return found


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
