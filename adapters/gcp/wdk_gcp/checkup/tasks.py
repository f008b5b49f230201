"""The queues: whether they are there, in this location, running, with the settings that the world expects."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound

from wdk_cloud.findings import Finding
from wdk_gcp import rights, schema
from wdk_gcp.clients import RETRY, WITHIN
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from wdk_gcp.checkup import Place

CREATE = "wdk gcp create"


def examine(place: Place, field: str) -> list[Finding]:
    slug = field.replace("_", "-")
    name, client = place.settings.queue(field), _any(place.clients.tasks)
    parts = name.split("/")
    location, short = parts[3], parts[5]
    named = f"{shlex.quote(short)} --location {shlex.quote(location)} --project {shlex.quote(parts[1])}"
    if place.settings.location and location != place.settings.location:
        seen = (
            f"{name} is in {location}, and WDK_GCP_LOCATION is {place.settings.location}: one of them is another one's"
        )
        return [Finding(slug, seen, f"export {VARIABLES[field]}={shlex.quote(short)}")]
    asked = {"retry": RETRY, "timeout": WITHIN}
    try:
        queue = client.get_queue(name=name, **asked)
    except NotFound:
        others = [one.name.rpartition("/")[2] for one in _listed(client, name, asked)]
        seen = f"{name} is not there, perhaps in another location; here there are: {', '.join(others) or 'none'}"
        return [Finding(slug, seen, CREATE)]
    found: list[Finding] = []
    if queue.state.name != "RUNNING":
        seen = f"{name} is {queue.state.name}: runs wait, and nothing is lost"
        found.append(Finding(slug, seen, f"gcloud tasks queues resume {named}"))
    elif wrong := _wrong(queue.retry_config):
        found.append(Finding(slug, f"{name} has {', '.join(wrong)}", CREATE))
    else:
        found.append(Finding(slug, f"{name}: running, tried for ever"))
    on: rights.Resource = "flow queue" if field == "flow_queue" else "step queue"
    wanted = sorted({use.permission for use in rights.uses("operator") if use.on == on})
    if wanted:
        may = client.test_iam_permissions(request={"resource": name, "permissions": wanted}, timeout=WITHIN).permissions
        if missing := [one for one in wanted if one not in may]:
            seen = f"this process may not: {', '.join(missing)}, on {name}"
            found.append(Finding(f"{slug}-rights", seen, f"gcloud tasks queues get-iam-policy {named}"))
    return found


def _wrong(retry: Any) -> list[str]:
    """Cloud Tasks says nothing of a setting that is its default."""
    wanted = schema.QUEUE
    found = {
        "max_attempts": retry.max_attempts,
        "min_backoff": retry.min_backoff.total_seconds(),
        "max_backoff": retry.max_backoff.total_seconds(),
        "max_doublings": retry.max_doublings,
    }
    return [
        f"{name} {value:g} instead of {getattr(wanted, name)}"
        for name, value in found.items()
        if value != getattr(wanted, name)
    ]


def _listed(client: Any, name: str, asked: dict[str, Any]) -> list[Any]:
    try:
        return list(client.list_queues(parent=name.partition("/queues/")[0], **asked))
    except NotFound:
        return []


def _any(client: object) -> Any:
    """The types of its methods are partly unknown."""
    return client
