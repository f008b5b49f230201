"""What several test files of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aws.functions import Site


@pytest.fixture
def site(ministack: str) -> Iterator[Site]:
    made = Site(ministack)
    yield made
    made.clients.close()
