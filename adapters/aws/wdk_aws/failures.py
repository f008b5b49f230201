"""What boto3 raises, in the words of the ports: throttled, unavailable, or configured wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from wdk_cloud.errors import WorkflowError

REFUSED = "ConditionalCheckFailedException"

# The codes are those of botocore's own retry rules, and of the error lists of the four services' API references.
_THROTTLED = frozenset(
    (
        "LimitExceededException",
        "OverLimit",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    )
)
_CREDENTIALS = frozenset(("ExpiredToken", "ExpiredTokenException", "RequestExpired"))
_ABSENT = frozenset(
    (
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    )
)
_DENIED = frozenset(
    ("403", "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "Forbidden", "KMS.AccessDeniedException")
)
_LOOKS = frozenset(("GetObject", "HeadObject"))
_FOREIGN = frozenset(
    (
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidAddress",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "PermanentRedirect",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "AuthorizationHeaderMalformed",
    )
)


def refused(error: ClientError) -> dict[str, Any] | None:
    """What lies there, if the error says that a condition did not hold; {} if nothing does."""
    if code(error) != REFUSED:
        return None
    item: dict[str, Any] = error.response.get("Item", {})
    return item


def code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def denied(error: ClientError) -> bool:
    """Whether AWS says that this process may not do that."""
    return code(error) in _DENIED


def is_denied(error: WorkflowError) -> bool:
    """Whether this is what became of an answer that this process may not do that."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and denied(cause)


def translated(error: Exception, setting: str) -> WorkflowError | None:
    """The error to raise in place of boto3's; None for one that is no matter of the world. `setting` is the variable
    that names the resource."""
    if isinstance(error, ClientError):
        return _answered(error, setting)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | NoRegionError):
        return WorldConfigurationError(
            f"AWS cannot be asked: {error}; give this process credentials and a region as boto3 reads them "
            "(AWS_PROFILE, AWS_DEFAULT_REGION, or the role of its function)"
        )
    if isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError):
        return WorldUnavailableError(f"AWS did not answer, tried for {setting}: {error}; it is tried again")
    if isinstance(error, BotoCoreError):
        return WorldConfigurationError(f"a request for {setting} could not be made: {error}; look at that variable")
    return None


def _answered(error: ClientError, setting: str) -> WorkflowError | None:
    name, operation = code(error), error.operation_name
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{operation} for {setting}: {name}"
    if name in _THROTTLED:
        return ThrottleError(f"AWS asks for fewer requests ({said}); it is tried again")
    if name in _CREDENTIALS:
        return WorldUnavailableError(f"the credentials of this process have expired ({said}); it is tried again")
    if name == "ValidationException" and setting == "WDK_AWS_TABLE":
        return WorldConfigurationError(
            f"the table that {setting} names does not take what is asked of it ({said}): it is not one of ours, whose "
            "keys are pk and sk; set it to one that wdk aws create has made"
        )
    if name in _ABSENT:
        return WorldConfigurationError(
            f"what {setting} names is not there in this account and region ({said}); set it to one that is"
        )
    if name in _DENIED:
        listing = " (and s3:ListBucket, without which what is not there looks forbidden)" if operation in _LOOKS else ""
        return WorldConfigurationError(
            f"this process may not do that ({said}); give its role the right to {operation} on what {setting} names"
            + listing
        )
    if name in _FOREIGN:
        return WorldConfigurationError(
            f"AWS does not accept these credentials, or not in this region ({said}); look at them and at "
            "AWS_DEFAULT_REGION"
        )
    if status >= 500:
        return WorldUnavailableError(f"AWS has an internal error ({said}); it is tried again")
    return None
