"""The runs of one namespace, in a Firestore database: conditional writes of single documents, and no transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.sightings import Sightings
from wdk_gcp.database import Database
from wdk_gcp.heads import Heads
from wdk_gcp.inbox import Inbox
from wdk_gcp.log import Log
from wdk_gcp.refreshing import Refreshing
from wdk_gcp.steps import Steps
from wdk_gcp.tokens import Tokens

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Clock, RunStore
    from wdk_gcp.clients import Clients

KEEP = 60 * 86_400.0
"""Seconds after which a document expires: at least 60 days, and twice the retention, which is 30 days unless told."""


class FirestoreStore(Heads, Log, Inbox, Steps, Tokens, Refreshing):
    def __init__(self, clients: Clients, clock: Clock, namespace: str = "", keep: float = KEEP) -> None:
        super().__init__(Database(clients, clock, keep), namespace, Sightings(clock), clock)


if TYPE_CHECKING:

    def is_a_store(store: FirestoreStore) -> RunStore:
        return store
