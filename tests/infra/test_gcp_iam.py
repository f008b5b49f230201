"""`wdk iam gcp`: the grants of those who use a world."""

import json
import os
from typing import get_args

import pytest

from tests.unit.test_cli import wdk
from wdk_gcp import rights
from wdk_gcp.iam import Role

NAMED = {
    "WDK_GCP_PROJECT": "my-project",
    "WDK_GCP_LOCATION": "europe-west1",
    "WDK_GCP_DATABASE": "runs",
    "WDK_GCP_FLOW_QUEUE": "flow",
    "WDK_GCP_STEP_QUEUE": "projects/p/locations/l/queues/step",
    "WDK_GCP_BUCKET": "things",
    "WDK_GCP_INVOKER": "queues@my-project.iam.gserviceaccount.com",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)


def printed(*words):
    return json.loads(wdk("iam", "gcp", *words).stdout)


def test_a_client_starts_runs_and_resumes_hooks(monkeypatch):
    for name, value in NAMED.items():
        monkeypatch.setenv(name, value)
    assert printed("client") == {
        "role": "client",
        "grants": [
            {
                "on": "database",
                "resource": "projects/my-project/databases/runs",
                "permissions": ["datastore.entities.create", "datastore.entities.get"],
            },
            {
                "on": "flow queue",
                "resource": "projects/my-project/locations/europe-west1/queues/flow",
                "permissions": ["cloudtasks.tasks.create"],
            },
            {
                "on": "invoker",
                "resource": "projects/my-project/serviceAccounts/queues@my-project.iam.gserviceaccount.com",
                "permissions": ["iam.serviceAccounts.actAs"],
            },
            {"on": "bucket", "resource": "projects/_/buckets/things", "permissions": ["storage.objects.create"]},
        ],
    }


def test_what_no_variable_names_is_a_word_in_capitals_and_a_key_is_there_where_it_is_used(monkeypatch):
    grants = {one["on"]: one["resource"] for one in printed("worker", "--encrypted")["grants"]}
    assert grants["step queue"] == "projects/PROJECT/locations/LOCATION/queues/STEP_QUEUE"
    assert grants["key"] == "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"
    assert "key" not in {one["on"] for one in printed("worker")["grants"]}
    monkeypatch.setenv("WDK_GCP_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k")
    assert printed("receiver")["grants"][-1]["permissions"] == ["cloudkms.cryptoKeyVersions.useToEncrypt"]


@pytest.mark.parametrize("role", get_args(Role))
def test_a_role_has_each_right_of_its_kinds_and_no_other(role):
    said = {(one, grant["on"]) for grant in printed(role, "--encrypted")["grants"] for one in grant["permissions"]}
    assert said == {tuple(use) for use in rights.uses(role)}


def test_roles_are_those_that_the_command_takes():
    assert sorted(rights.ROLES) == sorted(get_args(Role))
