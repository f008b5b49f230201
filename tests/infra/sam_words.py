"""Values of the SAM template as HCL has them: references, and what is chosen by a condition."""

import re

RESOURCES = {
    "Table": "aws_dynamodb_table.runs",
    "Bucket": "aws_s3_bucket.objects",
    "FlowQueue": "aws_sqs_queue.flow",
    "FlowDead": "aws_sqs_queue.flow_dead",
    "StepQueue": "aws_sqs_queue.step",
    "StepDead": "aws_sqs_queue.step_dead",
    "TickDead": "aws_sqs_queue.tick_dead",
    "TimerGroup": "aws_scheduler_schedule_group.timers",
    "TickGroup": "aws_scheduler_schedule_group.ticks",
    "TimerRole": 'aws_iam_role.role["timers"]',
    "TickRole": 'aws_iam_role.role["ticks"]',
    "WorkerRole": 'aws_iam_role.role["worker"]',
    "ReceiverRole": 'aws_iam_role.role["receiver"]',
    "Worker": "aws_lambda_function.worker",
    "Receiver": "aws_lambda_function.receiver",
    "WorkerUrl": "aws_lambda_function_url.worker",
    "ReceiverUrl": "aws_lambda_function_url.receiver",
    "WorkerLogs": "aws_cloudwatch_log_group.worker",
    "ReceiverLogs": "aws_cloudwatch_log_group.receiver",
}
"""By their names in the template."""

REFERRED = {"aws_sqs_queue": "url", "aws_s3_bucket": "id", "aws_lambda_function": "function_name"}
"""What a reference to one gives; for all others it is the name."""

GOT = {"Arn": "arn", "QueueName": "name", "FunctionUrl": "function_url"}

PSEUDO = {
    "AWS::StackName": "var.name",
    "AWS::Partition": "data.aws_partition.current.partition",
    "AWS::Region": "data.aws_region.current.id",
    "AWS::AccountId": "data.aws_caller_identity.current.account_id",
}


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def word(name, attribute=None):
    """Of what `!Ref` or `!GetAtt` names."""
    if name in PSEUDO:
        return PSEUDO[name]
    if name not in RESOURCES:
        return f"var.{snake(name)}"
    address = RESOURCES[name]
    if attribute is None:
        return f"{address}.{REFERRED.get(address.partition('.')[0], 'name')}"
    return f"{address}.{GOT[attribute]}"


def said(value):
    """A value of the template as HCL has it."""
    if isinstance(value, list):
        return [said(one) for one in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name}:
            return f"${{{word(name)}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            logs = ":*" if name.endswith("Logs") else ""  # CloudFormation's has it already
            return f"${{{word(name, attribute)}}}{logs}"
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([\w:]+)(?:\.(\w+))?\}", lambda found: f"${{{word(found[1], found[2])}}}", text)
        case {"Fn::FindInMap": ["Concurrency", {"Ref": "Concurrency"}, column]}:
            return f"${{local.at_once.{column.lower()}}}"
        case {"Fn::FindInMap": ["Retention", {"Ref": "RetentionDays"}, "ObjectDays"]}:
            return "${local.object_days}"
        case {"Fn::If": choice}:
            return chosen(choice)
        case _:
            assert not any(key.startswith("Fn::") for key in value), value
            return {key: said(one) for key, one in value.items()}


def chosen(choice):
    """What stands for `!If`."""
    match choice:
        case ["Reserves", number, {"Ref": "AWS::NoValue"}]:
            return said(number)
        case ["HasPublicUrl", {"Ref": "PublicUrl"}, otherwise]:
            return f'${{var.public_url != "" ? var.public_url : {said(otherwise)[2:-1]}}}'
        case ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]:
            return '${var.permissions_boundary == "" ? null : var.permissions_boundary}'
        case ["HasTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]:
            return "${local.alarm_actions}"
        case _:
            raise AssertionError(f"no word for {choice}")


def one_of(value):
    return value.get("Fn::If") if isinstance(value, dict) else None


def document(statements):
    return f'${{jsonencode({{Version = "2012-10-17", Statement = {statements}}})}}'


def keys(schema):
    return {f"{one['KeyType'].lower()}_key": one["AttributeName"] for one in schema}


def dimensions(given):
    return {one["Name"]: said(one["Value"]) for one in given}


def tags(left):
    """SAM tags functions with its own name, too."""
    assert {"Key": "wdk:stage", "Value": {"Ref": "Stage"}} in left.pop("Tags")
    return "${local.tags}"
