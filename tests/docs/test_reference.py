"""The reference: every public name stands in it, with a docstring that names its parameters, fields and errors."""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = re.findall(r"^- `([\w.]+)`$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
MODULES = ["wdk_cloud", "wdk_cloud.testing", "wdk_cloud.http", "wdk_aws.testing"]
PUBLIC = [f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__]

MADE_BY_USERS = ["Workflows", "RetryPolicy", "Request", "Response", "EventSourceMapping", "Mischief"]
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
    """Of those that are not handed on as they come."""
    return set(inspect.signature(function).parameters) - {"self", "cls", "args", "kwargs", "apps"}


def raised(function):
    """The exceptions that its own lines raise, not those of what it calls, nor of functions inside it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
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


def test_every_public_name_stands_in_the_reference_once():
    assert sorted(LISTED) == sorted(PUBLIC)


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_name_says_what_it_is(path):
    doc = named(path).__doc__ or ""
    assert doc.split("\n\n")[0].rstrip().endswith((".", ".`")), path


@pytest.mark.parametrize("path", PUBLIC)
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
    assert missing({path.replace("wdk_cloud.http.app", "app") for path in PUBLIC}, page) == []
    assert "what is left out stays as declared" in page  # a docstring of a method
