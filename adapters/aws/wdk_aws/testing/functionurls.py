"""Requests to function URLs of a stand-in: no network knows their hosts, and the worker's wants signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from boto3.session import Session

WITHIN = 60.0
"""Seconds for an answer: a cold start on a busy machine, and a function that waits for what comes."""


class ToStandIn(httpx.HTTPTransport):
    """Sends each request to the stand-in, whatever host its URL has; the host stays in the header."""

    def __init__(self, url: str) -> None:
        super().__init__(trust_env=False)  # a proxy would be asked for a machine that it cannot reach
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._host, port=self._port)
        return super().handle_request(request)


class Signed(httpx.Auth):
    """As who calls a function URL with `AWS_IAM` signs: by SigV4, for the service `lambda`."""

    requires_request_body = True

    def __init__(self, session: Session) -> None:
        self._session = session

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        headers = {name: request.headers[name] for name in ("host", "content-type") if name in request.headers}
        made = AWSRequest(method=request.method, url=str(request.url), data=request.content, headers=headers)
        credentials: Any = self._session.get_credentials()  # never None: a stand-in's owner has some
        SigV4Auth(credentials, "lambda", self._session.region_name).add_auth(made)
        request.headers.update(dict(made.headers.items()))
        yield request


def client(stand_in: str, base: str = "", session: Session | None = None) -> httpx.Client:
    """For URLs as they stand in outputs and in runs; with a session, requests are signed."""
    auth = None if session is None else Signed(session)
    return httpx.Client(transport=ToStandIn(stand_in), base_url=base, auth=auth, timeout=WITHIN)
