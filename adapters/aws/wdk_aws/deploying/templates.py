"""A template of CloudFormation as data: short forms (`!Sub`) become long ones, all scalars are text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Data = dict[str, Any]

_PLACE = re.compile(r"\$\{([^}!]+)\}")


class _Loader(yaml.SafeLoader):
    """Scalars stay as they are written: CloudFormation takes text for every number, and `2012-10-17` is no date."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- as the base class declares it


def long_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Data:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    value: Any
    if isinstance(node, yaml.ScalarNode):
        text = str(loader.construct_scalar(node))
        value = text.split(".", 1) if tag == "GetAtt" else text
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(cast("yaml.MappingNode", node), deep=True)
    return {name: value}


_Loader.add_multi_constructor("!", long_form)  # pyright: ignore[reportUnknownMemberType] -- its stub is half typed


def parse(text: str, what: str) -> Data:
    """Raises WorldConfigurationError; `what` names the template there."""
    try:
        found: Any = yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader: it makes nothing but dicts, lists and text
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise WorldConfigurationError(f"{what} is no YAML: {where}; look there") from None
    if not isinstance(found, dict) or not isinstance(cast("Data", found).get("Resources"), dict):
        raise WorldConfigurationError(f"{what} is no template of CloudFormation: it has no Resources; name another one")
    return cast("Data", found)


def parameters(template: Data, given: Mapping[str, str]) -> dict[str, str]:
    """What each parameter will be: as given, else its default; those without either are not in there."""
    declared: dict[str, Data] = template.get("Parameters") or {}
    defaults = {name: str(one["Default"]) for name, one in declared.items() if "Default" in one}
    return {**defaults, **given}


def text_of(value: object, known: Mapping[str, str]) -> str | None:
    """The text that a value will be; None where that is known to CloudFormation alone."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    function = cast("Data", value)
    if "Ref" in function:
        return known.get(function["Ref"])
    written = function.get("Fn::Sub")
    if not isinstance(written, str) or any(name not in known for name in _PLACE.findall(written)):
        return None
    return _PLACE.sub(lambda found: known[found[1]], written).replace("${!", "${")


def refused(declared: Data, value: str) -> tuple[str, str] | None:
    """Why CloudFormation would refuse the value of a parameter, and one that it would take."""
    default = str(declared.get("Default", ""))
    allowed: list[str] | None = declared.get("AllowedValues")
    if allowed is not None and value not in allowed:
        return f"is none of {', '.join(allowed)}", default or allowed[0]
    if declared.get("Type") == "Number":
        least, most = float(declared.get("MinValue", "-inf")), float(declared.get("MaxValue", "inf"))
        try:
            number = float(value)
        except ValueError:
            return "is no number", default
        if not least <= number <= most:
            return f"is not between {least:g} and {most:g}", default
    pattern = declared.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(pattern, value):
        return f"does not match {pattern}", default
    return None
