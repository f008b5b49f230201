"""The reference: every public name stands in it, with a docstring that names its parameters, fields and errors."""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import typing
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)  # one of them may build the site, beside whatever else runs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text()
LISTED = re.findall(r"^- `([\w.]+)`$", PAGE, re.MULTILINE)
MODULES = [
    "wdk_cloud",
    "wdk_cloud.http",
    "wdk_cloud.http.django",
    "wdk_cloud.http.flask",
    "wdk_cloud.http.starlette",
    "wdk_cloud.testing",
    "wdk_aws.handler",
    "wdk_aws.testing",
    "wdk_aws.testing.rehearsal",
    "wdk_gcp.testing.rehearsal",
    "wdk_gcp.handler",
    "wdk_gcp.testing",
]
MIRRORS = {"wdk_cloud.sync": "wdk_cloud"}
"""Modules that have the names of another one, for other callers: the reference names them in its text."""

WHOLE = ["wdk_cloud.world.local", "wdk_cloud.world.memory", "wdk_cloud.world.ports"]
"""Modules that the reference shows as a whole: what those need who write a world of their own."""

PRIVATE = ["wdk_cloud.codec.sealing", "wdk_cloud.engine.loop", "wdk_cloud.engine.slices"]
"""Modules of the engine, which say what the rest of it uses of them."""

PUBLIC = [f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__]

MADE_BY_USERS = [
    "Workflows",
    "RetryPolicy",
    "Request",
    "Response",
    "EventSourceMapping",
    "Mischief",
    "Index",
    "Indexes",
    "TokenSigner",
    "CloudKmsServer",
    "CloudStorageServer",
    "CloudTasksServer",
    "FirestoreServer",
]
"""Classes whose constructor is called by users: its parameters are part of the docstring. Others come from functions."""

BUGS = {"AssertionError", "NotImplementedError"}
"""What users cannot provoke."""


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def functions(path):
    """A name's functions with their docstrings: itself, or the public methods of a class, its parents' too."""
    found = named(path)
    if not isinstance(found, type):
        return [(path, inspect.unwrap(found), inspect.getdoc(found) or "")]
    methods = []
    for name, attribute in inspect.getmembers_static(found):
        plain = attribute.__func__ if isinstance(attribute, classmethod | staticmethod) else attribute
        plain = plain.fget if isinstance(plain, property) else plain
        if inspect.isfunction(plain) and not name.startswith("_") and plain.__module__.startswith("wdk_"):
            methods.append((f"{path}.{name}", plain, inspect.getdoc(plain) or ""))
    return methods


def parameters(function):
    """Of those that are not handed on as they come, and not what a platform calls an entry with."""
    plain = {"self", "cls", "args", "kwargs", "apps"} | {"event", "context"} | {"scope", "receive", "send"}
    return set(inspect.signature(function).parameters) - plain


def raised(function):
    """The exceptions that its own lines raise, not those of what it calls, nor of functions inside it."""
    code = function if inspect.isroutine(function) else type(function).__call__
    tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    found, todo = set(), list(tree.body[0].body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        todo += ast.iter_child_nodes(node)
    return found


def described(cls):
    """The class's own docstring, and the fields that have one of their own below them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    fields = [
        one.target.id
        for one, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    ]
    return (cls.__dict__["__doc__"] or "") + " ".join(f" `{field}`" for field in fields)


def missing(names, text):
    return sorted(name for name in names if not re.search(rf"\b{re.escape(name)}\b", text))


def exporting():
    """The modules of the three distributions that say which names are theirs."""
    for root in (ROOT, ROOT / "adapters" / "aws", ROOT / "adapters" / "gcp"):
        for package in root.glob("wdk_*"):
            for path in package.rglob("*.py"):
                if re.search(r"^__all__ = ", path.read_text(), re.MULTILINE):
                    parts = path.relative_to(root).with_suffix("").parts
                    yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_public_name_stands_in_the_reference_once():
    assert sorted(LISTED) == sorted(PUBLIC + WHOLE)
    for mirror, other in MIRRORS.items():
        names = set(importlib.import_module(mirror).__all__)
        assert names <= set(importlib.import_module(other).__all__)
        assert f"`{mirror}`" in PAGE and missing(names, PAGE.partition(f"`{mirror}`")[2].partition("\n\n")[0]) == []


def test_every_module_that_exports_names_is_in_the_reference_or_private():
    assert sorted(exporting()) == sorted([*MODULES, *MIRRORS, *WHOLE, *PRIVATE])


CALLED = [path for path in PUBLIC if typing.get_origin(named(path)) is not typing.Literal]
"""All but names of types, which have no docstring at run time."""


@pytest.mark.parametrize("path", CALLED)
def test_a_public_name_says_what_it_is(path):
    doc = named(path).__doc__ or ""
    assert doc.split("\n\n")[0].rstrip().endswith((".", ".`")), path


@pytest.mark.parametrize("path", CALLED)
def test_a_docstring_names_every_parameter_and_every_error(path):
    found = named(path)
    if isinstance(found, type) and issubclass(found, BaseException):
        return  # its page has the rest: see test_error_pages.py
    for name, function, doc in functions(path):
        assert doc, name
        assert missing(parameters(function), doc) == [], name
        assert missing(raised(function) - BUGS, doc) == [], name


@pytest.mark.parametrize("path", [path for path in PUBLIC if path.rpartition(".")[2] in MADE_BY_USERS])
def test_a_class_that_users_make_names_every_parameter(path):
    assert missing(parameters(named(path)), described(named(path))) == []


@pytest.mark.parametrize("path", [path for path in PUBLIC if dataclasses.is_dataclass(named(path))])
def test_a_record_says_what_its_fields_are_where_their_names_do_not(path):
    plain = {"run_id", "status", "idempotency_key", "created_at", "ended_at"}
    fields = {field.name for field in dataclasses.fields(named(path)) if field.init}
    assert missing(fields - plain, described(named(path))) == []


def test_the_reference_in_the_site_shows_signatures_and_docstrings(built):
    page = (built / "site" / "docs" / "reference" / "index.html").read_text()
    assert missing({path.rpartition(".")[2] if path.endswith(".app") else path for path in PUBLIC}, page) == []
    assert (
        missing({f"{module}.{name}" for module in WHOLE for name in importlib.import_module(module).__all__}, page)
        == []
    )
    assert "what is left out stays as declared" in page  # a docstring of a method
