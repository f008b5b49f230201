"""The Cloud Storage of `wdk_gcp.testing`, asked by the library's own client."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from wdk_cloud.world.clock import VirtualClock
from wdk_gcp.testing import CloudStorageServer, Mischief
from wdk_gcp.testing.objects import Buckets, Conditions, Failed

START = 1_767_225_600.0  # where a VirtualClock begins


@pytest.fixture
def server() -> Iterator[CloudStorageServer]:
    with CloudStorageServer(clock=VirtualClock()) as server:
        yield server


@pytest.fixture
def bucket(server: CloudStorageServer) -> Iterator[storage.Bucket]:
    client = server.client()
    yield client.create_bucket("runs")
    client.close()


def test_an_object_comes_back_as_it_was_put(bucket: storage.Bucket) -> None:
    content = bytes(range(256)) * 40 + b"\r\n--==\r\n\r\n"
    blob = bucket.blob("a run/ä/0")
    blob.metadata = {"first": "0", "count": "12"}
    blob.upload_from_string(content, content_type="application/x-chunks", if_generation_match=0)
    again = bucket.get_blob("a run/ä/0")
    assert (again.size, again.content_type) == (len(content), "application/x-chunks")
    assert again.metadata == {"first": "0", "count": "12"}
    assert (again.generation, again.metageneration) == (int(START * 1e6), 1)
    read = bucket.blob("a run/ä/0")
    assert read.download_as_bytes() == content
    assert (read.generation, read.crc32c) == (again.generation, again.crc32c)


def test_generations_rise_though_the_clock_stands_still(bucket: storage.Bucket) -> None:
    found: list[int] = []
    for _ in range(3):
        blob = bucket.blob("one")
        blob.upload_from_string(b"x")
        found.append(blob.generation)
    assert found == [int(START * 1e6) + more for more in range(3)]


def test_an_object_is_created_only_once_and_the_loser_reads_the_winners(bucket: storage.Bucket) -> None:
    bucket.blob("one").upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed, match="pre-conditions you specified did not hold"):
        bucket.blob("one").upload_from_string(b"second", if_generation_match=0)
    assert bucket.blob("one").download_as_bytes() == b"first"


def test_of_80_that_create_an_object_at_once_one_wins(server: CloudStorageServer, bucket: storage.Bucket) -> None:
    together = threading.Barrier(80)
    url = f"{server.url}/upload/storage/v1/b/runs/o"

    def create(number: int) -> int | None:
        query = {"uploadType": "media", "name": "one", "ifGenerationMatch": "0"}
        with requests.Session() as session:
            together.wait(20)
            answer = session.post(url, params=query, data=b"%d" % number, timeout=20)
        assert answer.status_code in (200, 412)
        return number if answer.status_code == 200 else None

    with ThreadPoolExecutor(80) as threads:
        winners = [number for number in threads.map(create, range(80)) if number is not None]
    assert len(winners) == 1
    assert bucket.blob("one").download_as_bytes() == b"%d" % winners[0]
    assert server.calls["objects.insert"] == 80


def test_each_name_has_one_winner_however_the_threads_take_turns() -> None:
    buckets, before = Buckets(VirtualClock()), sys.getswitchinterval()
    buckets.create({"name": "runs"})
    together = threading.Barrier(8)

    def create(_: int) -> list[int]:
        together.wait(20)
        won: list[int] = []
        for number in range(1000):
            try:
                buckets.put("runs", str(number), b"", {}, Conditions(generation=0))
            except Failed:
                continue
            won.append(number)
        return won

    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(8) as threads:
            winners = [number for won in threads.map(create, range(8)) for number in won]
    finally:
        sys.setswitchinterval(before)
    assert sorted(winners) == list(range(1000))


def test_preconditions_guard_reading_changing_and_deleting(bucket: storage.Bucket) -> None:
    blob = bucket.blob("one")
    blob.upload_from_string(b"first")
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"second", if_generation_match=first + 1)
    blob.upload_from_string(b"second", if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("one").download_as_bytes(if_generation_match=first)
    with pytest.raises(exceptions.NotModified):
        bucket.blob("one").reload(if_generation_not_match=blob.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.delete_blob("one", if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        bucket.delete_blob("one", generation=first)
    blob.metadata = {"seen": "yes"}
    blob.patch(if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=1)
    bucket.delete_blob("one", if_generation_match=blob.generation)
    assert bucket.get_blob("one") is None
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("one").upload_from_string(b"third", if_generation_match=first)


def test_what_is_not_there_is_not_found(server: CloudStorageServer, bucket: storage.Bucket) -> None:
    for ask in (
        lambda: bucket.blob("none").download_as_bytes(),
        lambda: bucket.blob("none").delete(),
        lambda: bucket.client.get_bucket("none"),
        lambda: bucket.client.bucket("none").blob("one").upload_from_string(b""),
        lambda: list(bucket.client.list_blobs("none")),
    ):
        with pytest.raises(exceptions.NotFound):
            ask()
    with pytest.raises(exceptions.Conflict):
        bucket.client.create_bucket("runs")
    assert requests.post(f"{server.url}/storage/v1/b/runs/o/a/compose", timeout=20).status_code == 501


def test_ranges(bucket: storage.Bucket) -> None:
    blob = bucket.blob("one")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=-3) == b"789"
    assert blob.download_as_bytes(start=8, end=99) == b"89"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)
    blob.upload_from_string(b"")
    assert blob.download_as_bytes() == b""


def test_objects_are_listed_in_pages_and_folders(bucket: storage.Bucket) -> None:
    names = ["a/1", "a/10", "a/2", "a/b/1", "b", "ä", "\U0001f600", "\uffff"]
    for name in names:
        bucket.blob(name).upload_from_string(b"x")
    in_order = sorted(names, key=str.encode)
    listed = bucket.list_blobs(page_size=3)
    pages = [[blob.name for blob in page] for page in listed.pages]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [name for page in pages for name in page] == in_order
    assert [blob.name for blob in bucket.list_blobs(prefix="a/", start_offset="a/10", end_offset="a/b")] == [
        "a/10",
        "a/2",
    ]
    folders = bucket.list_blobs(delimiter="/", page_size=1)
    assert [blob.name for blob in folders] == ["b", "ä", "\uffff", "\U0001f600"]
    assert folders.prefixes == {"a/"}
    inner = bucket.list_blobs(prefix="a/", delimiter="/")
    assert ([blob.name for blob in inner], inner.prefixes) == (["a/1", "a/10", "a/2"], {"a/b/"})


def test_a_large_object_is_uploaded_in_pieces(server: CloudStorageServer, bucket: storage.Bucket) -> None:
    content = os.urandom(9 << 20)  # from 8 MiB on the client does it so
    blob = bucket.blob("large", chunk_size=3 << 20)
    blob.upload_from_string(content, if_generation_match=0)
    assert bucket.blob("large").download_as_bytes() == content
    assert server.calls["objects.upload"] == 3
    other = bucket.blob("large", chunk_size=3 << 20)
    with pytest.raises(exceptions.PreconditionFailed):
        other.upload_from_string(content[::-1], if_generation_match=0)
    assert bucket.blob("large", chunk_size=3 << 20).download_as_bytes() == content


def test_content_that_was_damaged_on_its_way_is_refused(server: CloudStorageServer, bucket: storage.Bucket) -> None:
    query = {"uploadType": "media", "name": "one"}
    url = f"{server.url}/upload/storage/v1/b/runs/o"
    answer = requests.post(url, params=query, data=b"x", headers={"X-Goog-Hash": "crc32c=AAAAAA=="}, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    assert bucket.get_blob("one") is None


def test_objects_are_copied_and_rewritten(bucket: storage.Bucket) -> None:
    blob = bucket.blob("one")
    blob.metadata = {"count": "1"}
    blob.upload_from_string(b"content")
    copied = bucket.copy_blob(blob, bucket, "two", if_generation_match=0)
    assert (copied.generation, copied.metadata) == (blob.generation + 1, {"count": "1"})
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.copy_blob(blob, bucket, "two", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("three").rewrite(blob, if_source_generation_match=1)
    token, done, total = bucket.blob("three").rewrite(blob)
    assert (token, done, total) == (None, 7, 7)
    assert bucket.blob("three").download_as_bytes() == b"content"


def test_many_are_deleted_in_one_request(server: CloudStorageServer, bucket: storage.Bucket) -> None:
    for number in range(3):
        bucket.blob(str(number)).upload_from_string(b"x")
    with bucket.client.batch(raise_exception=False) as batch:
        for name in ("0", "1", "none"):
            bucket.blob(name).delete()
    assert [answer.status_code for answer in batch._responses] == [204, 204, 404]
    assert [blob.name for blob in bucket.list_blobs()] == ["2"]
    with bucket.client.batch():
        blob = bucket.blob("2")
        blob.metadata = {"ä": "b"}
        blob.patch()
    assert bucket.get_blob("2").metadata == {"ä": "b"}
    assert server.calls["objects.delete"] == 3


def test_lifecycle_rules_are_kept_and_let_objects_go() -> None:
    clock = VirtualClock()
    with CloudStorageServer(clock=clock) as server:
        client = server.client()
        bucket = client.create_bucket("runs")
        bucket.add_lifecycle_delete_rule(age=60, matches_prefix=["streams/"])
        bucket.patch()
        assert list(client.get_bucket("runs").lifecycle_rules) == list(bucket.lifecycle_rules)
        for name in ("streams/1", "blobs/1"):
            bucket.blob(name).upload_from_string(b"x")
        clock.advance_to(START + 60 * 86_400 - 1)
        assert server.expire() == 0
        bucket.blob("streams/2").upload_from_string(b"x")
        clock.advance_to(START + 60 * 86_400)
        assert server.expire() == 1
        assert [blob.name for blob in bucket.list_blobs()] == ["blobs/1", "streams/2"]
        with pytest.raises(exceptions.Conflict):
            bucket.delete()
        bucket.delete(force=True)
        assert list(client.list_buckets()) == []
        client.close()


def test_the_client_finds_the_server_by_the_emulators_variable(
    server: CloudStorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    client = storage.Client("p", AnonymousCredentials())
    client.create_bucket("runs").blob("one").upload_from_string(b"x")
    assert client.bucket("runs").blob("one").download_as_bytes() == b"x"
    client.close()


@contextmanager
def faulty(*faults: Any) -> Iterator[tuple[Mischief, storage.Bucket]]:
    mischief = Mischief()
    with CloudStorageServer(mischief=mischief) as server:
        client = server.client()
        bucket = client.create_bucket("runs")
        mischief.plan("objects.insert", *faults)
        yield mischief, bucket
        client.close()


def test_refusals_do_nothing() -> None:
    with faulty("throttled", "unavailable") as (mischief, bucket):
        with pytest.raises(exceptions.TooManyRequests):
            bucket.blob("one").upload_from_string(b"x", if_generation_match=0, retry=None)
        with pytest.raises(exceptions.ServiceUnavailable):
            bucket.blob("one").upload_from_string(b"x", if_generation_match=0, retry=None)
        assert bucket.get_blob("one") is None
        assert mischief.left() == {}


def test_a_writer_whose_answer_is_lost_meets_its_own_object() -> None:
    with faulty("lost") as (mischief, bucket):
        with pytest.raises(exceptions.PreconditionFailed):  # the client repeats it by itself
            bucket.blob("one").upload_from_string(b"x", if_generation_match=0)
        assert bucket.blob("one").download_as_bytes() == b"x"
        assert mischief.met["objects.insert", "lost"] == 1
