"""`wdk doctor` on Google Cloud: each thing that is wrong is found, with what mends it, and nothing is found where all is
well."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.firestore_admin_v1 import types

from tests.gcp.admin import AdminServer
from tests.gcp.stage import INVOKER, LOCATION, PROJECT, clients_of
from tests.unit.test_cli import wdk
from wdk_cloud.errors import WorldConfigurationError
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
                    {"name": "WDK_GCP_SERVICES", "value": "split"},
                ],
            }
        ],
    },
}


POLICY: dict[str, Any] = {
    "etag": "BwY",
    "bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{INVOKER}"]}],
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
        self.policy = json.loads(json.dumps(POLICY))

    def with_settings(self, settings: GcpSettings) -> Clients:
        return clients_of(settings, self.firestore.address, self.storage.client, self.tasks.client)

    def said(self, name: str) -> Any:
        """By Cloud Run."""
        if name.endswith(":getIamPolicy"):
            if self.policy is None:
                raise WorldConfigurationError(f"Cloud Run says 403 to {name}: Permission denied")
            return self.policy
        return self.service

    @property
    def variables(self) -> list[dict[str, str]]:
        return self.service["template"]["containers"][0]["env"]

    def typed(self, command: str) -> None:
        """The commands for a service that mend what is found, with their effect."""
        words = shlex.split(command)
        at = ["wdk-turns", "--region", "europe-west1", "--project", PROJECT]
        assert words[:3] == ["gcloud", "run", "services"] and words[4:9] == at
        match words[3], *words[9:]:
            case "remove-iam-policy-binding", "--member", member, "--role", role:
                (binding,) = [one for one in self.policy["bindings"] if one["role"] == role]
                binding["members"].remove(member)
            case "update", "--invoker-iam-check":
                del self.service["invokerIamDisabled"]
            case "update", "--remove-env-vars", names:
                gone = names.split(",")
                assert set(gone) <= {one["name"] for one in self.variables}
                self.variables[:] = [one for one in self.variables if one["name"] not in gone]
            case other:
                raise AssertionError(other)

    def found(self, settings: GcpSettings = SETTINGS, *services: str) -> dict[str, str]:
        """What is wrong: what was seen, by slug."""
        place = Place(settings, self.clients, lambda: self.admin.client, self.said)
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


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers"])
@pytest.mark.parametrize("role", ["roles/run.invoker", "roles/run.admin"])
def test_a_worker_that_is_open_to_anybody(deployment: Deployment, member: str, role: str) -> None:
    if role != "roles/run.invoker":
        deployment.policy["bindings"].append({"role": role, "members": ["user:ops@example.com"]})
    deployment.policy["bindings"][-1]["members"].append(member)
    found = deployment.found(SETTINGS, "wdk-turns")
    assert set(found) == {"callers"}
    seen, mend = found["callers"].split("\n")
    assert seen == (
        f"wdk-turns lets {member} in, as {role}; it takes a caller that IAM let in for the queues, so that anybody "
        "could order its steps"
    )
    deployment.typed(mend)
    assert deployment.found(SETTINGS, "wdk-turns") == {}
    assert deployment.policy["bindings"][0] == POLICY["bindings"][0]


def test_a_worker_whose_callers_nobody_checks(deployment: Deployment) -> None:
    deployment.service["invokerIamDisabled"] = True
    found = deployment.found(SETTINGS, "wdk-turns")
    assert set(found) == {"callers"} and "the check of its callers by IAM is turned off" in found["callers"]
    deployment.typed(found["callers"].split("\n")[1])
    assert deployment.found(SETTINGS, "wdk-turns") == {}


def test_who_may_call_a_worker_is_not_known_where_that_is_forbidden_to_look_at(deployment: Deployment) -> None:
    deployment.policy = None
    deployment.service["template"]["timeout"] = "300s"
    found = deployment.found(SETTINGS, "wdk-turns")
    assert set(found) == {"callers", "timeout"}
    assert found["callers"].startswith(
        "who may call wdk-turns cannot be looked at (that takes run.services.getIamPolicy): Cloud Run says 403 to "
    )
    assert found["callers"].endswith(f"get-iam-policy wdk-turns --region europe-west1 --project {PROJECT}")


@pytest.mark.parametrize(("role", "services"), [("receiver", ""), ("all", "single")])
def test_what_is_made_for_the_public_is_open_to_it(deployment: Deployment, role: str, services: str) -> None:
    deployment.policy["bindings"][0]["members"] = ["allUsers"]
    deployment.variables[0]["value"], deployment.variables[-1]["value"] = role, services
    assert deployment.found(SETTINGS, "wdk") == {}


def test_settings_of_tests_in_a_deployment(deployment: Deployment) -> None:
    deployment.variables.extend(
        [
            {"name": "WDK_CLOUD_TASKS_CERTS_URL", "value": "http://10.0.0.7:8080/certs"},
            {"name": "FIRESTORE_EMULATOR_HOST", "value": "127.0.0.1:8080"},
        ]
    )
    found = deployment.found(SETTINGS, "wdk-turns")
    assert set(found) == {"testing-settings"}
    seen, mend = found["testing-settings"].split("\n")
    assert seen.startswith("wdk-turns has WDK_CLOUD_TASKS_CERTS_URL, FIRESTORE_EMULATOR_HOST, for tests: ")
    deployment.typed(mend)
    assert deployment.found(SETTINGS, "wdk-turns") == {}
    assert deployment.service == SERVICE


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


def test_a_stand_in_that_has_ended_is_named_with_what_leads_to_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the variables of a rehearsal that is over."""

    def nobody() -> Any:
        raise ServiceUnavailable("failed to connect to all addresses")

    place = Place(GcpSettings(project=PROJECT), deployment.clients, nobody, deployment.said)
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    (google,) = examined(place)
    assert "Google Cloud has an internal error (WDK_GCP_DATABASE" in google.seen
    assert google.mend == "gcloud auth application-default login"
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    (ended,) = examined(place)
    assert ended.seen == (
        "it cannot be looked at: no answer from 127.0.0.1:1, which FIRESTORE_EMULATOR_HOST names as the stand-in for what "
        "WDK_GCP_DATABASE names; it is tried again. If that has ended, start another one (wdk rehearse gcp --keep) or "
        "unset FIRESTORE_EMULATOR_HOST"
    )
    assert ended.mend == "unset FIRESTORE_EMULATOR_HOST"


def test_the_check_up_knows_each_variable() -> None:
    assert set(GCP.variables) == set(VARIABLES.values())
    assert GCP.examine is checkup.examine
    assert schema.QUEUE.max_attempts == -1
