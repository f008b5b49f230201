"""The attributes of queues and bucket, for whoever makes them or checks a template or an account against them."""

from __future__ import annotations

import math

VISIBILITY = 960
"""Seconds: a minute more than a function may take. An event source mapping wants it above the function's time-out, and
each delivery shortens its own."""

KEPT = 14 * 86_400
"""Seconds: the longest that SQS keeps a message. A deployment that is broken for days loses none."""

RECEIVES = 1_000
"""Before a message becomes a dead letter: SQS's most. Receives decide nothing here; what ends a run is in its head."""

DAY = 86_400.0

LEAST_DAYS = 60
"""For which an object is kept at least: twice the retention, where that is more (docs/retention.md)."""


def object_days(retention: float) -> int:
    """After which objects expire, where runs are kept for so many seconds after their ends. The sweep writes those of
    live runs anew before that."""
    return max(LEAST_DAYS, math.ceil(2 * retention / DAY))
