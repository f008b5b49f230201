"""Holds the meter against a DynamoDB that reports what it charges: each call must agree, unit by unit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import boto3

from wdk_aws.testing.meter import Call, Meter
from wdk_aws.testing.pricing import READS, REFUSED, WRITES
from wdk_aws.testing.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping


def session_of(region: str = "eu-west-1") -> Any:
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)


def weighed_stage(dynamodb: str) -> tuple[Stage, Scales]:
    """The services of a process and what weighs every request to DynamoDB that is made on them."""
    stage, scales = Stage(dynamodb), Scales()
    scales.attach(stage.session, dynamodb)
    return stage, scales


class Scales(Meter):
    """A meter that asks for `ReturnConsumedCapacity` in each request of a session, and compares."""

    def __init__(self, *, alone: bool = False) -> None:
        super().__init__(self._compare, alone=alone)
        self.agreed: Counter[str] = Counter()
        """Calls for which both say the same, by operation."""
        self.unsaid: Counter[str] = Counter()
        """Refused conditions: DynamoDB charges them, dynoxide reports nothing."""
        self.differences: list[str] = []

    def attach(self, session: Any, dynamodb_at: str | None = None) -> None:
        super().attach(session, dynamodb_at)
        for operation in READS | WRITES:
            session.events.register(f"provide-client-params.dynamodb.{operation}", _ask)

    def finish(self) -> None:
        """Nothing has differed; begin anew."""
        found, self.differences = self.differences, []
        self.clear()
        assert found == []

    def _compare(self, call: Call, answer: Mapping[str, Any] | None) -> None:
        if call.service != "dynamodb" or call.operation not in READS | WRITES or answer is None:
            return
        if call.error:
            self.unsaid[call.operation] += call.error == REFUSED
            return
        said = answer["ConsumedCapacity"]
        theirs = [said] if isinstance(said, dict) else said
        total = sum(table["CapacityUnits"] for table in theirs)
        indexes = {
            name: units["CapacityUnits"]
            for table in theirs
            for name, units in table.get("GlobalSecondaryIndexes", {}).items()
        }
        ours = dict(call.indexes)
        if call.operation in READS and indexes:
            indexes = {}  # all of a query of an index is charged to that index
        if (call.read + call.write, ours) != (total, indexes):
            self.differences.append(f"{call}; dynoxide says {said}")
            raise AssertionError(self.differences[-1])
        self.agreed[call.operation] += 1


def _ask(params: dict[str, Any], **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "INDEXES"
