"""A FastAPI site that starts runs, shows their progress, and serves their webhooks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Path, Response
from pydantic import BaseModel, Field
from workflows import app, report

from wdk_cloud import get_run, http, start, worker
from wdk_cloud.http.starlette import stream_response


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with worker(app):
        yield


site = FastAPI(lifespan=lifespan)
site.mount("/wf", http.app(app))


class Order(BaseModel):
    pages: int = Field(gt=0, le=100)


RunId = Annotated[str, Path(pattern=r"^[\w-]{1,128}$")]


@site.post("/reports", status_code=202)
async def order(order: Order) -> dict[str, str]:
    run = await start(report, order.pages)
    return {"run_id": run.run_id}


@site.get("/reports/{run_id}/progress")
async def progress(run_id: RunId, last_event_id: Annotated[str | None, Header()] = None) -> Response:
    return stream_response(get_run(run_id).readable(), last_event_id=last_event_id)
