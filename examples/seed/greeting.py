"""The smallest workflow: one step, whose result is recorded. However often the body is replayed, the hour stays."""

from datetime import UTC, datetime

from wdk_cloud import Workflows

app = Workflows()


@app.step
async def greet(name: str) -> str:
    message = f"Hello {name} at {datetime.now(UTC).isoformat()}"
    print(message)
    return message


@app.workflow
async def greeting(name: str) -> dict[str, str]:
    return {"message": await greet(name)}
