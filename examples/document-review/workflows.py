"""A review: a link is mailed, whoever opens it sees two buttons, and the button that is pressed decides."""

import asyncio
import html
from pathlib import Path
from urllib.parse import parse_qs

from wdk_cloud import Request, Response, Webhook, Workflows, create_webhook

app = Workflows()

DAY = 24 * 3600

DECISIONS = ("approved", "refused")

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>{document}</title>
<h1>{document}</h1>
{content}
"""

BUTTONS = """<form method="post">
<button name="decision" value="approved">Approve</button>
<button name="decision" value="refused">Refuse</button>
</form>"""

MAIL = Path("link.txt")
"""Stands for a mail server: the link that was mailed last."""


@app.step
def mail(reviewer: str, document: str, url: str) -> None:
    MAIL.write_text(url)
    print(f"to {reviewer}: please review {document} at {url}")


@app.step
async def answer(request: Request, document: str, content: str) -> None:
    """Who waits for an answer gets it from a step: the workflow itself only decides which."""
    page = PAGE.format(document=html.escape(document), content=content)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    await request.respond_with(Response(200, page, headers))


def decision_in(request: Request) -> str | None:
    """Opening a link decides nothing: mail scanners and previews open every link before a person does."""
    if request.method != "POST":
        return None
    decision = parse_qs(request.text()).get("decision", [""])[0]
    return decision if decision in DECISIONS else None


async def decided(webhook: Webhook, document: str) -> tuple[Request, str]:
    while True:
        request = await webhook
        decision = decision_in(request)
        if decision is not None:
            return request, decision
        await answer(request, document, BUTTONS)


@app.workflow
async def review(document: str, reviewer: str, days: float = 7) -> str:
    with create_webhook("manual") as webhook:
        await mail(reviewer, document, webhook.url)  # the link works from here on
        try:
            request, decision = await asyncio.wait_for(decided(webhook, document), days * DAY)
        except TimeoutError:
            return f"{document}: nobody decided within {days:g} days"
    await answer(request, document, f"<p>You have {decision} it. Thank you.</p>")
    return f"{document}: {decision} by {reviewer}"
