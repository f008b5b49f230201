"""What a template said when it was built stands in its Metadata, which CloudFormation keeps with the stack: who looks
later sees whether it was edited since, in the console perhaps."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import yaml

from wdk_aws.deploying.templates import long_form

if TYPE_CHECKING:
    from wdk_aws.deploying.templates import Data

MARK = "WdkCloud"
"""The key of the Metadata that is ours."""

FILLED_IN = frozenset(("CodeUri", "ContentUri", "DefinitionUri", "Location", "TemplateURL"))
"""Properties into which a deployment writes where it has put the files: "aws cloudformation package", AWS CLI."""

_SECTION = re.compile(r"^Metadata:[ \t]*(?:#.*)?\n", re.MULTILINE)
_LINE = re.compile(rf"^  {MARK}: {{ Template: sha256-.*\n", re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """As tools read a template that write it anew: to them `yes` and `true` are one, and so are `"a"` and `a`."""


_Loader.add_multi_constructor("!", long_form)  # pyright: ignore[reportUnknownMemberType] -- its stub is half typed


def marked(text: str) -> str:
    """The template with its fingerprint. One that is no YAML, or has its Metadata on one line, is left without."""
    text = _LINE.sub("", text)
    try:
        found = fingerprint(read(text))
    except ValueError:
        return text  # who deploys it is told
    line = f"  {MARK}: {{ Template: {found} }} # as it was built: `wdk doctor` looks whether it still is\n"
    if (section := _SECTION.search(text)) is not None:
        return f"{text[: section.end()]}{line}{text[section.end() :]}"
    if re.search(r"^Metadata:", text, re.MULTILINE):
        return text
    return f"{text.rstrip()}\n\nMetadata:\n{line}"


def is_edited(body: object) -> bool | None:
    """Of a template as CloudFormation gives it, text of YAML or data of JSON. None: no build has marked it."""
    try:
        said = read(body) if isinstance(body, str) else cast("Data", body)
        mark = said["Metadata"][MARK]["Template"]
    except (ValueError, KeyError, TypeError):
        return None
    return mark != fingerprint(said)


def read(text: str) -> Data:
    """Raises ValueError for what is no template."""
    try:
        said: object = yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader: it makes nothing but plain data
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(said, dict):
        raise ValueError("it has no sections")
    return cast("Data", said)


def fingerprint(template: Data) -> str:
    """Of what it says, however it is written: without what a deployment fills in, and without what nobody acts upon."""
    text = json.dumps(_said(template), sort_keys=True, default=str)
    return f"sha256-{sha256(text.encode()).hexdigest()[:32]}"


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("Data", value).items()
        return {str(name): _said(one) for name, one in items if name not in FILLED_IN and name != "Metadata"}
    if isinstance(value, list):
        return [_said(one) for one in cast("list[Any]", value)]
    return value
