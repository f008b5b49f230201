"""A view that starts a run, and one that shows its progress."""

import json

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from workflows import report

from wdk_cloud import get_run, start
from wdk_cloud.http.django import astream_response


@csrf_exempt  # for programs; a form of the site brings its token
@require_POST
async def order(request: HttpRequest) -> JsonResponse:
    pages = json.loads(request.body).get("pages")
    if not isinstance(pages, int) or not 0 < pages <= 100:
        return JsonResponse({"pages": "must be a number from 1 to 100"}, status=422)
    run = await start(report, pages)
    return JsonResponse({"run_id": run.run_id}, status=202)


@require_GET
async def progress(request: HttpRequest, run_id: str) -> HttpResponseBase:
    return await astream_response(get_run(run_id).readable(), last_event_id=request.headers.get("Last-Event-ID"))
