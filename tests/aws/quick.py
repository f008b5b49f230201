"""A stage for tests that make many thousands of requests."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore import UNSIGNED
from botocore.config import Config

from wdk_aws import clients
from wdk_aws.testing.stage import InlineClients, Stage


class QuickClients(InlineClients):
    """Without signatures and without a look at parameters, which nothing here depends on: a quarter of a request's time."""

    def _made(self, service: str, **more: Any) -> Any:
        config = clients._config().merge(Config(signature_version=UNSIGNED, parameter_validation=False))
        session: Any = self._session
        client = session.client(service, config=config, **more)
        client.meta.events.register("before-call.dynamodb", _as_if_signed)
        return client


def _as_if_signed(params: dict[str, Any], **_: object) -> None:
    day = datetime.now(UTC).strftime("%Y%m%d")
    params["headers"]["X-Amz-Date"] = f"{day}T000000Z"
    params["headers"]["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=test/{day}/eu-central-1/dynamodb/aws4_request, "
        f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}"
    )


@cache
def stage_at(dynamodb: str) -> Stage:
    """Of this process; `dynamodb` is the URL of the component that stands in for it."""
    stage = Stage(dynamodb)
    stage.clients = QuickClients(stage.session, dynamodb)
    return stage
