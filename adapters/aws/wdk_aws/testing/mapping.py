"""An event source mapping whose queue does what queues do now and then."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wdk_aws import mapping

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from wdk_aws.handler import Handler


@dataclass
class Mischief:
    """What queues do that programs had better not rely on. `seed` decides when; each is a share (0 to 1) of the
    batches, by default none."""

    seed: int = 0
    duplicate: float = 0.0
    """It is handed out twice, the second time with what it was the first time."""
    shuffle: bool = False
    """The messages of one receive come in any order."""
    crash: float = 0.0
    """The function has done its work, and dies before anything is deleted."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 -- tests, and they are to come out alike

    def duplicates(self) -> bool:
        """Whether a batch is handed out twice this time."""
        return self.random.random() < self.duplicate

    def crashes(self) -> bool:
        """Whether the function dies this time, before anything is deleted."""
        return self.random.random() < self.crash


class EventSourceMapping(mapping.EventSourceMapping):
    """Of one queue: `sqs` is a client of boto3's, `queue_url` what it polls, `region` what its events name.

    `batch_size` (messages) and `timeout` (seconds) are those that the mapping and the function are set to. `mischief`
    is what goes wrong on the way, by default nothing. `invocations` counts them.
    """

    def __init__(
        self,
        sqs: SQSClient,
        queue_url: str,
        *,
        batch_size: int = 1,
        timeout: float = 900.0,
        region: str = "eu-central-1",
        mischief: Mischief | None = None,
    ) -> None:
        super().__init__(sqs, queue_url, batch_size=batch_size, timeout=timeout, region=region)
        self._mischief = mischief or Mischief()

    def settle(self, invocation: mapping.Invocation, answer: object) -> None:
        """After the function has returned this `answer` to an `invocation`: delete what it has not reported as failed,
        unless this time it has died before."""
        if not self._mischief.crashes():
            super().settle(invocation, answer)

    def poll(self, handler: Handler, *, wait: int = 0) -> int:
        """Receive once and invoke `handler` with each batch, one after the other; how many batches there were. Waits
        `wait` seconds for something if nothing is there; what the handler raises lets its batch come back."""
        invocations = self.receive(wait=wait)
        for invocation in invocations:
            try:
                answer = handler(invocation.event, self.context())
            except Exception:  # noqa: S112 -- Lambda's runtime logs it, and so does the handler
                continue
            self.settle(invocation, answer)
        return len(invocations)

    def _batches(self, messages: list[MessageTypeDef]) -> list[list[MessageTypeDef]]:
        if self._mischief.shuffle:
            self._mischief.random.shuffle(messages)
        return [
            batch
            for one in super()._batches(messages)
            for batch in ([one, one] if self._mischief.duplicates() else [one])
        ]
