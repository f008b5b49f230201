"""Loaded in every process of a test session, xdist's master included: which of them calls the roll."""

from pathlib import Path

import pytest

from tests.components import dynoxide, firestore_emulator, gcp_standing, ministack, ministack_standing
from tests.e2e.elsewhere import asked
from tests.e2e.rollcall import LEDGERS, RollCall

__all__ = [
    "dynoxide",
    "firestore_emulator",
    "gcp_standing",
    "ministack",
    "ministack_standing",
]  # the fixtures that every test may ask for


def pytest_configure(config: pytest.Config) -> None:
    if (elsewhere := asked(config)) is not None:
        config.stash[LEDGERS] = elsewhere.ledgers
    elif hasattr(config, "workerinput"):
        config.stash[LEDGERS] = Path(config.workerinput["ledgers"])
    else:
        roll = RollCall()
        config.stash[LEDGERS] = roll.folder
        config.pluginmanager.register(roll)
