"""A user signs up: steps, one of which is tried again until it succeeds and one that gives up, and a sleep."""

import random
import uuid
from dataclasses import dataclass

from wdk_cloud import FatalError, Workflows, sleep

app = Workflows()

mail_server = random.Random()
"""How it feels at the moment."""


@dataclass
class User:
    id: str
    email: str


@app.step
async def create_user(email: str) -> User:
    print(f"creating a user for {email}")
    return User(str(uuid.uuid4()), email)  # drawn once: what a step returns is recorded


@app.step
async def send_welcome_email(user: User) -> None:
    print(f"sending a welcome to {user.email}")
    if mail_server.random() < 0.3:
        raise RuntimeError("the mail server is busy")  # tried again, up to three times


@app.step
async def send_onboarding_email(user: User) -> None:
    if "@" not in user.email:
        raise FatalError(f"{user.email} is not an address")  # no other attempt would do better
    print(f"sending an introduction to {user.email}")


@app.workflow
async def handle_signup(email: str) -> dict[str, str]:
    user = await create_user(email)
    await send_welcome_email(user)
    await sleep("5 s")  # no process waits for it
    await send_onboarding_email(user)
    print(f"{email} is on board")
    return {"user_id": user.id, "status": "onboarded"}
