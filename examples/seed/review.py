"""A document is reviewed after a month: a run waits without a process, first for a time, then for a person.

`examples/document-review` is the larger one, which can refuse, too, and does not wait for ever.
"""

from wdk_cloud import Response, Workflows, create_webhook, sleep

app = Workflows()

PAGE = '<!doctype html><title>Review</title><form method="post"><button>Accept the document</button></form>'
HEADERS = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}


@app.step
async def send_approval_email(reviewer: str, url: str) -> None:
    print(f"to {reviewer}: open this link to accept the document: {url}")


@app.workflow
async def review_document(reviewer: str) -> str:
    await sleep("1 month")
    with create_webhook(Response(200, PAGE, HEADERS)) as webhook:
        await send_approval_email(reviewer, webhook.url)
        async for request in webhook:
            if request.method == "POST":  # the button; mail scanners only open the link
                break
    print("the document is reviewed")
    return f"accepted by {reviewer}"
