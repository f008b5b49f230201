"""What editors infer and refuse for hooks and webhooks. Read by pyright strict and mypy strict; never run.

Refused lines carry the code of their error for both, as in `refusal.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from wdk_cloud import (
    BaseHook,
    Hook,
    Request,
    Response,
    Run,
    Webhook,
    Workflows,
    create_hook,
    create_webhook,
    get_hook_by_token,
    github,
    resume_hook,
    resume_webhook,
    sync,
)

app = Workflows()


@dataclass
class Approval(BaseHook):
    approved: bool


class Order(BaseHook, BaseModel):
    number: int
    lines: list[str] = []


# -- in a body ---------------------------------------------------------------------------------------------------------


@app.workflow
async def typed() -> bool:
    hook = Approval.wait(token="approval", metadata={"order": 1})
    assert_type(hook, Hook[Approval])
    assert_type(await hook, Approval)
    assert_type((await Approval.wait()).approved, bool)
    assert_type(Order.wait("order"), Hook[Order])
    assert_type((await Order.wait("order")).lines, list[str])
    async for order in Order.wait("order"):
        assert_type(order, Order)
        assert_type(order.number, int)
    return True


@app.workflow
async def by_schema() -> None:
    assert_type(create_hook("token", schema=int), Hook[int])
    assert_type(await create_hook("token", schema=int), int)
    assert_type(await create_hook(schema=list[str]), list[str])
    assert_type(await create_hook("token", schema=Approval), Approval)
    assert_type(create_hook("token"), Hook[Any])
    assert_type(await create_hook(), Any)
    async for number in create_hook(schema=int):
        assert_type(number, int)


@app.workflow
async def handled() -> None:
    with create_hook("token", schema=str) as hook:
        assert_type(hook, Hook[str])
        assert_type(await hook.get_conflict(), Run[Any] | None)
        assert_type(await asyncio.wait_for(hook, 60), str)
        assert_type(await asyncio.gather(hook, Approval.wait()), tuple[str, Approval])
        task = asyncio.ensure_future(hook)
        assert_type(await task, str)
    async with Order.wait() as order:
        assert_type(order, Hook[Order])
        assert_type(order.token, str)


@app.step
async def reply(request: Request) -> None:
    await request.respond_with(Response(200, "thanks", {"X-One": "1"}))


@app.workflow
async def called() -> Any:
    webhook = create_webhook("manual", timeout="10 s", max_body="1 MB", verify=github("SECRET"))
    assert_type(webhook, Webhook)
    assert_type(webhook.url, str)
    request = await webhook
    assert_type(request, Request)
    await reply(request)
    async for another in create_webhook(Response(303, headers=[("Location", "/")])):
        assert_type(another.body, bytes)
        assert_type(another.headers["content-type"], str)
        assert_type(another.text(), str)
    with create_webhook() as open_one:
        assert_type(open_one, Webhook)
    return request.json()


# -- outside -----------------------------------------------------------------------------------------------------------


async def outside() -> None:
    await Approval(approved=True).resume("approval", key="event")
    await Order(number=1).resume(await get_hook_by_token("order"))
    await resume_hook("token", {"any": "payload"}, key="event", namespace="orders")
    hook = await get_hook_by_token("token")
    assert_type(hook, Hook[Any])
    assert_type(hook.metadata, Any)
    await resume_hook(hook)
    assert_type(await resume_webhook("token", Request("POST", body=b"")), Response)


def without_asyncio() -> None:
    sync.resume_hook("token", Approval(approved=True), key="event")


# -- refused -----------------------------------------------------------------------------------------------------------


@app.workflow
async def refused() -> None:
    number: str = await create_hook(schema=int)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    approval: Order = await Approval.wait()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(number, approval, (await Approval.wait()).comment)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    create_hook(17)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    create_hook("token", int)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    create_hook("token", schema="int")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    create_hook(key="event")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Approval.wait(17)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Approval.wait(schema=int)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    create_webhook(token="chosen")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    create_webhook("automatic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    create_webhook(202)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    create_webhook(verify="github")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    create_webhook(max_body=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    create_hook("token").respond_with(Response())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await create_hook("token").dispose()  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
    for payload in create_hook("token"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        print(payload)  # pyright: ignore[reportUnknownArgumentType]
    webhook: Hook[Response] = create_webhook()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    request: Response = await create_webhook()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(webhook, request)


async def refused_outside() -> None:
    Approval(approved=True).resume("approval")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await Approval(approved=True).resume(17)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Approval(approved=True).resume("approval", key=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await resume_hook(17, "payload")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await resume_hook("token", "payload", "key", "namespace")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await resume_webhook("token", {"body": ""})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await resume_webhook(create_hook(), Request())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Response("200")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Response(200, {"not": "text"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Response(200, headers={"X-One": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Request().respond_with("thanks")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    github()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await sync.resume_hook("token")  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
