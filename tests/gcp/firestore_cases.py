"""What one may ask of Firestore, case by case. Each case gives what it saw as plain data, so that two servers can be
compared: values, the order of results, error codes, and of times only how they stand to each other.

`firestore_answers.json` has what Google's emulator (1.19.9) says. Where the emulator is found,
`python -m tests.gcp.firestore_cases` writes it again.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1 import DocumentSnapshot, FieldFilter, GeoPoint
from google.cloud.firestore_v1.base_query import And, Or
from google.cloud.firestore_v1.field_path import FieldPath

from wdk_gcp.testing.firestore import named_by_environment

Case = Callable[[firestore.Client], Any]

CASES: dict[str, Case] = {}
ANSWERS = Path(__file__).with_name("firestore_answers.json")
NAME = FieldPath.document_id()


def case(made: Case) -> Case:
    CASES[made.__name__] = made
    return made


def asked(address: str, case: Case) -> Any:
    """What a case sees at this server, in a project of its own."""
    with named_by_environment(address):
        client = firestore.Client(f"case-{uuid4().hex[:12]}", AnonymousCredentials())
    try:
        return json.loads(json.dumps(case(client)))
    finally:
        client._firestore_api.transport.close()


def said(ask: Callable[[], Any]) -> Any:
    """What came of it: the code of an error, the content of a snapshot, the ids of a query."""
    try:
        answer = ask()
    except GoogleAPICallError as error:
        return error.grpc_status_code.name if error.grpc_status_code else error.code
    if isinstance(answer, DocumentSnapshot):
        return plain(answer.to_dict())
    return "done"


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return f"double {value!r}"
    if isinstance(value, datetime) and value != WHEN and value != WHEN - timedelta(days=1):
        return f"time, to the millisecond: {value.microsecond % 1000 == 0}"
    if isinstance(value, (datetime, bytes)):
        return str(value)
    if isinstance(value, firestore.DocumentReference):
        return f"-> {value.path}"
    if isinstance(value, GeoPoint):
        return f"at {value.latitude} {value.longitude}"
    return value


def ids(query: Any) -> Any:
    try:
        return [found.reference.path for found in query.stream(retry=None)]
    except GoogleAPICallError as error:
        return error.grpc_status_code.name if error.grpc_status_code else error.code
    except ValueError as error:
        return f"refused by the client: {error}"


def fill(client: firestore.Client, contents: dict[str, dict[str, Any]]) -> None:
    batch = client.batch()
    for path, content in contents.items():
        batch.set(client.document(path), content)
    batch.commit()


def option(client: firestore.Client, **kwargs: Any) -> Any:
    return client.write_option(**kwargs)


# --- writes ----------------------------------------------------------------------------------------------------------


@case
def create(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    return [
        said(lambda: ref.create({"by": "first"})),
        said(lambda: ref.create({"by": "second"})),
        said(ref.get),
        said(lambda: client.document("runs/b").get()),
    ]


@case
def set_replaces_and_merges(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    ref.set({"a": 1, "b": {"c": 2, "d": 3}})
    seen = [said(ref.get)]
    ref.set({"b": {"c": 4}}, merge=True)
    seen.append(said(ref.get))
    ref.set({"b": {"e": 5}, "x": 6}, merge=["b"])
    seen.append(said(ref.get))
    ref.set({"z": 7})
    seen.append(said(ref.get))
    client.document("runs/new").set({"m": {"n": 1}}, merge=True)
    seen.append(said(client.document("runs/new").get))
    client.document("runs/empty").set({}, merge=True)
    seen.append(said(client.document("runs/empty").get))
    return seen


@case
def update_needs_the_document(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    seen = [said(lambda: ref.update({"a": 1})), said(ref.get)]
    ref.set({"a": 1, "b": {"c": 2, "d": 3}, "odd name!": 1})
    ref.update({"b.c": 9, "n.e.w": True, "a": firestore.DELETE_FIELD, "`odd name!`": 2})
    seen.append(said(ref.get))
    ref.update({"b.c": firestore.DELETE_FIELD, "none": firestore.DELETE_FIELD})
    seen.append(said(ref.get))
    ref.update({"b": {"only": 1}})
    seen.append(said(ref.get))
    return seen


@case
def update_times_as_preconditions(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    first = ref.create({"n": 1}).update_time
    second = ref.update({"n": 2}).update_time
    return [
        first < second,
        ref.get().update_time == second,
        ref.get().create_time == first,
        said(lambda: ref.update({"n": 3}, option(client, last_update_time=first))),
        said(ref.get),
        said(lambda: ref.update({"n": 3}, option(client, last_update_time=second))),
        said(ref.get),
        said(lambda: ref.delete(option(client, last_update_time=second))),
        said(lambda: client.document("runs/none").update({"n": 3}, option(client, last_update_time=second))),
        said(lambda: client.document("runs/none").delete(option(client, last_update_time=second))),
        said(lambda: ref.delete(option(client, last_update_time=ref.get().update_time))),
        said(ref.get),
    ]


@case
def a_write_that_changes_nothing(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    first = ref.set({"n": 1, "m": {"k": [1, 2]}}).update_time
    same = ref.set({"n": 1, "m": {"k": [1, 2]}}).update_time
    updated = ref.update({"n": 1}).update_time
    floated = ref.update({"n": 1.0}).update_time
    return [same == first, updated == first, floated == first, ref.get().update_time == first, said(ref.get)]


@case
def exists_as_precondition(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    return [
        said(lambda: ref.delete(option(client, exists=True))),
        said(ref.delete),
        said(lambda: ref.create({"n": 1})),
        said(lambda: ref.delete(option(client, exists=False))),
        said(lambda: ref.delete(option(client, exists=True))),
        said(lambda: ref.delete(option(client, exists=False))),
    ]


@case
def batches_are_atomic(client: firestore.Client) -> Any:
    client.document("runs/there").create({"n": 0})

    def commit(*paths: str) -> Any:
        batch = client.batch()
        for number, path in enumerate(paths):
            batch.create(client.document(path), {"n": number})
        return said(batch.commit)

    seen = [commit("runs/a", "runs/there", "runs/b"), ids(client.collection("runs"))]
    seen += [commit("runs/a", "runs/b"), ids(client.collection("runs"))]
    seen += [commit("runs/c", "runs/c"), ids(client.collection("runs"))]
    batch = client.batch()
    batch.create(client.document("runs/d"), {"n": 1})
    batch.update(client.document("runs/d"), {"m": 2})
    batch.delete(client.document("runs/a"))
    results = batch.commit()
    return [
        *seen,
        len(results),
        said(client.document("runs/d").get),
        ids(client.collection("runs")),
        said(client.batch().commit),
    ]


@case
def times_of_a_batch(client: firestore.Client) -> Any:
    def commit(*paths: str) -> Any:
        batch = client.batch()
        for path in paths:
            batch.set(client.document(path), {"n": path})
        results = batch.commit()
        return [result.update_time for result in results], batch.commit_time

    (first, second), one = commit("runs/a", "runs/b")
    (third,), two = commit("runs/c")
    snapshot = client.document("runs/a").get()
    return [first == second == one, one < third == two, snapshot.create_time == one, snapshot.read_time >= two]


@case
def a_document_that_comes_back_is_new(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    first = ref.create({"n": 1}).update_time
    ref.delete()
    second = ref.create({"n": 1}).update_time
    return [
        first < second,
        ref.get().create_time == second,
        said(lambda: ref.update({"n": 2}, option(client, last_update_time=first))),
    ]


@case
def deleted_and_written_in_one_batch(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    first = ref.create({"n": 1}).update_time
    batch = client.batch()
    batch.delete(ref)
    batch.set(ref, {"n": 1})
    results = batch.commit()
    there = ref.get()
    return [
        there.create_time > first,
        there.update_time > first,
        [result.update_time == there.update_time for result in results],
    ]


@case
def transforms(client: firestore.Client) -> Any:
    ref = client.document("runs/a")
    made = ref.set({"n": 1, "l": [1, 2], "f": 1.5, "s": "x"})
    ref.update(
        {
            "n": firestore.Increment(2),
            "l": firestore.ArrayUnion([2, 3, 1.0]),
            "f": firestore.Increment(1),
            "s": firestore.Increment(5),
            "new": firestore.Increment(7),
        }
    )
    seen = [said(ref.get)]
    ref.update(
        {
            "n": firestore.Maximum(10),
            "f": firestore.Minimum(-1),
            "l": firestore.ArrayRemove([1, 9]),
            "m": firestore.Maximum(3),
        }
    )
    seen.append(said(ref.get))
    result = ref.set({"at": firestore.SERVER_TIMESTAMP, "in": {"at": firestore.SERVER_TIMESTAMP}}, merge=True)
    content = ref.get().to_dict()
    seen += [
        content["at"] == content["in"]["at"],
        content["at"] > made.update_time - timedelta(milliseconds=1),
        len(result.transform_results),
    ]
    client.document("runs/c").create({"at": firestore.SERVER_TIMESTAMP})
    seen.append(list(client.document("runs/c").get().to_dict()))
    ref.set({"n": 2**63 - 1, "o": 2.0})
    result = ref.update({"n": firestore.Increment(5), "o": firestore.Maximum(2)})
    return [*seen, said(ref.get), said(lambda: client.document("runs/none").update({"n": firestore.Increment(1)}))]


@case
def writes_one_by_one(client: firestore.Client) -> Any:
    client.document("runs/there").create({"n": 0})
    api = client._firestore_api
    name = f"{client._database_string}/documents/runs"
    fields = {"n": {"integer_value": 1}}
    writes = [
        {"update": {"name": f"{name}/a", "fields": fields}},
        {"update": {"name": f"{name}/there", "fields": fields}, "current_document": {"exists": False}},
        {"update": {"name": f"{name}/none", "fields": fields}, "current_document": {"exists": True}},
        {"delete": f"{name}/b"},
    ]
    owner = [("authorization", "Bearer owner")]  # the emulator wants to know that its rules do not count here
    answer = api.batch_write(request={"database": client._database_string, "writes": writes}, metadata=owner)
    twice = {"database": client._database_string, "writes": [writes[0], writes[0]]}
    return [
        [status.code for status in answer.status],
        [result.update_time is not None for result in answer.write_results],
        ids(client.collection("runs")),
        said(lambda: api.batch_write(request=twice, metadata=owner)),
    ]


# --- limits, names ---------------------------------------------------------------------------------------------------


@case
def names(client: firestore.Client) -> Any:
    tried = [".", "..", "__x__", "__x", "x" * 1500, "x" * 1501, "ä b\n%", "a\u0000", "\U0001f600", "__id12__", "%2F"]
    return [said(lambda name=name: client.document("runs", name).create({})) for name in tried]


@case
def numeric_names_come_first(client: firestore.Client) -> Any:
    fill(client, {f"runs/{name}": {"n": 1} for name in ("a", "0", "__id10__", "__id9__", "__", "_a", "Z")})
    runs = client.collection("runs")
    return [ids(runs), ids(runs.where(filter=FieldFilter(NAME, ">", client.document("runs/__id9__"))))]


@case
def collection_names(client: firestore.Client) -> Any:
    return [said(lambda name=name: client.document(name, "a").create({})) for name in ("__x__", ".", "x" * 1501, "ä")]


@case
def sizes(client: firestore.Client) -> Any:
    def put(size: int) -> Any:
        return said(lambda: client.document("runs/a").set({"data": b"x" * size}))

    # 32 for the document, 16 more than its ids for the name, and the field's name: as documented
    room = (1 << 20) - 32 - (len("runs") + 1 + len("a") + 1 + 16) - (len("data") + 1)
    return [put(room - 100), put(room + 200)]


@case
def shapes_that_are_refused(client: firestore.Client) -> Any:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = {"m": value}
        return value

    ref = client.document("runs/a")
    return [
        said(lambda: ref.set({"a": [[1]]})),
        said(lambda: ref.set({"a": [{"b": [1]}]})),
        said(lambda: ref.set({"a": nested(18)})),
        said(lambda: ref.set({"a": nested(25)})),
        said(lambda: ref.set({"__a__": 1})),
        said(lambda: ref.set({"x" * 1501: 1})),
    ]


@case
def many_writes(client: firestore.Client) -> Any:
    batch = client.batch()
    for number in range(600):
        batch.set(client.document(f"runs/{number:03}"), {"n": number})
    return [said(batch.commit), len(ids(client.collection("runs")))]


@case
def other_databases(client: firestore.Client) -> Any:
    with named_by_environment(client._emulator_host):
        other = firestore.Client(client.project, database="other", credentials=client._credentials)
    other.document("runs/a").create({"n": 1})
    seen = [said(client.document("runs/a").get), said(other.document("runs/a").get), ids(client.collection("runs"))]
    other._firestore_api.transport.close()
    return seen


# --- reads -----------------------------------------------------------------------------------------------------------

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def values(client: firestore.Client) -> dict[str, Any]:
    return {
        "null": None, "false": False, "true": True, "nan": math.nan, "minus infinity": -math.inf, "least": -(2**63),
        "minus zero": -0.0, "zero": 0, "one": 1, "one float": 1.0, "one and a half": 1.5, "most": 2**63 - 1, "infinity": math.inf,
        "early": WHEN - timedelta(days=1), "late": WHEN, "no text": "", "A": "A", "a": "a", "aa": "aa", "umlaut": "ä",
        "last plane": "\uffff", "emoji": "\U0001f600", "no bytes": b"", "byte 1": b"\x01", "byte 255": b"\xff",
        "reference a": client.document("runs/a"), "reference b": client.document("runs/b/steps/c"), "reference c": client.document("other/z"),
        "place": GeoPoint(1.0, 2.0), "place 2": GeoPoint(1.0, 3.0), "empty list": [], "list 1": [1], "list 1 2": [1, 2], "list 2": [2],
        "empty map": {}, "map a": {"a": 1}, "map a2": {"a": 2}, "map ab": {"a": 1, "b": 1}, "map b": {"b": 0},
    }  # fmt: skip


@case
def values_come_back(client: firestore.Client) -> Any:
    client.document("runs/a").set(values(client))
    return sorted(client.document("runs/a").get().to_dict()), said(client.document("runs/a").get)


@case
def values_in_order(client: firestore.Client) -> Any:
    fill(client, {f"runs/{name}": {"v": value} for name, value in values(client).items()} | {"runs/absent": {"w": 1}})
    runs = client.collection("runs")
    return [ids(runs.order_by("v")), ids(runs.order_by("v", direction="DESCENDING")), ids(runs)]


@case
def filters_by_value(client: firestore.Client) -> Any:
    found = values(client)
    fill(client, {f"runs/{name}": {"v": value} for name, value in found.items()} | {"runs/absent": {"w": 1}})
    runs = client.collection("runs")
    asked = [
        "true",
        "zero",
        "minus zero",
        "one",
        "one and a half",
        "late",
        "a",
        "umlaut",
        "byte 1",
        "reference a",
        "place",
        "list 1",
        "map a",
        "empty map",
    ]
    return {
        f"{op} {name}": ids(runs.where(filter=FieldFilter("v", op, found[name])))
        for name in asked
        for op in ("==", "<", "<=", ">", ">=", "!=")
    }


@case
def filters_of_other_kinds(client: firestore.Client) -> Any:
    fill(client, {f"runs/{name}": {"v": value, "m": {"deep": value}} for name, value in values(client).items()})
    fill(client, {"runs/absent": {"w": 1}, "runs/list of lists": {"v": [{"a": [1]}, "x", None, math.nan]}})
    runs = client.collection("runs")
    asked: list[tuple[str, str, Any]] = [
        ("v", "==", None), ("v", "!=", None), ("v", "==", math.nan), ("v", "!=", math.nan), ("v", "in", [1, "a", None]),
        ("v", "in", [[1], {"a": 1}]), ("v", "not-in", [1, "a"]), ("v", "not-in", [1, None]), ("v", "array_contains", 1),
        ("v", "array_contains", "x"), ("v", "array_contains", {"a": [1]}), ("v", "array_contains_any", [2, "x"]), ("m.deep", "==", 1),
        ("m.deep", ">", 0), ("v", "in", []), ("v", "not-in", []), ("v", "in", list(range(31))), ("v", "<", None), ("v", ">", math.nan),
        ("v.a", "==", 1), ("none", "==", 1),
    ]  # fmt: skip
    seen: dict[str, Any] = {}
    for field, op, value in asked:
        try:
            query = runs.where(filter=FieldFilter(field, op, value))
        except ValueError as error:
            seen[f"{field} {op} {value}"] = f"refused by the client: {error}"
        else:
            seen[f"{field} {op} {value}"] = ids(query)
    return seen


def people(client: firestore.Client) -> Any:
    rows = [("a", 1, "x"), ("b", 2, "x"), ("c", 2, "y"), ("d", 3, "y"), ("e", 3, "x"), ("f", 1, None)]
    fill(client, {f"runs/{name}": {"n": number, "s": text, "k": {"i": -number}} for name, number, text in rows})
    return client.collection("runs")


@case
def composite_filters(client: firestore.Client) -> Any:
    runs = people(client)
    x, many, few = FieldFilter("s", "==", "x"), FieldFilter("n", ">=", 2), FieldFilter("n", "<", 3)
    return [
        ids(runs.where(filter=x).where(filter=many)),
        ids(runs.where(filter=And([x, many, few]))),
        ids(runs.where(filter=Or([x, FieldFilter("n", "==", 3)]))),
        ids(runs.where(filter=Or([x, many]))),
        ids(runs.where(filter=And([many, Or([x, FieldFilter("s", "==", "y")])]))),
        ids(runs.where(filter=FieldFilter("n", ">", 1)).where(filter=FieldFilter("s", ">", "a"))),
        ids(runs.where(filter=many).order_by("s")),
        ids(runs.where(filter=many).order_by("s").order_by("n", direction="DESCENDING")),
        ids(runs.where(filter=FieldFilter("n", "!=", 2)).order_by("n", direction="DESCENDING")),
        ids(runs.where(filter=x).order_by("n", direction="DESCENDING")),
        ids(runs.where(filter=FieldFilter("n", "in", [3, 1])).order_by("s")),
    ]


@case
def filters_that_do_not_go_together(client: firestore.Client) -> Any:
    runs = people(client)

    def both(one: tuple[str, Any], other: tuple[str, Any]) -> Any:
        return ids(runs.where(filter=And([FieldFilter("n", *one), FieldFilter("n", *other)])))

    has, has_any = ("array_contains", 1), ("array_contains_any", [1])
    return [
        both(("!=", 1), ("!=", 1)),
        both(("!=", 1), ("!=", 2)),
        both(("not-in", [1]), ("!=", 2)),
        both(("not-in", [1]), ("not-in", [1])),
        both(("not-in", [1]), ("in", [2])),
        both(("not-in", [1]), has_any),
        both(has, has),
        both(has, ("array_contains", 2)),
        both(has, has_any),
        both(("in", [1, 2]), ("in", [2, 3])),
        both(("in", [1, 2]), has_any),
        both(("in", [1, 2]), ("!=", 1)),
    ]


@case
def orders(client: firestore.Client) -> Any:
    runs = people(client)
    down = "DESCENDING"
    return [
        ids(runs.order_by("n")),
        ids(runs.order_by("n", direction=down)),
        ids(runs.order_by("n").order_by("s", direction=down)),
        ids(runs.order_by("n").order_by(NAME, direction=down)),
        ids(runs.order_by(NAME, direction=down)),
        ids(runs.order_by("k.i")),
        ids(runs.order_by("none")),
        ids(runs.order_by("n").limit(2)),
        [found.id for found in runs.order_by("n").limit_to_last(2).get()],
        ids(runs.order_by("n").offset(1).limit(2)),
        ids(runs.limit(0)),
        ids(runs.where(filter=FieldFilter("s", "==", "x")).order_by(NAME, direction=down)),
        ids(client.collection_group("runs").order_by(NAME, direction=down)),
        ids(runs.where(filter=FieldFilter("s", "in", ["x", "y"])).order_by(NAME, direction=down)),
        ids(runs.offset(10)),
    ]


@case
def cursors(client: firestore.Client) -> Any:
    runs = people(client)
    by_n = runs.order_by("n")
    down = runs.order_by("n", direction="DESCENDING")
    two = runs.order_by("n").order_by("s")
    snapshot = client.document("runs/c").get()
    return [
        ids(by_n.start_at({"n": 2})), ids(by_n.start_after({"n": 2})), ids(by_n.end_at({"n": 2})), ids(by_n.end_before({"n": 2})),
        ids(down.start_at({"n": 2})), ids(down.start_after({"n": 2})), ids(down.end_at({"n": 2})), ids(down.end_before({"n": 2})),
        ids(two.start_at({"n": 2, "s": "y"})), ids(two.start_after({"n": 2, "s": "x"})), ids(two.start_at([2])), ids(two.start_after([2])),
        ids(by_n.start_at(snapshot)), ids(by_n.start_after(snapshot)), ids(by_n.end_before(snapshot)), ids(down.start_after(snapshot)),
        ids(runs.order_by(NAME).start_after({NAME: client.document("runs/c")})),
        ids(runs.order_by(NAME).start_at({NAME: client.document("runs/bb")}).end_at({NAME: client.document("runs/d")})),
        ids(runs.order_by("n").order_by(NAME).start_after({"n": 2, NAME: client.document("runs/b")}).limit(2)),
        ids(runs.where(filter=FieldFilter("n", ">", 1)).start_after(snapshot)), ids(by_n.start_at({"n": "text"})), ids(by_n.start_at({"n": 1.5})),
        ids(by_n.start_after({"n": 1}).end_before({"n": 3})), ids(by_n.start_after({"n": 3}).end_before({"n": 1})),
    ]  # fmt: skip


@case
def names_in_filters(client: firestore.Client) -> Any:
    runs = people(client)
    ref = client.document
    return [
        ids(runs.where(filter=FieldFilter(NAME, "==", ref("runs/c")))),
        ids(
            runs.where(filter=FieldFilter(NAME, ">=", ref("runs/c"))).where(
                filter=FieldFilter(NAME, "<", ref("runs/e"))
            )
        ),
        ids(runs.where(filter=FieldFilter(NAME, "in", [ref("runs/e"), ref("runs/a"), ref("runs/none")]))),
        ids(runs.where(filter=FieldFilter(NAME, ">", ref("runs/b"))).where(filter=FieldFilter("n", "==", 3))),
        ids(runs.where(filter=FieldFilter(NAME, ">", ref("runs/b"))).order_by(NAME, direction="DESCENDING").limit(2)),
        ids(runs.where(filter=FieldFilter(NAME, "!=", ref("runs/b")))),
        ids(runs.where(filter=FieldFilter(NAME, "==", "text"))),
    ]


@case
def projections(client: firestore.Client) -> Any:
    runs = people(client)

    def contents(query: Any) -> Any:
        return {found.id: plain(found.to_dict()) for found in query.stream()}

    return [
        contents(runs.select([])),
        contents(runs.select(["n"])),
        contents(runs.select(["k.i", "s"]).order_by("n").limit(1)),
        contents(runs.select([NAME]).limit(1)),
        contents(runs.select(["none"]).limit(1)),
        said(lambda: client.document("runs/a").get(["n", "k.i"])),
        said(lambda: client.document("runs/a").get(["none"])),
        said(lambda: client.document("runs/a").get([])),
    ]


@case
def many_by_name(client: firestore.Client) -> Any:
    people(client)
    refs = [client.document(f"runs/{name}") for name in ("c", "none", "a", "c")]
    found = list(client.get_all(refs, ["n"]))
    return [
        sorted((snapshot.id, snapshot.exists, plain(snapshot.to_dict())) for snapshot in found if snapshot.exists),
        [snapshot.id for snapshot in found if not snapshot.exists],
        len(list(client.get_all([]))),
    ]


def tree(client: firestore.Client) -> None:
    paths = [
        "runs/a",
        "runs/a/steps/1",
        "runs/a/steps/2",
        "runs/b/steps/1",
        "runs/b/steps/1/steps/9",
        "steps/0",
        "runs/a/log/1",
        "other/x/deep/y",
    ]
    fill(client, {path: {"n": number} for number, path in enumerate(paths)})


@case
def collections_and_their_groups(client: firestore.Client) -> Any:
    tree(client)
    group = client.collection_group("steps")
    return [
        ids(client.collection("runs")),
        ids(client.collection("runs/a/steps")),
        ids(client.collection("runs/b/steps")),
        ids(client.collection("runs/none/steps")),
        ids(group),
        ids(group.order_by("n", direction="DESCENDING")),
        ids(group.where(filter=FieldFilter("n", ">=", 2)).limit(2)),
        ids(group.where(filter=FieldFilter(NAME, ">=", client.document("runs/b/steps/0")))),
        ids(group.order_by(NAME).start_after({NAME: client.document("runs/a/steps/1")})),
        ids(client.collection_group("none")),
    ]


@case
def lists_of_documents_and_collections(client: firestore.Client) -> Any:
    tree(client)
    return [
        [ref.path for ref in client.collection("runs").list_documents()],
        [ref.path for ref in client.collection("runs").list_documents(page_size=1)],
        [ref.path for ref in client.collection("other").list_documents()],
        [ref.path for ref in client.collection("none").list_documents()],
        sorted(ref.id for ref in client.collections()),
        sorted(ref.id for ref in client.document("runs/a").collections()),
        sorted(ref.id for ref in client.document("runs/none").collections()),
    ]


@case
def a_query_of_everything_below(client: firestore.Client) -> Any:
    tree(client)
    seen: list[Any] = []
    for parent, below in (("", True), ("/runs/a", True), ("/runs/a", False), ("", False)):
        request = {
            "parent": f"{client._database_string}/documents{parent}",
            "structured_query": {"from_": [{"all_descendants": below}]},
        }
        answers = client._firestore_api.run_query(request=request)
        seen.append([answer.document.name.partition("/documents/")[2] for answer in answers if answer.document.name])
    return seen


@case
def counts(client: firestore.Client) -> Any:
    runs = people(client)
    [[found]] = runs.where(filter=FieldFilter("n", ">", 1)).count(alias="many").get()
    [[limited]] = runs.limit(2).count().get()
    return [found.alias, found.value, limited.value]


# --- what the library does not say, or says otherwise -----------------------------------------------------------------


@case
def requests_that_are_refused(client: firestore.Client) -> Any:
    api, database = client._firestore_api, client._database_string
    documents = f"{database}/documents"
    people(client)

    def commit(*writes: Any, **more: Any) -> Any:
        return said(lambda: api.commit(request={"database": database, "writes": writes, **more}))

    def query(**asked: Any) -> Any:
        request = {"parent": documents, "structured_query": {"from_": [{"collection_id": "runs"}], **asked}}
        return said(lambda: list(api.run_query(request=request)))

    def where(op: str, **value: Any) -> Any:
        return query(where={"field_filter": {"field": {"field_path": "n"}, "op": op, "value": value}})

    by_n = {"field": {"field_path": "n"}}
    one = {"integer_value": 1}
    update = {"name": f"{documents}/runs/x", "fields": {"n": one}}
    at = client.document("runs/a").get().update_time
    return [
        commit({}),
        commit({"update": {"name": f"{documents}/runs"}}),
        commit({"update": {"name": "projects/x/w"}}),
        commit({"update": {"name": documents}}),
        commit({"update": {"name": f"{documents}/runs/x", "fields": {"n": {}}}}),
        commit({"update": update}, {"update": update, "current_document": {"exists": False}}),
        commit({"update": update}, {"update": update, "current_document": {"exists": True}}),
        commit({"update": update}, {"update": update, "current_document": {"update_time": at}}),
        commit({"delete": f"{documents}/runs/x"}, {"update": update, "current_document": {"exists": False}}),
        commit({"delete": f"{documents}/runs/x"}, {"update": update, "current_document": {"exists": True}}),
        commit({"update": update, "update_mask": {"field_paths": ["n..m"]}}),
        commit({"update": update, "update_mask": {"field_paths": ["`n"]}}),
        commit({"update": update, "update_mask": {"field_paths": [""]}}),
        commit({"update": update, "update_transforms": [{"field_path": "n"}]}),
        query(start_at={"values": [one]}),
        query(order_by=[by_n], start_at={"values": [one] * 3}),
        query(limit=-1),
        query(offset=-1),
        where("IN", array_value={}),
        where("IN", integer_value=1),
        where("NOT_IN", array_value={"values": [one] * 11}),
        where("ARRAY_CONTAINS_ANY", array_value={"values": [one] * 31}),
        where("EQUAL"),
        said(lambda: list(api.batch_get_documents(request={"database": database, "documents": [f"{documents}/runs"]}))),
    ]


@case
def the_largest_values(client: firestore.Client) -> Any:
    def put(**fields: Any) -> Any:
        return said(lambda: client.document("runs/a").set(fields))

    most = (1 << 20) - 89
    return [
        put(data=b"x" * most),
        put(data=b"x" * (most + 1)),
        put(data="x" * most),
        put(data="x" * (most + 1)),
        put(data={"m": b"x" * (most + 1)}),
        put(a=b"x" * (most // 2), b=b"x" * (most // 2 + 200)),
    ]


def wander(client: firestore.Client, seed: int, steps: int) -> list[Any]:
    """Random commits of a few documents, with masks, preconditions and transforms, and random queries of them."""
    chance = Random(seed)
    api, database = client._firestore_api, client._database_string
    times: list[dict[str, Any]] = [{}]
    seen: list[Any] = []
    for _ in range(steps):
        writes, touched = _random_writes(chance, f"{database}/documents/", times)
        try:
            answer = api.commit(request={"database": database, "writes": writes})
        except GoogleAPICallError as error:
            came: Any = error.grpc_status_code.name if error.grpc_status_code else error.code
        else:
            results = list(answer.write_results)
            new = {
                name: result.update_time for name, result in zip(touched, results, strict=True) if result.update_time
            }
            times.append({**times[-1], **new})
            changed = [result.update_time == answer.commit_time for result in results]
            came = [changed, [[plain_value(value) for value in result.transform_results] for result in results]]
        seen.append([came, _random_query(chance, client)])
    everything = [*client.collection("runs").stream(), *client.collection_group("steps").stream()]
    return [*seen, {found.reference.path: plain(found.to_dict()) for found in everything}]


def plain_value(value: Any) -> Any:
    kind = type(value).pb(value).WhichOneof("value_type")
    return kind if kind == "timestamp_value" else f"{kind} {getattr(value, kind)}"


def _random_value(chance: Random) -> dict[str, Any]:
    return chance.choice([
        {"integer_value": chance.randrange(4)}, {"double_value": chance.choice([0.0, 1.0, 1.5, math.nan])}, {"string_value": chance.choice("ab")},
        {"null_value": 0}, {"boolean_value": True}, {"bytes_value": b"x"},
        {"array_value": {"values": [{"integer_value": chance.randrange(3)} for _ in range(chance.randrange(3))]}},
        {"map_value": {"fields": {chance.choice("de"): {"integer_value": chance.randrange(3)} for _ in range(chance.randrange(3))}}},
    ])  # fmt: skip


def _random_writes(chance: Random, prefix: str, times: list[dict[str, Any]]) -> tuple[list[Any], list[str]]:
    writes: list[Any] = []
    touched: list[str] = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        path = chance.choice(["runs/a", "runs/b", "runs/c", "runs/a/steps/1", "runs/b/steps/1", "steps/1"])
        write: dict[str, Any] = {"delete": prefix + path}
        if chance.random() < 0.8:
            fields = {name: _random_value(chance) for name in chance.sample(["a", "b", "c"], chance.randrange(3))}
            write = {"update": {"name": prefix + path, "fields": fields}}
            if chance.random() < 0.5:
                write["update_mask"] = {"field_paths": chance.sample(["a", "b", "c", "c.d"], chance.randrange(4))}
            if chance.random() < 0.3:
                write["update_transforms"] = [_random_transform(chance) for _ in range(chance.choice([1, 2]))]
        kind = chance.choice(["none", "none", "there", "absent", "now", "then"])
        known = chance.choice(times[-3:]) if kind == "then" else times[-1]
        if kind in ("there", "absent"):
            write["current_document"] = {"exists": kind == "there"}
        elif kind != "none" and path in known:
            write["current_document"] = {"update_time": known[path]}
        writes.append(write)
        touched.append(path)
    return writes, touched


def _random_transform(chance: Random) -> dict[str, Any]:
    number = chance.choice([{"integer_value": 2}, {"double_value": 0.5}, {"integer_value": 2**63 - 1}])
    some = {"values": [{"integer_value": chance.randrange(3)} for _ in range(2)]}
    what = chance.choice([
        {"increment": number}, {"maximum": number}, {"minimum": number}, {"append_missing_elements": some}, {"remove_all_from_array": some},
        {"set_to_server_value": 1},
    ])  # fmt: skip
    return {"field_path": chance.choice(["a", "b", "c.d"]), **what}


def _random_query(chance: Random, client: firestore.Client) -> Any:
    query: Any = client.collection("runs") if chance.random() < 0.7 else client.collection_group("steps")
    for _ in range(chance.randrange(3)):
        value = chance.choice([0, 1, 1.0, 1.5, "a", True, [1], {"d": 1}, b"x"])
        op = chance.choice(["==", "<", "<=", ">", ">=", "!=", "in", "not-in", "array_contains"])
        query = query.where(
            filter=FieldFilter(chance.choice(["a", "b", "c.d"]), op, [value, 2] if op in ("in", "not-in") else value)
        )
    for field in chance.sample(["a", "b", "c.d"], chance.choice([0, 0, 1, 2])):
        query = query.order_by(field, direction=chance.choice(["ASCENDING", "DESCENDING"]))
    if chance.random() < 0.3:
        query = query.limit(2)
    return ids(query)


def record() -> None:
    from tests.gcp.emulator import emulator_running, found

    if not found():
        sys.exit("Google's Firestore emulator is not on this machine")
    with tempfile.TemporaryDirectory() as folder, emulator_running(Path(folder)) as address:
        lines = [
            f"{json.dumps(name)}: {json.dumps(asked(address, case), sort_keys=True)}" for name, case in CASES.items()
        ]
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    record()
