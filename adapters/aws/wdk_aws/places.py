"""Where runs stand in the indexes: their shard, and their age as text that sorts like it."""

from __future__ import annotations

import zlib

from wdk_aws.schema import SHARDS

MICROSECOND = 0.000001


def shard(namespace: str, run_id: str) -> str:
    """The id alone says it; those of one second are spread by their random part."""
    return f"{namespace}#{zlib.crc32(run_id.encode()) % SHARDS}"


def shards(namespace: str) -> list[str]:
    return [f"{namespace}#{number}" for number in range(SHARDS)]


def age(created_at: float, run_id: str) -> str:
    return f"{moment(created_at)}#{run_id}"


def moment(time: float) -> str:
    """Before the `age` of each run of this microsecond, after that of every earlier one."""
    return f"{time:018.6f}"
