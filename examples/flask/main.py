"""A Flask site that starts runs, shows their progress, and serves their webhooks; `wdk worker` works beside it."""

from a2wsgi import ASGIMiddleware
from flask import Flask, Response, abort, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from workflows import app, report

from wdk_cloud import http, sync
from wdk_cloud.http.flask import stream_response

site = Flask(__name__)
site.wsgi_app = DispatcherMiddleware(site.wsgi_app, {"/wf": ASGIMiddleware(http.app(app))})


@site.post("/reports")
def order() -> tuple[dict[str, str], int]:
    pages = request.get_json().get("pages")
    if not isinstance(pages, int) or not 0 < pages <= 100:
        abort(422)
    run = sync.start(report, pages)
    return {"run_id": run.run_id}, 202


@site.get("/reports/<run_id>/progress")
def progress(run_id: str) -> Response:
    try:
        run = sync.get_run(run_id)
    except ValueError:  # it can be no run's id
        abort(404)
    return stream_response(run.readable(), last_event_id=request.headers.get("Last-Event-ID"))
