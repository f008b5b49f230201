"""Further CPythons, where this machine has them, pass the chosen tests as the one does that runs all of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pythons.environments import cpython, find
from tests.pythons.sessions import CHOSEN, PATIENCE, run, unproven

MINORS = [minor for minor in range(11, 15) if minor != sys.version_info.minor]


@pytest.mark.timeout(PATIENCE + 120)  # an environment may have to be built first
@pytest.mark.parametrize("minor", MINORS)
def test_the_chosen_tests_pass_on_python_3(minor: int, chosen: Sequence[str], tmp_path: Path) -> None:
    interpreter = find(f"3.{minor}")
    if interpreter is None:
        pytest.skip(f"not run here: Python 3.{minor}, {len(chosen)} tests")
    outcomes = run(cpython(f"3.{minor}", interpreter), tmp_path / "outcomes.json", CHOSEN)
    assert unproven(outcomes, chosen, minor) == {}
