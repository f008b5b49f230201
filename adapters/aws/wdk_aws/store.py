"""The runs of one namespace, in a DynamoDB table: conditional writes of single items, and no transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.heads import Heads
from wdk_aws.inbox import Inbox
from wdk_aws.log import Log
from wdk_aws.refreshing import Refreshing
from wdk_aws.steps import Steps
from wdk_aws.table import Table
from wdk_aws.tokens import Tokens
from wdk_cloud.world.sightings import Sightings

if TYPE_CHECKING:
    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import Clock, RunStore

KEEP = 60 * 86_400.0
"""Seconds after which an item expires: at least 60 days, and twice the retention, which is 30 days unless told."""


class DynamoStore(Heads, Log, Inbox, Steps, Tokens, Refreshing):
    def __init__(
        self, settings: AwsSettings, clients: Clients, clock: Clock, namespace: str = "", keep: float = KEEP
    ) -> None:
        super().__init__(Table(settings, clients, clock, keep), namespace, Sightings(clock), clock)


if TYPE_CHECKING:

    def is_a_store(store: DynamoStore) -> RunStore:
        return store
