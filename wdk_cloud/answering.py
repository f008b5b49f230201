"""The answer that a step gives to whoever called a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.app import current_body
from wdk_cloud.errors import WorkflowContextError
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from wdk_cloud.webmessages import ReplyAddress, Response


async def answer(address: ReplyAddress, response: Response) -> None:
    """Put the answer where the receiver of the request looks for it. Raises WorkflowContextError in a body."""
    from wdk_cloud.engine import replies

    if current_body() is not None:
        raise WorkflowContextError("respond_with() sends something; call it in a step, with the request as argument")
    await replies.put(await current_world(address.namespace), address, response)
