"""Values, and `serializable` and `register_serializable`."""

import asyncio
import dataclasses
import enum
import pathlib
import sys
import threading
import uuid
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from tests.e2e.running import Finished, Play, finish
from wdk_cloud import (
    FatalError,
    RemoteError,
    Run,
    SerializationError,
    Step,
    StepFailedError,
    Workflow,
    WorkflowRunCancelledError,
    Workflows,
    get_run,
    register_serializable,
    serializable,
    sleep,
    start,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv


@dataclasses.dataclass(frozen=True)
class Journey:
    """The same value at every place it came by."""

    finished: Finished
    body_got: list[Any]
    step_got: list[Any]
    step_gave: list[Any]

    @property
    def places(self) -> list[Any]:
        return [*self.body_got, *self.step_got, *self.step_gave, self.finished.value]


def journey(play: Play, value: object) -> Journey:
    """Send a value into a workflow, from there into a step, back, over a pause, and out; nothing is annotated."""
    app = Workflows()
    body_got: list[Any] = []
    step_got: list[Any] = []
    step_gave: list[Any] = []

    @app.step
    async def same(value, *rest, **named):  # type: ignore[no-untyped-def]
        step_got.extend([value, *rest, *named.values()])
        return value

    @app.workflow
    async def body(value):  # type: ignore[no-untyped-def]
        body_got.append(value)
        given = await same(value, value, other=value)
        await sleep("1 day")
        step_gave.append(given)
        return given

    found = Journey(play(body, value), body_got, step_got, step_gave)
    assert found.finished.types == [
        *["run_created", "run_started"],
        *["step_created", "step_started", "step_completed"],
        *["wait_created", "wait_completed", "run_completed"],
    ]
    assert (len(body_got), len(step_got), len(step_gave)) == (2 if play.cold else 1, 3, 1)
    return found


def exact(value: Any) -> object:
    """All of a value that may not change, types, orders and signs included, as something that `==` tells apart."""
    match value:
        case float():
            return type(value), value.hex()
        case dict():
            return type(value), tuple((exact(key), exact(item)) for key, item in value.items())
        case list() | tuple():
            return type(value), tuple(exact(item) for item in value)
        case set() | frozenset():
            return type(value), frozenset(exact(item) for item in value)
        case datetime() | time():
            return type(value), value.replace(tzinfo=None), value.utcoffset(), value.fold
        case BaseException():
            return type(value), exact(value.args), str(value), exact(value.__cause__)
    return type(value), value


EAST = timezone(timedelta(hours=5, minutes=45))
WEST = timezone(-timedelta(hours=9, minutes=30))

VALUES: dict[str, object] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "negative": -7,
    "over 53 bits": 2**53 + 1,
    "over 64 bits": 2**64,
    "far below 64 bits": -(2**200) - 1,
    "5000 digits": 10**5000 + 1,
    "whole float": 3.0,
    "float": 0.1,
    "negative zero": -0.0,
    "largest float": sys.float_info.max,
    "smallest float": 5e-324,
    "infinity": float("inf"),
    "negative infinity": float("-inf"),
    "nan": float("nan"),
    "empty text": "",
    "text": 'zwölf "Boxkämpfer"\n\x00\u2028 \U0001f680',
    "text like a tag": "$date",
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "empty list": [],
    "list": [1, "1", 1.0, True, None, [[]]],
    "empty dict": {},
    "dict": {"b": 1, "a": 2, "": 3},
    "dict like a tag": {"$": 1, "$type": "date", "__type__": "x", "$t": ["date", "2026-01-01"]},
    "dict of other keys": {1: "int", "1": "str", (1, 2): "tuple", None: "none", b"1": "bytes", 2.5: "float"},
    "empty tuple": (),
    "tuple": (1, (2, (3,))),
    "empty set": set(),
    "set": {1, "two", (3, 4), frozenset({5})},
    "empty frozenset": frozenset(),
    "frozenset": frozenset({1, "two"}),
    "aware datetime": datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "datetime east": datetime(2026, 1, 31, 12, 30, tzinfo=EAST),
    "datetime west": datetime(1, 1, 2, 3, 4, 5, 6, tzinfo=WEST),
    "datetime in a zone": datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
    "datetime the second time": datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    "naive datetime": datetime(9999, 12, 31, 23, 59, 59, 999999),
    "date": date(2026, 2, 28),
    "time": time(23, 59, 59, 1),
    "time with offset": time(1, 2, 3, tzinfo=EAST),
    "timedelta": timedelta(days=-3, seconds=1, microseconds=999999),
    "longest timedelta": timedelta.max,
    "decimal": Decimal("9.90"),
    "decimal with exponent": Decimal("-1E+400"),
    "decimal infinity": Decimal("Infinity"),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "path": pathlib.Path("orders/ä/o-1.pdf"),
    "exception": ValueError("bad", 3, Decimal("1.0")),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_what_it_was_where_nothing_is_annotated(play: Play, name: str) -> None:
    value = VALUES[name]
    found = journey(play, value)
    assert [exact(place) for place in found.places] == [exact(value)] * (7 if play.cold else 6)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_from_within_others(play: Play, name: str) -> None:
    value = VALUES[name]
    nested = {"list": [value, [value]], "tuple": (0, (value,)), "dict": {"deep": {"deeper": value}}}
    found = journey(play, nested)
    assert [exact(place) for place in found.places] == [exact(nested)] * (7 if play.cold else 6)


def test_all_that_can_be_hashed_can_be_a_key_and_a_member_of_a_set(play: Play) -> None:
    names = [name for name, value in VALUES.items() if name not in ("nan", "exception") and value.__hash__ is not None]
    keys = {VALUES[name]: name for name in names}
    value = {"keys": keys, "members": set(keys), "frozen": frozenset(keys)}
    found = journey(play, value)
    assert [exact(place) for place in found.places] == [exact(value)] * (7 if play.cold else 6)
    assert len(found.finished.value["keys"]) == len(keys) > 30


def test_a_dict_keeps_its_order_whatever_it_is(play: Play) -> None:
    forward = {f"key {n * 7919 % 100}": n for n in range(100)}
    backward = dict(reversed(forward.items()))
    found = journey(play, [forward, backward])
    for first, second in found.places:
        assert list(first) == list(forward)
        assert list(second) == list(backward)


def test_an_exception_comes_back_with_its_causes(play: Play) -> None:
    error = FatalError("no stock")
    error.__cause__ = KeyError("tea")
    error.__cause__.__cause__ = OSError(2, "away", "list.txt")
    found = journey(play, {"errors": [error]})
    for place in found.places:
        (given,) = place["errors"]
        assert (type(given), str(given)) == (FatalError, "no stock")
        assert (type(given.__cause__), given.__cause__.args) == (KeyError, ("tea",))
        deepest = given.__cause__.__cause__
        assert (type(deepest), deepest.errno, deepest.filename) == (FileNotFoundError, 2, "list.txt")


def test_an_exception_of_a_class_that_the_app_does_not_know_comes_back_as_a_remote_error(play: Play) -> None:
    class Hidden(Exception): ...

    for place in journey(play, Hidden("psst")).places:
        assert type(place) is RemoteError
        assert (place.type_name, place.message) == ("Hidden", "psst")


# -- references -----------------------------------------------------------------------------------------------------------


def test_a_step_is_a_value_that_can_be_called_where_it_arrives(play: Play) -> None:
    app = Workflows()
    seen: list[Any] = []

    @app.step
    async def double(n: int) -> int:
        return n * 2

    @app.step
    async def same(value):  # type: ignore[no-untyped-def]
        seen.append(value)
        return value

    @app.workflow
    async def body(steps):  # type: ignore[no-untyped-def]
        total = await steps["double"](4)
        (given,) = await same([steps["double"]])
        await sleep("1h")
        return total + await given(5), given

    finished = play(body, {"double": double})
    total, given = finished.value
    assert total == 18
    assert given.id == double.id
    ((given_to_step,),) = seen
    assert given_to_step.id == double.id
    created = [event.data["id"] for event in finished.events if event.type == "step_created"]
    assert created == [f"{double.id}#1", f"{same.id}#1", f"{double.id}#2"]


def test_a_workflow_is_a_value_that_can_be_started_and_awaited_where_it_arrives(play: Play) -> None:
    app = Workflows()
    seen: list[Any] = []

    @app.workflow
    async def child(n: int) -> int:
        await sleep("1m")
        return n + 1

    @app.step
    async def same(value):  # type: ignore[no-untyped-def]
        seen.append(value)
        return value

    @app.workflow
    async def body(workflow):  # type: ignore[no-untyped-def]
        given = await same(workflow)
        run = await start(given, 1)
        return await run.return_value(), await workflow(10), given

    two, eleven, given = play(body, child).value
    assert (two, eleven, given.id) == (2, 11, child.id)
    assert [workflow.id for workflow in seen] == [child.id]


def test_a_run_is_a_value_that_can_be_watched_where_it_arrives(play: Play) -> None:
    app = Workflows()
    kinds: list[type] = []

    @app.workflow
    async def long() -> None:
        await sleep("30 days")

    @app.step
    async def stop(jobs):  # type: ignore[no-untyped-def]
        kinds.append(type(jobs["job"]))
        await jobs["job"].cancel()
        return jobs

    @app.workflow
    async def body(other):  # type: ignore[no-untyped-def]
        own = await start(long)
        first = await stop({"job": other})
        second = await stop({"job": own})
        await sleep("1 day")
        return [first["job"], second["job"], await own.status()]

    async def scenario(env: WorkflowEnv) -> tuple[str, list[Any], list[str]]:
        other = await env.start(long)
        run = await env.start(body, other)
        await env.advance("1 day")
        await env.run_until_blocked()
        first, second, status = await run.return_value(timeout=10)
        with pytest.raises(WorkflowRunCancelledError):
            await second.return_value(timeout=10)
        return other.run_id, [first, second], [await first.status(), await second.status(), status]

    other_id, (first, second), statuses = play.scene(scenario, app)
    assert (type(first), type(second)) == (Run, Run)
    assert first.run_id == other_id
    assert second.run_id not in ("", other_id)
    assert statuses == ["cancelled"] * 3
    assert kinds == [Run, Run]


def test_a_reference_may_be_annotated(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def child() -> int:
        return 3

    @app.step
    async def one() -> int:
        return 1

    @app.step
    async def pick(run: Run[int], step: Step[[], int] | None) -> tuple[Run[int], Step[[], int] | None]:
        return run, step

    @app.workflow
    async def body(workflow: Workflow[[], int]) -> int:
        run, step = await pick(await start(workflow), one)
        assert step is not None
        return await run.return_value() + await step()

    assert play(body, child).value == 4


def test_a_run_comes_back_with_the_types_of_its_workflow(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def child() -> list[Point]:
        return [Point(1), Point(2)]

    @app.step
    async def read(run):  # type: ignore[no-untyped-def]
        return await run.return_value(timeout=10)

    @app.workflow
    async def body():  # type: ignore[no-untyped-def]
        run = await start(child)
        first = await run.return_value()
        return [first, await read(run)]

    finished = play(body)
    assert finished.value == [[Point(1), Point(2)]] * 2
    assert [type(one) for one in finished.value[1]] == [Point, Point]


def test_a_run_is_a_value_for_a_handle_that_knows_no_workflow(play: Play) -> None:
    app = Workflows(namespace="shop")

    @app.workflow
    async def child() -> int:
        return 5

    @app.workflow
    async def body() -> list[Any]:
        return [await start(child)]

    async def scenario(env: WorkflowEnv) -> int:
        run = await env.start(body)
        await env.run_until_blocked()
        (given,) = await get_run(run.run_id, namespace="shop").return_value(timeout=10)
        return await given.return_value(timeout=10)

    assert play.scene(scenario, app) == 5


def test_a_reference_with_options_or_of_another_app_is_refused_and_not_changed(play: Play) -> None:
    app, stranger = Workflows(), Workflows()

    @app.step
    async def mine(value):  # type: ignore[no-untyped-def]
        return None

    @stranger.step
    async def theirs() -> None: ...

    @app.workflow
    async def body() -> list[str]:
        texts: list[str] = []
        for value in (mine.with_options(max_retries=0), body.with_options(run_id="x"), theirs):
            try:
                mine([value])
            except SerializationError as error:
                texts.append(f"{error.path} {error}")
        return texts

    step, workflow, other = play(body).value
    for text, name in ((step, mine.id), (workflow, body.id)):
        assert text.startswith("value[0] ")
        assert f"{name}> has options of its own" in text
    assert f"{theirs.id}> belongs to another app" in other


def test_a_reference_to_a_step_that_is_gone_is_an_error_that_the_body_can_catch(play: Play) -> None:
    old, new = Workflows(), Workflows()

    def declare(app: Workflows) -> Any:
        @app.step(name="pick", dispatch="queue")
        async def pick():  # type: ignore[no-untyped-def]
            return [app.steps["gone"]]

        @app.workflow(name="main")
        async def body() -> list[Any]:
            call = asyncio.create_task(pick())
            await sleep("1 day")
            try:
                return await call
            except SerializationError as error:
                return [error.path, str(error)]

        return body

    @old.step(name="gone")
    async def gone() -> None: ...

    first = declare(old)
    declare(new)

    async def scenario(env: WorkflowEnv) -> list[Any]:
        async with worker(old, settings=play.settings):
            run = await start(first)
            await env.advance(0)
        async with worker(new, settings=play.settings) as env.workers:
            await env.advance("1 day")
            return (await finish(env, get_run(run.run_id))).value

    path, text = play.scene(scenario, old, new, start_worker=False)
    assert path == "the result of pick"
    assert "the step gone, which is not registered here" in text


# -- classes that an annotation names ---------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = (0, 0, 255)


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


@dataclasses.dataclass
class Address:
    street: str
    place: Point


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    id: uuid.UUID
    address: Address
    colours: list[Colour]
    level: Level
    rights: Rights
    notes: dict[str, tuple[Point, ...]]
    due: datetime | None = None


class Line(BaseModel):
    item: str
    price: Decimal
    colour: Colour


class Cart(BaseModel):
    lines: list[Line]
    at: datetime


ORDER = Order(
    id=uuid.UUID(int=7),
    address=Address("Main Street 1", Point(3, Decimal("4.50"))),
    colours=[Colour.BLUE, Colour.RED],
    level=Level.LOW,
    rights=Rights.READ | Rights.WRITE,
    notes={"z": (Point(1), Point(2)), "a": ()},
    due=datetime(2026, 2, 1, tzinfo=EAST),
)
CART = Cart(lines=[Line(item="tea", price=Decimal("9.90"), colour=Colour.RED)], at=datetime(2026, 2, 1, tzinfo=EAST))


def test_classes_that_annotations_name_come_back_and_those_in_their_fields_with_them(play: Play) -> None:
    app = Workflows()
    seen: list[object] = []

    @app.step
    async def check(order: Order, cart: Cart | None = None) -> tuple[Cart | None, Order]:
        seen.extend([order, cart])
        return cart, order

    @app.workflow
    async def body(order: Order, carts: dict[str, Cart]) -> dict[str, Order | Cart | None]:
        cart, given = await check(order, carts["mine"])
        await sleep("1 day")
        seen.extend([given, cart])
        return {"order": given, "cart": cart}

    finished = play(body, ORDER, {"mine": CART})
    assert finished.value == {"order": ORDER, "cart": CART}
    assert seen == [ORDER, CART, ORDER, CART]
    assert [type(one) for one in seen] == [Order, Cart, Order, Cart]
    order = finished.value["order"]
    assert [type(order.address), type(order.address.place), type(order.notes["z"][1])] == [Address, Point, Point]
    assert order.colours[0] is Colour.BLUE
    assert order.level is Level.LOW
    assert order.rights is Rights.READ | Rights.WRITE
    assert order.due.utcoffset() == timedelta(hours=5, minutes=45)
    assert type(finished.value["cart"].lines[0]) is Line


@pytest.mark.parametrize(
    "value",
    [Colour.BLUE, Level.LOW, Rights.WRITE, Point(1), Address("x", Point(2)), ORDER, CART],
    ids=lambda v: type(v).__name__,
)
def test_a_class_that_an_annotation_names_comes_back_through_other_calls_without_one(play: Play, value: object) -> None:
    app = Workflows()
    seen: list[object] = []

    @app.step
    async def unannotated(value):  # type: ignore[no-untyped-def]
        seen.append(value)
        return [value]

    @app.step
    async def naming(value: Colour | Level | Rights | Point | Address | Order | Cart) -> None: ...

    @app.workflow
    async def body(value):  # type: ignore[no-untyped-def]
        (given,) = await unannotated(value)
        await sleep("1 day")
        return {"given": given}

    finished = play(body, value)
    assert finished.value == {"given": value}
    assert type(finished.value["given"]) is type(value)
    assert seen == [value]
    assert type(seen[0]) is type(value)


# -- classes that are registered --------------------------------------------------------------------------------------------


@serializable(class_id="tests.values.Registered")
@dataclasses.dataclass
class Registered:
    name: str
    amount: Decimal


@serializable
class Plain(enum.Enum):
    ONE = 1


@serializable()
class Pair(NamedTuple):
    left: object
    right: object


@serializable(class_id="tests.values.Model")
class Model(BaseModel):
    number: int


class Money:
    """Knows its value only through a method, so that it cannot be taken apart by itself."""

    def __init__(self, cents: int) -> None:
        self.__dict__ = {"secret": threading.Lock(), "cents": cents.__index__}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.__dict__["cents"]() == other.__dict__["cents"]()

    __hash__ = None  # type: ignore[assignment]


register_serializable(
    Money, serialize=lambda money: {"cents": money.__dict__["cents"]()}, deserialize=lambda data: Money(data["cents"])
)

REGISTERED: list[object] = [
    Registered("tea", Decimal("9.90")),
    Plain.ONE,
    Pair(1, [Plain.ONE]),
    Model(number=3),
    Money(990),
]


@pytest.mark.parametrize("value", REGISTERED, ids=lambda value: type(value).__name__)
def test_a_registered_class_comes_back_where_nothing_is_annotated(play: Play, value: object) -> None:
    found = journey(play, {"deep": [value]})
    assert found.places == [{"deep": [value]}] * (7 if play.cold else 6)
    assert {type(place["deep"][0]) for place in found.places} == {type(value)}


def test_a_record_names_a_registered_class_by_its_class_id(play: Play) -> None:
    finished = journey(play, Registered("tea", Decimal(1))).finished
    (created,) = [event for event in finished.events if event.type == "step_created"]
    assert "tests.values.Registered" in str(created.data["input"])
    assert __name__ not in str(created.data["input"])


def test_an_object_of_a_registered_class_is_passed_by_value(play: Play) -> None:
    original = Registered("tea", Decimal(1))
    found = journey(play, original)
    assert [place is original for place in found.places] == [False] * len(found.places)


# -- what cannot be recorded --------------------------------------------------------------------------------------------------


class Unknown:
    def __init__(self) -> None:
        self.name = "tea"


@dataclasses.dataclass
class UnknownData:
    name: str = "tea"


class UnknownModel(BaseModel):
    name: str = "tea"


class UnknownTuple(NamedTuple):
    name: str = "tea"


class UnknownEnum(enum.Enum):
    NAME = "tea"


class UnknownText(str):
    __slots__ = ()


class UnknownDict(dict[str, int]): ...


REFUSED: dict[str, object] = {
    "object": Unknown(),
    "dataclass": UnknownData(),
    "model": UnknownModel(),
    "named tuple": UnknownTuple(),
    "enum": UnknownEnum.NAME,
    "subclass of str": UnknownText("tea"),
    "subclass of dict": UnknownDict(tea=1),
    "deque": deque([1]),
    "class": Unknown,
    "function": len,
    "lambda": lambda: 1,
    "lock": threading.Lock(),
    "generator": (n for n in [1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_object_of_an_unregistered_class_is_refused_at_every_place(play: Play, name: str) -> None:
    app = Workflows()
    value = REFUSED[name]
    calls: list[str] = []

    @app.step
    async def take(order):  # type: ignore[no-untyped-def]
        calls.append("take")

    @app.step
    async def give():  # type: ignore[no-untyped-def]
        calls.append("give")
        return {"items": [0, value]}

    @app.workflow
    async def body() -> list[str]:
        paths: list[str] = []
        try:
            take({"items": [0, value]})
        except SerializationError as error:
            paths.append(error.path)
        try:
            await start(other, {"items": [0, value]})
        except SerializationError as error:
            paths.append(error.path)
        try:
            await give()
        except (SerializationError, StepFailedError) as error:
            assert isinstance(error, SerializationError), error
            paths.append(error.path)
        await sleep("1 day")
        return paths

    @app.workflow
    async def other(order):  # type: ignore[no-untyped-def]
        calls.append("other")
        return {"items": [0, value]}

    finished = play(body)
    assert finished.value == ["order.items[1]", "order.items[1]", "result.items[1]"]
    assert calls == ["give"]
    assert finished.count("step_created") == finished.count("step_failed") == 1

    failed = play(other, "nothing")
    assert isinstance(failed.error, SerializationError)
    assert failed.error.path == "result.items[1]"
    assert failed.info.error_code == "USER_ERROR"
    assert failed.types == ["run_created", "run_started", "run_failed"]

    async def scenario(env: WorkflowEnv) -> str:
        with pytest.raises(SerializationError) as refused:
            await env.start(other, {"items": [0, value]})
        return refused.value.path

    assert play.scene(scenario, app) == "order.items[1]"
    assert calls == ["give", "other"]


def test_a_refusal_names_the_class_and_says_what_to_do(play: Play) -> None:
    app = Workflows()

    @app.step
    async def take(order: object) -> None: ...

    @app.workflow
    async def body() -> list[str]:
        texts: list[str] = []
        for value in (UnknownData(), Unknown(), threading.Lock(), OrderedDict(a=1)):
            try:
                take(value)
            except SerializationError as error:
                texts.append(str(error))
        return texts

    data, plain, lock, ordered = play(body).value
    assert all(f"{take.id}: order: " in text for text in (data, plain, lock, ordered))
    assert f"{__name__}.UnknownData" in data
    assert "@serializable" in data
    assert f"{__name__}.Unknown" in plain
    assert "serializable" in plain
    assert "_thread.lock" in lock
    assert "register_serializable" in lock
    assert "OrderedDict" in ordered
