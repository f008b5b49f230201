"""An order that fails half way is rolled back: for each step that has succeeded another one undoes it, last one first.

What undoes is a step itself: it is recorded and retried. It may run twice, as any step may, so it has to be idempotent.
"""

from collections.abc import Awaitable, Callable

from wdk_cloud import FatalError, Workflows

app = Workflows()


@app.step
async def reserve_inventory(order_id: str) -> None:
    print(f"{order_id}: reserved")


@app.step
async def charge_payment(order_id: str) -> None:
    if order_id.endswith("-unpaid"):
        raise FatalError("the card was declined")
    print(f"{order_id}: charged")


@app.step
async def ship(order_id: str) -> None:
    if order_id.endswith("-unshipped"):
        raise FatalError("nobody delivers there")
    print(f"{order_id}: shipped")


@app.step
async def release_inventory(order_id: str) -> None:
    print(f"{order_id}: released")


@app.step
async def refund_payment(order_id: str) -> None:
    print(f"{order_id}: refunded")


@app.workflow
async def place_order(order_id: str) -> str:
    rollbacks: list[Callable[[], Awaitable[None]]] = []
    try:
        await reserve_inventory(order_id)
        rollbacks.append(lambda: release_inventory(order_id))  # only when the step has succeeded

        await charge_payment(order_id)
        rollbacks.append(lambda: refund_payment(order_id))

        await ship(order_id)
    except Exception:
        for undo in reversed(rollbacks):
            await undo()
        raise  # the run fails, and says why
    return f"{order_id} is on its way"
