"""Whether what a template names, or what a stack is made of, is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from wdk_aws.failures import code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from boto3.session import Session

_ABSENT = frozenset(
    (
        *("404", "NoSuchBucket", "NoSuchEntity", "NotFound", "QueueDoesNotExist", "ResourceNotFoundException"),
        "AWS.SimpleQueueService.NonExistentQueue",
    )
)
_DENIED = frozenset(("403", "AccessDenied", "AccessDeniedException", "Forbidden"))

Question = tuple[str, str, "Callable[[str], dict[str, Any]]"]

QUESTIONS: Mapping[str, Question] = {
    "AWS::DynamoDB::Table": ("dynamodb", "describe_table", lambda name: {"TableName": name}),
    "AWS::Lambda::Function": ("lambda", "get_function_configuration", lambda name: {"FunctionName": name}),
    "AWS::S3::Bucket": ("s3", "head_bucket", lambda name: {"Bucket": name}),
    # CloudFormation's id of a queue is its URL, and a template has its name.
    "AWS::SQS::Queue": (
        "sqs",
        "get_queue_url",
        lambda name: {"QueueName": name.rpartition("/")[2]},
    ),
    "AWS::Scheduler::ScheduleGroup": ("scheduler", "get_schedule_group", lambda name: {"Name": name}),
    "AWS::Serverless::Function": ("lambda", "get_function_configuration", lambda name: {"FunctionName": name}),
}
"""How each type is asked for, without changing anything."""


class Presence:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = cast("Any", self._session).client(service)
        return self._clients[service]

    def there(self, kind: str, name: str) -> bool | None:
        """None: nobody can say, since that type is not asked for, or since it is forbidden to look."""
        question = QUESTIONS.get(kind)
        if question is None:
            return None
        service, method, arguments = question
        try:
            getattr(self.client(service), method)(**arguments(name))
        except ClientError as error:
            if code(error) in _ABSENT:
                return False
            if code(error) in _DENIED:
                return None
            raise
        return True

    def foreign(self, bucket: str) -> bool:
        """Whether a bucket of that name is somebody else's. Names of buckets are those of all accounts together."""
        s3 = self.client("s3")
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if code(error) not in _DENIED:
                return False
            return bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}
        return False
