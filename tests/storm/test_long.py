"""The long storm: `make storm` runs it and prints its report; docs/reliability.md has one."""

from __future__ import annotations

import pytest

from tests.storm.campaign import campaign
from tests.storm.report import report

MEMORY = range(1_000_000, 1_050_000)
LOCAL = range(2_000_000, 2_003_000)

DEATHS, LOST_ANSWERS, DUPLICATES = 100_000, 50_000, 50_000
"""The least that the two of them have to bring, or they prove less than they say."""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_thousand_programs_on_memory_and_three_thousand_on_local_meet_no_violation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {"memory": campaign("memory", MEMORY), "local": campaign("local", LOCAL)}
    with capsys.disabled():
        print("\n" + report(found))
    assert [violation for tally in found.values() for violation in tally.violations] == []
    assert [tally.programs for tally in found.values()] == [len(MEMORY), len(LOCAL)]
    assert sum(tally.deaths for tally in found.values()) >= DEATHS
    assert sum(tally.lost_answers for tally in found.values()) >= LOST_ANSWERS
    assert sum(tally.duplicates for tally in found.values()) >= DUPLICATES
