"""The run store: the parts of it, each in a module of its own, seen as one."""

from __future__ import annotations

from wdk_cloud.world.lasting import Lasting
from wdk_cloud.world.local.belongings import Belongings
from wdk_cloud.world.local.heads import Heads
from wdk_cloud.world.local.inbox import Inbox
from wdk_cloud.world.local.log import Log
from wdk_cloud.world.local.removal import Removal
from wdk_cloud.world.local.steps import Steps


class LocalRuns(Heads, Log, Inbox, Steps, Belongings, Removal, Lasting):
    """`RunStore` on SQLite. Every write is one operation of the group that is committed next; reads come from the
    same connection and see every write that was awaited."""
