"""The routes below a prefix of a host app, behind what hosts put before their own pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route

from tests.e2e.browsing import TOKEN, browser, serve
from wdk_cloud import Request, Response, Workflows, create_webhook, get_run, worker
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

EXEMPT = "/wf/.well-known/workflow/v1/"


class Csrf(BaseHTTPMiddleware):
    """Refuses what changes something and does not come from a page of the host's own."""

    def __init__(self, app: Any, exempt: str) -> None:
        super().__init__(app)
        self.exempt = exempt

    async def dispatch(self, request: HttpRequest, call_next: Any) -> Any:
        mine = self.exempt and request.url.path.startswith(self.exempt)
        if not mine and request.method not in ("GET", "HEAD", "OPTIONS") and "x-csrf" not in request.headers:
            return PlainTextResponse("csrf", 403)
        return await call_next(request)


class Login(Csrf):
    """Refuses whoever has no session of the host's."""

    async def dispatch(self, request: HttpRequest, call_next: Any) -> Any:
        if not (self.exempt and request.url.path.startswith(self.exempt)) and "session" not in request.cookies:
            return RedirectResponse("/login")
        return await call_next(request)


class TrailingSlash(Csrf):
    """Redirects to the path with a slash at its end."""

    async def dispatch(self, request: HttpRequest, call_next: Any) -> Any:
        path = request.url.path
        if not (self.exempt and path.startswith(self.exempt)) and not path.endswith("/"):
            return RedirectResponse(path + "/")
        return await call_next(request)


class Appended:
    """As TrailingSlash, but the path is changed in place."""

    def __init__(self, app: Any, exempt: str) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"] + "/"}
        await self.app(scope, receive, send)


class Shop:
    def __init__(self) -> None:
        self.app = Workflows()
        self.urls = urls = asyncio.Queue[str]()

        @self.app.step(name="mail")
        async def mail(url: str) -> None:
            urls.put_nowait(url)

        @self.app.step(name="reply")
        async def reply(request: Request) -> None:
            await request.respond_with(Response(200, "thanks for " + request.text()))

        @self.app.workflow(name="asks")
        async def asks() -> str:
            webhook = create_webhook("manual")
            await mail(webhook.url)
            request = await webhook
            await reply(request)
            return request.url

    @asynccontextmanager
    async def host(self, *before: Any, exempt: str = EXEMPT) -> AsyncIterator[Starlette]:
        """A host app with a page of its own; one line in its lifespan serves the runs."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with worker(self.app):
                yield

        routes = [Route("/", lambda _: PlainTextResponse("the host")), Mount("/wf", serve(self.app))]
        middleware = [Middleware(one, exempt=exempt) for one in before]
        host = Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
        async with host.router.lifespan_context(host):
            yield host


def play(shop: Shop, scenario: Any) -> Any:
    async def main() -> Any:
        with use_world(MemoryWorld()):
            return await asyncio.wait_for(scenario(), 20)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _public_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_PUBLIC_URL", "https://example.org/wf")


BEFORE = {
    "nothing": [],
    "csrf": [Csrf],
    "login": [Login],
    "trailing slash": [TrailingSlash],
    "everything": [TrailingSlash, Login, Csrf],
    "a slash that is appended": [Appended],
}


@pytest.mark.parametrize("before", BEFORE)
def test_below_a_prefix_and_behind_a_host_that_exempts_it_everything_works(before: str) -> None:
    shop = Shop()

    async def scenario() -> Any:
        async with shop.host(*BEFORE[before]) as host, browser(host, prefix="/wf") as user:
            started = await user.post("/api/start", json={"workflow": "asks"})
            assert started.status_code == 201, started.text
            url = await shop.urls.get()
            assert url.startswith("https://example.org/wf/.well-known/workflow/v1/webhook/")
            path = url.removeprefix("https://example.org/wf/.well-known/workflow/v1")
            async with browser(host, token=None, prefix="/wf") as public:
                answer = await public.post(path + "?n=1", content=b"this")
                assert (answer.status_code, answer.text) == (200, "thanks for this")
                assert (await public.get("/health")).status_code == 200
                assert (await public.get("/api/runs")).status_code == 401
            run = get_run(started.json()["run_id"])
            assert await run.return_value(timeout=10) == url + "?n=1"
            assert (await user.get(f"/api/runs/{run.run_id}")).json()["status"] == "completed"
            paths = (await user.get("/api/openapi.json")).json()["paths"]
            assert "/wf/.well-known/workflow/v1/api/start" in paths

    play(shop, scenario)


@pytest.mark.parametrize(("before", "status"), [(Csrf, 403), (Login, 307), (TrailingSlash, 307)])
def test_what_a_host_does_not_exempt_it_stops(before: Any, status: int) -> None:
    shop = Shop()

    async def scenario() -> Any:
        async with shop.host(before, exempt="") as host, browser(host, prefix="/wf") as user:
            return (await user.post("/api/start", json={"workflow": "asks"})).status_code

    assert play(shop, scenario) == status


def test_the_host_keeps_its_own_pages() -> None:
    shop = Shop()

    async def scenario() -> Any:
        async with shop.host(Login) as host, browser(host) as user:
            mine = await user.get("http://test/", headers={"Cookie": "session=1"})
            others = await user.get("http://test/", headers={"Authorization": f"Bearer {TOKEN}"})
            return [mine.text, others.status_code]

    assert play(shop, scenario) == ["the host", 307]
