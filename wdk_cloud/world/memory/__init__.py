"""The memory world: everything in this process, nothing kept."""

from wdk_cloud.world.memory.world import MemoryWorld, open_world

__all__ = ["MemoryWorld", "open_world"]
