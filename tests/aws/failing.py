"""Clients of one instance whose requests fail: single ones, as botocore meets it, or all of one service for a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from botocore.exceptions import ClientError

from tests.aws.quick import QuickClients
from wdk_aws.testing.faults import Faults

if TYPE_CHECKING:
    from boto3.session import Session

    from wdk_aws.testing.stage import Stage
    from wdk_cloud.world.ports import Clock

P = ParamSpec("P")
T = TypeVar("T")

SERVICES = {
    "table": "WDK_AWS_TABLE",
    "flow queue": "WDK_AWS_FLOW_QUEUE_URL",
    "step queue": "WDK_AWS_STEP_QUEUE_URL",
    "bucket": "WDK_AWS_BUCKET",
    "scheduler": "WDK_AWS_SCHEDULER_GROUP",
    "key": "WDK_AWS_KMS_KEY_ID",
}
"""By the setting that an error about each names."""

OUTAGES = {
    "unavailable": ("ServiceUnavailable", 503),
    "throttled": ("ThrottlingException", 400),
    "denied": ("AccessDeniedException", 403),
    "credentials expired": ("ExpiredTokenException", 400),
    "gone": ("ResourceNotFoundException", 400),
}


class FailingClients:
    """botocore repeats what fails, or does not. The test's own requests and the mapping's go through."""

    def __init__(self, stage: Stage, dynamodb: str) -> None:
        session, _ = stage.another()
        self.faults = Faults()
        self.faults.attach(session)
        self.clients = QuickClients(session, dynamodb)


class Outage(QuickClients):
    """From a request of theirs on, services do nothing for a time, whoever asks."""

    def __init__(
        self, session: Session, dynamodb: str, clock: Clock, *, settings: set[str], kind: str, at: int, seconds: float
    ) -> None:
        super().__init__(session, dynamodb)
        self._clock = clock
        self._settings = settings
        self._code, self._status = OUTAGES[kind]
        self._at = at
        self._seconds = seconds
        self._until = 0.0
        self.asked = 0
        self.refused = 0

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask_now(setting, method, *args, **kwargs)

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if setting in self._settings:
            self.asked += 1
            if self.asked == self._at:
                self._until = self._clock.now() + self._seconds
            if self._clock.now() < self._until:
                self.refused += 1
                return super().ask_now(setting, partial(self._refuse, method))
        return super().ask_now(setting, method, *args, **kwargs)

    def _refuse(self, method: Callable[..., Any]) -> Any:
        said: Any = {"Error": {"Code": self._code}, "ResponseMetadata": {"HTTPStatusCode": self._status}}
        raise ClientError(said, getattr(method, "__name__", "GetObject"))
