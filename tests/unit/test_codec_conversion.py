"""Objects of the app's classes, and decoding to what an annotation names."""

from __future__ import annotations

import collections
import typing
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union
from uuid import UUID

import pydantic
import pytest

from wdk_cloud import Workflows, register_serializable, registration, serializable
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import decode, decode_arguments, encode, encode_arguments
from wdk_cloud.errors import SerializationError

if typing.TYPE_CHECKING:
    from elsewhere import Absent, Later  # type: ignore[import-not-found]

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"  # noqa: PIE796 -- an alias


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Access(Flag):
    READ = auto()
    WRITE = auto()
    ALL = READ | WRITE


class Mode(IntFlag):
    A = 1
    B = 4


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


OldPoint = collections.namedtuple("OldPoint", "x y")


@dataclass
class Item:
    sku: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Order:
    id: UUID
    at: datetime
    items: list[Item]
    color: Color = Color.RED
    parent: Order | None = None


@dataclass
class Computed:
    a: int
    twice: int = field(init=False)
    seed: InitVar[int] = 0

    def __post_init__(self, seed: int) -> None:
        self.twice = self.a * 2 + seed

    @cached_property
    def thrice(self) -> int:
        return self.a * 3


@dataclass(order=True, frozen=True)
class Box(Generic[T]):
    content: T


class Customer(pydantic.BaseModel):
    name: str
    born: date | None = None
    spent: Decimal = Decimal(0)
    _seen: int = pydantic.PrivateAttr(default=0)
    _token: str = pydantic.PrivateAttr()


class Open(pydantic.BaseModel, extra="allow"):
    a: int


class Strict(pydantic.BaseModel):
    n: int = pydantic.Field(alias="Number", gt=0)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Names(pydantic.RootModel[list[str]]):
    pass


class Address(TypedDict):
    street: str
    moved: typing.NotRequired[date]


class Sorted(OrderedDict[str, int]):
    pass


class Tags(frozenset[str]):
    pass


class Money(Decimal):
    pass


class Celsius(float):
    pass


class Text(str):
    pass


class Row(list[int]):
    __slots__ = ("note",)


class Named(Protocol):
    name: str


UserId = NewType("UserId", str)
OrderIds = NewType("OrderIds", list[UUID])

BLANK = Customer(name="n")
SEEN = Customer(name="n", born=date(2000, 1, 1))
SEEN._seen = 4
SEEN._token = "t"
ORDER = Order(UUID(int=7), datetime(2024, 1, 2, tzinfo=UTC), [Item("a", Decimal("1.5"), {"x"})], Color.BLUE)


def known_of(*annotations: object) -> KnownTypes:
    known = KnownTypes()
    for annotation in annotations:
        known.learn_annotation(annotation)
    return known


def back(value: object, annotation: Any, known: KnownTypes | None = None) -> Any:
    known = known or known_of(annotation)
    data = encode(value, known=known)
    plain = decode(data, known=known)
    annotated = decode(data, annotation, known=known)
    assert encode(plain, known=known) == encode(annotated, known=known) == data
    assert type(plain) is type(annotated) is type(value)
    return annotated


# objects come back as they were ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Item("a", Decimal("1.50"), {"b", "c"}), Item),
        (ORDER, Order),
        (Order(UUID(int=1), ORDER.at, [], parent=ORDER), Order),
        (Box(3), Box[int]),
        (Box(Box(Color.BLUE)), Box[Box[Color]]),
        (Color.BLUE, Color),
        (Color.CRIMSON, Color),
        (Size.LARGE, Size),
        (Level.HIGH, Level),
        (Access.READ, Access),
        (Access.ALL, Access),
        (Access(0), Access),
        (Mode.A | Mode.B, Mode),
        (Point(1), Point),
        (OldPoint(1, (2,)), OldPoint),
        (Names(["a"]), Names),
        (Open(a=1, b=(2, 3)), Open),  # type: ignore[call-arg]
        (Strict(Number=3), Strict),
        (Page[Item](items=[Item("a", Decimal(1))]), Page[Item]),
        (BLANK, Customer),
        (SEEN, Customer),
        (OrderedDict(b=1, a=2), OrderedDict[str, int]),
        (OrderedDict(b=1, a=2), OrderedDict),
        (OrderedDict(b=1, a=2), typing.OrderedDict[str, int]),
        (Sorted(b=1, a=2), Sorted),
        (Counter("abca"), Counter[str]),
        (Tags("ab"), Tags),
        (Celsius(1.5), Celsius),
        (Text("a"), Text),
        (Row([1, 2]), Row),
        ([ORDER], list[Order]),
        ({"a": Point(1)}, dict[str, Point]),
        ({Color.RED: Point(1)}, dict[Color, Point]),
        ({(Color.RED, Point(1)): {Box(1), Box(2)}}, dict[tuple[Color, Point], set[Box[int]]]),
        ((Color.RED, Size.SMALL), tuple[Color, Size]),
        ((Color.RED, Color.BLUE), tuple[Color, ...]),
        (frozenset({Color.RED, Color.BLUE}), frozenset[Color]),
        ([Customer(name="b"), None], list[Customer | None]),
        (ORDER, Optional[Order]),  # noqa: UP045 -- as older code writes it
        (Color.RED, Union[Order, Color]),  # noqa: UP007
        ({"street": "s", "moved": date(2024, 1, 1)}, Address),
        (Color.RED, Literal[Color.RED]),
        (UUID(int=1), Annotated[UUID, "an id"]),
        ("u", UserId),
        ([UUID(int=1)], OrderIds),
        ([Item("a", Decimal(1))], Sequence[Item]),
        ({"a": Item("a", Decimal(1))}, Mapping[str, Item]),
        ({1, 2}, AbstractSet[int]),
        (range(10**15), Sequence[int]),
        (bytearray(b"a"), Sequence[int]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_an_object_comes_back_as_it_was_with_and_without_its_annotation(value: Any, annotation: Any) -> None:
    again = back(value, annotation)
    assert again == value
    if isinstance(value, dict):
        assert list(again) == list(value)


def test_attributes_beside_the_fields_come_back_and_what_is_cached_is_left_out() -> None:
    value: Any = Computed(2, seed=5)
    value.extra = (1,)
    assert value.thrice == 6
    again = back(value, Computed)
    assert vars(again) == {"a": 2, "twice": 9, "extra": (1,)}


def test_a_model_keeps_which_fields_were_set_and_its_private_state() -> None:
    again = back(SEEN, Customer)
    assert again.model_fields_set == {"name", "born"}
    assert (again._seen, again._token) == (4, "t")
    again = back(BLANK, Customer)
    assert again.model_dump(exclude_unset=True) == {"name": "n"}
    assert not hasattr(again, "_token")
    assert back(Open(a=1, b=2), Open).model_extra == {"b": 2}  # type: ignore[call-arg]


def test_an_order_of_keys_survives_in_every_kind_of_mapping() -> None:
    for make in (OrderedDict, Sorted, dict):
        value = make([("b", 1), ("a", 2), ("c", 3)])
        value.move_to_end("b") if isinstance(value, OrderedDict) else value.update(b=value.pop("b"))
        assert list(back(value, make).items()) == [("a", 2), ("c", 3), ("b", 1)]


def test_a_class_may_grow_and_shrink_while_records_of_it_lie_there() -> None:
    known = known_of(Item, Customer, Point)
    item = f"{__name__}.Item"
    grown = decode(f'{{"$type":"{item}","$value":{{"sku":"a","price":1,"gone":2}}}}'.encode(), known=known)
    assert vars(grown) == {"sku": "a", "price": 1, "tags": set(), "gone": 2}
    customer: Any = decode(
        f'{{"$type":"{__name__}.Customer","$value":{{"fields":{{"name":"a","gone":1}}}}}}'.encode(), known=known
    )
    assert (customer, customer.model_fields_set) == (Customer(name="a"), {"name"})
    assert decode(f'{{"$type":"{__name__}.Point","$value":{{"x":1,"gone":2}}}}'.encode(), known=known) == Point(1)
    for name, fields in (("Item", '{"price":1}'), ("Point", "{}"), ("Customer", '{"fields":{}}')):
        with pytest.raises(SerializationError, match=rf"the record of a {name} has no '\w+'; give the field a default"):
            decode(f'{{"$type":"{__name__}.{name}","$value":{fields}}}'.encode(), known=known)


def test_a_member_that_is_gone_is_noticed() -> None:
    for name in ("Color", "Access"):
        for body in ('"GREEN"', '["GREEN"]', "1", "{}"):
            data = f'{{"$type":"{__name__}.{name}","$value":{body}}}'.encode()
            if (name, body) == ("Access", "{}"):
                continue  # no names: no flags
            with pytest.raises(
                SerializationError, match=f"{name} has no member .* keep the members that runs recorded"
            ):
                decode(data, known=known_of(Color, Access))


@dataclass
class Ledger(dict[str, int]):
    owner: str = ""


@pytest.mark.parametrize(
    "body", ["1", "[]", '"a"', "null", '{"$tuple":[]}', '{"fields":1}', '{"fields":{"name":"a"},"unset":1}']
)
@pytest.mark.parametrize("name", ["Item", "Point", "Customer", "Sorted", "Tags", "Celsius", "Row"])
def test_a_damaged_object_is_a_serialization_error(name: str, body: str) -> None:
    cls = globals()[name]
    try:
        value = decode(f'{{"$type":"{__name__}.{name}","$value":{body}}}'.encode(), known=known_of(cls))
    except SerializationError:
        return
    assert type(value) is cls
    assert (name, body[:1]) in {("Row", "["), ("Sorted", "{")}


def test_what_an_object_carries_beside_its_content_is_never_lost_in_silence() -> None:
    row = Row([1])
    row.note = "n"  # type: ignore[attr-defined]
    text: Any = Text("a")
    text.note = "n"
    ledger = Ledger("o")
    ledger["a"] = 1
    flags = Mode(8)
    for value in (row, text, ledger):
        with pytest.raises(SerializationError, match="with attributes of its own cannot be recorded"):
            encode([value], known=known_of(type(value)))
    with pytest.raises(SerializationError, match="has bits without a name"):
        encode(flags, known=known_of(Mode))
    with pytest.raises(SerializationError, match="Money cannot be recorded"):
        encode(Money(1), known=known_of(Money))
    with pytest.raises(SerializationError, match="carries a function"):
        encode(defaultdict(int), known=known_of(defaultdict[str, int]))


@pytest.mark.parametrize("value", [Item("a", Decimal(1)), Color.RED, Point(1), BLANK], ids=lambda v: type(v).__name__)
def test_an_object_of_a_class_that_is_not_known_is_refused_with_what_to_do(value: object) -> None:
    with pytest.raises(SerializationError, match=r"args\[0\].*is not known to this app; name it in the annotation"):
        encode([value], path="args", known=KnownTypes())
    data = encode(value, known=known_of(type(value)))
    with pytest.raises(SerializationError, match=f"holds a {__name__}.{type(value).__qualname__}, a class that is not"):
        decode(data, known=KnownTypes())


def test_the_classes_of_fields_and_arguments_are_known_with_the_annotation() -> None:
    known = known_of(Order)
    for part in (Item("a", Decimal(1)), Color.RED):
        assert back(part, Any, known) == part
    known = known_of(Iterable[Item | Color], type[Point], Annotated[Size, []])
    for part in (Item("a", Decimal(1)), Color.RED, Point(1), Size.LARGE):
        assert back(part, Any, known) == part


def test_arguments_may_name_further_types() -> None:
    known = KnownTypes()
    with pytest.raises(SerializationError, match="is not known to this app"):
        encode_arguments({"a": Color.RED}, known=known, annotations={"a": int})
    data, _ = encode_arguments({"a": Color.RED}, known=known, annotations={"b": Color | None})
    assert decode_arguments(data, {"a": Color}, known=known) == {"a": Color.RED}


# JSON from outside becomes what the annotation names ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "annotation", "value"),
    [
        ('"2024-01-02T00:00:00+00:00"', datetime, ORDER.at),
        ('"2024-01-02T00:00:00Z"', datetime, ORDER.at),
        ('"2024-01-02"', date, date(2024, 1, 2)),
        ('"10:11"', time, time(10, 11)),
        ("1.5", timedelta, timedelta(seconds=1.5)),
        ('"1.10"', Decimal, Decimal("1.10")),
        ("1.1", Decimal, Decimal("1.1")),
        ("3", Decimal, Decimal(3)),
        ("3", float, 3),
        ('"00000000-0000-0000-0000-000000000007"', UUID, UUID(int=7)),
        ('"/a/b"', Path, Path("/a/b")),
        ('"a"', PurePath, PurePosixPath("a")),
        ('"red"', Color, Color.RED),
        ('"l"', Size, Size.LARGE),
        ("2", Level, Level.HIGH),
        ("3", Access, Access.ALL),
        ("null", Optional[Order], None),  # noqa: UP045
        ('{"sku":"a","price":"1.5","tags":["x","x"]}', Item, Item("a", Decimal("1.5"), {"x"})),
        (
            """{"id":"00000000-0000-0000-0000-000000000007","at":"2024-01-02T00:00:00Z","color":"blue",\
"items":[{"sku":"a","price":"1.5","tags":["x"]}]}""",
            Order,
            ORDER,
        ),
        ("[1,2]", Point, Point(1, Decimal(2))),
        ('{"x":1}', Point, Point(1)),
        ('{"name":"n","born":"2000-01-01"}', Customer, Customer(name="n", born=date(2000, 1, 1))),
        ('{"Number":3}', Strict, Strict(Number=3)),
        ('{"items":[{"sku":"a","price":1}]}', Page[Item], Page[Item](items=[Item("a", Decimal(1))])),
        ('["a"]', Names, Names(["a"])),
        ('{"content":1}', Box[int], Box(1)),
        ('["a"]', list[Path], [Path("a")]),
        ('[1,"2024-01-02"]', tuple[int, date], (1, date(2024, 1, 2))),
        ('["2024-01-02"]', tuple[date, ...], (date(2024, 1, 2),)),
        ("[]", tuple[()], ()),
        ("[1]", tuple, (1,)),
        ('["red","red"]', set[Color], {Color.RED}),
        ('["red"]', frozenset[Color], frozenset({Color.RED})),
        ("[1]", set, {1}),
        ('["1"]', Sequence[Decimal], [Decimal(1)]),
        ('["1"]', AbstractSet[Decimal], frozenset({Decimal(1)})),
        ('{"2024-01-02":["1"]}', dict[date, list[Decimal]], {date(2024, 1, 2): [Decimal(1)]}),
        ('{"b":"1","a":"2"}', OrderedDict[str, Decimal], OrderedDict(b=Decimal(1), a=Decimal(2))),
        ('{"b":"1"}', Mapping[str, Decimal], {"b": Decimal(1)}),
        ('{"street":"s","moved":"2024-01-02"}', Address, {"street": "s", "moved": date(2024, 1, 2)}),
        ('"2024-01-02"', int | date, date(2024, 1, 2)),
        ('"2024-01-02"', str | date, "2024-01-02"),
        ('{"sku":"a","price":1}', Point | Item, Item("a", Decimal(1))),
        ('["1"]', list[int] | list[Decimal], [Decimal(1)]),
        ('"s"', Literal["s", 1], "s"),
        ('"s"', Literal[Size.SMALL], Size.SMALL),
        ('["00000000-0000-0000-0000-000000000001"]', OrderIds, [UUID(int=1)]),
        ('"2024-01-02"', Annotated[date, "day"], date(2024, 1, 2)),
        ('{"a":1}', Named, {"a": 1}),
        ('{"a":1}', Callable[..., int], {"a": 1}),
        ('{"a":1}', T, {"a": 1}),
        ('{"a":1}', "Absent", {"a": 1}),
        ('{"a":1}', object, {"a": 1}),
        ('{"a":1}', "Absent | int", {"a": 1}),
    ],
    ids=lambda part: str(part)[:40],
)
def test_json_from_outside_becomes_what_the_annotation_names(data: str, annotation: Any, value: Any) -> None:
    converted = decode(data.encode(), annotation, known=known_of(annotation))
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("data", "annotation", "complaint"),
    [
        ('"a"', int, "value: 'a' (str) does not fit its annotation int"),
        ("1.5", int, "value: 1.5 (float) does not fit its annotation int"),
        ("1", str, "value: 1 (int) does not fit its annotation str"),
        ("1", None, "value: 1 (int) does not fit its annotation NoneType"),
        ("null", int, "value: None (NoneType) does not fit its annotation int"),
        ('"x"', date, "value: 'x' (str) does not fit its annotation date: Invalid isoformat string: 'x'"),
        ("true", Decimal, "value: True (bool) does not fit its annotation Decimal"),
        ("1e300", timedelta, "value: 1e+300 (float) does not fit its annotation timedelta: "),
        ('"green"', Color, "value: 'green' (str) does not fit its annotation Color: 'green' is not a valid Color"),
        ('[1,"b"]', list[int], "value[1]: 'b' (str) does not fit its annotation int"),
        ('{"a":[1,"b"]}', dict[str, list[int]], "value.a[1]: 'b' (str) does not fit its annotation int"),
        ("[1,2]", tuple[int], "value: [1, 2] has 2 members, its annotation 1"),
        ("[[1]]", set, "value: [[1]] (list) does not fit its annotation set"),
        ('{"1":0,"1.0":0}', dict[Decimal, int], "value: {'1': 0, '1.0': 0} has two keys that are the same"),
        ('{"sku":"a"}', Item, "value: {'sku': 'a'} (dict) does not fit its annotation Item: "),
        (
            '{"sku":"a","price":1,"n":2}',
            Item,
            "value: {'sku': 'a', 'price': 1, 'n': 2} (dict) does not fit its annotation",
        ),
        ('{"sku":"a","price":"x"}', Item, "value.price: 'x' (str) does not fit its annotation Decimal: "),
        ('{"sku":"a","price":1,"tags":[1]}', Item, "value.tags[0]: 1 (int) does not fit its annotation str"),
        ("[1,2,3]", Point, "value: [1, 2, 3] (list) does not fit its annotation Point: "),
        ('{"Number":0}', Strict, "value: {'Number': 0} (dict) does not fit its annotation Strict: 1 validation error"),
        ("{}", Address, "value: {} has no 'street', which its annotation Address requires"),
        ('{"street":1}', Address, "value.street: 1 (int) does not fit its annotation str"),
        ("[]", Address, "value: [] (list) does not fit its annotation Address"),
        ("[]", int | date, "value: [] (list) does not fit its annotation int | datetime.date"),
        ("true", Literal[1, "a"], "value: True (bool) does not fit its annotation Literal[1, 'a']"),
        ("1", Item, "value: 1 (int) does not fit its annotation Item"),
        ("[1]", AbstractSet[str], "value[0]: 1 (int) does not fit its annotation str"),
        ("{}", list[int], "value: {} (dict) does not fit its annotation list"),
        ('"a"', Text | None, "value: 'a' (str) does not fit its annotation"),
        ("[]", OrderedDict[str, int], "value: [] (list) does not fit its annotation OrderedDict"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_fits_in_no_way_is_refused_with_its_place(data: str, annotation: Any, complaint: str) -> None:
    with pytest.raises(SerializationError) as caught:
        decode(data.encode(), annotation, known=known_of(annotation))
    assert str(caught.value).startswith(complaint)


def test_a_refusal_can_be_written_whatever_the_value_holds() -> None:
    with pytest.raises(SerializationError, match=r"unexpected keyword argument '\\udfff'") as caught:
        decode(b'{"$dict":[[{"$str":"7b+/"},1]]}', Point, known=known_of(Point))
    str(caught.value).encode()


def test_the_arms_of_a_union_are_tried_on_the_value_itself() -> None:
    class One(TypedDict):
        a: datetime
        b: int

    class Two(TypedDict):
        a: str
        b: Decimal

    known = KnownTypes()
    for annotation in (One | Two, Two | One):
        data = b'{"a":"2024-01-01","b":"1.5"}'
        assert decode(data, annotation, known=known) == {"a": "2024-01-01", "b": Decimal("1.5")}
    assert decode(b"[[1]]", frozenset[Any] | tuple[Any, ...], known=known) == ([1],)
    assert decode(b'["1"]', list[date] | list[Decimal] | None, known=known) == [Decimal(1)]


def _nested(union: Any) -> list[Any]:
    return [union, list[union], dict[str, list[union]], tuple[union, int]]


@pytest.mark.parametrize("form", range(4))
def test_of_two_unions_that_python_calls_equal_each_keeps_its_own_order(form: int) -> None:
    data = [b'"20240102"', b'["20240102"]', b'{"k":["20240102"]}', b'["20240102",1]'][form]
    first, second = Decimal("20240102"), date(2024, 1, 2)
    makes: list[Callable[[Any], Any]] = [
        lambda value: value,
        lambda value: [value],
        lambda value: {"k": [value]},
        lambda value: (value, 1),
    ]
    ways = [(Decimal | date, first), (date | Decimal, second)]
    for order in (ways, ways[::-1]):
        known = KnownTypes()
        for union, expected in order:
            assert decode(data, _nested(union)[form], known=known) == makes[form](expected)
        remembered = sum(map(len, known.converters.values()))
        for union, expected in order:  # made anew, and known by what they say
            assert decode(data, _nested(union)[form], known=known) == makes[form](expected)
        assert sum(map(len, known.converters.values())) == remembered


def test_an_int_where_a_float_is_annotated_stays_an_int() -> None:
    for data, annotation in ((b"1", float), (b"[1]", list[float]), (b"1", complex)):
        assert repr(decode(data, annotation, known=KnownTypes())) == data.decode()


def test_an_exception_under_its_annotation_may_be_a_remote_error() -> None:
    class Unheard(Exception):
        pass

    data = encode([Unheard("x")], known=KnownTypes())
    [error] = decode(data, list[ValueError], known=KnownTypes())  # type: ignore[misc]
    assert str(error) == "Unheard: x"


def test_an_annotation_with_something_unhashable_is_used_all_the_same() -> None:
    annotation = Annotated[list[Decimal], {"un": "hashable"}]
    assert decode(b'["1"]', annotation, known=known_of(annotation)) == [Decimal(1)]


def test_a_value_nested_too_deep_for_its_annotation_is_refused() -> None:
    @dataclass
    class Nest:
        inner: Any

    Nest.__annotations__["inner"] = Nest | None
    known = known_of(Nest)
    for depth in (20, 300):
        data = b'{"inner":' * depth + b"null" + b"}" * depth
        if depth == 20:
            assert isinstance(decode(data, Nest, known=known), Nest)
        else:
            with pytest.raises(SerializationError, match=r"does not fit its annotation|nested too deep"):
                decode(data, Nest, known=known)


# names that are not there yet -----------------------------------------------------------------------------------------


@dataclass
class Forward:
    absent: Absent
    later: Later | None = None
    items: list[Item] = field(default_factory=list)
    when: Optional["date"] = None  # noqa: UP037, UP045 -- a text within an annotation


def test_a_name_that_only_type_checkers_import_counts_as_no_annotation() -> None:
    known = known_of(Forward)
    value = Forward({"a": 1}, items=[Item("a", Decimal(1))])
    assert back(value, Forward, known) == value
    assert decode(b'{"absent":{"a":1},"items":[{"sku":"a","price":1}],"when":"2024-01-02"}', Forward, known=known) == (
        Forward({"a": 1}, items=[Item("a", Decimal(1))], when=date(2024, 1, 2))
    )


def test_a_class_defined_later_is_known_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_of(Forward)

    @dataclass
    class Late:
        n: Decimal

    with pytest.raises(SerializationError, match="not known to this app"):
        encode(Forward(1, Late(Decimal(1))), known=known)
    monkeypatch.setitem(globals(), "Later", Late)
    assert back(Forward(1, Late(Decimal(1))), Forward, known) == Forward(1, Late(Decimal(1)))
    assert decode(b'{"absent":1,"later":{"n":"2"}}', Forward, known=known) == Forward(1, Late(Decimal(2)))


class Early:
    def __init__(self, kids: Any, level: str, note: int) -> None:
        self.kids, self.level, self.note = kids, level, note


# As in a module whose annotations are no texts: a text lies within.
Early.__annotations__ = {"kids": list["Later"], "level": Literal["Later", "a"], "note": Annotated[int, "Later"]}  # type: ignore[name-defined]
EarlyData = dataclass(init=False, eq=True)(Early)


def test_a_name_within_an_annotation_is_looked_up_again_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Late:
        n: int

    known = known_of(EarlyData)
    with pytest.raises(SerializationError, match="not known to this app"):
        encode(Late(1), known=known)
    monkeypatch.setitem(globals(), "Later", Late)
    value = EarlyData([Late(1)], "a", 2)
    assert back(value, EarlyData, known) == value
    assert known.fields_of(EarlyData) is known.fields_of(EarlyData), "what is resolved is remembered"


class LateAlias:
    """What `type X = …` makes: evaluated when asked."""

    def __init__(self) -> None:
        self.target: object = None

    @property
    def __value__(self) -> object:
        if self.target is None:
            raise NameError("name 'Later' is not defined")
        return self.target


def test_an_alias_of_something_absent_refuses_nothing_until_it_is_there() -> None:
    alias = LateAlias()
    known = known_of(alias)
    assert decode(b'"2024-01-02"', alias, known=known) == "2024-01-02"
    alias.target = date
    assert decode(b'"2024-01-02"', alias, known=known) == date(2024, 1, 2)


def test_an_alias_may_name_itself() -> None:
    alias = LateAlias()
    alias.target = list[alias] | date  # type: ignore[valid-type]
    assert decode(b'["2024-01-02",[]]', alias, known=known_of(alias)) == [date(2024, 1, 2), []]


# registered -----------------------------------------------------------------------------------------------------------


class Temperature:
    def __init__(self, kelvin: float) -> None:
        self.kelvin = kelvin


class Version:
    def __init__(self, *parts: int) -> None:
        self.parts = parts

    def __wdk_serialize__(self) -> object:
        return self.parts

    @classmethod
    def __wdk_deserialize__(cls, parts: tuple[int, ...]) -> Version:
        return cls(*parts)


class Spot:
    """Says as in `vercel.workflow` how it is recorded."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def _workflow_serialize(self) -> object:
        return {"x": self.x, "y": self.y}

    @classmethod
    def _workflow_deserialize(cls, data: dict[str, int]) -> Spot:
        return cls(**data)


@pytest.fixture
def registered() -> Any:
    """What a test registers for the process is taken back."""
    before = len(registration._registered)
    yield
    del registration._registered[before:]


@pytest.mark.usefixtures("registered")
def test_a_registered_class_needs_no_annotation() -> None:
    known_before = Workflows()
    known_before.known  # noqa: B018 -- an app that has looked once looks again

    @serializable
    @dataclass
    class Plain:
        at: date

    @serializable(class_id="tests/level")
    class Stage(Enum):
        ONE = 1

    register_serializable(Temperature, lambda value: {"k": (value.kelvin,)}, lambda body: Temperature(*body["k"]))
    register_serializable(Version)
    register_serializable(Spot, class_id="spot")
    for app in (known_before, Workflows()):
        assert back(Plain(date(2024, 1, 2)), Any, app.known) == Plain(date(2024, 1, 2))
        assert encode(Stage.ONE, known=app.known) == b'{"$type":"tests/level","$value":"ONE"}'
        assert back({"s": Stage.ONE}, Any, app.known) == {"s": Stage.ONE}
        assert back(Temperature(1.5), Any, app.known).kelvin == 1.5
        assert back(Version(1, 2), Any, app.known).parts == (1, 2)
        assert encode(Spot(1, 2), known=app.known) == b'{"$type":"spot","$value":{"x":1,"y":2}}'
        assert back(Spot(1, 2), Any, app.known).y == 2


def test_a_class_registered_with_one_app_is_known_to_that_app_alone() -> None:
    app = Workflows()
    app.register_serializable(Temperature, serialize=lambda t: t.kelvin, deserialize=Temperature)
    assert back(Temperature(2.0), Any, app.known).kelvin == 2.0
    with pytest.raises(SerializationError, match=r"Temperature cannot be recorded.*register_serializable"):
        encode(Temperature(2.0), known=Workflows().known)


def test_bad_registrations_are_refused_where_they_are_made() -> None:
    with pytest.raises(TypeError, match="takes a class, not 3"):
        register_serializable(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Temperature: give both serialize= and deserialize=, or neither"):
        register_serializable(Temperature, lambda value: value)
    known = KnownTypes()
    with pytest.raises(TypeError, match="Temperature is no dataclass, enum, named tuple or pydantic model"):
        known.register(Temperature)
    known.register(Color, class_id="color")
    with pytest.raises(ValueError, match=r"the class id 'color' is .*Color's; give .*Size another"):
        known.register(Size, class_id="color")
    known.register(Color, class_id="color")


def test_two_classes_of_one_name_are_never_taken_for_each_other() -> None:
    def make(default: int) -> Any:
        @dataclass
        class Twin:
            n: int = default

        return Twin

    one, other = make(1), make(2)
    known = known_of(one, other)
    assert back(other(), Any, known) == other()
    with pytest.raises(
        SerializationError, match=r"two classes are called .*Twin in records; give one of them a class_id"
    ):
        encode(one(), known=known)


def test_what_a_deserialize_raises_is_a_serialization_error_with_its_cause() -> None:
    known = KnownTypes()
    known.register(Temperature, serialize=lambda t: t.kelvin, deserialize=lambda _: 1 / 0)
    with pytest.raises(SerializationError, match="ZeroDivisionError: division by zero") as caught:
        decode(encode(Temperature(1.0), known=known), known=known)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    known.register(Temperature, serialize=lambda t: {}[t.kelvin], deserialize=Temperature)
    with pytest.raises(SerializationError, match=r"value\[0\]: a Temperature cannot be recorded: KeyError") as caught:
        encode([Temperature(1.0)], known=known)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_app_that_shares_what_another_knows_reads_its_records() -> None:
    known = known_of(Order, Customer)
    twin = known.copy()
    twin.merge(known_of(Point))
    assert decode(encode([ORDER, SEEN], known=known), known=twin) == [ORDER, SEEN]
    assert back(Point(1), Any, twin) == Point(1)
    with pytest.raises(SerializationError):
        encode(Point(1), known=known)
