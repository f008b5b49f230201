"""Workflows that record what no canonical does. Frozen: their histories are replayed for ever."""

from __future__ import annotations

from wdk_cloud import HookConflictError, WorkflowRunFailedError, Workflows, create_hook, sleep, start

app = Workflows()


@app.workflow(name="corpus_fails")
async def fails() -> None:
    raise ValueError("always")


@app.workflow(name="corpus_woken")
async def woken() -> str:
    """Waits for a child that fails, and then for somebody to wake it."""
    try:
        await (await start(fails)).return_value()
    except WorkflowRunFailedError as error:
        await sleep("30 days")
        return str(error.__cause__)
    return "the child did not fail"


@app.workflow(name="corpus_contended")
async def contended() -> str:
    """Two hooks of one run want one token."""
    with create_hook("the token", metadata={"for": "the corpus"}), create_hook("the token") as second:
        try:
            await second
        except HookConflictError as error:
            return error.run_id
    return "both have it"
