"""One thing wrong at a time in a deployment, and what `wdk doctor` says of it."""

import json

from tests.aws.examined import REGION, allowed
from wdk_aws import policies


def short_visibility(found):
    set_flow(found, VisibilityTimeout="300")


def short_retention(found):
    set_flow(found, MessageRetentionPeriod="345600")


def few_receives(found):
    dead = found.arn(found.settings.flow_queue_url + "-dead")
    set_flow(found, RedrivePolicy=json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 5}))


def no_redrive(found):
    set_flow(found, RedrivePolicy="")


def set_flow(found, **attributes):
    found.clients.sqs.set_queue_attributes(QueueUrl=found.settings.flow_queue_url, Attributes=attributes)


def no_recursion(found):
    found.clients.functions.put_function_recursion_config(FunctionName=found.worker, RecursiveLoop="Terminate")


def no_expiry(found):
    of = {"Enabled": False, "AttributeName": "expires"}
    found.clients.dynamodb.update_time_to_live(TableName="doctor", TimeToLiveSpecification=of)


def no_lifecycle(found):
    found.clients.s3.delete_bucket_lifecycle(Bucket="doctor")


def short_lifecycle(found):
    rules = [
        {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}},
        {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "mine/"}, "Expiration": {"Days": 1}},
    ]
    found.clients.s3.put_bucket_lifecycle_configuration(Bucket="doctor", LifecycleConfiguration={"Rules": rules})


def no_group(found):
    found.clients.scheduler.delete_schedule_group(Name="doctor")


def no_trust(found):
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust["Condition"] = {"ArnLike": {"aws:SourceArn": "arn:aws:scheduler:eu-west-1:000000000000:schedule-group/other"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    found.clients.iam.update_assume_role_policy(RoleName="doctor-timers", PolicyDocument=document)


def no_sending(found):
    found.clients.iam.delete_role_policy(RoleName="doctor-timers", PolicyName="all")


def no_index(found):
    found.clients.dynamodb.update_table(
        TableName="doctor", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "active"}}]
    )


def open_to_anybody(found):
    found.clients.functions.add_permission(
        FunctionName=found.worker, StatementId="open", Action="lambda:InvokeFunction", Principal="*"
    )


def no_right(found):
    document = allowed(policies.Place(found.settings, REGION), "s3:PutObject", "scheduler:CreateSchedule")
    found.clients.iam.put_role_policy(RoleName="doctor-worker", PolicyName="all", PolicyDocument=json.dumps(document))


def too_little_reserved(found):
    found.clients.functions.put_function_concurrency(FunctionName=found.worker, ReservedConcurrentExecutions=5)


def disabled(found):
    change(found, Enabled=False)


def many_at_a_time(found):
    change(found, BatchSize=10)


def whole_batches(found):
    change(found, FunctionResponseTypes=[])


def change(found, **attributes):
    functions = found.clients.functions
    (one,) = functions.list_event_source_mappings(EventSourceArn=found.arn(found.settings.step_queue_url))[
        "EventSourceMappings"
    ]
    functions.update_event_source_mapping(UUID=one["UUID"], **attributes)


CASES = {
    short_visibility: (
        "queue-visibility",
        (
            "doctor-flow shows a message again after 300 s, and doctor-worker may work on it for 900 s: it would be worked on "
            "twice"
        ),
    ),
    short_retention: ("queue-retention", "doctor-flow keeps a message for 96 h, and the longest is 336 h"),
    few_receives: (
        "dead-letters",
        "doctor-flow gives a message up after 5 receives, and a throttled function alone can take so many: it has to be 1000",
    ),
    no_redrive: ("dead-letters", "dead letters of doctor-flow go nowhere, and not to doctor-flow-dead"),
    no_recursion: (
        "recursion",
        (
            "doctor-worker: RecursiveLoop is Terminate, and a turn sends messages to its own queue: Lambda stops that after 16 "
            "rounds"
        ),
    ),
    no_expiry: ("table-expiry", "items of doctor do not expire: ended runs are kept, and paid for, for ever"),
    no_lifecycle: (
        "bucket-lifecycle",
        "objects of doctor do not expire: what belongs to ended runs is kept, and paid for, for ever",
    ),
    short_lifecycle: (
        "bucket-lifecycle",
        (
            "objects of doctor expire after 7 days, and with this retention that has to be 60 or more: else they go while "
            "their runs are still there"
        ),
    ),
    no_group: ("scheduler-group", "there is no schedule group doctor: runs that sleep for more than 15 minutes fail"),
    no_trust: (
        "scheduler-role",
        (
            "the role doctor-timers does not trust Scheduler for schedules of "
            "arn:aws:scheduler:eu-west-1:000000000000:schedule-group/doctor: it cannot send with it"
        ),
    ),
    no_sending: (
        "scheduler-role",
        (
            "the policies of the role doctor-timers do not let it send to the flow queue and the step queue (policies of the "
            "resources themselves are not looked at)"
        ),
    ),
    no_index: ("table-indexes", "the table doctor has no index active, and runs are found through it"),
    no_right: (
        "rights",
        (
            "the policies of doctor-worker, the role of doctor-worker, do not allow what a worker needs (policies of the "
            "resources themselves are not looked at): s3:PutObject on the objects, scheduler:CreateSchedule on the schedules"
        ),
    ),
    open_to_anybody: (
        "callers",
        (
            "doctor-worker lets anybody in: lambda:InvokeFunction in its policy is for every account; who may invoke it can "
            "start runs, and order steps"
        ),
    ),
    too_little_reserved: (
        "concurrency",
        (
            "doctor-worker has 5 executions reserved, and its mappings bring 8 at once: what is throttled comes near to being "
            "a dead letter"
        ),
    ),
    disabled: ("queue-consumer", None),
    many_at_a_time: (
        "queue-consumer",
        "doctor-worker takes messages of doctor-step 10 at a time: one that runs out of memory takes the others with it",
    ),
    whole_batches: (
        "queue-consumer",
        "what doctor-worker says of single messages of doctor-step is not heeded: one that fails comes not back alone",
    ),
}
