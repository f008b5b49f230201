"""A service of Cloud Run: whether it is made as the world wants it, with the settings of this process."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.findings import Finding
from wdk_gcp.callers import CERTIFICATES_VARIABLE
from wdk_gcp.clients import FIRESTORE_VARIABLE, STORAGE_VARIABLE, TASKS_VARIABLE, WITHIN
from wdk_gcp.queue import AUDIENCE, DEADLINE
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_gcp.checkup import Place

API = "https://run.googleapis.com/v2"

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

ANYBODY = ("allUsers", "allAuthenticatedUsers")
"""The second are all who have an account with Google (IAM, "Principal identifiers")."""

FOR_TESTS = (CERTIFICATES_VARIABLE, TASKS_VARIABLE, FIRESTORE_VARIABLE, STORAGE_VARIABLE)
"""Variables that have no place in a deployment: they name servers that stand in for Google's."""


def described(name: str) -> Any:
    """A resource of the API, or what a method says of it that only reads (`…:getIamPolicy`). Raises
    WorldConfigurationError with the API's words."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    library: Any = google.auth  # it has no types
    credentials, _ = library.default(scopes=[SCOPE])
    made: Any = AuthorizedSession
    session = made(credentials)
    try:
        answer = session.get(f"{API}/{name}", timeout=WITHIN)
        if answer.status_code != 200:
            raise WorldConfigurationError(f"Cloud Run says {answer.status_code} to {name}: {answer.text[:300]}")
        return answer.json()
    finally:
        session.close()


def examine(place: Place, name: str) -> list[Finding]:
    """Each thing that is wrong, or one line that says that nothing is."""
    settings = place.settings
    full = f"projects/{settings.project}/locations/{settings.needed('location')}/services/{name}"
    service: dict[str, Any] = place.service(full)
    template: dict[str, Any] = service.get("template") or {}
    containers: list[dict[str, Any]] = template.get("containers") or [{}]
    variables: list[dict[str, str]] = containers[0].get("env") or []
    env = {one["name"]: one.get("value", "") for one in variables}
    at = f"{shlex.quote(name)} --region {shlex.quote(settings.location)} --project {shlex.quote(settings.project)}"
    update = f"gcloud run services update {at}"
    role = env.get("WDK_ROLE", "all")
    found: list[Finding] = []
    if role != "receiver":
        found += _of_workers(name, service, template, env, update)
        if env.get(VARIABLES["services"]) == "split":  # one service for all has to be open, and verifies by itself
            found += _open_to_anybody(place, full, service, at)
    found += _for_tests(name, env, update)
    found += _compared(place, name, env, update)
    image = str(containers[0].get("image", "")).rpartition("/")[2]
    return found or [Finding("service", f"{name}: role {role}, image {image}, settings as here")]


def _of_workers(
    name: str, service: Mapping[str, Any], template: Mapping[str, Any], env: Mapping[str, str], update: str
) -> list[Finding]:
    found: list[Finding] = []
    audiences: list[str] = service.get("customAudiences") or []
    if AUDIENCE not in audiences:
        said = ", ".join(audiences) or "none"
        seen = f"{name} has the custom audiences {said}, and the tokens of the queues are for {AUDIENCE}: all get 401"
        found.append(Finding("audience", seen, f"{update} --add-custom-audiences {AUDIENCE}"))
    if env.get("PYTHONHASHSEED", "0") in ("", "random"):  # the image sets it where the service does not
        seen = f"{name} has PYTHONHASHSEED={env['PYTHONHASHSEED']!r}: sets iterate otherwise in each of its instances"
        found.append(Finding("hash-seed", seen, f"{update} --update-env-vars PYTHONHASHSEED=0"))
    timeout = str(template.get("timeout", "")).removesuffix("s")
    if timeout and float(timeout) < DEADLINE:
        seen = f"{name} ends a delivery after {timeout} s, and a task has {DEADLINE}: long steps are cut off"
        found.append(Finding("timeout", seen, f"{update} --timeout {DEADLINE}"))
    return found


def _open_to_anybody(place: Place, full: str, service: Mapping[str, Any], at: str) -> list[Finding]:
    """Of a service that only the queues, and who uses the API, are to reach: it leaves the signature of a token to
    IAM, so that whom that lets in could write one in the name of the queues."""
    name = full.rpartition("/")[2]
    risk = "it takes a caller that IAM let in for the queues, so that anybody could order its steps"
    if service.get("invokerIamDisabled"):  # then its policy is not asked
        seen = f"{name} lets anybody in: the check of its callers by IAM is turned off; {risk}"
        return [Finding("callers", seen, f"gcloud run services update {at} --invoker-iam-check")]
    try:
        policy: dict[str, Any] = place.service(f"{full}:getIamPolicy")
    except WorldConfigurationError as error:
        seen = f"who may call {name} cannot be looked at (that takes run.services.getIamPolicy): {error}"
        return [Finding("callers", seen, f"gcloud run services get-iam-policy {at}")]
    bindings: list[dict[str, Any]] = policy.get("bindings") or []
    remove = f"gcloud run services remove-iam-policy-binding {at}"
    return [
        Finding("callers", f"{name} lets {member} in, as {role}; {risk}", f"{remove} --member {member} --role {role}")
        for role, member in ((one["role"], member) for one in bindings for member in one.get("members", ()))
        if member in ANYBODY
    ]


def _for_tests(name: str, env: Mapping[str, str], update: str) -> list[Finding]:
    there = [variable for variable in FOR_TESTS if variable in env]
    if not there:
        return []
    seen = f"{name} has {', '.join(there)}, for tests: what it sends or believes there is not Google's"
    return [Finding("testing-settings", seen, f"{update} --remove-env-vars {','.join(there)}")]


def _compared(place: Place, name: str, env: Mapping[str, str], update: str) -> list[Finding]:
    """Of what both know: another database here than there shows other runs."""
    found: list[Finding] = []
    for field, variable in VARIABLES.items():
        here, there = getattr(place.settings, field), env.get(variable)
        if field in ("flow_queue", "step_queue") and here and there:
            here, there = here.rpartition("/")[2], there.rpartition("/")[2]
        if here and there and here != there and field != "services":
            seen = f"{variable} is {here!r} here and {there!r} in {name}"
            found.append(Finding("settings", seen, f"export {variable}={shlex.quote(there)}"))
    return found
