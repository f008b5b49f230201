"""The template of AWS against the code it is for, and what no linter sees in one."""

import importlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from wdk_aws import attributes, events, policies, schema, telemetry
from wdk_aws.settings import TEMPLATE, VARIABLES
from wdk_aws.testing import resources
from wdk_cloud.http.roles import Role
from wdk_cloud.telemetry import Count

DOCS = Path(__file__).parents[2] / "docs"


def of_type(template, kind):
    found = template["Resources"].items()
    return {name: part["Properties"] for name, part in found if part["Type"] == kind}


def properties(template, name):
    return template["Resources"][name]["Properties"]


def default(template, name):
    return template["Parameters"][name]["Default"]


# --- one truth --------------------------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_schema(template):
    made, wanted = properties(template, "Table"), schema.table("t")
    for name in ("BillingMode", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes"):
        assert made[name] == wanted[name], name
    assert made["TimeToLiveSpecification"] == schema.expiry()


def test_the_queues_are_those_that_create_resources_makes(template):
    queues = of_type(template, "AWS::SQS::Queue")
    assert set(queues) == {"FlowQueue", "FlowDead", "StepQueue", "StepDead", "TickDead"}
    assert {queue["MessageRetentionPeriod"] for queue in queues.values()} == {attributes.KEPT}
    assert {queue["SqsManagedSseEnabled"] for queue in queues.values()} == {True}
    for name, dead in (("FlowQueue", "FlowDead"), ("StepQueue", "StepDead")):
        redrive = {"deadLetterTargetArn": {"Fn::GetAtt": [dead, "Arn"]}, "maxReceiveCount": attributes.RECEIVES}
        assert queues[name]["RedrivePolicy"] == redrive
        assert queues[dead]["QueueName"]["Fn::Sub"] == queues[name]["QueueName"]["Fn::Sub"] + resources.DEAD
        assert queues[name]["VisibilityTimeout"] == queues[dead]["VisibilityTimeout"] == attributes.VISIBILITY
    assert template["Parameters"]["WorkerTimeout"]["MaxValue"] < attributes.VISIBILITY


def test_objects_expire_as_those_of_create_resources(template):
    mapping, (rule,) = (
        template["Mappings"]["Retention"],
        properties(template, "Bucket")["LifecycleConfiguration"]["Rules"],
    )
    assert rule["ExpirationInDays"] == {"Fn::FindInMap": ["Retention", {"Ref": "RetentionDays"}, "ObjectDays"]}
    assert list(mapping) == template["Parameters"]["RetentionDays"]["AllowedValues"]
    assert {days: of["ObjectDays"] for days, of in mapping.items()} == {
        days: max(attributes.LEAST_DAYS, 2 * int(days)) for days in mapping
    }


def variables(template, function):
    return properties(template, function)["Environment"]["Variables"]


def test_the_template_says_the_version_that_it_belongs_to(template):
    assert variables(template, "Worker")[TEMPLATE] == variables(template, "Receiver")[TEMPLATE] == version("wdk-cloud")


def test_each_variable_that_the_adapter_reads_is_set_and_none_else(template):
    ours = {"WDK_WORLD", "WDK_ROLE", "WDK_RETENTION", "WDK_PUBLIC_URL", TEMPLATE}
    worker, receiver = variables(template, "Worker"), variables(template, "Receiver")
    assert {name for name in worker if name.startswith("WDK_")} == ours | set(VARIABLES.values())
    needed = {VARIABLES[name] for name in ("table", "flow_queue_url", "bucket", "kms_key_id")}
    assert {name for name in receiver if name.startswith("WDK_")} == ours | needed
    assert [worker["WDK_ROLE"], receiver["WDK_ROLE"]] == ["worker", "receiver"] and "worker" in get_args(Role)
    assert worker["WDK_WORLD"] == receiver["WDK_WORLD"] == "aws"
    for name in needed:
        assert worker[name] == receiver[name]
    # Sets iterate alike in every process that runs bodies, and in a public one as nobody can foresee.
    assert worker["PYTHONHASHSEED"] == "0" and "PYTHONHASHSEED" not in receiver


# --- roles ------------------------------------------------------------------------------------------------------------

RESOURCES = {
    '{"Fn::GetAtt": ["Table", "Arn"]}': "table",
    '{"Fn::Sub": "${Table.Arn}/index/runs"}': "indexes",
    '{"Fn::Sub": "${Table.Arn}/index/active"}': "indexes",
    '{"Fn::GetAtt": ["FlowQueue", "Arn"]}': "flow queue",
    '{"Fn::GetAtt": ["StepQueue", "Arn"]}': "step queue",
    '{"Fn::GetAtt": ["FlowDead", "Arn"]}': "FlowDead",
    '{"Fn::GetAtt": ["StepDead", "Arn"]}': "StepDead",
    '{"Fn::GetAtt": ["TickDead", "Arn"]}': "TickDead",
    '{"Fn::GetAtt": ["Bucket", "Arn"]}': "bucket",
    '{"Fn::Sub": "${Bucket.Arn}/*"}': "objects",
    '{"Fn::GetAtt": ["WorkerLogs", "Arn"]}': "WorkerLogs",
    '{"Fn::GetAtt": ["ReceiverLogs", "Arn"]}': "ReceiverLogs",
    '{"Fn::GetAtt": ["TimerRole", "Arn"]}': "scheduler role",
    '{"Fn::GetAtt": ["Worker", "Arn"]}': "Worker",
    '{"Fn::Sub": "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule/${TimerGroup}/*"}': (
        "schedules"
    ),
    '{"Ref": "KmsKeyArn"}': "key",
}
"""Each resource that a role names, so that none slips in, by its name in `wdk_aws.rights` if it has one; none is `*`."""


def listed(value):
    return value if isinstance(value, list) else [value]


def allowed(template, role):
    """By resource, the actions that a role has on it."""
    found, named = {}, []
    for policy in properties(template, role)["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                condition, statement, otherwise = statement["Fn::If"]
                assert (condition, otherwise) == ("HasKey", {"Ref": "AWS::NoValue"})
            assert statement["Effect"] == "Allow" and set(statement) <= {
                "Sid",
                "Effect",
                "Action",
                "Resource",
                "Condition",
            }
            for resource in listed(statement["Resource"]):
                for action in listed(statement["Action"]):
                    found.setdefault(RESOURCES[json.dumps(resource)], set()).add(action)
                    named.append((json.dumps(resource), action))
    assert len(named) == len(set(named)), "a right is there twice"
    return found


def rights(role):
    found = {}
    for use in policies.uses(role):
        found.setdefault(use.on, set()).add(use.action)
    return found


CONSUMED = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
"""What Lambda's event source mapping does with the role of its function."""

LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}


def test_the_worker_may_do_what_it_asks_for_and_what_lambda_does_for_it(template):
    assert allowed(template, "WorkerRole") == {
        **rights("worker"),
        "FlowDead": CONSUMED,
        "StepDead": CONSUMED,
        "TickDead": {"sqs:SendMessage"},
        "WorkerLogs": LOGS,
    }


def test_the_public_receiver_may_do_what_it_asks_for_and_opens_nothing(template):
    assert allowed(template, "ReceiverRole") == {**rights("receiver"), "ReceiverLogs": LOGS}
    assert {action for actions in rights("receiver").values() for action in actions} == {
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        *("kms:GenerateDataKey", "s3:PutObject", "sqs:SendMessage"),
    }


def test_the_schedulers_roles_send_and_invoke_and_only_their_own_group_has_them(template):
    send, queues = {"sqs:SendMessage"}, ("flow queue", "FlowDead", "step queue", "StepDead")
    assert allowed(template, "TimerRole") == dict.fromkeys(queues, send)
    assert allowed(template, "TickRole") == {"Worker": {"lambda:InvokeFunction"}, "TickDead": send}
    for role, group in (("TimerRole", "TimerGroup"), ("TickRole", "TickGroup")):
        (trust,) = properties(template, role)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
        # The source is the group: Scheduler names no single schedule, and without a source anybody's would do.
        assert trust["Condition"] == {
            "StringEquals": {
                "aws:SourceAccount": {"Ref": "AWS::AccountId"},
                "aws:SourceArn": {"Fn::GetAtt": [group, "Arn"]},
            }
        }
    assert variables(template, "Worker")["WDK_AWS_SCHEDULER_GROUP"] == {"Ref": "TimerGroup"}


def test_every_role_is_written_out_and_can_be_bounded(template):
    roles = of_type(template, "AWS::IAM::Role")
    assert set(roles) == {"WorkerRole", "ReceiverRole", "TimerRole", "TickRole"}
    boundary = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert [role["PermissionsBoundary"] for role in roles.values()] == [boundary] * 4
    network = {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"}
    managed = {name: role.get("ManagedPolicyArns") for name, role in roles.items()}
    only_in_a_vpc = {"Fn::If": ["HasVpc", [network], {"Ref": "AWS::NoValue"}]}
    assert managed == {"WorkerRole": only_in_a_vpc, "ReceiverRole": only_in_a_vpc, "TimerRole": None, "TickRole": None}
    (worker,) = properties(template, "WorkerRole")["Policies"]
    (passing,) = [one for one in worker["PolicyDocument"]["Statement"] if one.get("Action") == "iam:PassRole"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


# --- functions --------------------------------------------------------------------------------------------------------


def test_both_functions_run_a_handler_that_is_there(template):
    functions = of_type(template, "AWS::Lambda::Function")
    assert set(functions) == {"Worker", "Receiver"}
    for function in functions.values():
        module, _, name = function["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
        assert function["Architectures"] == [{"Ref": "Architecture"}]
    assert functions["Worker"]["RecursiveLoop"] == "Allow" and "RecursiveLoop" not in functions["Receiver"]


def test_only_the_receiver_is_public(template):
    urls = of_type(template, "AWS::Lambda::Url")
    assert {name: url["AuthType"] for name, url in urls.items()} == {"WorkerUrl": "AWS_IAM", "ReceiverUrl": "NONE"}
    permissions = of_type(template, "AWS::Lambda::Permission").values()
    assert [(one["FunctionName"], one["Action"]) for one in permissions] == [
        ({"Ref": "Receiver"}, "lambda:InvokeFunctionUrl"),
        ({"Ref": "Receiver"}, "lambda:InvokeFunction"),
    ]
    assert all(one.get("FunctionUrlAuthType") == "NONE" or one["InvokedViaFunctionUrl"] is True for one in permissions)


def test_each_queue_but_that_of_failed_ticks_has_its_consumer(template):
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert {one["EventSourceArn"]["Fn::GetAtt"][0] for one in mappings} == {
        "FlowQueue",
        "StepQueue",
        "FlowDead",
        "StepDead",
    }
    for one in mappings:
        assert one["FunctionName"] == {"Ref": "Worker"}
        assert one["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        # A batch of more than ten needs a window, and a window delays each message; ours have one.
        assert one["BatchSize"] == 1 and "MaximumBatchingWindowInSeconds" not in one


def test_the_mappings_together_leave_room_in_the_workers_reserved_concurrency(template):
    rows = template["Mappings"]["Concurrency"]
    assert list(rows) == template["Parameters"]["Concurrency"]["AllowedValues"]
    for name, row in rows.items():
        at_most = 0
        for one in of_type(template, "AWS::Lambda::EventSourceMapping").values():
            maximum = one["ScalingConfig"]["MaximumConcurrency"]
            if not isinstance(maximum, int):
                asked, parameter, column = maximum["Fn::FindInMap"]
                assert (asked, parameter) == ("Concurrency", {"Ref": "Concurrency"})
                maximum = row[column]
            assert 2 <= maximum <= 1000  # what Lambda takes
            at_most += maximum
        if name != "unreserved":
            assert at_most + 4 <= row["Worker"]  # the rest is for the API, sweeps and ticks
    for function in ("Worker", "Receiver"):
        reserved = {"Fn::FindInMap": ["Concurrency", {"Ref": "Concurrency"}, function]}
        wanted = {"Fn::If": ["Reserves", reserved, {"Ref": "AWS::NoValue"}]}
        assert properties(template, function)["ReservedConcurrentExecutions"] == wanted


def test_data_outlives_the_stack(template):
    kept = [name for name, one in template["Resources"].items() if one.get("DeletionPolicy") == "Retain"]
    assert kept == ["Table", "Bucket"]
    assert all(template["Resources"][name]["UpdateReplacePolicy"] == "Retain" for name in kept)
    assert properties(template, "Table")["DeletionProtectionEnabled"] is True
    # A name of its own would be taken when the stack is made again.
    assert "TableName" not in properties(template, "Table") and "BucketName" not in properties(template, "Bucket")


def test_each_function_writes_to_its_log_group_which_forgets(template):
    for function, logs in (("Worker", "WorkerLogs"), ("Receiver", "ReceiverLogs")):
        assert properties(template, function)["LoggingConfig"] == {"LogGroup": {"Ref": logs}}
        assert properties(template, logs)["RetentionInDays"] == {"Ref": "LogDays"}


# --- schedules --------------------------------------------------------------------------------------------------------

RATE = re.compile(r"rate\((?:1 (?:minute|hour|day)|(?:[2-9]|[1-9]\d+) (?:minutes|hours|days))\)")


def test_schedules_are_understood_by_scheduler_and_by_the_handler(template):
    schedules = of_type(template, "AWS::Scheduler::Schedule")
    assert {name: one["ScheduleExpression"] for name, one in schedules.items()} == {
        "Sweep": "rate(5 minutes)",
    }
    for one in schedules.values():
        assert RATE.fullmatch(one["ScheduleExpression"])
        assert one["GroupName"] == {"Ref": "TickGroup"} and one["FlexibleTimeWindow"] == {"Mode": "OFF"}
        target = one["Target"]
        assert target["Arn"] == {"Fn::GetAtt": ["Worker", "Arn"]}
        assert target["RoleArn"] == {"Fn::GetAtt": ["TickRole", "Arn"]}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["TickDead", "Arn"]}}
        assert events.kind_of(json.loads(target["Input"])) in events.ANSWERED["worker"]


@pytest.mark.parametrize(
    "wrong", ["rate(1 minutes)", "rate(5 minute)", "rate(0 days)", "rate(1.5 hours)", "rate(5minutes)"]
)
def test_a_rate_that_scheduler_refuses_is_seen(wrong):
    assert RATE.fullmatch(wrong) is None


# --- alarms -----------------------------------------------------------------------------------------------------------


def anchors(text):
    return {
        re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-") for line in text.splitlines() if line[:3] == "## "
    }


def test_each_alarm_has_a_number_and_its_place_in_the_docs(template):
    text = (DOCS / "operations.md").read_text()
    conditions = {one["Condition"] for one in template["Resources"].values() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assert conditions == {"HasAlarms"} and default(template, "Alarms") == "yes"
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    named = {}
    for name, one in alarms.items():
        _, _, anchor = one["AlarmDescription"].partition("docs/operations.md#")
        named[name] = anchor
        assert "Threshold" in one and one["TreatMissingData"] == "notBreaching"
        assert one["AlarmActions"] == {"Fn::If": ["HasTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    assert set(named.values()) <= anchors(text)
    for anchor in set(named.values()):
        section = re.search(rf"^## {anchor.replace('-', '[ -]')}$(.*?)(?=^## |\Z)", text, re.M | re.S | re.I)
        assert section is not None and "```console\n$ " in section[1], f"{anchor} has no first command"


def named_by(alarm):
    """What it watches: the metric, or those of its expression, with the resource that they are of."""
    metrics = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one] or [alarm]
    found = set()
    for metric in metrics:
        (dimension, *_) = metric.get("Dimensions") or [{"Value": {"Ref": ""}}]
        value = dimension["Value"]
        of = value["Ref"] if "Ref" in value else value["Fn::GetAtt"][0]
        name = metric["MetricName"]
        found.add((name if isinstance(name, str) else name["Fn::Sub"].partition("-")[0], of))
    return frozenset(found)


NUMBERS = {
    frozenset(
        {("ApproximateNumberOfMessagesVisible", "FlowQueue"), ("ApproximateAgeOfOldestMessage", "FlowQueue")}
    ): 60,
    frozenset({("DeadLetters", "AWS::StackName")}): 0,
    frozenset({("ApproximateAgeOfOldestMessage", "FlowDead")}): 3600,
    frozenset({("ApproximateAgeOfOldestMessage", "StepDead")}): 3600,
    frozenset({("ApproximateNumberOfMessagesVisible", "TickDead")}): 0,
    frozenset({("SweptRuns", "AWS::StackName")}): 0,
    frozenset({("FailedRuns", "")}): 5,
    frozenset({("Throttles", "Worker")}): 10,
    frozenset({("Throttles", "Receiver")}): 0,
    frozenset({("Errors", "Worker")}): 3,
    frozenset({("Errors", "Receiver")}): 3,
    frozenset({("TargetErrorCount", "TimerGroup")}): 0,
    frozenset({("InvocationDroppedCount", "TimerGroup")}): 0,
}
"""What rings, and above which number: seconds, or how many. That of the spend is a parameter."""


def test_what_somebody_should_look_at_rings_at_its_number(template):
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    found = {named_by(one): one["Threshold"] for one in alarms}
    assert {watched: found.get(watched) for watched in NUMBERS} == NUMBERS
    assert {one["ComparisonOperator"] for one in alarms} == {"GreaterThanThreshold"}
    (spend,) = [one for one in alarms if one["Threshold"] == {"Ref": "DollarsPerDay"}]
    assert {name for name, _ in named_by(spend)} == {
        *("Duration", "Invocations", "NumberOfMessagesSent"),
        *("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"),
    }
    (dollars,) = [one["Expression"]["Fn::Sub"] for one in spend["Metrics"] if "Expression" in one]
    assert {one["MetricStat"]["Period"] for one in spend["Metrics"] if "MetricStat" in one} == {3600}
    assert dollars.startswith("24 * ("), "an hour is what is summed, and a day is what the number is of"
    (failed,) = of_type(template, "AWS::Logs::MetricFilter").values()
    assert failed["FilterPattern"] == "{ $.wdk_failed = * }"


OF_CLOUD_RUN = {"OverdueDeliveries", "RefusedCallers"}
"""What no function counts: Lambda ends an invocation by itself, and nobody but the account invokes a worker."""


def test_alarms_watch_metrics_that_the_handler_counts(template):
    ours = {
        one["MetricName"]
        for one in of_type(template, "AWS::CloudWatch::Alarm").values()
        if one.get("Namespace") == telemetry.METRICS_NAMESPACE and isinstance(one["MetricName"], str)
    }
    # A message that comes back is worked on again; what keeps coming back is seen by its age.
    assert ours == set(get_args(Count)) - {"ReturnedMessages", *OF_CLOUD_RUN}
    service = {"Name": "service", "Value": {"Ref": "AWS::StackName"}}
    for one in of_type(template, "AWS::CloudWatch::Alarm").values():
        if one.get("Namespace") == telemetry.METRICS_NAMESPACE and one["MetricName"] in list(ours):
            assert one["Dimensions"] == [service]
    for function in ("Worker", "Receiver"):
        assert variables(template, function)["POWERTOOLS_SERVICE_NAME"] == service["Value"]


KNOWN_IN_RULES = {
    *(
        "Fn::And",
        "Fn::Contains",
        "Fn::EachMemberEquals",
        "Fn::EachMemberIn",
        "Fn::Equals",
        "Fn::If",
        "Fn::Not",
        "Fn::Or",
    ),
    *("Fn::RefAll", "Fn::ValueOf", "Fn::ValueOfAll"),
}
"""https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-rules.html"""


def test_rules_use_the_functions_that_cloudformation_knows_in_rules(template):
    assert set(re.findall(r"Fn::\w+", json.dumps(template["Rules"]))) <= KNOWN_IN_RULES


def test_each_parameter_is_explained(template):
    parameters = template["Parameters"]
    assert [name for name, one in parameters.items() if not one.get("Description")] == []
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted({*parameters} - {"Stage"})
