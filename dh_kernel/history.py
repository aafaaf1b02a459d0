"""The history of inputs, kept across sessions in IPython's own database.

Neighbours: `kernel`. Refuses to know the server. A home directory that cannot be written to means a history in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from IPython.core.history import HistoryManager
from traitlets import Any as AnyTrait


class _Manager(HistoryManager):  # type: ignore[misc]
    """IPython's manager without an interactive shell around it."""

    shell = AnyTrait(None, allow_none=True)


class History:
    """One kernel's history."""

    def __init__(self, file: str) -> None:
        try:
            self._manager: Any = _Manager(None, hist_file=file)
        except (sqlite3.Error, OSError):
            self._manager = _Manager(None, hist_file=":memory:")

    def store(self, count: int, code: str) -> None:
        """Keep the input number `count`."""
        with contextlib.suppress(sqlite3.Error):
            self._manager.store_inputs(count, code, code)

    def look_up(self, access: str, **request: Any) -> list[tuple[Any, ...]]:
        """The entries of a `history_request`: (session, line, input), or with outputs (session, line, (input, None)).

        Source: Jupyter messaging, "History".
        """
        raw, output = request.get("raw", True), request.get("output", False)
        manager = self._manager
        if access == "tail":
            found = manager.get_tail(request.get("n") or 10, raw=raw, output=output, include_latest=True)
        elif access == "range":
            session, start, stop = request.get("session") or 0, request.get("start") or 0, request.get("stop")
            found = manager.get_range(session, start, stop, raw=raw, output=output)
        elif access == "search":
            pattern, unique = request.get("pattern") or "*", request.get("unique", False)
            found = manager.search(pattern, raw=raw, output=output, n=request.get("n"), unique=unique)
        else:
            found = []
        try:
            # IPython calls the current session 0 where it answers from memory.
            return [(entry[0] or manager.session_number, *entry[1:]) for entry in found]
        except sqlite3.Error:
            return []

    def close(self) -> None:
        """Write what is not written yet."""
        with contextlib.suppress(sqlite3.Error):
            self._manager.end_session()
            self._manager.close()
