"""Code versions: which code wrote a record, and which of two is newer.

The default version is `<time>.<hash>`: the newest modification time and a hash of the sources of the modules that
declare the app. Two versions with one hash are the same code. A version from WDK_CODE_VERSION may have no time; then
names cannot be ordered.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.app import Workflows


def code_version(apps: Sequence[Workflows]) -> str:
    """Of the sources of the packages in which the apps' workflows and steps are declared."""
    files = sorted(_sources(apps))
    digest, newest = hashlib.sha256(), 0.0
    for file in files:
        try:
            digest.update(file.read_bytes())
            newest = max(newest, file.stat().st_mtime)
        except OSError:
            continue  # code that came from no file (a prompt, a zip) has no source to hash
    return f"{int(newest):010d}.{digest.hexdigest()[:12]}"


_computed: WeakKeyDictionary[Workflows, tuple[int, str]] = WeakKeyDictionary()


def version_of(app: Workflows) -> str:
    """`code_version` of one app, for processes that start its runs: computed again only when it declares more. What
    was loaded is what counts, so a file that is edited meanwhile does not matter."""
    declared = len(app.steps) + len(app.workflows)
    known = _computed.get(app)
    if known is None or known[0] != declared:
        known = _computed[app] = declared, code_version([app])
    return known[1]


def _sources(apps: Sequence[Workflows]) -> set[Path]:
    found: set[Path] = set()
    folders: set[str] = set()
    for declared in (each for app in apps for each in (*app.steps.values(), *app.workflows.values())):
        module = sys.modules.get((declared.fn.__module__ or "").partition(".")[0])
        package = getattr(module, "__path__", None)
        if package is not None:
            folders.update(package)
        else:
            found.add(Path(declared.fn.__code__.co_filename))
    for folder in folders:  # once, however much is declared in it: each process that starts waits for this
        found.update(Path(folder).rglob("*.py"))
    return found


def written_by_newer(theirs: str, mine: str) -> bool:
    """Whether the code `theirs`, which wrote last, is newer than `mine`.

    Versions without a time cannot be ordered; then the other one counts as newer: a run that is handed on can still
    end well, one that failed cannot.
    """
    their_time, _, their_hash = theirs.rpartition(".")
    my_time, _, my_hash = mine.rpartition(".")
    if theirs == mine or (their_time and my_time and their_hash == my_hash):
        return False
    if their_time.isdigit() and my_time.isdigit():
        return int(their_time) > int(my_time)
    return True
