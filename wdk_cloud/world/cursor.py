"""Where a page of a listing ends, as text."""

import json


def to_cursor(place: tuple[float, str]) -> str:
    return json.dumps(place)


def from_cursor(cursor: str) -> tuple[float, str]:
    """Raises ValueError for text that no page came with."""
    try:
        created_at, run_id = json.loads(cursor)
        return float(created_at), str(run_id)
    except (TypeError, ValueError):
        raise ValueError(
            f"{cursor!r} is no cursor of a listing of runs; pass the one that came with the last page"
        ) from None
