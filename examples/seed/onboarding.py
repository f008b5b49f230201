"""One step, used in a workflow and without one: called elsewhere, a step is the function that it decorates."""

from wdk_cloud import Workflows

app = Workflows()


@app.step
async def update_user(user_id: str, state: str) -> str:
    print(f"{user_id} is {state}")  # stands for a database
    return state


@app.workflow
async def onboard(user_id: str) -> str:
    """Here it is recorded, and retried when it fails."""
    await update_user(user_id, "invited")
    return await update_user(user_id, "on board")


async def block(user_id: str) -> str:
    """Here it runs once, and nothing is recorded: what an endpoint of a web application may do as well."""
    return await update_user(user_id, "blocked")
