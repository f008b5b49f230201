"""The entry of the Lambda function: `wdk_aws.handler.handler`, which serves the apps that WDK_APP names.

One function, or several with one code and other roles (WDK_ROLE), answer batches of SQS, HTTP requests of function URLs
and of API Gateway, EventBridge, direct invocations, and the dead letters. Importing this makes nothing: clients,
loggers and the user's code come with the first event that needs them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_aws.serving import Context, Instance
    from wdk_aws.streamed import StreamedAnswer
    from wdk_cloud.app import Workflows
    from wdk_cloud.http.authentication import Authenticator

__all__ = ["handler", "lambda_handler"]


class Handler(Protocol):
    """What Lambda's Python runtime calls."""

    def __call__(self, event: Mapping[str, Any], context: Context, /) -> Any: ...


def lambda_handler(*apps: Workflows, authenticator: Authenticator | None = None) -> Function:
    """A handler that serves these apps; without any, those that WDK_APP names.

    `authenticator` is that of `wdk_cloud.http.app`: it is asked with each request to the API. Raises `TypeError` for
    what is no `Workflows`.
    """
    for app in apps:
        from wdk_cloud.app import Workflows

        if not isinstance(app, Workflows):
            raise TypeError(f"lambda_handler() takes the Workflows to serve, lambda_handler(app), not {app!r}")
    return Function(apps or None, authenticator)


class Function:
    """One instance of the function with its event loop, which lives as long as the process: connections, warm bodies
    and tasks that a frozen instance left in the middle belong to it."""

    def __init__(self, apps: tuple[Workflows, ...] | None, authenticator: Authenticator | None) -> None:
        self._apps = apps
        self._authenticator = authenticator
        self._loop: asyncio.AbstractEventLoop | None = None
        self._instance: Instance | None = None

    def __call__(self, event: Mapping[str, Any], context: Context, /) -> Any:
        loop, instance = self._ready()
        return loop.run_until_complete(instance.handle(event, context))

    def stream(self, event: Mapping[str, Any], context: Context, answer: StreamedAnswer, /) -> bool:
        """Answer an HTTP event while the answer is made (`runtime.py`); False: it is none, nothing was done."""
        loop, instance = self._ready()
        return loop.run_until_complete(instance.stream(event, context, answer))

    def close(self) -> None:
        """For tests, where a function ends before its process does: what it opened is closed."""
        if self._instance is not None:
            self._instance.close()
            self._instance = None
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _ready(self) -> tuple[asyncio.AbstractEventLoop, Instance]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if self._instance is None:
            self._instance = self._made()
        return self._loop, self._instance

    def _made(self) -> Instance:
        from wdk_aws.serving import Instance, Parts
        from wdk_aws.telemetry import Powertools
        from wdk_aws.world import AwsWorld
        from wdk_cloud import bundle

        bundle.apply()
        return Instance(self._apps, Parts(AwsWorld, Powertools, authenticator=self._authenticator))


handler = lambda_handler()
"""The entry of the function: it serves the apps that WDK_APP names."""
