"""boto3's clients: made at first use, shared by all namespaces of a world, called in threads of their own."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.asking import THREADS, Asking

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sqs import SQSClient

CONNECT_WITHIN = 2.0
"""Seconds: inside a region a connection stands within milliseconds, and a lease is 30 s long."""

ANSWER_WITHIN = 8.0
"""Seconds: three attempts end within a lease. The slowest requests are those of objects of some megabytes."""

ATTEMPTS = 3
"""Of one request, the first included, with botocore's pauses between them (its `standard` mode)."""


class Clients(Asking):
    """`session` is boto3's; without one a new one, with the default credentials, region and endpoint variables."""

    def __init__(self, session: Session | None = None) -> None:
        self._session = session
        super().__init__("wdk-aws")
        self._making = Lock()

    # boto3's functions for making clients are not thread-safe, and the renewing thread may be first: hence the lock.

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return cast("DynamoDBClient", self._made("dynamodb"))

    @cached_property
    def sqs(self) -> SQSClient:
        return cast("SQSClient", self._made("sqs"))

    @cached_property
    def s3(self) -> S3Client:
        return cast("S3Client", self._made("s3"))

    @cached_property
    def scheduler(self) -> EventBridgeSchedulerClient:
        return cast("EventBridgeSchedulerClient", self._made("scheduler"))

    @cached_property
    def kms(self) -> KMSClient:
        return cast("KMSClient", self._made("kms"))

    def translated(self, error: Exception, setting: str) -> Exception | None:
        from wdk_aws.failures import translated

        return translated(error, setting)

    def _made(self, service: str, **more: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ProfileNotFound

        with self._making:
            try:
                if self._session is None:
                    from boto3.session import Session

                    self._session = Session()
                session: Any = self._session  # its types know each service by a literal of its own
                return session.client(service, config=_config(), **more)
            except ProfileNotFound as error:
                raise WorldConfigurationError(
                    f"a client for {service} cannot be made: {error}; set AWS_PROFILE to one that there is, or not at "
                    "all (aws configure list-profiles)"
                ) from error
            except (BotoCoreError, ValueError) as error:
                raise WorldConfigurationError(
                    f"a client for {service} cannot be made: {error}; set AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL "
                    "to a URL or not at all"
                ) from error


def _config() -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=CONNECT_WITHIN,
        read_timeout=ANSWER_WITHIN,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=THREADS,
    )
