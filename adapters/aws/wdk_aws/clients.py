"""boto3's clients: made at first use, shared by all namespaces of a world, called in threads of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3.session import Session
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sqs import SQSClient

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 32
"""Requests at once: the inline steps of a few turns, with their streams; each thread costs some 100 KB once it ran."""

CONNECT_WITHIN = 2.0
"""Seconds: inside a region a connection stands within milliseconds, and a lease is 30 s long."""

ANSWER_WITHIN = 8.0
"""Seconds: three attempts end within a lease. The slowest requests are those of objects of some megabytes."""

ATTEMPTS = 3
"""Of one request, the first included, with botocore's pauses between them (its `standard` mode)."""


class Clients:
    """`session` is boto3's; without one a new one, with the default credentials, region and endpoint variables."""

    def __init__(self, session: Session | None = None) -> None:
        self._session = session
        self._making = Lock()
        self._executor: ThreadPoolExecutor | None = None

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

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a client's method in a thread. `setting` is the variable that names what is asked for.

        Raises what `failures.translated` makes of boto3's errors; a ClientError that it leaves alone (a refused
        condition among them) is for the caller.
        """
        call = partial(self.ask_now, setting, method, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads(), call)

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `ask`, in the calling thread."""
        from wdk_aws.failures import translated

        try:
            return method(*args, **kwargs)
        except Exception as error:
            other = translated(error, setting)
            if other is None:
                raise
            raise other from error

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="wdk-aws")
        return self._executor

    def _made(self, service: str, **more: Any) -> Any:
        from botocore.exceptions import BotoCoreError

        with self._making:
            if self._session is None:
                from boto3.session import Session

                self._session = Session()
            session: Any = self._session  # its types know each service by a literal of its own
            try:
                return session.client(service, config=_config(), **more)
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
