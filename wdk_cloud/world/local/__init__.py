"""The `local` world: durable runs in one SQLite file, without a server."""

from wdk_cloud.world.local.world import LocalWorld, open_world

__all__ = ["LocalWorld", "open_world"]
