"""What Google Cloud charges in us-central1, beyond its free tiers, and the bill of what a meter has counted.

All prices are in dollars, as they were found on 2026-11-29. They change; whoever finds another one on the page named
beside it corrects it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_gcp.testing.meter import CLASS_A, CLASS_B

if TYPE_CHECKING:
    from wdk_gcp.testing.meter import Tally

MILLION = 1_000_000

# https://cloud.google.com/firestore/pricing: Standard edition
DOCUMENT_READ = 0.03 / 100_000
DOCUMENT_WRITE = 0.09 / 100_000
DOCUMENT_DELETE = 0.01 / 100_000
"""Also of each document that expires: "TTL deletes"."""

# https://cloud.google.com/tasks/pricing
TASK_OPERATION = 0.40 / MILLION
"""An API call, or a delivery."""

# https://cloud.google.com/storage/pricing: Standard storage in one region; deletes are free, of the lifecycle, too
CLASS_A_OPERATION = 0.005 / 1_000
CLASS_B_OPERATION = 0.0004 / 1_000

# https://cloud.google.com/kms/pricing: keys with the protection level SOFTWARE
KMS_OPERATION = 0.03 / 10_000

# https://cloud.google.com/run/pricing: services, request-based billing, tier 1
REQUEST = 0.40 / MILLION
VCPU_SECOND = 0.000024
GIB_SECOND = 0.0000025

# https://cloud.google.com/scheduler/pricing
JOB = 0.10
"""A month, of each job, however often it runs."""

# https://cloud.google.com/workflows/pricing; the services that a workflow calls are charged beside that
INTERNAL_STEP = 0.01 / 1_000
"""As a call of a service on Cloud Run, or a sleep."""
EXTERNAL_STEP = 0.025 / 1_000
"""As the wait for a callback."""

VCPUS, MEMORY = 1, 1.0
"""Of an instance, in GiB: what `infra/gcp/terraform` begins with."""

SECONDS = {"firestore": 0.010, "tasks": 0.020, "storage": 0.050, "kms": 0.010}
"""That a request takes inside a region: assumed, on the high side. A stand-in on this machine cannot say it."""

OWN_SECONDS = 0.010
"""Of the engine's own work in a delivery: assumed, some times what its benchmarks say."""

ROUNDED = 0.100
"""Seconds to which the time of an instance is rounded up: added to each delivery in whole, as if it were alone."""

EVERY = 300.0
"""Seconds between two sweeps: `infra/gcp/terraform`."""

MONTH = 30 * 86_400.0


@dataclass(frozen=True)
class Bill:
    """Dollars of one run, by service."""

    firestore: float
    tasks: float
    storage: float
    kms: float
    run: float
    """Of Cloud Run."""

    @property
    def total(self) -> float:
        return self.firestore + self.tasks + self.storage + self.kms + self.run

    @staticmethod
    def of(tally: Tally, deliveries: int, left: int = 0) -> Bill:
        """`left`: the documents that are still there, which expire one day."""
        requests = dict(tally.requests)
        of_tasks = _count(requests, "tasks") + deliveries
        seconds = deliveries * (OWN_SECONDS + ROUNDED)
        seconds += sum(SECONDS[name.partition(".")[0]] * count for name, count in requests.items())
        return Bill(
            firestore=tally.reads * DOCUMENT_READ
            + tally.writes * DOCUMENT_WRITE
            + (tally.deletes + left) * DOCUMENT_DELETE,
            tasks=of_tasks * TASK_OPERATION,
            storage=tally.objects(CLASS_A) * CLASS_A_OPERATION + tally.objects(CLASS_B) * CLASS_B_OPERATION,
            kms=_count(requests, "kms") * KMS_OPERATION,
            run=deliveries * REQUEST + seconds * (VCPUS * VCPU_SECOND + MEMORY * GIB_SECOND),
        )


def idle_month(sweep: Tally) -> float:
    """Dollars of a month in which nothing happens: the job that sweeps, and what each sweep asks."""
    return JOB + MONTH / EVERY * (Bill.of(sweep, 1).total - TASK_OPERATION)


def _count(requests: dict[str, int], service: str) -> int:
    return sum(count for name, count in requests.items() if name.partition(".")[0] == service)
