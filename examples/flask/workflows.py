"""A report: its pages are made while people watch, and somebody approves it."""

import asyncio

from wdk_cloud import Response, Workflows, create_webhook, get_writable

app = Workflows()


@app.step
async def make_pages(pages: int) -> str:
    progress = get_writable()
    for page in range(1, pages + 1):
        await asyncio.sleep(0.2)  # stands for work
        await progress.write({"page": page, "of": pages})
    return f"a report of {pages} pages"


@app.step
async def ask(url: str) -> None:
    await get_writable().write({"approve": url})  # stands for a mail


@app.workflow
async def report(pages: int) -> str:
    made = await make_pages(pages)
    with create_webhook(Response(200, "thank you\n")) as webhook:
        await ask(webhook.url)
        await webhook
    return f"{made}, approved"
