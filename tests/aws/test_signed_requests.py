"""Requests that IAM has let through, as a function URL with AWS_IAM hands them on, use the API without a token."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from wdk_aws.gateway import Gateway
from wdk_aws.serving import TimeLeft
from wdk_cloud import Workflows
from wdk_cloud.http.authentication import Authenticator
from wdk_cloud.testing import workflow_env

API = "/.well-known/workflow/v1/api/runs"
WHO = {"userArn": "arn:aws:sts::123456789012:assumed-role/ops/me", "accountId": "123456789012"}


def of_url(**context: Any) -> dict[str, Any]:
    http = {"method": "GET", "sourceIp": "127.0.0.1"}
    return {"rawPath": API, "headers": {"host": "x"}, "requestContext": {"http": http, **context}}


def of_rest(**identity: Any) -> dict[str, Any]:
    return {"httpMethod": "GET", "path": API, "requestContext": {"identity": identity}, "headers": {"host": "x"}}


def status(event: dict[str, Any], authenticator: Authenticator | None = None) -> int:
    async def main() -> dict[str, Any]:
        app = Workflows()
        async with workflow_env("memory", app):
            return await Gateway([app], authenticator, "worker").answer(event, TimeLeft(60.0, 60.0))

    answer = asyncio.run(main())
    json.loads(answer["body"])
    return answer["statusCode"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (of_url(authorizer={"iam": WHO}), 200),
        (of_url(), 401),
        (of_url(authorizer={}), 401),
        (of_url(authorizer={"iam": None}), 401),
        (of_url(authorizer={"jwt": {"claims": {}}}), 401),
        (of_rest(userArn=WHO["userArn"], sourceIp="127.0.0.1"), 200),
        (of_rest(userArn=None, sourceIp="127.0.0.1"), 401),
    ],
)
def test_who_is_signed_is_let_in_and_nobody_else(
    event: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WDK_API_TOKEN", raising=False)
    assert status(event) == expected


def test_a_header_says_nothing_of_who_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WDK_API_TOKEN", raising=False)
    event = of_url()
    event["headers"] |= {"authorization": "AWS4-HMAC-SHA256 Credential=x", "wdk_aws.signed": "true"}
    assert status(event) == 401


def test_an_authenticator_of_the_apps_own_has_the_last_word() -> None:
    assert status(of_url(authorizer={"iam": WHO}), lambda _: False) == 401
