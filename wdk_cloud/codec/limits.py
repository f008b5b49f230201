"""What a value may measure."""

from __future__ import annotations

# Nesting of containers. Each level may take three of JSON and two frames of Python, whose limit is 1,000: 200 levels
# leave room for the stack of any caller. Deeper is a cycle or a linked list; neither belongs into a log.
MAX_DEPTH = 200

# A value, its text (4/3 of it when it is bytes), a compressed and a sealed copy lie in memory together: at this limit
# about 1 GB, which a worker can have. 100 MB of bytes, 134 MB of text, are well within it.
HARD_LIMIT = 256 * 1024 * 1024

# Beyond this a payload goes to a blob: four units of a DynamoDB write, a quarter of what two more calls would cost.
INLINE_LIMIT = 4096
