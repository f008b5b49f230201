"""Holds the meter against servers that say what they count: each call must agree, document by document."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from wdk_gcp.testing.meter import Call, Meter
from wdk_gcp.testing.serving import CHARGED
from wdk_gcp.testing.storage import METHOD

if TYPE_CHECKING:
    from collections.abc import Mapping


class Scales(Meter):
    """A meter that compares each call with what the server said of it. An answer that was lost says nothing."""

    def __init__(self) -> None:
        super().__init__(self._compare)
        self.agreed: Counter[str] = Counter()
        """Calls for which both say the same, by operation."""
        self.unsaid: Counter[str] = Counter()
        self.differences: list[str] = []

    def finish(self) -> None:
        """Nothing has differed; begin anew."""
        found, self.differences = self.differences, []
        self.clear()
        assert found == []

    def _compare(self, call: Call, said: Mapping[str, str]) -> None:
        ours, theirs = "", None
        if call.service == "firestore":
            ours, theirs = f"{call.reads} reads, {call.writes} writes, {call.deletes} deletes", said.get(CHARGED)
        elif call.service == "storage":
            ours, theirs = call.operation, said.get(METHOD.lower())
        if theirs is None:
            self.unsaid[call.name] += 1
        elif ours == theirs:
            self.agreed[call.name] += 1
        else:
            self.differences.append(f"{call}; the server says {theirs}")
            raise AssertionError(self.differences[-1])
