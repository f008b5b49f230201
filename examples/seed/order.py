"""An order is looked up and charged: the workflow stitches steps together, and each of them does one thing."""

from dataclasses import dataclass
from decimal import Decimal

from wdk_cloud import Workflows, get_step_metadata

app = Workflows()


@dataclass
class Order:
    id: str
    total: Decimal
    payment_token: str


@dataclass
class Charge:
    id: str
    amount: Decimal


@app.step
async def fetch_order(order_id: str) -> Order:
    return Order(order_id, Decimal("49.90"), f"token of {order_id}")


@app.step
async def charge_payment(order: Order) -> Charge:
    # Stands for a payment provider. The id of the step is the same for each attempt: a provider that is given it as
    # its idempotency key charges once, even if this process dies before the charge is recorded.
    key = get_step_metadata().step_id
    print(f"charging {order.total} to the {order.payment_token}")
    return Charge(f"charge-{key}", order.total)


@app.workflow
async def process_order(order_id: str) -> dict[str, str]:
    order = await fetch_order(order_id)
    charge = await charge_payment(order)
    return {"order_id": order_id, "charge_id": charge.id, "status": "completed"}
