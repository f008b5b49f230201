import sys
from collections.abc import Sequence

import pytest

from tests.pythons.sessions import CHOSEN, run


@pytest.fixture(scope="session")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """The ids of the chosen tests, as this Python finds them: exactly those another Python has to run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:randomly"]
    return sorted(run(command, tmp_path_factory.mktemp("chosen") / "outcomes.json", CHOSEN))
