"""Commands that are shown to people, held against what there is."""

import functools
import itertools
import json
import re
import shlex
from pathlib import Path

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.waiter import WaiterModel

from tests.unit.test_cli import wdk

LOADER = Loader()

GLOBAL = {"query", "output", "region", "cli-binary-format"}
"""Options of every command of the AWS CLI."""

OTHERS = {"export", "unset", "pipx", "python", "${EDITOR:-vi}", "jq", "mv", "sudo", "chmod"}


def checked(command):
    """Each command of a line exists, and has the options that are given to it."""
    assert command
    for part in re.split(r" (?:&&|\||;) |; ", command):
        words = shlex.split(re.sub(r"\$\((.*?)\)", lambda inner: checked(inner[1]) or "INNER", part))
        if words[0] == "aws":
            _of_aws(*words[1:3], words[3:])
        elif words[0] == "wdk":
            _of_wdk(words[1:])
        else:
            assert words[0] in OTHERS, command


@functools.cache
def _model(service):
    return ServiceModel(LOADER.load_service_model(service, "service-2"), service)


def _of_aws(service, operation, rest):
    service = {"s3api": "s3"}.get(service, service)
    if operation == "wait":
        waiters = WaiterModel(LOADER.load_service_model(service, "waiters-2"))
        (name,) = [name for name in waiters.waiter_names if xform_name(name, "-") == rest[0]]
        operation = xform_name(waiters.get_waiter(name).operation, "-")
    model = _model(service)
    (found,) = [name for name in model.operation_names if xform_name(name, "-") == operation]
    shape = model.operation_model(found).input_shape
    known = {xform_name(name, "-") for name in shape.members} if shape is not None else set()
    options = {word[2:].removeprefix("no-") for word in rest if word.startswith("--")}
    assert options - known - GLOBAL == set(), operation
    assert {xform_name(name, "-") for name in (shape.required_members if shape is not None else ())} <= options, (
        operation
    )


def typed(command, client):
    """Do what a line of the AWS CLI says, and of `wdk`; `client` gives boto3's of a service."""
    for part in command.split(" && "):
        words = shlex.split(part)
        into = Path(words.pop()) if words[-2] == ">" else None
        if words[0] == "aws":
            _call(client(words[1]), words[2], words[3:])
        else:
            text = wdk(*words[1 : None if into is None else -1]).stdout
            if into is not None:
                into.write_text(text)


def _call(client, operation, rest):
    (name,) = [name for name in client.meta.method_to_api_mapping if name == operation.replace("-", "_")]
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name]).input_shape
    given = {}
    while rest:
        option = rest.pop(0)[2:]
        (member,) = [each for each in shape.members if xform_name(each, "-") in (option, option.removeprefix("no-"))]
        kind = shape.members[member].type_name
        if kind == "boolean":
            given[member] = not option.startswith("no-")
        else:
            given[member] = _value(kind, rest.pop(0))
    getattr(client, name)(**given)


def pairs_of(text):
    return [pair.split("=", 1) for pair in text.split(",")]


def _word(kind, text):
    if kind == "structure" and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text, text)


def _value(kind, text):
    """As the AWS CLI reads it: JSON, or its short form `a=b,c=d`."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://")).read_text()
    if kind in ("structure", "map"):
        return json.loads(text) if text[0] == "{" else {name: _word(kind, word) for name, word in pairs_of(text)}
    if kind == "list":
        return json.loads(text) if text[0] == "[" else [text]
    return int(text) if kind in ("integer", "long") else text


def _of_wdk(words):
    names = list(itertools.takewhile(lambda word: re.fullmatch("[a-z]+", word), words))
    text = wdk(*names[:2], "--help").stdout
    assert [word for word in words if word.startswith("--") and word not in text] == []
