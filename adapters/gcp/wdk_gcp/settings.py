"""The WDK_GCP_* variables: where the database, queues and buckets of this world are."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {
    "project": "WDK_GCP_PROJECT",
    "location": "WDK_GCP_LOCATION",
    "database": "WDK_GCP_DATABASE",
    "flow_queue": "WDK_GCP_FLOW_QUEUE",
    "step_queue": "WDK_GCP_STEP_QUEUE",
    "bucket": "WDK_GCP_BUCKET",
    "worker_url": "WDK_GCP_WORKER_URL",
    "step_url": "WDK_GCP_STEP_URL",
    "invoker": "WDK_GCP_INVOKER",
    "kms_key": "WDK_GCP_KMS_KEY",
    "services": "WDK_GCP_SERVICES",
}

Services = Literal["single", "split"]
"""One service for all, which is public; or a public one for webhooks, and one for turns and one for steps, which IAM
guards."""

DEFAULT_DATABASE = "(default)"
"""The name of the database that a project has unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """What the variables say; "" for those that are not set. Each process needs those of what it does: one that only
    reads runs needs a project and nothing else."""

    project: str = ""
    location: str = ""
    database: str = DEFAULT_DATABASE
    flow_queue: str = ""
    """Its name alone, as `flow`; or with its project and location, `projects/…/locations/…/queues/flow`."""
    step_queue: str = ""
    bucket: str = ""
    worker_url: str = ""
    """Where the service answers, without a path."""
    step_url: str = ""
    """Where the service for steps answers; the worker's unless it is another one."""
    invoker: str = ""
    """The e-mail of the service account in whose name the queues call the service."""
    kms_key: str = ""
    services: str = "single"

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> GcpSettings:
        env = os.environ if environ is None else environ
        said = {field.name: env.get(VARIABLES[field.name], "").strip() for field in fields(GcpSettings)}
        return GcpSettings(**{name: value for name, value in said.items() if value})

    def needed(self, name: str) -> str:
        """The value of a field that is needed now. Raises WorldConfigurationError that names its variable."""
        value: str = getattr(self, name)
        if not value:
            raise WorldConfigurationError(
                f"{VARIABLES[name]} is not set, and this process needs it; set it to the {_WHAT[name]} of this world"
            )
        return value

    @property
    def split(self) -> bool:
        """Raises WorldConfigurationError for a word that is not known."""
        if self.services not in get_args(Services):
            known = ", ".join(get_args(Services))
            raise WorldConfigurationError(f"{VARIABLES['services']}={self.services!r} is not known; there are: {known}")
        return self.services == "split"

    def queue(self, name: str) -> str:
        """The full name of the queue in this field."""
        queue = self.needed(name)
        if queue.startswith("projects/"):
            return queue
        return f"projects/{self.needed('project')}/locations/{self.needed('location')}/queues/{queue}"


_WHAT = {
    "project": "id of the Google Cloud project",
    "location": "location of the Cloud Tasks queues (as europe-west1)",
    "database": "name of the Firestore database",
    "flow_queue": "name of the Cloud Tasks queue for flow messages",
    "step_queue": "name of the Cloud Tasks queue for step messages",
    "bucket": "name of the Cloud Storage bucket",
    "worker_url": "URL of the Cloud Run service that the queues call",
    "step_url": "URL of the Cloud Run service that the queue for steps calls",
    "invoker": "e-mail of the service account in whose name the queues call the service",
    "kms_key": "name of the Cloud KMS key",
    "services": "way in which its services are cut",
}
