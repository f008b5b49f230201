"""The check-up of the AWS world, `wdk doctor` with WDK_WORLD=aws. It only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.settings import VARIABLES
from wdk_cloud.findings import Doctor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.findings import Finding


async def examine(functions: Sequence[str]) -> list[Finding]:
    import asyncio

    from wdk_aws.checkup.rounds import make

    return await asyncio.to_thread(make, functions)


doctor = Doctor(examine, dict.fromkeys(VARIABLES.values(), ""))
