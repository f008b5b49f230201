"""The check-up of the Google Cloud world (`wdk doctor`): it looks at what the `WDK_GCP_*` variables name, and changes
nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from wdk_cloud.cli.checkup import hash_seed
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.findings import Doctor, Finding
from wdk_gcp.clients import FIRESTORE_VARIABLE, Clients
from wdk_gcp.failures import stand_in
from wdk_gcp.settings import DEFAULT_DATABASE, VARIABLES, GcpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

    Look = Callable[[], list[Finding]]


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at, and through what."""

    settings: GcpSettings
    clients: Clients
    admin: Callable[[], FirestoreAdminClient] | None
    """None: an emulator, which has no admin service, and needs no indexes."""
    service: Callable[[str], Any]
    """What Cloud Run says of a service, by its full name, as a document."""


async def examine(services: Sequence[str]) -> list[Finding]:
    """`services` are names of services of Cloud Run, for which there are settings to compare."""
    from wdk_gcp.checkup.services import described

    settings = GcpSettings.from_environment()
    clients = Clients(settings)
    admin = None if os.environ.get(FIRESTORE_VARIABLE) else _admin
    try:
        return [hash_seed(), *examined(Place(settings, clients, admin, described), services)]
    finally:
        clients.close()


def examined(place: Place, services: Sequence[str] = ()) -> list[Finding]:
    """All that the settings name. What cannot be looked at is a finding, too."""
    from wdk_gcp.checkup import database, storage, tasks
    from wdk_gcp.checkup import services as of_services

    settings = place.settings
    if not settings.project:
        return [Finding("project", "WDK_GCP_PROJECT is not set: nothing can be looked at", "export WDK_GCP_PROJECT=ID")]
    looks: list[tuple[str, Look]] = [("database", lambda: database.examine(place))]
    queues = [field for field in ("flow_queue", "step_queue") if getattr(settings, field)]
    looks += [(field.replace("_", "-"), partial(tasks.examine, place, field)) for field in queues]
    if settings.bucket:
        looks.append(("bucket", lambda: storage.examine(place)))
    looks += [("service", partial(of_services.examine, place, name)) for name in services]
    return [finding for slug, look in looks for finding in _looked(place, slug, look)]


def _looked(place: Place, slug: str, look: Look) -> list[Finding]:
    setting = VARIABLES.get(slug.replace("-", "_"), slug)
    try:
        return place.clients.ask_now(setting, look)
    except (WorldConfigurationError, WorldUnavailableError) as error:
        variable = stand_in(setting)
        mend = f"unset {variable}" if variable else "gcloud auth application-default login"
        return [Finding(slug, f"it cannot be looked at: {error}", mend)]
    except Exception as error:
        return [Finding(slug, f"it cannot be looked at: {type(error).__name__}: {error}", "gcloud auth list")]


def _admin() -> FirestoreAdminClient:
    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

    return FirestoreAdminClient()


GCP = Doctor(
    examine,
    {**dict.fromkeys(VARIABLES.values(), ""), "WDK_GCP_DATABASE": DEFAULT_DATABASE, "WDK_GCP_SERVICES": "single"},
)
