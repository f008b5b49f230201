"""The Terraform module of AWS against the SAM template and the code it is for, and what no linter sees in one."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.infra.hcl import Module, module
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
from tests.infra.sam_in_hcl import differences
from tests.infra.sam_words import snake
from wdk_aws import attributes, policies, schema
from wdk_aws.deploying.names import BUCKETS_KEPT
from wdk_aws.packaging import starting
from wdk_aws.settings import TEMPLATE, VARIABLES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/aws/terraform"
EXAMPLES = ("simple", "complete")


@pytest.fixture(scope="module")
def made():
    return module(FOLDER)


# --- one system -------------------------------------------------------------------------------------------------------


def test_the_module_says_what_the_template_says(template, made):
    assert differences(template, made) == []


DRIFTS = {
    ("main.tf", '"AWS_IAM"', '"NONE"'): "aws_lambda_function_url.worker.authorization_type",
    ("main.tf", 'recursive_loop = "Allow"', 'recursive_loop = "Terminate"'): (
        "aws_lambda_function_recursion_config.worker.recursive_loop"
    ),
    ("main.tf", 'PYTHONHASHSEED             = "0"', 'PYTHONHASHSEED             = "1"'): "local.worker_environment",
    ("main.tf", "InvokedViaFunctionUrl = true", "InvokedViaFunctionUrl = false"): "local.by_url",
    ("main.tf", "batch_size              = 1", "batch_size              = 2"): (
        "aws_lambda_event_source_mapping.queue.batch_size"
    ),
    ("main.tf", '  template = "0.1.0"', '  template = "0.0.9"'): "local.template",
    ("main.tf", "timeout                        = 30", "timeout                        = 29"): (
        "aws_lambda_function.receiver.timeout"
    ),
    ("data.tf", 'attribute_name = "expires"', 'attribute_name = "expiry"'): "aws_dynamodb_table.runs.ttl",
    ("data.tf", '["wb", "e", "g"]', '["wb", "e"]'): "aws_dynamodb_table.runs.global_secondary_index",
    ("data.tf", "days = local.object_days", "days = 30"): "aws_s3_bucket_lifecycle_configuration.objects.rule",
    ("data.tf", "block_public_policy     = true", "block_public_policy     = false"): (
        "aws_s3_bucket_public_access_block.objects.block_public_policy"
    ),
    ("data.tf", '"aws:SecureTransport" = "false"', '"aws:SecureTransport" = "true"'): "local.bucket_statements",
    ("queues.tf", "maxReceiveCount = 1000", "maxReceiveCount = 10"): "aws_sqs_queue.flow.redrive_policy",
    ("queues.tf", "= 960", "= 30"): "aws_sqs_queue.flow.visibility_timeout_seconds",
    ("schedules.tf", "rate(5 minutes)", "rate(6 minutes)"): "aws_scheduler_schedule.sweep.schedule_expression",
    ("iam.tf", '"dynamodb:UpdateItem"]', '"dynamodb:UpdateItem", "dynamodb:Query"]'): "local.receiver_statements",
    ("iam.tf", '        "sqs:DeleteMessage",\n', ""): "local.worker_statements",
    ("iam.tf", "Resource = aws_sqs_queue.tick_dead.arn\n", 'Resource = "*"\n'): "local.worker_statements",
    ("iam.tf", "aws_scheduler_schedule_group.timers.arn\n", "aws_scheduler_schedule_group.ticks.arn\n"): "local.trusts",
    ("iam.tf", 'Action = "kms:GenerateDataKey"', 'Action = "kms:*"'): "local.receiver_key",
    ("alarms.tf", "threshold  = 3600", "threshold  = 36000"): "local.alarms",
    ("alarms.tf", "0.0000166667", "0.0000133334"): "aws_cloudwatch_metric_alarm.spend.metric_query",
    ("alarms.tf", 'treat_missing_data  = "notBreaching"', 'treat_missing_data  = "missing"'): (
        "aws_cloudwatch_metric_alarm.alarm.treat_missing_data"
    ),
}
"""What somebody may change in one of both alone, and where it is seen."""


@pytest.mark.parametrize("change", DRIFTS, ids=[f"{file}-{new or old}".strip() for file, old, new in DRIFTS])
def test_a_drift_is_seen(template, tmp_path, change):
    file, old, new = change
    for path in FOLDER.glob("*.tf"):
        shutil.copy(path, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text, "the change changes nothing"
    (tmp_path / file).write_text(text.replace(old, new, 1))
    (seen,) = differences(template, Module(tmp_path))
    assert DRIFTS[change] == seen


def test_a_resource_that_only_one_of_both_has_is_seen(template, tmp_path):
    for path in FOLDER.glob("*.tf"):
        shutil.copy(path, tmp_path)
    (tmp_path / "more.tf").write_text('resource "aws_sqs_queue" "more" {\n  name = "more"\n}\n')
    assert differences(template, Module(tmp_path)) == ["aws_sqs_queue.more"]
    (tmp_path / "schedules.tf").write_text("")
    assert "aws_scheduler_schedule.sweep" in differences(template, Module(tmp_path))


# --- one truth --------------------------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_schema(made):
    table, wanted = made.of_type("aws_dynamodb_table")["runs"], schema.table("t")
    assert [(one["name"], one["type"]) for one in table["attribute"]] == [
        (one["AttributeName"], one["AttributeType"]) for one in wanted["AttributeDefinitions"]
    ]
    assert (table["hash_key"], table["range_key"], table["billing_mode"]) == (
        schema.PK,
        schema.SK,
        wanted["BillingMode"],
    )
    assert [(one["name"], tuple(one["non_key_attributes"])) for one in table["global_secondary_index"]] == [
        (schema.RUNS, schema.RUNS_PROJECTED),
        (schema.ACTIVE, schema.ACTIVE_PROJECTED),
    ]
    assert table["ttl"] == [{"attribute_name": schema.EXPIRES, "enabled": True}]


def test_queues_and_objects_are_kept_as_the_code_expects(made):
    queues = made.of_type("aws_sqs_queue")
    assert {one["message_retention_seconds"] for one in queues.values()} == {attributes.KEPT}
    for name in ("flow", "step"):
        assert queues[name]["visibility_timeout_seconds"] == attributes.VISIBILITY
        assert f"maxReceiveCount = {attributes.RECEIVES}}}" in queues[name]["redrive_policy"]
    assert made.locals["object_days"] == f"${{max({attributes.LEAST_DAYS}, 2 * tonumber(var.retention_days))}}"


def test_each_variable_that_the_adapter_reads_is_set_and_none_else(made):
    ours = {"WDK_WORLD", "WDK_ROLE", "WDK_RETENTION", TEMPLATE}
    worker, receiver = (set(made.locals[f"{role}_environment"]) for role in ("worker", "receiver"))
    key = VARIABLES["kms_key_id"]
    assert worker - {"PYTHONHASHSEED", "POWERTOOLS_SERVICE_NAME"} == (
        ours | {"WDK_PUBLIC_URL"} | set(VARIABLES.values()) - {key}
    )
    needed = {VARIABLES[name] for name in ("table", "flow_queue_url", "bucket")}
    assert receiver - {"POWERTOOLS_SERVICE_NAME"} == ours | needed
    assert made.locals["with_key"] == f'${{var.kms_key_arn == "" ? {{}} : {{{key} = var.kms_key_arn}}}}'
    assert made.locals["with_public_url"] == '${var.public_url == "" ? {} : {WDK_PUBLIC_URL = var.public_url}}'


ON = {
    "table": "${aws_dynamodb_table.runs.arn}",
    "flow queue": "${aws_sqs_queue.flow.arn}",
    "step queue": "${aws_sqs_queue.step.arn}",
    "objects": "${aws_s3_bucket.objects.arn}/*",
    "bucket": "${aws_s3_bucket.objects.arn}",
    "scheduler role": '${aws_iam_role.role["timers"].arn}',
    "key": "${var.kms_key_arn}",
}
"""By the names of `wdk_aws.rights`."""


def listed(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("role", ["worker", "receiver"])
def test_a_role_may_do_what_its_function_asks_for(made, role):
    statements = made.locals[f"{role}_statements"] + made.locals[f"{role}_key"]
    allowed = {
        (action, resource)
        for one in statements
        if one["Sid"] not in ("Log", "DeadLetters", "FailedTicks")  # Lambda's own, in the function's name
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
    }
    wanted = set()
    for use in policies.uses(role):
        match use.on:
            case "indexes":
                wanted |= {(use.action, f"{ON['table']}/index/{name}") for name in (schema.RUNS, schema.ACTIVE)}
            case "schedules":
                (timers,) = [one["Resource"] for one in statements if one["Sid"] == "Timers"]
                assert timers.endswith(":schedule/${aws_scheduler_schedule_group.timers.name}/*")
                wanted.add((use.action, timers))
            case on:
                wanted.add((use.action, ON[on]))
    assert allowed == wanted


# --- the module's face ------------------------------------------------------------------------------------------------

OF_TERRAFORM = {"name", "package", "environment", "schedules", "deletion_protection"}
"""What has a place of its own in SAM: the stack's name, CodeUri, the template itself, and policies of deletion."""


def test_the_variables_are_the_templates_parameters(template, made):
    parameters = {snake(name): one for name, one in template["Parameters"].items()}
    assert set(made.variables) == set(parameters) | OF_TERRAFORM
    for name, one in parameters.items():
        default = made.variables[name]["default"]
        assert {"True": "yes", "[]": ""}.get(str(default), str(default)) == str(one["Default"]), name
        if "AllowedValues" in one and name != "alarms":
            (rule,) = made.variables[name]["validation"]
            allowed = re.findall(r"[\w.]+", rule["condition"].partition("[")[2].partition("]")[0])
            assert allowed == [str(value) for value in one["AllowedValues"]], name
        for limit in {"MinValue", "MaxValue"} & set(one):
            (rule,) = made.variables[name]["validation"]
            sign = {"MinValue": ">=", "MaxValue": "<="}[limit]
            assert f"var.{name} {sign} {one[limit]}" in rule["condition"], name


def test_the_rows_of_concurrency_are_the_templates(template, made):
    rows = template["Mappings"]["Concurrency"]
    wanted = {name: {key.lower(): number for key, number in row.items()} for name, row in rows.items()}
    wanted["unreserved"] |= {"worker": -1, "receiver": -1}  # the provider's word for none; 0 would stop the function
    assert made.locals["concurrency"] == wanted
    assert made.locals["at_once"] == "${local.concurrency[var.concurrency]}"


def test_the_outputs_are_the_templates(template, made):
    assert set(made.outputs) == {snake(name) for name in template["Outputs"]}


def test_each_variable_is_explained_typed_and_used(made):
    check_variables(made)


def test_the_readme_lists_each_variable_and_output_as_they_are(made):
    check_readme(made)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_the_module_asks_for(made, name):
    check_example(made, name)


# --- tools ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_checkov_finds_nothing_that_is_not_justified(made):
    passed, reasons = checkov(made)
    assert passed > 60 and reasons


@needs_terraform
def test_every_file_is_written_as_terraform_writes_it(made):
    check_format(made)


WRONG = {
    "name": ("Orders", "InvalidBucketName: The specified bucket is not valid."),
    "package": ("function.tar", "InvalidParameterValueException: Could not unzip uploaded file."),
    "stage": ("Prod", "Parameter stage failed to satisfy constraint"),
    "architecture": ("arm", "ValidationException: Value at 'architectures'"),
    "python_version": ("3.10", "InvalidParameterValueException: Value at 'runtime'"),
    "worker_memory": (128, "ValidationException: Value at 'memorySize' failed"),
    "worker_timeout": (901, "Member must have value less than or equal to 900"),
    "receiver_memory": (10241, "Value at 'memorySize' of the receiver"),
    "public_url": ("http://hooks.example.com", "begins with https:// and has no path"),
    "concurrency": ("enormous", "Parameter concurrency must be one of AllowedValues"),
    "retention_days": ("31", "Parameter retention_days must be one of AllowedValues"),
    "log_days": (2, "InvalidParameterException: Value at 'retentionInDays'"),
    "kms_key_arn": ("alias/payloads", "InvalidArnException: a key is named"),
    "subnet_ids": (["net-1"], "Value at 'vpcConfig.subnetIds' failed"),
    "security_group_ids": (["group-1"], "Value at 'vpcConfig.securityGroupIds' failed"),
    "permissions_boundary": ("bound", "The specified value for permissionsBoundary is invalid."),
    "alarm_topic_arn": ("topic", "ValidationError: Invalid arn syntax."),
    "dollars_per_day": (0, "must be a number not less than 1"),
    "environment": ({"AWS_REGION": "x"}, "contains reserved keys"),
    "schedules": (
        [{"name": "n", "workflow": "w", "expression": "rate(1 minutes)", "timezone": "UTC"}],
        "ValidationException: Invalid Schedule Expression.",
    ),
}


@pytest.mark.parametrize("name", ["xn--shop", "sthree-shop", "amzn-s3-demo-shop", "s" * 37, "s"])
def test_names_that_no_bucket_may_have_are_refused_wherever_they_are_chosen(made, name):
    (rule,) = made.variables["name"]["validation"]
    assert f'regex("{starting.NAMES}", var.name)' in rule["condition"]
    assert f'!can(regex("^({"|".join(BUCKETS_KEPT)})", var.name))' in rule["condition"]
    assert [pattern for pattern in starting.LONGEST | starting.RESERVED if not re.search(pattern, name)]


def test_the_longest_name_leaves_room_for_what_is_put_behind_it(made):
    """Terraform's provider takes 37 characters before the 26 that it adds to the name of a bucket."""
    (digits,) = re.findall(r"\{0,(\d+)\}", starting.NAMES)
    longest = "n" * (int(digits) + 2)
    assert made.of_type("aws_s3_bucket")["objects"]["bucket_prefix"] == "${var.name}-" and len(f"{longest}-") == 37
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.tf"))
    named = set(re.findall(r'^ +name += "\$\{var\.name\}(-[\w-]+)"', text, re.M))
    assert max(len(longest + more) for more in named) <= 64 and "-timers" in named


def test_each_validation_has_a_case(made):
    assert set(WRONG) == {name for name, one in made.variables.items() if one.get("validation")}


ALSO_WRONG = {
    "environment": ({"WDK_RETENTION": "1 day"}, "contains reserved keys of this module"),
    "schedules": (
        [{"name": "n" * 65, "workflow": "w", "expression": "rate(2 minutes)", "timezone": "UTC"}],
        "ValidationException: Value at 'name' failed to satisfy constraint",
    ),
}


@needs_terraform
@pytest.mark.parametrize("wrong", [WRONG, ALSO_WRONG], ids=["each", "also"])
def test_what_aws_would_refuse_is_refused_before_anything_is_made(tmp_path, wrong):
    shutil.copy(FOLDER / "variables.tf", tmp_path)
    refusals(tmp_path, wrong, **({} if "package" in wrong else {"package": "function.zip"}))


@needs_terraform
@pytest.mark.parametrize("given", ["subnet_ids", "security_group_ids"])
def test_a_network_is_given_whole_or_not_at_all(made, tmp_path, given):
    shutil.copy(FOLDER / "variables.tf", tmp_path)
    (tmp_path / "checks.tf").write_text(preconditions(made))
    half = {"package": "function.zip", given: [f"{given.partition('_')[0].replace('security', 'sg')}-1"]}
    (tmp_path / "terraform.tfvars.json").write_text(json.dumps(half))
    said = unframed(terraform(tmp_path, "plan", "-no-color", "-input=false", code=1))
    assert "Functions in a VPC need both subnet_ids and security_group_ids." in said


@needs_provider("aws")
@pytest.mark.timeout(180)
def test_the_module_is_valid_and_its_own_tests_pass(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "module")
    folder = initialized(tmp_path / "module", "aws")
    terraform(folder, "validate")
    assert "Success! 5 passed, 0 failed." in terraform(folder, "test", "-no-color")
