"""`import wdk_cloud` loads what declaring a workflow takes, and nothing that only running one takes."""

import subprocess
import sys

LATER = (
    "asyncio.base_events",  # shows that the test can see what is loaded
    "hashlib",
    "hmac",
    "json",
    "msgspec",
    "random",
    "sqlite3",
    "wdk_cloud.codec.known",
    "wdk_cloud.engine",
    "wdk_cloud.ticks",
)


def test_what_is_needed_by_runs_alone_is_loaded_later() -> None:
    code = f"import sys, wdk_cloud; print(*(name for name in {LATER!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, check=True, text=True)
    assert found.stdout.split() == ["asyncio.base_events"]
