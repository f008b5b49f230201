"""What AWS charges in us-east-1, beyond its free tiers, and the bill of what a meter has counted.

All prices are in dollars. They change; whoever finds another one on the page named beside it corrects it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_aws.testing.meter import Tally

MILLION = 1_000_000

# https://aws.amazon.com/dynamodb/pricing/on-demand/
WRITE_UNIT = 0.625 / MILLION
READ_UNIT = 0.125 / MILLION

# https://aws.amazon.com/sqs/pricing/: standard queues; each request counts, those of a mapping's pollers included
SQS_REQUEST = 0.40 / MILLION

# https://aws.amazon.com/s3/pricing/: S3 Standard; deletes are free
S3_PUT = 5.00 / MILLION
"""Also LIST, COPY and POST."""
S3_GET = 0.40 / MILLION
"""Also HEAD."""

# https://aws.amazon.com/eventbridge/pricing/
SCHEDULE = 1.00 / MILLION
"""For each time that a schedule fires; creating one is free."""

# https://aws.amazon.com/kms/pricing/: symmetric keys
KMS_REQUEST = 3.00 / MILLION

# https://aws.amazon.com/lambda/pricing/: arm64
INVOCATION = 0.20 / MILLION
GB_SECOND = 0.0000133334

# https://aws.amazon.com/step-functions/pricing/: standard workflows
TRANSITION = 25.00 / MILLION

# https://aws.amazon.com/lambda/pricing/: durable functions; what they write and keep is charged beside that
OPERATION = 8.00 / MILLION

MEMORY = 0.5
"""GB of the function: what `docs/aws.md` begins with."""

SECONDS = {"dynamodb": 0.005, "sqs": 0.010, "s3": 0.030, "scheduler": 0.030, "kms": 0.010}
"""That a request takes inside a region: assumed, on the high side. A stand-in on this machine cannot say it."""

OWN_SECONDS = 0.010
"""Of the engine's own work in an invocation: assumed, some times what its benchmarks say."""

POLLERS = 5
"""Connections that a mapping polls with when there is nothing to do:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""

POLL = 20.0
"""Seconds that an empty poll waits."""

MONTH = 30 * 86_400.0

_PUTS = frozenset(("PutObject", "ListObjectsV2", "CopyObject"))
_GETS = frozenset(("GetObject", "HeadObject"))


@dataclass(frozen=True)
class Bill:
    """Dollars of one run, by service."""

    dynamodb: float
    sqs: float
    s3: float
    scheduler: float
    kms: float
    invocations: float

    @property
    def total(self) -> float:
        return self.dynamodb + self.sqs + self.s3 + self.scheduler + self.kms + self.invocations

    @staticmethod
    def of(tally: Tally, invocations: int, *, pollers: frozenset[str] = frozenset()) -> Bill:
        """`pollers`: the requests that the mapping makes and the function does not wait for, such as
        `sqs.ReceiveMessage`."""
        requests = dict(tally.requests)
        seconds = invocations * OWN_SECONDS
        seconds += sum(SECONDS[_service(name)] * count for name, count in requests.items() if name not in pollers)
        return Bill(
            dynamodb=tally.write * WRITE_UNIT + tally.read * READ_UNIT,
            sqs=_count(requests, "sqs") * SQS_REQUEST,
            s3=_count(requests, "s3", _PUTS) * S3_PUT + _count(requests, "s3", _GETS) * S3_GET,
            scheduler=requests.get("scheduler.CreateSchedule", 0) * SCHEDULE,
            kms=_count(requests, "kms") * KMS_REQUEST,
            invocations=invocations * INVOCATION + seconds * MEMORY * GB_SECOND,
        )


def idle_month(queues: int = 2) -> float:
    """Dollars of a month in which nothing happens: the empty polls of the mappings."""
    return queues * POLLERS * MONTH / POLL * SQS_REQUEST


def _service(name: str) -> str:
    return name.partition(".")[0]


def _count(requests: dict[str, int], service: str, operations: frozenset[str] | None = None) -> int:
    return sum(
        count
        for name, count in requests.items()
        if _service(name) == service and (operations is None or name.partition(".")[2] in operations)
    )
