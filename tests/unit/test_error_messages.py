"""Every message of an error that wdk-cloud makes: it names run and step, and says what to do.

The messages are read from the source, with `…` for what is put in, so that none is missed because no test raises it.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from wdk_cloud import WorkflowError, errors
from wdk_cloud.engine import guard, loop

ROOT = Path(__file__).parents[2]
CLASSES = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, WorkflowError)}
MODULES = {path.relative_to(ROOT): ast.parse(path.read_text()) for path in sorted((ROOT / "wdk_cloud").rglob("*.py"))}

OF_A_RUN = {
    errors.CorruptedEventLogError,
    errors.IdempotencyConflictError,
    errors.MaxDeliveriesExceededError,
    errors.MaxEventsExceededError,
    errors.NondeterminismError,
    errors.RunExpiredError,
    errors.StepInterruptedError,
    errors.StepTimeoutError,
    errors.WorkflowDeadlockError,
    errors.WorkflowNotRegisteredError,
    errors.WorkflowRunCancelledError,
    errors.WorkflowRunFailedError,
    errors.WorkflowRunNotFoundError,
    errors.WorkflowSandboxError,
    errors.WorkflowStalledError,
}
OF_A_STEP = {
    errors.StepFailedError,
    errors.StepInterruptedError,
    errors.StepNotRegisteredError,
    errors.StepTimeoutError,
}

SUBJECT = re.compile(
    r"^…|\b(?:run|step|workflow|id|label|database|file|folder|path|disk of|world|world at|variable|SHA-256) …|[\w…]\(\)|\blabels\b|\bWDK_[A-Z_]+|\bthis Python\b"
)
"""What a message is about: a thing with its name, a function, a variable; or it begins with the name."""

VERBS = (
    "await bring call choose declare deploy do end enter give handle install keep look make move name pass put raise "
    "read remove repeat report restore run send set start talk try use wait write"
)
ADVICE = re.compile(
    rf"(?:^|[;:.,] |\b(?:or|and|should|please) )(?:{'|'.join(VERBS.split())})\b"
    r"|\bmust (?:be|have|exist)\b|\bworks in\b.*\bonly\b|\bthere are:|\bit can be\b|\bthe least is\b",
    re.IGNORECASE,
)
"""An instruction, or what is allowed."""

PARTS_OF_OTHERS = {
    Path("wdk_cloud/codec/errors.py"),
    Path("wdk_cloud/codec/sealing.py"),
    Path("wdk_cloud/engine/chunks.py"),
    Path("wdk_cloud/engine/letters.py"),
    Path("wdk_cloud/engine/payloads.py"),
}
"""What these raise as a SerializationError ends up in a CorruptedEventLogError, or of a stream in a StreamError, which
names the run and what to do."""

GUARDED = Path("wdk_cloud/engine/guard.py")
"""Puts what to do into its message; those texts have a test of their own."""

SAID_ELSEWHERE = {
    errors.RemoteError,
    errors.StepFailedError,
    errors.WorkflowRunFailedError,
    errors.WorkflowRunCancelledError,
}
"""They report what a step, a body or a person said; only that can tell what to do."""


class Message(NamedTuple):
    cls: type[WorkflowError]
    path: Path
    line: int
    text: str

    @property
    def place(self):
        return f"{self.path}:{self.line}"


def text_of(node, module):
    """The text that an expression gives, with `…` for what is put in; None when it is none that the source holds."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, module) or "…" for value in values)
        case ast.FormattedValue(value=value):
            return text_of(value, module)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            sides = [text_of(left, module), text_of(right, module)]
            return None if sides == [None, None] else "".join(side or "…" for side in sides)
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):
            return text_of(last, module)
        case ast.Name(id="BUG"):
            return errors.BUG
        case ast.Name(id=name):
            return text_of(constant(name, module), module)
        case ast.Call(func=ast.Attribute(value=value, attr="rstrip")):
            return text_of(value, module)
        case ast.Call(func=ast.Name(id=name)):
            return text_of(returned(name), module)
        case _:
            return None


def constant(name, module):
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return value
    return None


def returned(name):
    """What a function that only makes a text returns."""
    for module in MODULES.values():
        for node in module.body:
            match node:
                case ast.FunctionDef(name=found, body=[*_, ast.Return(value=value)]) if found == name:
                    return value
    return None


def made(module):
    """Each call that makes an error: its class, the line, and the arguments among which the message is."""
    for node in ast.walk(module):
        match node:
            case ast.ClassDef(name=name) if name in CLASSES:
                for inner in ast.walk(node):
                    match inner:
                        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__")):
                            yield CLASSES[name], inner
            case ast.Call(func=ast.Name(id=name)) if name in CLASSES:
                yield CLASSES[name], node


def messages():
    for path, module in MODULES.items():
        for cls, call in made(module):
            for argument in call.args:
                text = text_of(argument, module)
                if text and " " in text:
                    yield Message(cls, path, call.lineno, text)
                    break


ALL = list(messages())


def test_the_messages_are_found():
    """A count that falls far says that this reads the source no longer, not that all is well."""
    assert len(ALL) >= 80
    assert {message.cls for message in ALL} >= OF_A_RUN | OF_A_STEP


@pytest.mark.parametrize("message", ALL, ids=lambda message: message.place)
def test_a_message_names_what_it_is_about(message):
    if message.cls in OF_A_RUN:
        assert "run …" in message.text, message
    if message.cls in OF_A_STEP:
        assert "step …" in message.text, message
    if message.path not in PARTS_OF_OTHERS:
        assert SUBJECT.search(message.text), message


@pytest.mark.parametrize("message", ALL, ids=lambda message: message.place)
def test_a_message_says_what_to_do(message):
    if message.cls in SAID_ELSEWHERE or message.path == GUARDED:
        return
    if message.path in PARTS_OF_OTHERS and message.cls is errors.SerializationError:
        return
    assert ADVICE.search(message.text), message


def instead():
    """What the guard tells a body to do instead: the third argument of `refuse`, by itself or from a table."""
    yield from (told for _, told in guard._OPENING.values())
    yield from loop._REFUSED.values()
    for module in MODULES.values():
        for node in ast.walk(module):
            match node:
                case ast.Call(func=ast.Name(id="refuse"), args=[_, _, told]) if text_of(told, module):
                    yield text_of(told, module)


@pytest.mark.parametrize("text", sorted(set(instead())))
def test_what_the_guard_refuses_it_says_how_to_do_instead(text):
    assert ADVICE.search(text)
