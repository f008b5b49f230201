"""The site and wdk-cloud as one ASGI app: its lifespan works on the runs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount
from workflows import app

from wdk_cloud import http, worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
site = get_asgi_application()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with worker(app):
        yield


application = Starlette(routes=[Mount("/wf", http.app(app)), Mount("/", site)], lifespan=lifespan)
