"""A signup: an account, a welcome, a pause, and a second mail."""

import os
import random

from wdk_cloud import FatalError, Workflows, sleep

app = Workflows()

# How the mail server feels today. With a seed it feels the same at every start, which is what a demonstration wants.
mail_server = random.Random(os.environ.get("SIGNUP_SEED"))


@app.step
async def create_user(email: str) -> dict[str, str]:
    print(f"creating a user for {email}")
    return {"id": f"user-{email}", "email": email}


@app.step(max_retries=5)
async def send_welcome_email(user: dict[str, str]) -> None:
    if mail_server.random() < 0.3:
        print("the mail server is busy: the welcome will be tried again")
        raise RuntimeError("the mail server is busy")
    print(f"welcome, {user['email']}")


@app.step
async def send_onboarding_email(user: dict[str, str]) -> None:
    if "@" not in user["email"]:
        raise FatalError(f"{user['email']} is not an address")  # no other attempt would do better
    print(f"how is it going, {user['email']}?")


@app.workflow
async def signup(email: str) -> str:
    user = await create_user(email)
    await send_welcome_email(user)
    await sleep("5 s")  # or "30 days": no process waits for it
    await send_onboarding_email(user)
    return user["id"]
