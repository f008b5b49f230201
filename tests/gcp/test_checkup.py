"""`wdk doctor` on Google Cloud: each thing that is wrong is found, with what mends it, and nothing is found where all is
well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from google.cloud.firestore_admin_v1 import types

from tests.gcp.admin import AdminServer
from tests.gcp.stage import INVOKER, LOCATION, PROJECT, clients_of
from tests.unit.test_cli import wdk
from wdk_gcp import checkup, schema
from wdk_gcp.checkup import GCP, Place, examined
from wdk_gcp.clients import Clients
from wdk_gcp.settings import VARIABLES, GcpSettings
from wdk_gcp.testing import CloudStorageServer, CloudTasksServer, FirestoreServer
from wdk_gcp.testing.resources import create, create_database

DATABASE = f"projects/{PROJECT}/databases/wdk-runs"
FLOW = f"{LOCATION}/queues/flow"

SETTINGS = GcpSettings(
    project=PROJECT,
    location="europe-west1",
    database="wdk-runs",
    flow_queue="flow",
    step_queue="step",
    bucket="runs",
    invoker=INVOKER,
)

SERVICE: dict[str, Any] = {
    "customAudiences": ["wdk-cloud"],
    "template": {
        "timeout": "1800s",
        "containers": [
            {
                "image": "europe-west1-docker.pkg.dev/p/wdk/wdk:1777103fcf75",
                "env": [
                    {"name": "WDK_ROLE", "value": "worker"},
                    {"name": "PYTHONHASHSEED", "value": "0"},
                    {"name": "WDK_GCP_DATABASE", "value": "wdk-runs"},
                    {"name": "WDK_GCP_FLOW_QUEUE", "value": FLOW},
                ],
            }
        ],
    },
}


class Deployment:
    """All that a world stands on, made as it should be."""

    def __init__(self, stack: ExitStack) -> None:
        self.firestore = stack.enter_context(FirestoreServer())
        self.tasks = stack.enter_context(CloudTasksServer())
        self.storage = stack.enter_context(CloudStorageServer())
        self.admin = stack.enter_context(AdminServer())
        self.clients = self.with_settings(SETTINGS)
        stack.callback(lambda: self.clients.close())
        create_database(SETTINGS, self.clients, self.admin.client)
        create(SETTINGS, self.clients)
        self.service = json.loads(json.dumps(SERVICE))

    def with_settings(self, settings: GcpSettings) -> Clients:
        return clients_of(settings, self.firestore.address, self.storage.client, self.tasks.client)

    def found(self, settings: GcpSettings = SETTINGS, *services: str) -> dict[str, str]:
        """What is wrong: what was seen, by slug."""
        place = Place(settings, self.clients, lambda: self.admin.client, lambda _: self.service)
        self.all = examined(place, services)
        return {finding.slug: f"{finding.seen}\n{finding.mend}" for finding in self.all if not finding.well}


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(stack)


def test_nothing_is_found_where_all_is_well(deployment: Deployment) -> None:
    assert deployment.found(SETTINGS, "wdk-turns") == {}
    assert [finding.slug for finding in deployment.all] == [
        *("database", "ttl", "exemptions", "indexes", "database-rights"),
        *("flow-queue", "step-queue", "lifecycle", "bucket", "service"),
    ]
    assert "image wdk:1777103fcf75" in deployment.all[-1].seen


def test_a_database_that_is_missing_or_in_datastore_mode(deployment: Deployment) -> None:
    deployment.admin.databases[DATABASE].type_ = types.Database.DatabaseType.DATASTORE_MODE.value  # type: ignore[attr-defined]
    assert "is in Datastore mode" in deployment.found()["database"]
    deployment.admin.databases.clear()
    assert f"{DATABASE} is not there\nwdk gcp create" == deployment.found()["database"]


def test_what_the_database_lacks(deployment: Deployment) -> None:
    group = f"{DATABASE}/collectionGroups"
    deployment.admin.fields[f"{group}/wdk_log/fields/expires"].ClearField("ttl_config")
    del deployment.admin.fields[f"{group}/wdk_steps/fields/e"]
    deployment.admin.indexes.pop(f"{group}/wdk_runs: st, listed")
    found = deployment.found()
    assert set(found) == {"ttl", "exemptions", "indexes"}
    assert "no active TTL policy on expires of wdk_log:" in found["ttl"]
    assert "wdk_steps.e" in found["exemptions"]
    assert "missing on wdk_runs: st, -listed" in found["indexes"]
    create_database(SETTINGS, deployment.clients, deployment.admin.client)  # what it says mends it
    assert deployment.found() == {}


def test_queues_that_are_missing_paused_otherwise_or_elsewhere(deployment: Deployment) -> None:
    client: Any = deployment.clients.tasks
    client.pause_queue(name=FLOW)
    found = deployment.found()
    assert set(found) == {"flow-queue"} and f"{FLOW} is PAUSED" in found["flow-queue"]
    mend = f"gcloud tasks queues resume flow --location europe-west1 --project {PROJECT}"
    assert found["flow-queue"].endswith(mend)
    client.resume_queue(name=FLOW)
    client.update_queue(
        queue={"name": FLOW, "retry_config": {"max_attempts": 5}}, update_mask={"paths": ["retry_config"]}
    )
    assert "max_attempts 5 instead of -1" in deployment.found()["flow-queue"]
    other = replace(SETTINGS, flow_queue="missing", step_queue=FLOW.replace("europe-west1", "us-east1"))
    found = deployment.found(other)
    assert "is not there, perhaps in another location; here there are: flow, step" in found["flow-queue"]
    assert "is in us-east1, and WDK_GCP_LOCATION is europe-west1" in found["step-queue"]


def test_a_bucket_that_is_missing_or_forgets_the_wrong_things(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = deployment.clients.storage.get_bucket("runs")
    bucket.lifecycle_rules = []
    bucket.soft_delete_policy.retention_duration_seconds = 604_800
    bucket.patch()
    found = deployment.found()
    assert "has no lifecycle rule that deletes after 60 days" in found["lifecycle"]
    assert "keeps what was erased" in found["bucket"]
    create(SETTINGS, deployment.clients)
    assert deployment.found() == {}
    monkeypatch.setenv("WDK_RETENTION", "100 days")
    assert "deletes objects after 60 days, and those of live runs are kept for 200" in deployment.found()["lifecycle"]
    assert "none is not there" in deployment.found(replace(SETTINGS, bucket="none"))["bucket"]


def test_permissions_that_are_missing(deployment: Deployment) -> None:
    deployment.storage.granted = frozenset({"storage.objects.get"})
    deployment.tasks.granted = frozenset()
    found = deployment.found()
    assert set(found) == {"bucket-rights", "flow-queue-rights"}
    assert "may not: storage.objects.create, storage.objects.delete, storage.objects.list" not in found["bucket-rights"]
    assert "may not: storage.objects.delete, storage.objects.list, on runs" in found["bucket-rights"]
    assert "may not: cloudtasks.tasks.create" in found["flow-queue-rights"]


def test_a_service_that_is_made_otherwise(deployment: Deployment) -> None:
    deployment.service["customAudiences"] = ["https://example.com"]
    deployment.service["template"]["timeout"] = "300s"
    env = deployment.service["template"]["containers"][0]["env"]
    env[1]["value"], env[2]["value"] = "random", "other-runs"
    found = deployment.found(SETTINGS, "wdk-turns")
    assert set(found) == {"audience", "hash-seed", "timeout", "settings"}
    assert (
        "has the custom audiences https://example.com, and the tokens of the queues are for wdk-cloud"
        in found["audience"]
    )
    assert "--update-env-vars PYTHONHASHSEED=0" in found["hash-seed"] and "after 300 s" in found["timeout"]
    assert found["settings"].endswith("export WDK_GCP_DATABASE=other-runs")
    env[0]["value"] = "receiver"  # it gets no tasks, and runs no bodies
    assert set(deployment.found(SETTINGS, "wdk-public")) == {"settings"}


def test_what_cannot_be_looked_at_is_said_and_hides_nothing_else(deployment: Deployment) -> None:
    def refuses(_: str) -> Any:
        raise ValueError("no such service")

    place = Place(SETTINGS, deployment.clients, lambda: deployment.admin.client, refuses)
    found = examined(place, ["gone"])
    assert [one.seen for one in found if not one.well] == ["it cannot be looked at: ValueError: no such service"]
    assert len(found) == 10
    (alone,) = examined(Place(GcpSettings(), deployment.clients, None, refuses))
    assert alone.slug == "project" and alone.mend == "export WDK_GCP_PROJECT=ID"


def test_the_command_looks_at_what_the_variables_name(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", deployment.firestore.address)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", deployment.storage.url)
    monkeypatch.setenv("WDK_CLOUD_TASKS_EMULATOR_HOST", deployment.tasks.address)
    monkeypatch.setenv("WDK_WORLD", "gcp")
    monkeypatch.delenv("WDK_APP", raising=False)
    for field in ("project", "location", "database", "flow_queue", "step_queue", "bucket"):
        monkeypatch.setenv(VARIABLES[field], getattr(SETTINGS, field))
    said = " ".join(wdk("doctor").stdout.split())
    assert f"{FLOW}: running, tried for ever" in said and "WDK_GCP_DATABASE" in said
    deployment.clients.tasks.pause_queue(name=FLOW)
    assert "gcloud tasks queues resume flow" in " ".join(wdk("doctor", code=1).stdout.split())


def test_the_check_up_knows_each_variable() -> None:
    assert set(GCP.variables) == set(VARIABLES.values())
    assert GCP.examine is checkup.examine
    assert schema.QUEUE.max_attempts == -1
