"""What a change set would take away that no later deployment brings back: the runs, and what opens their payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from wdk_aws.attributes import DAY, object_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from boto3.session import Session
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef

    from wdk_aws.deploying.changes import Change

QUEUE = "AWS::SQS::Queue"

HOLDS = {
    "AWS::DynamoDB::Table": "the runs",
    "AWS::DynamoDB::GlobalTable": "the runs",
    "AWS::KMS::Key": "the key without which no payload can be read",
    "AWS::S3::Bucket": "large values and streams",
}

KEY = "KmsKeyArn"
"""The template's parameter: with another key, or none, the functions may not open what the last one has sealed."""

RETENTION = "RetentionDays"
"""Of which the template makes the age at which objects go."""

WAITING = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible")


def found(
    changes: Sequence[Change], before: StackTypeDef | None, parameters: Iterable[ParameterTypeDef], session: Session
) -> list[str]:
    """A line for each; `before` is the stack as it is, `parameters` are those that it would have."""
    lines = [line for change in changes if change.takes_away and (line := _line(change, session)) is not None]
    values, new_values = _values((before or {}).get("Parameters", ())), _values(parameters)
    was, becomes = values.get(KEY, ""), new_values.get(KEY, "")
    if was and was != becomes:
        new = f"becomes {becomes}" if becomes else "is left out"
        lines.append(f"{KEY} was {was} and {new}: payloads of the runs that are there cannot be opened any more")
    days, left = _days(values), _days(new_values)
    if days is not None and left is not None and left < days:
        lines.append(
            f"{RETENTION} was {values[RETENTION]} and becomes {new_values[RETENTION]}: large values and streams that "
            f"are older than {left} days go, those of runs that live among them"
        )
    return lines


def _line(change: Change, session: Session) -> str | None:
    if (holds := HOLDS.get(change.type)) is None:
        if change.type != QUEUE or not (number := _messages(change.id, session)):
            return None
        holds = f"{number} messages that wait"
    verb = {"remove": "is removed", "replace": "is replaced by an empty one", "may replace": "may be replaced"}
    why = f" ({', '.join(change.causes)})" if change.causes else ""
    stays = "; it stays in the account, and the app does not find it any more" if change.stays else ""
    return f"{change.resource} ({change.type}, {change.id}) {verb[change.action]}{why}: {holds}{stays}"


def _messages(url: str, session: Session) -> str:
    """How many there are; "" is none. Who may not ask is told of them: there may be some."""
    try:
        sqs: Any = cast("Any", session).client("sqs")
        said: Mapping[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=WAITING)["Attributes"]
    except ClientError as error:
        gone = "NonExistentQueue" in error.response.get("Error", {}).get("Code", "")
        return "" if gone else "perhaps"
    except BotoCoreError:
        return "perhaps"
    number = sum(int(said.get(name, "0")) for name in WAITING)
    return f"{number:,}" if number else ""


def _values(parameters: Iterable[ParameterTypeDef]) -> dict[str, str]:
    return {each.get("ParameterKey", ""): each.get("ParameterValue", "") for each in parameters}


def _days(values: Mapping[str, str]) -> int | None:
    """The age at which objects go; None where no parameter of ours says that."""
    said = values.get(RETENTION, "")
    return object_days(int(said) * DAY) if said.isdecimal() else None
