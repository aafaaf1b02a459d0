"""What a launched server had put out and not sent when it died, as the frames that would have come.

Neighbours: `session` (takes them in), `runtime.journal` (where they are). Refuses to know events.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from dh_kernel.runtime.journal import JournalReader
from dh_kernel.runtime.streams import text_frame

_NO_ROWS = "the server ended before its rows were read"


def last_frames(journal: JournalReader) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Headers and buffers, in order; `seq` is 0 for what was not in a frame yet. Tables have no rows."""
    for header, buffers in journal.frames():
        yield _without_rows(header), buffers
    for (cell_id, name), pieces in itertools.groupby(journal.texts(), lambda text: text[:2]):
        header, raw = text_frame(cell_id, name, "".join(piece[2] for piece in pieces))
        yield {**header, "seq": 0}, list(raw)
    name, data = journal.raw()
    if data:
        text = data.decode("utf-8", "replace")
        yield {"kind": "stream", "seq": 0, "cell": "", "name": name, "text": text, "log": True, "last": True}, []


def _without_rows(header: dict[str, Any]) -> dict[str, Any]:
    if header["kind"] != "table":
        return header
    parts = [{**part, "problem": _NO_ROWS} for part in header.get("parts", ())]
    return {**header, "problem": _NO_ROWS, "live": False, **({"parts": parts} if parts else {})}
