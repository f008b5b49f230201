"""What is released, built once for all tests of a session."""

import fcntl
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheels and sdists of this checkout."""
    from release.build import EPOCH, build  # needs uv, which a Python that only runs tests may lack

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # with the other processes of the session
    folder, unfinished = shared / "distributions", shared / "distributions.unfinished"
    with open(shared / "distributions.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not folder.exists():
            with pytest.MonkeyPatch.context() as environ:
                environ.delenv(EPOCH, raising=False)  # the commit's time, whatever a test has set
                build(unfinished)
            unfinished.rename(folder)
    return folder
