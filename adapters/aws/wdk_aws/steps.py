"""Step items: who works on a step that was sent to a delivery of its own, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.heads import ONE, ZERO, nonce
from wdk_aws.items import TRUE, Item, Value, data, number, step_of, text, texts
from wdk_aws.places import step_sort
from wdk_aws.shelf import ROUNDS, Shelf, crowded
from wdk_aws.table import THERE
from wdk_cloud.world.fields import CLAIM_NONCE, RETRY_NONCE
from wdk_cloud.world.ports import RETIRED_KEPT, StepItem

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "#a = :a AND #h = :h AND attribute_not_exists(#e)"

# Receivers of the step's message, its copies and its retries: the first one claims, every other one is refused.
FREE = (
    "attribute_not_exists(#e) AND attribute_not_exists(#h)"
    " AND (attribute_not_exists(#rt) OR #rt <= :now) AND NOT contains(#re, :p)"
)
CLAIM = (
    "SET #h = :h, #u = :u, #cn = :cn, #fs = if_not_exists(#fs, :now), #a = if_not_exists(#a, :zero) + :one,"
    " #expires = :expires"
)
# A claim that ran out: the attempt is still the one seen, and its worker has not renewed meanwhile.
LAPSED = "attribute_not_exists(#e) AND #a = :seen AND #h = :holder AND #u <= :now AND NOT contains(#re, :p)"
TAKE_OVER = f"{CLAIM}, #it = if_not_exists(#it, :zero) + :one"


class Steps(Shelf):
    async def step(self, run_id: str, birth: str, step_id: str) -> StepItem | None:
        item = await self._table.get(self._step(run_id, birth, step_id))
        return None if item is None else step_of(item)

    async def claim_step(
        self, run_id: str, birth: str, step_id: str, *, identity: str, provider_id: str, now: float, until: float
    ) -> tuple[bool, StepItem]:
        if await self.buried(run_id, birth):
            return False, StepItem(step_id=step_id, end=b"")
        # Races with other deliveries of the step, also with the same message in another's hands at the same moment, and
        # with its end: whatever came first is seen and refuses. Only the nonce tells our own claim from a twin's.
        key, ours = self._step(run_id, birth, step_id), set[str]()
        change, condition, seen = CLAIM, FREE, dict[str, Value]()
        for _ in range(ROUNDS):
            mark = nonce()
            ours.add(mark)
            values: Mapping[str, Value] = {
                "h": text(identity),
                "u": number(until),
                "cn": text(mark),
                "now": number(now),
                "zero": ZERO,
                "one": ONE,
                "p": text(provider_id),
                "expires": self._table.expiry(),
                **seen,
            }
            done, there = await self._table.update(key, change, condition, values)
            if not there:  # it was deleted between two rounds
                change, condition, seen = CLAIM, FREE, {}
                continue
            item = step_of(there)
            if done or (CLAIM_NONCE in there and there[CLAIM_NONCE]["S"] in ours):
                return True, item
            if not _claimable(item, provider_id, now):
                return False, item
            if item.holder is None:
                change, condition, seen = CLAIM, FREE, {}
            else:
                change, condition = TAKE_OVER, LAPSED
                seen = {"seen": number(item.attempt), "holder": text(item.holder)}
        raise crowded(f"step {step_id} of run {run_id}")

    def renew_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, until: float
    ) -> StepItem | None:
        # Against one that claimed it after our claim had run out: it raised the attempt. Twice is the same.
        values = {"a": number(attempt), "h": text(identity), "u": number(until)}
        done, item = self._table.update_now(self._step(run_id, birth, step_id), "SET #u = :u", OURS, values)
        return step_of(item) if done else None

    async def retire_step(self, run_id: str, birth: str, step_id: str, provider_id: str) -> StepItem | None:
        # As for a head: races with a claim by an earlier receiver of that message, and loses none of others' ids.
        key = self._step(run_id, birth, step_id)
        done, there = await self._table.update(
            key,
            "SET #re = list_append(if_not_exists(#re, :none), :one)",
            f"{THERE} AND NOT contains(#re, :p) AND (attribute_not_exists(#re) OR size(#re) < :kept)",
            {
                "p": text(provider_id),
                "none": texts(()),
                "one": texts((provider_id,)),
                "kept": number(RETIRED_KEPT),
            },
        )
        for _ in range(ROUNDS):
            if not there:
                return None
            item = step_of(there)
            if done or provider_id in item.retired:
                return item
            kept = texts((*item.retired, provider_id)[-RETIRED_KEPT:])
            seen = texts(item.retired)
            done, there = await self._table.update(key, "SET #re = :kept", "#re = :seen", {"kept": kept, "seen": seen})
        raise crowded(f"step {step_id} of run {run_id}")

    async def end_step(self, run_id: str, birth: str, step_id: str, *, attempt: int | None, end: bytes) -> bool:
        if await self.buried(run_id, birth):
            return False
        # Races with the end by another attempt (the first one stands) and with a claim that takes over (an end that
        # names its attempt is refused then). The same end there is our own.
        condition, values = "attribute_not_exists(#e)", {"end": data(end), "expires": self._table.expiry()}
        if attempt is not None:
            condition += " AND #a = :a"
            values["a"] = number(attempt)
        change = f"SET #e = :end, #expires = :expires REMOVE #h, #u, #{CLAIM_NONCE}, #{RETRY_NONCE}"
        done, there = await self._table.update(self._step(run_id, birth, step_id), change, condition, values)
        return done or ("e" in there and there["e"]["B"] == end)

    async def retry_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, retry_at: float
    ) -> bool:
        # Races with a claim that takes over and with an end by an earlier attempt. Our nonce there is our own.
        mark = nonce()
        values = {"a": number(attempt), "h": text(identity), "rt": number(retry_at), "rn": text(mark)}
        change = f"SET #rt = :rt, #{RETRY_NONCE} = :rn REMOVE #h, #u"
        done, there = await self._table.update(self._step(run_id, birth, step_id), change, OURS, values)
        return done or there.get(RETRY_NONCE) == text(mark)

    async def cancel_step(self, run_id: str, birth: str, step_id: str) -> None:
        if await self.buried(run_id, birth):
            return
        # Its worker may be claiming it now: whichever comes second, the flag is there when the worker renews.
        values = {"true": TRUE, "expires": self._table.expiry()}
        change = "SET #x = :true, #expires = :expires"
        await self._table.update(self._step(run_id, birth, step_id), change, "", values)

    def _step(self, run_id: str, birth: str, step_id: str) -> Item:
        return self._key(run_id, step_sort(birth, step_id))


def _claimable(item: StepItem, provider_id: str, now: float) -> bool:
    live = item.holder is not None and item.until > now
    return not (item.end is not None or live or item.retry_at > now or provider_id in item.retired)
