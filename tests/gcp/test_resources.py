"""`create_resources()`: what it makes, twice, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.firestore_admin_v1 import types

from tests.contract.records import RUN, a_head, a_message
from tests.gcp.admin import AdminServer
from tests.gcp.stage import INVOKER, LOCATION, PROJECT
from wdk_cloud.errors import WorldConfigurationError
from wdk_gcp import schema
from wdk_gcp.clients import STORAGE_VARIABLE, TASKS_VARIABLE, Clients
from wdk_gcp.settings import VARIABLES, GcpSettings
from wdk_gcp.testing import CloudStorageServer, CloudTasksServer, FirestoreServer, create_resources
from wdk_gcp.testing.resources import create_database
from wdk_gcp.world import GcpWorld, open_world

ROOT = Path(__file__).parents[2]

DAY = 86_400.0

NAMED = {
    "WDK_GCP_PROJECT": PROJECT,
    "WDK_GCP_LOCATION": "europe-west1",
    "WDK_GCP_FLOW_QUEUE": "flow",
    "WDK_GCP_STEP_QUEUE": f"{LOCATION}/queues/step",
    "WDK_GCP_BUCKET": "runs",
    "WDK_GCP_WORKER_URL": "https://worker.example",
    "WDK_GCP_INVOKER": INVOKER,
}


@pytest.fixture
def emulators(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CloudTasksServer, CloudStorageServer]]:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in NAMED.items():
        monkeypatch.setenv(variable, value)
    with FirestoreServer() as firestore, CloudTasksServer() as tasks, CloudStorageServer() as storage:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.address)
        monkeypatch.setenv(STORAGE_VARIABLE, storage.url)
        monkeypatch.setenv(TASKS_VARIABLE, tasks.address)
        yield tasks, storage


def bucket(storage: CloudStorageServer) -> Any:
    client = storage.client()
    found = client.get_bucket("runs")
    client.close()
    return found


def test_queues_and_bucket_are_made_with_their_settings_and_again_without_harm(emulators: Any) -> None:
    tasks, storage = emulators
    for _ in range(2):
        create_resources()
        client = tasks.client()
        for name in ("flow", "step"):
            retry = client.get_queue(name=f"{LOCATION}/queues/{name}").retry_config
            assert retry.max_attempts == schema.QUEUE.max_attempts == -1
            assert retry.min_backoff.total_seconds() == schema.QUEUE.min_backoff
            assert retry.max_backoff.total_seconds() == schema.QUEUE.max_backoff
            assert retry.max_doublings == schema.QUEUE.max_doublings
        client.transport.close()
        made = bucket(storage)
        assert list(made.lifecycle_rules) == [{"action": {"type": "Delete"}, "condition": {"age": 60}}]
        assert made.soft_delete_policy.retention_duration_seconds == 0
        assert made.iam_configuration.uniform_bucket_level_access_enabled
        assert made.iam_configuration.public_access_prevention == "enforced"


def test_what_is_set_otherwise_is_put_right(emulators: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, storage = emulators
    client = tasks.client()
    flow = f"{LOCATION}/queues/flow"
    client.create_queue(parent=LOCATION, queue={"name": flow, "retry_config": {"max_attempts": 5}})
    monkeypatch.setenv("WDK_RETENTION", "100 days")
    create_resources()
    assert client.get_queue(name=flow).retry_config.max_attempts == -1
    client.transport.close()
    assert [rule["condition"] for rule in bucket(storage).lifecycle_rules] == [{"age": 200}]


def test_the_world_of_the_environment_stands_on_them(emulators: Any) -> None:
    tasks, _ = emulators
    create_resources()

    async def story() -> None:
        world = open_world("blue")
        await world.open()
        await world.runs.create(a_head())
        assert await world.runs.head(RUN) == a_head()
        await world.blobs.put_blob(RUN, "birth-1", "blob", b"blob")
        assert await world.blobs.get_blob(RUN, "birth-1", "blob") == b"blob"
        await world.queue.send([(a_message("m"), 60.0)])
        await world.close()
        assert await world.runs.head(RUN) == a_head()  # clients are made anew
        await world.close()

    asyncio.run(story())
    assert tasks.waiting() == 1


def test_what_is_not_named_is_passed_over(emulators: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, storage = emulators
    for variable in ("WDK_GCP_STEP_QUEUE", "WDK_GCP_BUCKET"):
        monkeypatch.delenv(variable)
    create_resources()
    assert tasks.calls["CreateQueue"] == 1
    assert storage.calls == {}


@pytest.mark.parametrize("variable", ["WDK_GCP_PROJECT", "WDK_GCP_LOCATION"])
def test_what_is_missing_is_named(emulators: Any, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(WorldConfigurationError, match=f"^{variable} is not set"):
        create_resources()


def test_a_queue_that_cannot_be_is_named_by_its_setting(emulators: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_GCP_FLOW_QUEUE", "not_a_queue")
    with pytest.raises(WorldConfigurationError, match="what WDK_GCP_FLOW_QUEUE names cannot be made"):
        create_resources()


def test_the_database_is_made_native_with_its_indexes_exemptions_and_expiry() -> None:
    settings = GcpSettings(project=PROJECT, location="europe-west1", database="runs")
    database = f"projects/{PROJECT}/databases/runs"
    with AdminServer() as admin:
        for _ in range(2):
            create_database(settings, Clients(settings), admin.client)
        assert list(admin.databases) == [database]
        made = types.Database(admin.databases[database])
        assert made.type_ == types.Database.DatabaseType.FIRESTORE_NATIVE
        assert made.location_id == "europe-west1"
        assert {name.removeprefix(f"{database}/collectionGroups/") for name in admin.fields} == {
            f"{collection}/fields/{name}" for collection, names in schema.EXEMPT.items() for name in names
        }
        expiring = [name for name, field in admin.fields.items() if field.HasField("ttl_config")]
        assert {name.removeprefix(f"{database}/collectionGroups/") for name in expiring} == {
            f"{collection}/fields/{schema.EXPIRES}" for collection in schema.COLLECTIONS
        }
        assert all(field.HasField("index_config") and not field.index_config.indexes for field in admin.fields.values())
        assert sorted(admin.indexes) == sorted(
            f"{database}/collectionGroups/wdk_runs: {first}, listed" for first in ("w", "st", "v")
        )
        order = types.Index.IndexField.Order
        assert all(
            [field.order for field in index.fields] == [order.ASCENDING, order.DESCENDING]
            for index in admin.indexes.values()
        )


def test_settings_are_read_from_the_environment_and_empty_ones_are_not_set() -> None:
    assert GcpSettings.from_environment({}) == GcpSettings()
    said = GcpSettings.from_environment({"WDK_GCP_PROJECT": " p ", "WDK_GCP_DATABASE": "", "WDK_GCP_KMS_KEY": "k"})
    assert said == GcpSettings(project="p", database="(default)", kms_key="k")
    assert set(GcpSettings.__slots__) == set(VARIABLES)


def test_making_a_world_connects_nothing_and_needs_no_variable() -> None:
    world = GcpWorld(GcpSettings())
    assert world.scoped("blue") is world.scoped("blue")
    assert world.scoped("") is world
    assert not set(vars(world.clients)) & {"firestore", "tasks", "storage"}


def test_the_command_makes_them_and_says_what_they_are(emulators: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from wdk_cloud.cli.program import program

    with pytest.raises(SystemExit) as left:
        program(["gcp", "create"], prog_name="wdk")
    assert left.value.code == 0
    assert capsys.readouterr().out == (
        "WDK_GCP_PROJECT     wdk-testing\n"
        "WDK_GCP_LOCATION    europe-west1\n"
        "WDK_GCP_DATABASE    (default)\n"
        "WDK_GCP_FLOW_QUEUE  flow\n"
        f"WDK_GCP_STEP_QUEUE  {LOCATION}/queues/step\n"
        "WDK_GCP_BUCKET      runs\n"
    )


def test_the_page_names_the_variables_that_there_are() -> None:
    page = (ROOT / "docs/gcp.md").read_text()
    assert set(re.findall(r"`(WDK_GCP_\w+)`", page)) - set(VARIABLES.values()) == set()
    assert set(re.findall(r"export (WDK_GCP_\w+)=", page)) <= set(VARIABLES.values())


def test_no_credentials_are_an_error_that_says_what_to_do(emulators: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(WorldConfigurationError, match=r"WDK_GCP_DATABASE.*application default credentials"):
        create_resources()
    with pytest.raises(WorldConfigurationError, match="a client for firestore cannot be made"):
        asyncio.run(open_world().runs.head(RUN))
