"""Delays beyond those of SQS: one schedule of EventBridge Scheduler each, which puts the message into its queue.

The schedules lie in one group, whose ARN the trust of the role names as its source; each deletes itself when it has
fired. What Scheduler cannot deliver within a day it puts into the queue's own dead-letter queue.
"""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from botocore.exceptions import ClientError

from wdk_aws import messages
from wdk_aws.failures import code
from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import Clock, Message

log = logging.getLogger("wdk_cloud.world.aws")

EARLY = 60.0
"""Seconds: Scheduler is exact to the minute, so a timer message is aimed at a minute before its time, and whoever gets
it sends it on with the rest of the delay."""

DEAD = "-dead"
"""What the name of a dead-letter queue ends in, after that of its queue."""

_NAME = 64
"""Characters of a schedule's name, of `[0-9a-zA-Z-_.]` (CreateSchedule's API reference)."""

_DIGEST = 32
"""Hexadecimal digits: 128 bits tell timers apart."""

_REGION = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d)\.")


class Schedules:
    def __init__(self, settings: AwsSettings, clients: Clients, clock: Clock, namespace: str) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._namespace = namespace

    async def create(self, message: Message, delay: float, queue: str) -> bool:
        """Have Scheduler put the message into the queue of this setting. False: it does not, and another way is needed.

        Two turns, or two tries of one request, may create the same: the first one has the name, and what it sends is
        the same for the run. It has not fired yet, since its time is in the name and is 840 seconds from now or more:
        one that has fired keeps its name until Scheduler has come to deleting it.
        """
        settings = self._settings
        if not settings.scheduler_group or not settings.scheduler_role_arn:
            return False
        at, sent = self._aimed(message, delay)
        arn = arn_of(settings.needed(queue), self._clients)
        try:
            await self._clients.ask(
                "WDK_AWS_SCHEDULER_GROUP",
                self._clients.scheduler.create_schedule,
                Name=self._name(message, at),
                GroupName=settings.scheduler_group,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": arn,
                    "RoleArn": settings.scheduler_role_arn,
                    "Input": messages.encode(sent, self._namespace),
                    "DeadLetterConfig": {"Arn": arn + DEAD},
                },
            )
        except ClientError as error:
            if code(error) == "ConflictException":
                return True
            log.error("run %s: no schedule can be made (%s); its message goes in hops", message.run_id, code(error))
            return False
        except (ThrottleError, WorldUnavailableError) as error:
            log.warning("run %s: no schedule can be made now, its message goes in hops: %s", message.run_id, error)
            return False
        except WorldConfigurationError as error:
            log.error("run %s: no schedule can be made, its message goes in hops: %s", message.run_id, error)
            return False
        return True

    def _aimed(self, message: Message, delay: float) -> tuple[datetime, Message]:
        """When it fires, to the next second, and what it sends."""
        when = self._clock.now() + delay
        if message.kind == "timer" and message.due is not None:
            # All the way to `due`, the time is the same for every sender, whatever its clock said in between.
            when = min(when, message.due) - EARLY
            message = msgspec.structs.replace(message, hop=True)
        return datetime.fromtimestamp(math.ceil(when), UTC), message

    def _name(self, message: Message, at: datetime) -> str:
        """The same for all that is the same to the run: timer messages for one time, whoever sends them; others by
        their identity, which copies keep."""
        told = str(message.due) if message.kind == "timer" else f"{message.identity} {message.step_id or ''}"
        what = (self._namespace, message.run_id, message.birth, message.kind, told, at.isoformat())
        digest = sha256("\n".join(what).encode()).hexdigest()[:_DIGEST]
        readable = re.sub(r"[^0-9a-zA-Z_-]", "", message.run_id)[: _NAME - _DIGEST - 1]
        return f"{readable}.{digest}"


def arn_of(url: str, clients: Clients) -> str:
    """The ARN of a queue, by its URL: no request, and no right to make one. Where the host names no region, as at an
    endpoint of one's own, it is the client's."""
    parts = urlsplit(url)
    account, _, name = parts.path.strip("/").rpartition("/")
    meta = clients.sqs.meta
    found = _REGION.search(parts.hostname or "")
    return f"arn:{meta.partition}:sqs:{found[1] if found else meta.region_name}:{account}:{name}"
