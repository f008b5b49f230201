"""Where runs stand in the indexes, their shard and their age as text that sorts like it; and steps in their run."""

from __future__ import annotations

import zlib

from wdk_aws.schema import SHARDS

MICROSECOND = 0.000001

LONGEST_NUMBER = 20
"""Digits of a step's number for which there are letters."""


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


def steps_of(birth: str) -> str:
    """What the sort keys of all step items begin with."""
    return f"S#{birth}#"


def step_sort(birth: str, step_id: str) -> str:
    """Steps of one name sort by their numbers, `charge#2` before `charge#10`: a letter says how many digits there are.
    So those that a run waits for lie close together. Whatever does not end in a number is marked by `~`."""
    name, hash, number = step_id.rpartition("#")
    if number.isascii() and number.isdecimal() and number[0] != "0" and len(number) <= LONGEST_NUMBER:
        return f"{steps_of(birth)}{name}{hash}{chr(ord('a') + len(number))}{number}"
    return f"{steps_of(birth)}{name}{hash}~{number}"


def step_id_of(rest: str) -> str:
    """The step's id, from what follows `steps_of` in its sort key."""
    name, hash, number = rest.rpartition("#")
    return f"{name}{hash}{number[1:]}"
