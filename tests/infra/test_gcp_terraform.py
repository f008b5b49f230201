"""The Terraform module of Google Cloud against the code it is for, and what no linter sees in one."""

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from tests.infra.hcl import decoded, module, references
from tests.infra.modules import (
    check_example,
    check_format,
    check_readme,
    check_variables,
    checkov,
    initialized,
    needs_provider,
    needs_terraform,
    preconditions,
    refusals,
    terraform,
    unframed,
)
from wdk_cloud import direct, telemetry
from wdk_cloud.http.roles import Role
from wdk_gcp import queue, rights, schema
from wdk_gcp.deploying import naming
from wdk_gcp.settings import VARIABLES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/gcp/terraform"
EXAMPLES = ("minimal", "split")


@pytest.fixture(scope="module")
def made():
    return module(FOLDER)


def only(made, kind):
    ((_, found),) = made.of_type(kind).items()
    return found


# --- one truth --------------------------------------------------------------------------------------------------------


def test_collections_and_fields_without_an_index_are_those_of_the_schema(made):
    assert {name: tuple(fields) for name, fields in made.locals["exempt"].items()} == dict(schema.EXEMPT)
    assert set(made.locals["exempt"]) == set(schema.COLLECTIONS)
    field = only(made, "google_firestore_field")
    assert field["for_each"] == "${local.fields}" and references(made.locals["fields"], "local") == {"exempt"}
    assert (field["collection"], field["field"]) == ("${each.value.collection}", "${each.value.name}")
    assert field["index_config"] == [{}], "a block without indexes: none of the field"


def test_every_collection_expires_by_the_schemas_field(made):
    assert made.locals["expires"] == schema.EXPIRES
    assert all(schema.EXPIRES in fields for fields in made.locals["exempt"].values())
    ((ttl),) = only(made, "google_firestore_field")["dynamic"]
    assert ttl == {
        "ttl_config": {"for_each": "${each.value.name == local.expires ? [true] : []}", "content": [{}]},
    }


def test_the_composite_indexes_are_those_of_the_schema(made):
    index = only(made, "google_firestore_index")
    first, last = index["fields"]
    assert first == {"field_path": "${each.value}", "order": "ASCENDING"} and last["order"] == "DESCENDING"
    assert (index["for_each"], index["query_scope"]) == ("${toset(local.listings)}", "COLLECTION")
    made_of = [(index["collection"], (field, f"-{last['field_path']}")) for field in made.locals["listings"]]
    assert made_of == [(each.collection, each.fields) for each in schema.COMPOSITE]


def test_the_database_is_native_and_the_bucket_keeps_nothing_that_was_erased(made):
    database, bucket = only(made, "google_firestore_database"), only(made, "google_storage_bucket")
    assert database["type"] == "FIRESTORE_NATIVE"
    assert bucket["public_access_prevention"] == "enforced" and bucket["uniform_bucket_level_access"] is True
    assert bucket["soft_delete_policy"] == [{"retention_duration_seconds": 0}] and "versioning" not in bucket
    rule = {"action": [{"type": "Delete"}], "condition": [{"age": "${local.object_days}"}]}
    assert bucket["lifecycle_rule"] == [rule]
    assert made.locals["object_days"] == f"${{max({schema.LEAST_DAYS}, 2 * var.retention_days)}}"


def test_the_queues_are_those_that_the_world_expects(made):
    made_queue = only(made, "google_cloud_tasks_queue")
    wanted = schema.QUEUE
    assert made_queue["retry_config"] == [
        {
            "max_attempts": wanted.max_attempts,
            "min_backoff": f"{wanted.min_backoff}s",
            "max_backoff": f"{wanted.max_backoff}s",
            "max_doublings": wanted.max_doublings,
        }
    ]
    assert set(made.locals["queues"]) == {"flow", "step"}


def test_each_variable_that_the_adapter_reads_is_set_and_none_else(made):
    ours = {"WDK_WORLD", "WDK_RETENTION", "WDK_PUBLIC_URL"}
    everywhere, on_workers = set(made.locals["environment"]), set(made.locals["worker_environment"])
    assert everywhere | on_workers == ours | set(VARIABLES.values())
    assert on_workers == {VARIABLES[name] for name in ("step_queue", "step_url", "services")}
    assert made.locals["worker_environment"]["WDK_GCP_SERVICES"] == "${var.mode}"
    assert made.locals["environment"]["WDK_WORLD"] == "gcp"
    environment, secrets = containers(made)["dynamic"]
    assert references(environment["env"]["for_each"], "local") == {"environment", "worker_environment"}
    # Nothing of the app's reaches a service that the public talks to.
    assert environment["env"]["for_each"].count('each.value.role == "receiver" ? {} : ') == 2
    assert secrets["env"]["for_each"] == '${each.value.role == "receiver" ? {} : var.secrets}'


def template(made):
    (found,) = only(made, "google_cloud_run_v2_service")["template"]
    return found


def containers(made):
    (found,) = template(made)["containers"]
    return found


def test_services_have_the_roles_concurrency_and_seeds_that_runs_rely_on(made):
    services = made.locals["all_services"]
    by_mode = {mode: {name for name, one in services.items() if one["mode"] == mode} for mode in ("split", "single")}
    assert by_mode == {"split": {"public", "turns", "steps"}, "single": {"all"}}
    assert {one["role"] for one in services.values()} == set(get_args(Role))
    assert {name: one["concurrency"] for name, one in services.items()} == {
        "public": 80,
        "turns": 4,
        "steps": 1,
        "all": 4,
    }
    # Sets iterate alike in every process that runs bodies, and in a public one as nobody can foresee.
    assert {name: one["seed"] for name, one in services.items() if one["role"] != "receiver"} == {
        "turns": "0",
        "steps": "0",
        "all": "0",
    }
    assert services["public"]["seed"] == "random"
    assert [name for name, one in services.items() if one["public"]] == ["public", "all"]
    assert template(made)["timeout"] == f"{queue.DEADLINE}s"
    assert template(made)["scaling"][0]["min_instance_count"] == 0


def test_the_audience_is_that_of_the_tasks_wherever_it_is_asked_for(made):
    assert made.locals["audience"] == queue.AUDIENCE
    assert only(made, "google_cloud_run_v2_service")["custom_audiences"] == ["${local.audience}"]
    jobs = made.of_type("google_cloud_scheduler_job")
    assert set(jobs) == {"sweep", "tick"}
    for job in jobs.values():
        ((target,),) = [job["http_target"]]
        token = {
            "service_account_email": "${google_service_account.invoker.email}",
            "audience": "${local.audience}",
        }
        assert target["oidc_token"] == [token] and target["http_method"] == "POST"
    assert made.locals["sweep_route"] == queue.ROUTE.removesuffix("flow") + "sweep"
    assert made.locals["tick_route"] == queue.ROUTE.removesuffix("flow") + "tick"
    ordered = {name: job["http_target"][0]["body"] for name, job in jobs.items()}
    assert decoded(ordered["sweep"]) == {}
    assert ordered["tick"] == "${base64encode(jsonencode({workflow = each.value.workflow, exact = true}))}"
    assert {"workflow", "exact"} <= set(direct.TickOrder.__struct_fields__)
    assert made.locals["environment"]["WDK_GCP_INVOKER"] == "${google_service_account.invoker.email}"


# --- rights -----------------------------------------------------------------------------------------------------------

PREDEFINED = {
    "roles/cloudkms.cryptoKeyEncrypter": {"cloudkms.cryptoKeyVersions.useToEncrypt"},
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": {
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeyVersions.useToEncrypt",
    },
}
"""What matters of them: https://cloud.google.com/kms/docs/reference/permissions-and-roles"""

GRANTS = {
    ("google_project_iam_member", "documents"): "database",
    ("google_storage_bucket_iam_member", "objects"): "bucket",
    ("google_cloud_tasks_queue_iam_member", "flow"): "flow queue",
    ("google_cloud_tasks_queue_iam_member", "step"): "step queue",
    ("google_service_account_iam_member", "caller"): "invoker",
    ("google_kms_crypto_key_iam_member", "worker"): "key",
    ("google_kms_crypto_key_iam_member", "receiver"): "key",
}
"""Each grant to a service's account, so that none slips in, by what it is on in `wdk_gcp.rights`."""

OTHERS = {
    ("google_kms_crypto_key_iam_member", "disk"),
    ("google_cloud_run_v2_service_iam_member", "api"),
    ("google_cloud_run_v2_service_iam_member", "invoker"),
    ("google_cloud_run_v2_service_iam_member", "public"),
    ("google_secret_manager_secret_iam_member", "worker"),
}
"""Those to others, and that to read the app's own secrets."""


def grants(made):
    types = {kind: named for kind, named in made.resources.items() if "_iam_" in kind and "custom_role" not in kind}
    return {(kind, name): body for kind, named in types.items() for name, body in named.items()}


def granted(made, account):
    """Permissions by what they are on."""
    found = set()
    for key, resource in GRANTS.items():
        grant = grants(made)[key]
        each = "for_each" in grant
        whose = re.search(r'google_service_account\.service\[(?:"(\w+)"|each\.value)\]\.member', grant["member"])
        assert whose is not None and (not each or grant["for_each"] == "${local.accounts}")
        if each or whose[1] == account:
            found |= {
                rights.Use(one, resource) for one in permissions(made, grant["role"].replace("${each.value}", account))
            }
    return found


def permissions(made, role):
    if role.startswith("roles/"):
        return PREDEFINED[role]
    (name,) = re.findall(r'google_project_iam_custom_role\.role\["(\w+)"\]\.id', role)
    return set(made.locals["roles"][name]["permissions"])


def test_every_grant_is_known(made):
    assert set(grants(made)) == set(GRANTS) | OTHERS
    assert made.of_type("google_project_iam_binding") == made.of_type("google_project_iam_policy") == {}


@pytest.mark.parametrize("account", ["worker", "receiver"])
def test_an_account_may_do_what_its_service_asks_for_and_nothing_else(made, account):
    assert granted(made, account) == rights.uses(account)


def test_the_receiver_opens_changes_and_deletes_nothing(made):
    verbs = {use.permission.rpartition(".")[2] for use in granted(made, "receiver")}
    assert verbs == {"actAs", "create", "get", "useToEncrypt"}


def test_each_role_is_granted(made):
    roles = {role for grant in grants(made).values() for role in re.findall(r'role\["([^"]+)"\]', grant["role"])}
    named = {role.replace("${each.value}", account) for role in roles for account in ("worker", "receiver")}
    assert named == set(made.locals["roles"])


def test_documents_are_granted_in_this_database_alone(made):
    grant = grants(made)["google_project_iam_member", "documents"]
    assert grant["condition"] == [{"title": "only-${var.name}", "expression": "${local.only_this_database}"}]
    assert made.locals["only_this_database"] == 'resource.name == "projects/${var.project}/databases/${var.database}"'


def test_only_public_services_are_open_and_the_queues_call_the_others(made):
    found = made.of_type("google_cloud_run_v2_service_iam_member")
    assert found["public"]["member"] == "allUsers" and "if service.public" in found["public"]["for_each"]
    assert found["invoker"]["member"] == "${google_service_account.invoker.member}"
    assert "if !service.public" in found["invoker"]["for_each"]


# --- data -------------------------------------------------------------------------------------------------------------


def test_data_outlives_the_module_unless_it_is_told_otherwise(made):
    assert made.variables["deletion_protection"]["default"] is True
    database, bucket = only(made, "google_firestore_database"), only(made, "google_storage_bucket")
    assert database["deletion_policy"] == '${var.deletion_protection ? "ABANDON" : "DELETE"}'
    assert database["delete_protection_state"].startswith("${var.deletion_protection ?")
    assert bucket["force_destroy"] == "${!var.deletion_protection}"


# --- the module's face ------------------------------------------------------------------------------------------------


def test_each_variable_is_explained_typed_and_used(made):
    check_variables(made)


def test_the_readme_lists_each_variable_and_output_as_they_are(made):
    check_readme(made)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_the_module_asks_for(made, name):
    check_example(made, name)


# --- alerts -----------------------------------------------------------------------------------------------------------


def test_each_alert_has_a_number_and_its_place_in_the_docs(made):
    text = (ROOT / "docs/gcp-operations.md").read_text()
    alerts = made.locals["counted"] | made.locals["watched"]
    assert all(isinstance(one["threshold"], int) for one in alerts.values())
    for anchor in alerts:
        section = re.search(rf"^## {anchor.replace('-', '[ -]')}$(.*?)(?=^## |\Z)", text, re.M | re.S | re.I)
        assert section is not None and "```console\n$ " in section[1], f"{anchor} has no first command"
    policies = made.of_type("google_monitoring_alert_policy")
    assert {policy["for_each"] for policy in policies.values()} == {
        "${var.alerts ? local.counted : {}}",
        "${var.alerts ? local.watched : {}}",
    }
    for policy in policies.values():
        assert policy["notification_channels"] == "${var.notification_channels}"
        assert policy["documentation"] == [{"content": "${each.value.says}. ${local.operations}#${each.key}"}]
    assert made.locals["operations"] == "docs/gcp-operations.md"


NUMBERS = {
    "failed-runs": 5,
    "swept-runs": 0,
    "foreign-messages": 0,
    "refused-callers": 0,
    "overdue-deliveries": 0,
    "missing-code": 0,
    "failed-ticks": 0,
    "old-messages": 60_000,
    "full-queues": 100_000,
    "refused-messages": 10,
    "service-errors": 3,
}
"""How many, above which somebody should look; of old messages it is milliseconds."""


def test_alerts_ring_above_their_numbers(made):
    alerts = made.locals["counted"] | made.locals["watched"]
    assert {name: one["threshold"] for name, one in alerts.items()} == NUMBERS
    for policy in made.of_type("google_monitoring_alert_policy").values():
        ((condition,),) = [one["condition_threshold"] for one in policy["conditions"]]
        assert condition["comparison"] == "COMPARISON_GT"
        assert condition["threshold_value"] == "${each.value.threshold}"


def test_an_alert_on_a_metric_of_ours_waits_until_cloud_monitoring_knows_it(made):
    (wait,) = made.of_type("time_sleep").values()
    assert "google_logging_metric.counted" in wait["triggers"], "a metric that comes later is waited for, too"
    alerts = made.of_type("google_monitoring_alert_policy")
    assert alerts["counted"]["depends_on"] == ["${time_sleep.until_metrics_are_known}"]


def test_alerts_watch_what_the_service_counts(made):
    counted = set(re.findall(r'wdk_count="(\w+)"', json.dumps(made.locals["counted"]).replace('\\"', '"')))
    # Nothing is given up by a queue that tries for ever; what keeps coming back is seen by its delay.
    assert counted == set(get_args(telemetry.Count)) - {"DeadLetters", "ReturnedMessages"}
    assert "jsonPayload.wdk_failed:*" in made.locals["counted"]["failed-runs"]["filter"]


# --- tools ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_checkov_finds_nothing_that_is_not_justified(made):
    passed, reasons = checkov(made)
    assert passed > 15 and len(reasons) == 2


@needs_terraform
def test_every_file_is_written_as_terraform_writes_it(made):
    check_format(made)


STUB = """
locals { project_number = "123456789012" }
output "all" {
  value = {
    services = local.services, urls = local.urls, names = local.service_names, worker = local.worker_url
    step = local.step_url, public = local.public_url, turns = local.turns_at_once, steps = local.steps_at_once
    days = local.object_days, fields = keys(local.fields), roles = keys(local.granted_roles), most = local.most
    accounts = local.accounts, apis = local.apis
  }
}
"""


@pytest.fixture
def pure(tmp_path):
    """The part of the module that asks no provider: all variables, and what follows from them."""
    for name in ("variables.tf", "locals.tf"):
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "stub.tf").write_text(STUB)
    return tmp_path


GIVEN = {"project": "my-project", "location": "europe-west1", "image": "europe-west1-docker.pkg.dev/p/r/app:1"}


def said_of(folder, code=0, **given):
    (folder / "terraform.tfvars.json").write_text(json.dumps({**GIVEN, **given}))
    return terraform(folder, "apply", "-auto-approve", "-no-color", "-input=false", code=code)


def outcome(folder, **given):
    said_of(folder, **given)
    return json.loads(terraform(folder, "output", "-json"))["all"]["value"]


@needs_terraform
def test_what_follows_from_the_variables(pure):
    split = outcome(pure)
    assert split["urls"] == {
        "public": "https://wdk-public-123456789012.europe-west1.run.app",
        "steps": "https://wdk-steps-123456789012.europe-west1.run.app",
        "turns": "https://wdk-turns-123456789012.europe-west1.run.app",
    }
    assert (split["worker"], split["step"], split["public"]) == tuple(
        split["urls"][name] for name in ("turns", "steps", "public")
    )
    assert (split["turns"], split["steps"], split["days"]) == (36, 20, 60)
    assert sorted(split["fields"]) == sorted(f"{c}/{f}" for c, fields in schema.EXEMPT.items() for f in fields)
    assert split["accounts"] == ["receiver", "worker"] and split["most"] == {
        "all": 10,
        "public": 10,
        "steps": 20,
        "turns": 10,
    }
    single = outcome(pure, mode="single", name="one", retention_days=100, public_url="https://hooks.example.com")
    assert single["urls"] == {"all": "https://one-123456789012.europe-west1.run.app"}
    assert single["worker"] == single["step"] == single["urls"]["all"]
    assert (single["public"], single["days"]) == ("https://hooks.example.com", 200)
    # What both queues dispatch at once leaves room for webhooks in ten instances of four.
    assert (single["turns"], single["steps"]) == (22, 10)
    assert single["accounts"] == ["worker"] and not any(role.startswith("receiver") for role in single["roles"])
    assert set(split["roles"]) - set(single["roles"]) == {"receiver_documents", "receiver_objects"}


WRONG = {
    "project": ("My Project", "INVALID_ARGUMENT: a project id has 6 to 30"),
    "location": ("europe-west1-b", "NOT_FOUND: The requested location is not a region"),
    "data_location": ("eur3", "INVALID_ARGUMENT: The database and the bucket"),
    "name": ("a-name-that-is-far-too-long", 'INVALID_ARGUMENT: The account ID "NAME-receiver"'),
    "image": ("europe-west1-docker.pkg.dev/p/r/app", "Expected an image path like"),
    "mode": ("both", 'The mode is "split" or "single"'),
    "database": ("Runs", "INVALID_ARGUMENT: database_id should be 4-63 characters"),
    "bucket": ("Things", "invalid: Invalid bucket name"),
    "retention_days": (0.5, "The age of a lifecycle rule is a whole number of days"),
    "public_url": ("http://hooks.example.com/", "begins with https:// and has no path"),
    "cpu": ("0.5", "Invalid value specified for container cpu"),
    "memory": ("256Mi", "Invalid value specified for container memory"),
    "max_instances": ({"turns": 0}, "maxScale]: the maximum of instances"),
    "environment": ({"PORT": "1"}, "The following reserved env names were provided"),
    "payload_key": ("projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "INVALID_ARGUMENT: a key is"),
    "disk_key": ("k", "INVALID_ARGUMENT: a key is named"),
    "api_members": (["allUsers"], "INVALID_ARGUMENT: The member is of an unknown type"),
    "schedules": (
        [{"name": "n", "workflow": "w", "schedule": "hourly", "time_zone": "UTC"}],
        "Schedule or time zone is",
    ),
    "secrets": ({"A": "projects/p/secrets/a"}, "INVALID_ARGUMENT: a secret is named by its id"),
    "scheduler_location": ("europe-west1-b", "NOT_FOUND: The requested location is not a region of Cloud Scheduler"),
    "subnetwork": ("My Net", "INVALID_ARGUMENT: Invalid value for field 'subnetwork'"),
    "notification_channels": (["a@example.com"], "INVALID_ARGUMENT: Field notification_channels"),
    "monthly_budget": (0.5, "INVALID_ARGUMENT: the amount of a budget is"),
    "billing_account": ("1", "INVALID_ARGUMENT: a billing account is named"),
    "labels": ({"Team": "a"}, "INVALID_ARGUMENT: Label keys and values can only contain"),
}


def test_each_validation_has_a_case(made):
    assert set(WRONG) == {name for name, one in made.variables.items() if one.get("validation")}


RESTRICTED = "invalid: Use of this bucket name is restricted: '{}'. None begins with goog"

MEMORY = "Invalid value specified for container memory. For {} CPU, memory must be between {}Mi and {}Mi inclusive."

TOGETHER = [
    ({"name": "google-sync"}, RESTRICTED.format("my-project-google-sync")),
    ({"name": "g0ogle"}, RESTRICTED.format("my-project-g0ogle")),
    ({"bucket": "goog-1"}, RESTRICTED.format("goog-1")),
    ({"project": "google-like-app"}, RESTRICTED.format("google-like-app-wdk")),
    ({"memory": "8Gi"}, MEMORY.format(1, 512, 4096)),
    ({"memory": "4097Mi"}, MEMORY.format(1, 512, 4096)),
    ({"cpu": "4"}, MEMORY.format(4, 2048, 16384)),
    ({"cpu": "8", "memory": "33Gi"}, MEMORY.format(8, 4096, 32768)),
    ({"environment": {"A": "1", "B": "2"}, "secrets": {"B": "b"}}, "Environment variable name is duplicated: B."),
]
"""What no variable does alone."""


@needs_terraform
def test_what_variables_make_together_is_refused_before_anything_is_made(made, pure):
    assert (
        f'"{naming.FORBIDDEN}"' in only(made, "google_storage_bucket")["lifecycle"][0]["precondition"][0]["condition"]
    )
    (pure / "checks.tf").write_text(preconditions(made))
    for given, said in TOGETHER:
        assert said in unframed(said_of(pure, code=1, **given))
    for given in (
        {"name": "google-sync", "bucket": "sync-of-mine"},
        {"cpu": "2", "memory": "8Gi", "environment": {"A": "1"}, "secrets": {"B": "b"}},
    ):
        said_of(pure, **given)


A_TICK = {"name": "n", "workflow": "w", "schedule": "0 * * * *", "time_zone": "UTC"}

ALSO_WRONG = {
    "environment": ({"X_GOOGLE_A": "1"}, "The following reserved env names were provided"),
    "schedules": ([{**A_TICK, "name": "a b"}], "INVALID_ARGUMENT: Job name must be formatted"),
}


@needs_terraform
@pytest.mark.parametrize("wrong", [WRONG, ALSO_WRONG], ids=["each", "also"])
def test_what_google_cloud_would_refuse_is_refused_before_anything_is_made(pure, wrong):
    refusals(pure, wrong, **{name: value for name, value in GIVEN.items() if name not in wrong})


@needs_terraform
@pytest.mark.parametrize("name", ["WDK_RETENTION", "WDK_PUBLIC_URL", "WDK_GCP_BUCKET", "WDK_ROLE", "PYTHONHASHSEED"])
def test_what_the_module_sets_is_set_by_nobody_else(pure, name):
    for variable in ("environment", "secrets"):
        refusals(pure, {variable: ({name: "a"}, "or a variable that this module sets")}, **GIVEN)


@needs_provider("google", "time")
def test_the_module_is_valid_for_the_google_provider(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "module")
    terraform(initialized(tmp_path / "module", "google", "time"), "validate")
