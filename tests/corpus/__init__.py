"""Histories of real runs, as the bytes that lay in a world, and the means to add one.

They are replayed for ever: whatever code comes, it has to read the records of every version that has been released, and
to ask for what they recorded. A file is never changed. Its workflow is one of `tests/canonical.py`, or the storm's with
a program as its input, so those bodies must go on asking for what they ask for.

`make corpus` adds what the code of today records: a file for each canonical and for some programs of the storm that went
through faults, under the version of wdk-cloud; those of a version that are there already stay.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

from tests.histories import events_of
from wdk_cloud.engine import events as ev
from wdk_cloud.world.ports import Batch

FOLDER = Path(__file__).parent


def histories() -> list[Path]:
    return sorted(FOLDER.glob("*.json"))


def write(name: str, version: str, batches: list[Batch]) -> Path:
    """A new file; one that is there already is left alone."""
    path = FOLDER / f"{version}-{name}.json"
    if not path.exists():
        created = events_of(batches, name)[0]
        assert isinstance(created, ev.RunCreated)
        document = {
            "workflow": created.workflow,
            "run_id": name,
            "batches": [
                {"at": batch.at, "count": batch.count, "data": b64encode(batch.data).decode()} for batch in batches
            ],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def read(path: Path) -> tuple[str, str, list[ev.AnyEvent]]:
    """The workflow's id, the run's, and its events."""
    document = json.loads(path.read_text())
    run_id = document["run_id"]
    batches = [
        Batch(at=batch["at"], count=batch["count"], fence=1, nonce="", data=b64decode(batch["data"]))
        for batch in document["batches"]
    ]
    return document["workflow"], run_id, events_of(batches, run_id)
