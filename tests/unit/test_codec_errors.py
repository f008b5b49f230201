"""Exceptions as records: what comes back as itself, what as a RemoteError, and that recording one never fails."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

from wdk_cloud import errors
from wdk_cloud.codec import values
from wdk_cloud.codec.errors import MAX_SPARE_MESSAGE, MAX_TRACEBACK, decode_error, encode_error, error_summary
from wdk_cloud.codec.exceptions import MAX_CAUSES
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.limits import MAX_DEPTH
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import decode, encode
from wdk_cloud.errors import RemoteError, SerializationError

NOTHING_KNOWN = KnownTypes()


class PlainError(Exception):
    """As most people write one."""


class DetailedError(PlainError):
    def __init__(self, message: str, *, code: int, details: dict[str, object]) -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.code})"


class SlottedError(Exception):
    __slots__ = ("__secret", "limit", "never_set")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.__secret = limit + 1

    @property
    def secret(self) -> int:
        return self.__secret


@dataclass
class DataError(Exception):
    order: str
    amount: int = 0


@dataclass(frozen=True)
class FrozenError(Exception):
    order: str


class LookupFailed(KeyError, ValueError):
    def __init__(self, key: str, where: str) -> None:
        super().__init__(key)
        self.where = where


class OddArgsError(Exception):
    def __init__(self, first: int, second: str) -> None:
        self.pair = (first, second)


class GroupOfOurs(ExceptionGroup[Exception]):
    pass


@pytest.fixture
def known() -> KnownTypes:
    known = KnownTypes()
    known.learn_module(globals())
    return known


def back(error: BaseException, known: KnownTypes = NOTHING_KNOWN) -> Any:
    return decode_error(encode_error(error, known=known), known=known)


def raised(function: Any, *args: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 -- any that Python makes
        function(*args)
    return caught.value


# builtin and ours -----------------------------------------------------------------------------------------------------

BUILTIN = [
    Exception(),
    ValueError("a"),
    ValueError("a", 1, ("b", {2})),
    KeyError("missing"),
    KeyError(("tuple", 1)),
    ZeroDivisionError("division by zero"),
    TimeoutError("late"),
    OSError(2, "No such file or directory", "a.txt"),
    OSError(18, "Invalid cross-device link", "a", None, "b"),
    FileNotFoundError(2, "gone", b"bytes.txt"),
    ConnectionResetError(104, "reset"),
    BlockingIOError(11, "busy"),
    OSError("only text"),
    UnicodeDecodeError("utf-8", b"\xff\xfe", 0, 1, "invalid start byte"),
    UnicodeEncodeError("ascii", "é\ud800", 0, 1, "ordinal not in range"),
    UnicodeTranslateError("x", 0, 1, "odd"),
    SyntaxError("invalid", ("file.py", 3, 4, "x = =", 3, 5)),
    ImportError("no", name="nothing", path="/x"),
    ModuleNotFoundError("No module named 'x'", name="x"),
    NameError("name 'x' is not defined", name="x"),
    AttributeError("no attribute 'y'", name="y", obj=[1]),
    StopAsyncIteration(3),
    RecursionError("deep"),
    MemoryError(),
    AssertionError(["a", 1]),
    ArithmeticError(1.5, None, True),
    DeprecationWarning("old"),
    ExceptionGroup("two", [ValueError(1), ExceptionGroup("inner", [KeyError("k")])]),
]


@pytest.mark.parametrize("error", BUILTIN, ids=lambda error: f"{type(error).__name__}-{len(error.args)}")
def test_a_builtin_exception_comes_back_as_itself(error: BaseException) -> None:
    again = back(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    if not isinstance(error, BaseExceptionGroup):
        assert again.args == error.args
    for name in ("errno", "strerror", "filename", "filename2", "object", "start", "end", "reason", "encoding"):
        assert getattr(again, name, None) == getattr(error, name, None), name
    for name in ("lineno", "offset", "text", "msg", "name", "path", "obj", "value"):
        assert getattr(again, name, None) == getattr(error, name, None), name


def test_exceptions_that_python_raises_come_back_with_all_they_say() -> None:
    for error in (
        raised(open, "/does/not/exist"),
        raised(b"\xff".decode),
        raised("é".encode, "ascii"),
        raised({}.__getitem__, ("a", 1)),
        raised(int, "ten"),
        raised(compile, "x = =", "file.py", "exec"),
        raised(json.loads, "{"),
        raised(getattr, [], "nothing"),
    ):
        again = back(error)
        assert str(again) == str(error) or isinstance(again, RemoteError)
        assert (type(again) is type(error)) == (type(error).__module__ == "builtins")


OUR_OWN = [
    errors.FatalError("no"),
    errors.RetryableError("later", retry_after="5s"),
    errors.StepFailedError("step//m//f", 4),
    errors.StepTimeoutError("late"),
    errors.RemoteError("Boom", "said so"),
    errors.RemoteError("Boom"),
    errors.SerializationError("order.lock: no", "order.lock"),
    errors.WorkflowRunNotFoundError("r-1"),
]


@pytest.mark.parametrize("error", OUR_OWN, ids=lambda error: type(error).__name__)
def test_our_own_errors_come_back_as_themselves_where_nothing_is_known(error: errors.WorkflowError) -> None:
    again = back(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)


def test_every_error_class_of_ours_is_found_by_its_name() -> None:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    assert len(classes) >= 28
    for cls in classes:
        assert NOTHING_KNOWN.error_named(f"wdk_cloud.{cls.__name__}") is cls


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("c"), StopIteration(1)]
)
def test_what_would_end_a_process_or_break_a_future_comes_back_as_a_remote_error(error: BaseException) -> None:
    again = back(error)
    assert type(again) is RemoteError
    assert (again.type_name, again.message) == (type(error).__name__, str(error))


# classes of the app ---------------------------------------------------------------------------------------------------

OF_THE_APP = [
    PlainError("a", 1),
    DetailedError("refused", code=7, details={"at": (1, 2)}),
    SlottedError(3),
    DataError("o-1", amount=3),
    FrozenError("o-2"),
    LookupFailed("k", "there"),
    OddArgsError(1, "x"),
]


@pytest.mark.parametrize("error", OF_THE_APP, ids=lambda error: type(error).__name__)
def test_a_class_that_the_module_knows_comes_back_without_its_constructor(error: Any, known: KnownTypes) -> None:
    again = back(error, known)
    assert type(again) is type(error)
    assert (again.args, str(again), vars(again)) == (error.args, str(error), vars(error))
    if isinstance(error, SlottedError):
        assert (again.limit, again.secret) == (3, 4)
        assert not hasattr(again, "never_set")


@pytest.mark.parametrize("error", OF_THE_APP, ids=lambda error: type(error).__name__)
def test_a_class_that_is_not_known_comes_back_as_a_remote_error(error: Any, known: KnownTypes) -> None:
    for again in (back(error), decode_error(encode_error(error, known=known), known=KnownTypes())):
        assert type(again) is RemoteError
        assert (again.type_name, again.message) == (type(error).__name__, str(error))


def test_a_class_defined_after_the_module_was_learned_is_found(known: KnownTypes) -> None:
    module: dict[str, object] = {"__name__": "late"}
    known.learn_module(module)
    late = type("LateError", (Exception,), {"__module__": "late"})
    record = encode_error(late("x"), known=known)
    assert type(decode_error(record, known=known)) is RemoteError
    module["LateError"] = late
    assert type(decode_error(record, known=known)) is late


def test_nothing_is_imported_or_called_by_a_name_in_a_record(known: KnownTypes) -> None:
    for name in (
        "os.system",
        "builtins.eval",
        "eval",
        "object",
        "int",
        "json.decoder.JSONDecodeError",
        "",
        ".",
        "__doc__",
    ):
        again = decode_error(msgspec.json.encode({"$error": {"type": name, "args": ["true"]}}), known=known)
        assert type(again) is RemoteError
        assert again.message == "true"


def test_a_class_whose_instances_only_its_constructor_makes_comes_back_as_a_remote_error() -> None:
    known = KnownTypes()
    known.learn_module({"ValidationError": pydantic.ValidationError})

    class Model(pydantic.BaseModel):
        x: int

    error = raised(Model.model_validate, {"x": "a"})
    again = back(error, known)
    assert type(again) is RemoteError
    assert again.type_name == "ValidationError"
    assert again.message == str(error)


def test_a_registered_class_has_the_form_and_the_name_that_it_was_given() -> None:
    known = KnownTypes()
    known.register(
        OddArgsError, serialize=lambda e: e.pair, deserialize=lambda pair: OddArgsError(*pair), class_id="odd"
    )
    record = encode_error(OddArgsError(1, "x"), known=known)
    assert json.loads(record)["$error"]["type"] == "odd"
    again: Any = decode_error(record, known=known)
    assert type(again) is OddArgsError
    assert again.pair == (1, "x")
    named = KnownTypes()
    named.register(PlainError, class_id="plain")
    assert encode(PlainError("a"), known=named) == b'{"$error":{"type":"plain","args":["a"]}}'
    assert type(back(PlainError("a"), named)) is PlainError


def test_a_registered_form_that_raises_costs_the_form_and_not_the_record() -> None:
    known = KnownTypes()
    known.register(PlainError, serialize=lambda _: 1 / 0, deserialize=PlainError)
    again = back(PlainError("still told"), known)
    assert type(again) is PlainError
    assert str(again) == "still told"
    with pytest.raises(
        SerializationError, match=r"value\[0\]: .*PlainError.* ZeroDivisionError\(.*\) in its serialize"
    ):
        encode([PlainError("a")], known=known)
    unreadable = KnownTypes()
    unreadable.register(PlainError, serialize=lambda e: e.args, deserialize=lambda _: 1 / 0)
    again = back(PlainError("told"), unreadable)
    assert type(again) is RemoteError
    assert again.message == "told"


class Reason(Enum):
    FULL = 1


@pytest.mark.parametrize(
    "error",
    [
        PlainError(Reason.FULL, "x"),
        PlainError({"why": [Reason.FULL]}),
        DetailedError("x", code=1, details={"why": Reason.FULL}),
        ValueError(Reason.FULL),
    ],
)
def test_a_class_within_it_that_is_not_known_here_costs_an_exception_its_class_alone(
    error: BaseException, known: KnownTypes
) -> None:
    known.learn_annotation(Reason)
    record = encode_error(error, known=known)
    itself = decode_error(record, known=known)
    assert type(itself) is type(error)
    with_errors_alone = KnownTypes()
    with_errors_alone.learn_module(globals())
    for reader in (with_errors_alone, KnownTypes()):
        again = decode_error(record, known=reader)
        assert type(again) is RemoteError
        assert again.type_name == type(error).__name__
        if isinstance(error, DetailedError):
            assert again.message == "x (1)"
        else:
            assert f'{{"$type":"{__name__}.Reason","$value":"FULL"}}' in again.message
    summary = error_summary(record)
    assert (summary.type_name, summary.message) == (type(error).__name__, again.message)


def test_a_record_of_a_newer_version_within_an_exception_is_still_that(known: KnownTypes) -> None:
    for part in (b'"args":[{"$new":1}]', b'"state":{"code":{"$new":1}}', b'"cause":{"type":"E","args":[{"$new":1}]}'):
        with pytest.raises(NewerFormatError):
            decode_error(b'{"$error":{"type":"ValueError",' + part + b"}}", known=known)
    registered = KnownTypes()
    registered.register(PlainError, serialize=lambda e: e.args, deserialize=lambda a: PlainError(*a), class_id="p")
    with pytest.raises(NewerFormatError):
        decode_error(b'{"$error":{"type":"p","message":"","value":[{"$new":1}]}}', known=registered)


def test_a_text_that_follows_from_the_arguments_is_not_recorded() -> None:
    for error, body in (
        (ValueError("a"), '{"type":"ValueError","args":["a"]}'),
        (ValueError(), '{"type":"ValueError"}'),
        (ValueError(1, "b"), '{"type":"ValueError","args":[1,"b"]}'),
        (ValueError({"b", "a"}), '{"type":"ValueError","args":[{"$set":["a","b"]}]}'),
        (KeyError(frozenset("a")), '{"type":"KeyError","args":[{"$frozenset":["a"]}]}'),
        (KeyError("k"), '{"type":"KeyError","message":"\'k\'","args":["k"]}'),
        (OSError(2, "gone"), '{"type":"FileNotFoundError","message":"[Errno 2] gone","args":[2,"gone"],"state":'),
    ):
        assert encode(error, known=NOTHING_KNOWN).decode().startswith('{"$error":' + body)


# causes, groups, notes ------------------------------------------------------------------------------------------------


def causes_of(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def chain(length: int) -> BaseException:
    first = last = ValueError(0)
    for number in range(1, length):
        last.__cause__ = last = ValueError(number)
    return first


def test_causes_survive() -> None:
    error = errors.StepFailedError("s", 2)
    error.__cause__ = OSError(2, "gone", "f")
    error.__cause__.__cause__ = DetailedError("x", code=1, details={})
    again = causes_of(back(error))
    assert [type(part) for part in again] == [errors.StepFailedError, FileNotFoundError, RemoteError]
    assert [str(part) for part in again[1:]] == ["[Errno 2] gone: 'f'", "DetailedError: x (1)"]


@pytest.mark.parametrize("length", [2, MAX_CAUSES, MAX_CAUSES + 1, MAX_CAUSES + 2, 5000])
def test_a_long_chain_of_causes_keeps_its_first_links(length: int) -> None:
    assert [part.args[0] for part in causes_of(back(chain(length)))] == list(range(min(length, MAX_CAUSES + 1)))


def test_a_chain_of_causes_that_comes_back_to_itself_ends_there() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    assert [type(part) for part in causes_of(back(first))] == [ValueError, KeyError]
    first.__cause__ = first
    assert [type(part) for part in causes_of(back(first))] == [ValueError]
    group = ExceptionGroup("g", [second])
    second.__cause__ = group
    assert [type(part) for part in causes_of(back(group).exceptions[0])] == [KeyError]


def test_an_exception_that_carries_itself_is_recorded_without_that() -> None:
    error = ValueError("a")
    error.args = ("a", error, [error])
    again = back(error)
    assert again.args[0] == "a"
    assert [type(item) for item in again.args] == [str, str, str]
    error = PlainError("b")
    error.me = error  # type: ignore[attr-defined]
    known = KnownTypes()
    known.learn_module(globals())
    assert vars(back(error, known)) == {}


def test_exceptions_within_exceptions_have_the_same_limit_of_depth_as_values() -> None:
    error: Exception = ValueError("innermost")
    for _ in range(MAX_DEPTH * 2):
        error = ValueError(error)
    depth = 0
    again: object = back(error)
    while isinstance(again, ValueError):
        again = again.args[0]
        depth += 1
    assert isinstance(again, str)
    assert 60 < depth <= MAX_DEPTH


def test_groups_survive_with_their_members_causes_and_classes(known: KnownTypes) -> None:
    inner = GroupOfOurs("inner", [DetailedError("d", code=2, details={}), KeyError("k")])
    inner.add_note("noted")
    inner.exceptions[1].__cause__ = PlainError("why")
    again = back(ExceptionGroup("outer", [inner, ValueError(1)]), known)
    assert type(again) is ExceptionGroup
    assert again.message == "outer"
    assert [type(member) for member in again.exceptions] == [GroupOfOurs, ValueError]
    assert [type(member) for member in again.exceptions[0].exceptions] == [DetailedError, KeyError]
    assert again.exceptions[0].exceptions[0].code == 2
    assert again.exceptions[0].__notes__ == ["noted"]
    assert type(again.exceptions[0].exceptions[1].__cause__) is PlainError
    matching, others = again.split(KeyError)
    assert str(matching) == "outer (1 sub-exception)"
    assert len(others.exceptions) == 2


def test_a_group_of_more_than_exceptions_comes_back_as_a_remote_error() -> None:
    again = back(BaseExceptionGroup("g", [KeyboardInterrupt()]))
    assert type(again) is RemoteError
    assert again.type_name == "BaseExceptionGroup"
    assert again.message == "g (1 sub-exception)"


def test_a_group_nested_beyond_the_limit_keeps_its_outer_groups() -> None:
    group: Exception = ValueError("innermost")
    for number in range(MAX_DEPTH * 2):
        group = ExceptionGroup(str(number), [group])
    depth, again = 0, back(group)
    while isinstance(again, ExceptionGroup):
        again = again.exceptions[0]
        depth += 1
    assert 60 < depth <= MAX_DEPTH


def test_notes_survive_and_odd_ones_do_no_harm() -> None:
    error = ValueError("a")
    error.add_note("one")
    error.add_note("two \ud800")
    assert back(error).__notes__ == ["one", "two \\ud800"]
    for notes, kept in ((["a", 1, None], ["a"]), ("text", None), (7, None), ([], None)):
        error = ValueError("a")
        error.__notes__ = notes
        assert getattr(back(error), "__notes__", None) == kept


# exceptions that resist -----------------------------------------------------------------------------------------------


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class NoTextError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class UnreducibleError(Exception):
    def __reduce__(self) -> str:
        raise RuntimeError("no")

    __reduce_ex__ = __getstate__ = __copy__ = __reduce__  # type: ignore[assignment]


class HidingError(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")

    __cause__ = __notes__ = __dict__ = __traceback__ = args  # type: ignore[assignment]


class JealousError(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class EndlessError(Exception):
    def __getattr__(self, name: str) -> Any:
        return self.nothing


class KeyedError(Exception):
    def __getattr__(self, name: str) -> Any:
        return {}[name]


class FalseGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


RESISTING: list[tuple[BaseException, str]] = [
    (MuteError("x"), "<MuteError: its message cannot be shown>"),
    (ExitingError("x"), "<ExitingError: its message cannot be shown>"),
    (NoTextError("x"), "<NoTextError: its message cannot be shown>"),
    (UnreducibleError("x"), "x"),
    (HidingError("x"), "x"),
    (JealousError("x"), "x"),
    (EndlessError("x"), "x"),
    (KeyedError("x"), "x"),
    (FalseGroup("x", [ValueError(1)]), "x (1 sub-exception)"),
    (PlainError(MuteError("x")), "<PlainError: its message cannot be shown>"),
    (PlainError(object), "<class 'object'>"),
    (PlainError("\ud800"), "\\ud800"),
]


@pytest.mark.parametrize(("error", "message"), RESISTING, ids=lambda part: type(part).__name__)
def test_an_exception_that_resists_is_recorded_all_the_same(error: Any, message: str, known: KnownTypes) -> None:
    again = back(error)
    assert type(again) is RemoteError
    assert (again.type_name, again.message) == (type(error).__name__, message)
    assert error_summary(encode_error(error, known=known)).message in (message, message.partition(" (")[0])
    holder = errors.StepFailedError("s", 1)
    holder.__cause__ = error
    assert isinstance(back(holder).__cause__, RemoteError)
    assert type(back(ExceptionGroup("g", [error])).exceptions[0]) is RemoteError
    itself = decode_error(encode_error(error, known=known), known=known)
    assert type(itself) is type(error)


def test_what_of_an_exception_cannot_be_recorded_is_left_out(known: KnownTypes) -> None:
    error = DetailedError("kept", code=3, details={"lock": asyncio.Lock})
    error.handle = open  # type: ignore[attr-defined]
    again = back(error, known)
    assert vars(again) == {"code": 3}
    assert back(ValueError(1, len, [len])).args == (1, "<built-in function len>", "[<built-in function len>]")
    endless: list[object] = []
    endless.append(endless)
    assert back(ValueError(endless)).args == ("[[...]]",)


def test_an_attribute_of_the_app_is_set_past_properties_and_setters(known: KnownTypes) -> None:
    class Guarded(Exception):
        @property
        def code(self) -> int:
            return -vars(self)["code"]

        def __setattr__(self, name: str, value: object) -> None:
            raise AssertionError

    error = Guarded("x")
    vars(error)["code"] = 5
    known.learn_module({"Guarded": Guarded})
    again = back(error, known)
    assert (again.code, vars(again)) == (-5, {"code": 5})


def test_an_exception_that_is_too_large_keeps_its_class_and_the_beginning(
    monkeypatch: pytest.MonkeyPatch, known: KnownTypes
) -> None:
    monkeypatch.setattr(values, "HARD_LIMIT", 100_000)
    again = back(PlainError("ab" * 100_000), known)
    assert type(again) is PlainError
    assert str(again) == ("ab" * 100_000)[:MAX_SPARE_MESSAGE]
    assert error_summary(encode_error(ValueError("c" * 100_000), known=known)).message == "c" * MAX_SPARE_MESSAGE


# for people -----------------------------------------------------------------------------------------------------------


def failing(depth: int) -> None:
    if depth:
        failing(depth - 1)
    raise ValueError(f"at {depth}")


def test_the_traceback_is_kept_for_people_and_its_end_counts() -> None:
    summary = error_summary(encode_error(raised(failing, 1), known=NOTHING_KNOWN))
    assert (summary.type_name, summary.message) == ("ValueError", "at 0")
    assert "in failing" in summary.traceback
    assert summary.traceback.endswith("ValueError: at 0\n")
    long = error_summary(encode_error(raised(int, "x" * 100_000), known=NOTHING_KNOWN)).traceback
    assert len(long) <= MAX_TRACEBACK
    many = ExceptionGroup("many", [ValueError("\ud800" * 900) for _ in range(30)])
    text = error_summary(encode_error(many, known=NOTHING_KNOWN)).traceback
    assert len(text) == MAX_TRACEBACK
    assert text.startswith("…")


def test_a_summary_needs_no_class() -> None:
    known = KnownTypes()
    known.learn_module(globals())
    summary = error_summary(encode_error(DetailedError("x", code=1, details={}), known=known))
    assert (summary.type_name, summary.message) == ("DetailedError", "x (1)")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b"{}", b'{"$error":1}', b'{"$error":{}}', b'{"$error":{"type":1}}', b"\xff", b"[" * 100_000]
    + [b'{"$error":{"type":"E","message":"\xff"}}', b'{"$error":{"type":"E","args":[' + b"[" * 5000],
    ids=range(11),
)
def test_a_record_that_cannot_be_read_is_shown_as_such(data: bytes) -> None:
    summary = error_summary(data)
    assert summary.type_name == "SerializationError"
    assert summary.message.startswith("the record of the exception cannot be read")
    with pytest.raises(SerializationError):
        decode_error(data, known=NOTHING_KNOWN)


def test_a_record_of_something_else_is_no_exception() -> None:
    with pytest.raises(SerializationError, match="holds no exception"):
        decode_error(b'"ValueError"', known=NOTHING_KNOWN)
    value = decode(encode({"e": [KeyError("a")]}, known=NOTHING_KNOWN), known=NOTHING_KNOWN)
    assert repr(value) == "{'e': [KeyError('a')]}"
