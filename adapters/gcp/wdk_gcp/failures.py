"""What Google's clients raise, in the words of the ports: throttled, unavailable, or configured wrongly."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.auth import exceptions as auth

from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_gcp.clients import FIRESTORE_VARIABLE, STORAGE_VARIABLE, TASKS_VARIABLE
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from wdk_cloud.errors import WorkflowError

# The classes of gRPC's codes derive from those of HTTP's: ResourceExhausted is a TooManyRequests.
_THROTTLED = (exceptions.TooManyRequests, exceptions.Aborted)
_UNAVAILABLE = (exceptions.ServerError, exceptions.Cancelled, exceptions.Unknown)
_FOREIGN = (exceptions.Unauthorized,)
_DENIED = (exceptions.Forbidden,)
_ABSENT = (exceptions.NotFound,)
_REFUSED = (exceptions.FailedPrecondition,)

_STAND_INS = {
    VARIABLES["database"]: FIRESTORE_VARIABLE,
    VARIABLES["flow_queue"]: TASKS_VARIABLE,
    VARIABLES["step_queue"]: TASKS_VARIABLE,
    VARIABLES["bucket"]: STORAGE_VARIABLE,
}
"""The variables that lead to something else than Google Cloud, by those that name what is asked for there."""


def stand_in(setting: str) -> str:
    """The variable that leads to a stand-in for what `setting` names; "" where Google Cloud itself is asked."""
    variable = _STAND_INS.get(setting, "")
    return variable if os.environ.get(variable) else ""


def is_denied(error: WorkflowError) -> bool:
    """Whether this is what became of an answer that this process may not do that."""
    return isinstance(error.__cause__, _DENIED)


def translated(error: Exception, setting: str) -> WorkflowError | None:
    """The error to raise in place of Google's; None for one that is no matter of the world. `setting` is the variable
    that names the resource."""
    if isinstance(error, exceptions.RetryError):
        cause: object = error.cause  # its type is partly unknown
        found = translated(cause, setting) if isinstance(cause, Exception) else None
        if found is None and _status_of(cause) == HTTPStatus.TOO_MANY_REQUESTS:
            found = ThrottleError(f"Google Cloud asks for fewer requests ({setting}); it is tried again")
        return found or _silent(setting, f"Google Cloud did not answer in time, asked for {setting}; tried again")
    if isinstance(error, exceptions.GoogleAPICallError):
        return _answered(error, setting)
    if isinstance(error, auth.TransportError):
        return WorldUnavailableError(f"Google Cloud did not answer, tried for {setting}: {error}; it is tried again")
    if isinstance(error, auth.GoogleAuthError):
        if bool(getattr(error, "retryable", False)):  # the property has no type
            return WorldUnavailableError(f"no credentials could be fetched for {setting}: {error}; it is tried again")
        return WorldConfigurationError(
            f"Google Cloud cannot be asked for {setting}: {error}; give this process application default credentials "
            "(gcloud auth application-default login, or the service account of its service)"
        )
    if _is_of_the_network(error):
        return _silent(setting, f"Google Cloud did not answer, tried for {setting}: {error}; it is tried again")
    return None


def _answered(error: exceptions.GoogleAPICallError, setting: str) -> WorkflowError | None:
    said = f"{setting}: {type(error).__name__}"
    if isinstance(error, _THROTTLED):
        return ThrottleError(f"Google Cloud asks for fewer requests ({said}); it is tried again")
    if isinstance(error, _FOREIGN):
        return WorldConfigurationError(
            f"Google Cloud does not accept these credentials ({said}); look at the application default credentials of "
            "this process"
        )
    if isinstance(error, _DENIED):
        return WorldConfigurationError(
            f"this process may not do that ({said}, {error.message}); give its service account the right to it on what "
            f"{setting} names"
        )
    if isinstance(error, _ABSENT):
        return WorldConfigurationError(
            f"what {setting} names is not there in this project and location ({said}, {error.message}); set it to one "
            "that is"
        )
    if isinstance(error, _REFUSED):
        return WorldConfigurationError(
            f"what {setting} names cannot do that ({said}, {error.message}); it has to be a database in native mode "
            "with the indexes of wdk_gcp.schema, or a queue that is not disabled"
        )
    if isinstance(error, exceptions.ServiceUnavailable):
        return _silent(setting, f"Google Cloud has an internal error ({said}); it is tried again")
    if isinstance(error, _UNAVAILABLE):
        return WorldUnavailableError(f"Google Cloud has an internal error ({said}); it is tried again")
    return None


def _silent(setting: str, said: str) -> WorldUnavailableError:
    """With what is `said` of Google Cloud, unless it is somebody else who does not answer: a stand-in that has ended,
    and whose variable is still set."""
    variable = stand_in(setting)
    if not variable:
        return WorldUnavailableError(said)
    return WorldUnavailableError(
        f"no answer from {os.environ[variable]}, which {variable} names as the stand-in for what {setting} names; it "
        f"is tried again. If that has ended, start another one (wdk rehearse gcp --keep) or unset {variable}"
    )


def _status_of(error: object) -> int:
    """Of an answer that the client of Cloud Storage has not made an exception of its own yet; without loading it."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _is_of_the_network(error: Exception) -> bool:
    """Of `requests`, with which the client of Cloud Storage asks; without loading it."""
    return isinstance(error, ConnectionError | TimeoutError) or any(
        kind.__module__ == "requests.exceptions" and kind.__name__ == "RequestException" for kind in type(error).__mro__
    )
