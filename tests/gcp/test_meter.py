"""The meter at Google's clients counts what the servers count, on every kind of call that a world makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions, retry

from tests.gcp.metering import Scales
from wdk_gcp.testing import CloudKmsServer, CloudStorageServer, CloudTasksServer, FirestoreServer, Mischief
from wdk_gcp.testing.meter import TASK_CHUNK, Call

LOCATION = "projects/p/locations/l"
AGAIN = retry.Retry(predicate=retry.if_exception_type(exceptions.ServiceUnavailable), initial=0.001, timeout=5.0)


@pytest.fixture
def scales() -> Iterator[Scales]:
    found = Scales()
    yield found
    found.finish()


@pytest.fixture(scope="module")
def firestore() -> Iterator[FirestoreServer]:
    with FirestoreServer(mischief=Mischief()) as server:
        yield server


@pytest.fixture
def documents(scales: Scales, firestore: FirestoreServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    client: Any = scales.on_firestore(firestore.client(f"meter-{request.node.name[:20]}"))
    yield client
    client._firestore_api.transport.close()


def counted(scales: Scales) -> list[tuple[str, int, int, int, str]]:
    return [(call.operation, call.reads, call.writes, call.deletes, call.error) for call in scales.calls()]


def test_writes_and_deletes_are_counted_where_they_are_done(scales: Scales, documents: Any) -> None:
    one = documents.document("a/1")
    one.create({"x": 1})
    with pytest.raises(exceptions.AlreadyExists):
        one.create({"x": 1})
    with pytest.raises(exceptions.NotFound):
        documents.document("a/2").update({"x": 2})
    batch = documents.batch()
    batch.set(documents.document("a/3"), {"x": 3})
    batch.delete(one)
    batch.delete(documents.document("a/none"))
    batch.commit()
    assert counted(scales) == [
        ("Commit", 0, 1, 0, ""),
        ("Commit", 0, 0, 0, "ALREADY_EXISTS"),
        ("Commit", 0, 0, 0, "NOT_FOUND"),
        ("Commit", 0, 1, 2, ""),
    ]
    assert [call.target for call in scales.calls()] == ["a/1", "a/1", "a/2", "a/3, a/1, a/none"]
    assert scales.agreed == {"firestore.Commit": 4}


def test_reads_are_of_what_is_asked_for_by_name_and_of_what_a_query_finds(scales: Scales, documents: Any) -> None:
    for number in range(3):
        documents.document(f"b/{number}").set({"x": number})
    scales.clear()
    assert documents.document("b/0").get().exists
    assert not documents.document("b/none").get().exists
    assert len(list(documents.get_all([documents.document(f"b/{name}") for name in (0, 1, 1, 9)]))) == 3
    assert len(list(documents.collection("b").stream())) == 3
    assert len(list(documents.collection("b").order_by("x").offset(1).limit(1).stream())) == 1
    assert list(documents.collection("empty").stream()) == []
    assert [call.reads for call in scales.calls()] == [1, 1, 3, 3, 2, 1]
    assert scales.agreed["firestore.RunQuery"] == 3
    assert scales.agreed["firestore.BatchGetDocuments"] == 3


def test_a_request_that_the_library_repeats_counts_as_often_as_it_is_sent(
    scales: Scales, documents: Any, firestore: FirestoreServer
) -> None:
    firestore.mischief.plan("Commit", "unavailable", "lost")
    with pytest.raises(exceptions.AlreadyExists):  # by its own first attempt, whose answer was lost
        documents.document("c/1").create({"x": 1}, retry=AGAIN)
    assert [error for *_, error in counted(scales)] == ["UNAVAILABLE", "UNAVAILABLE", "ALREADY_EXISTS"]


def test_what_nobody_can_price_is_an_error(documents: Any) -> None:
    with pytest.raises(NotImplementedError, match="cannot price ListCollectionIds"):
        list(documents.collections())


def test_objects_are_counted_by_the_methods_that_their_classes_are_stated_for(scales: Scales) -> None:
    with CloudStorageServer() as server:
        client = scales.on_storage(server.client())
        bucket = client.create_bucket("meter")
        bucket.blob("a/1").upload_from_string(b"x")
        assert bucket.blob("a/1").download_as_bytes() == b"x"
        assert not bucket.blob("none").exists()
        assert [blob.name for blob in bucket.list_blobs()] == ["a/1"]
        bucket.copy_blob(bucket.blob("a/1"), bucket, "a/2")
        bucket.blob("a/2").delete()
        client.close()
    # The library asks for the bucket in the background, once: the clients of a world do not.
    names = [call.name.removeprefix("storage.") for call in scales.calls() if call.operation != "buckets.get"]
    assert [name for name in names if name != "buckets.post"] == [
        *("objects.insert", "objects.get", "objects.get", "objects.list", "objects.rewrite", "objects.delete"),
    ]
    assert {call.target: call.error for call in scales.calls() if call.operation == "objects.get"} == {
        "a/1": "",
        "none": "404",
    }


@pytest.mark.parametrize(("size", "charged"), [(10, 1), (TASK_CHUNK - 400, 1), (TASK_CHUNK, 2), (2 * TASK_CHUNK, 3)])
def test_a_task_is_charged_for_each_32_kb(scales: Scales, size: int, charged: int) -> None:
    queue = f"{LOCATION}/queues/q"
    with CloudTasksServer() as server:
        client: Any = scales.on_tasks(server.client())
        client.create_queue(parent=LOCATION, queue={"name": queue})
        client.pause_queue(name=queue)
        scales.clear()
        client.create_task(parent=queue, task={"http_request": {"url": "http://127.0.0.1:1/", "body": b"x" * size}})
        assert scales.calls() == [Call("tasks", "CreateTask", queue, requests=charged)]
        assert server.calls["CreateTask"] == 1
        client.transport.close()


def test_keys_are_counted_by_what_is_asked_of_them(scales: Scales) -> None:
    key = f"{LOCATION}/keyRings/r/cryptoKeys/k"
    with CloudKmsServer() as server:
        server.create(key)
        client = scales.on_kms(server.client())
        client.encrypt(name=key, plaintext=b"x")
        client.transport.close()
        assert server.calls == {"Encrypt": 1}
    assert scales.calls() == [Call("kms", "Encrypt", key)]


def test_a_call_that_differs_from_what_the_server_says_is_told() -> None:
    scales = Scales()
    with pytest.raises(AssertionError, match="the server says 1 reads, 0 writes, 0 deletes"):
        scales._compare(Call("firestore", "RunQuery", reads=2), {"wdk-charged": "1 reads, 0 writes, 0 deletes"})
    with pytest.raises(AssertionError):
        scales.finish()
