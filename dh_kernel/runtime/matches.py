"""What a completion consists of: matches with their kinds, in IPython's order, as Jupyter's `complete_reply`.

Neighbours: `completion` (collects them). Leaf.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MOST_MATCHES = 10_000
MOST_DESCRIBED = 500


@dataclass(frozen=True)
class Match:
    """A text that can stand at the cursor. `kind` is in Jupyter's words; `signature` a function's, or a column's type."""

    text: str
    kind: str = ""
    signature: str = ""


@dataclass(frozen=True)
class Found:
    """Matches, and where the text begins that they replace: in code points, in the code that was read."""

    start: int
    matches: list[Match]


def order(match: Match) -> tuple[int, str, int]:
    """IPython's order: arguments first, private names last, magics among the names they are like."""
    text = match.text
    if text.endswith("="):
        return -1, text, 0
    private = 2 if text.startswith("__") else 1 if text.startswith("_") else 0
    bare = text.lstrip("%")
    return private, bare, len(text) - len(bare)


def ordered(matches: Iterable[Match]) -> list[Match]:
    """Matches in IPython's order, each text once."""
    return sorted({match.text: match for match in reversed(list(matches))}.values(), key=order)


def reply(found: Found | None, cursor: int, cropped: int = 0) -> dict[str, Any]:
    """The content of Jupyter's `complete_reply`. Source: Jupyter messaging, "Completion"."""
    start = found.start + cropped if found is not None else cursor
    matches = found.matches[:MOST_MATCHES] if found is not None else []
    types = [
        {"start": start, "end": cursor, "text": match.text, "type": match.kind, "signature": match.signature}
        for match in matches
    ]
    return {
        "status": "ok",
        "matches": [match.text for match in matches],
        "cursor_start": start,
        "cursor_end": cursor,
        "metadata": {"_jupyter_types_experimental": types},
    }
