"""The history of inputs, kept across sessions in IPython's own database.

Neighbours: `kernel`. Refuses to know the server. A home directory that cannot be written to means a history in memory.

An input is handed over before its cell runs, and a thread of IPython's writes it at once: a kernel that is killed loses none.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from IPython.core.history import HistoryManager
from IPython.core.inputtransformer2 import TransformerManager
from traitlets import Any as AnyTrait

DEFAULT_TAIL = 10
_PAUSES_S = (0.01, 0.05, 0.2, 0.5)
_LONGEST_OUTPUT = 100_000
_LONGEST_TRANSLATED = 100_000
_NOT_PLAIN_PYTHON = re.compile(r"[%!?]")


class _Manager(HistoryManager):  # type: ignore[misc]
    """IPython's manager without an interactive shell around it."""

    shell = AnyTrait(None, allow_none=True)

    def _writeout_input_cache(self, conn: sqlite3.Connection) -> None:
        """IPython's forgets the inputs when another kernel has locked the file at this moment: try again."""
        for pause_s in _PAUSES_S:
            with contextlib.suppress(sqlite3.OperationalError):
                super()._writeout_input_cache(conn)
                return
            time.sleep(pause_s)
        super()._writeout_input_cache(conn)


class History:
    """One kernel's history."""

    def __init__(self, file: Path) -> None:
        self._transformer = TransformerManager()
        try:
            self._manager: Any = _Manager(None, hist_file=file)
        except (sqlite3.Error, OSError):
            self._manager = _Manager(None, hist_file=":memory:")

    def store(self, count: int, code: str) -> None:
        """Keep the input number `count`, as it is and as the Python that IPython makes of it."""
        with contextlib.suppress(sqlite3.Error):
            self._manager.store_inputs(count, self._translated(code), code)

    def note_output(self, count: int, text: str) -> None:
        """Keep the value of the cell number `count`, as text and while the kernel lives; what is very long is not kept."""
        if len(text) <= _LONGEST_OUTPUT:
            self._manager.output_hist_reprs[count] = text

    def look_up(self, access: str, **request: Any) -> list[tuple[Any, ...]]:
        """The entries of a `history_request`: (session, line, input), or with outputs (session, line, (input, output)).

        Source: Jupyter messaging, "History".
        """
        try:
            found = self._find(access, **request)
            # IPython calls the current session 0 where it answers from memory, which has a blank entry before the first.
            return [(entry[0] or self._manager.session_number, *entry[1:]) for entry in found if entry[1] > 0]
        except sqlite3.Error:
            return []

    def _find(self, access: str, **request: Any) -> Any:
        shape = {"raw": bool(request.get("raw", True)), "output": bool(request.get("output", False))}
        # A request that makes no sense must not reach the database: IPython takes an error there for a broken file.
        n = request.get("n")
        n = n if isinstance(n, int) else None
        if access == "tail":
            return self._manager.get_tail(DEFAULT_TAIL if n is None else n, include_latest=True, **shape)
        if access == "range":
            session, start, stop = (_number(request.get(name)) for name in ("session", "start", "stop"))
            return self._manager.get_range(session, start, stop or None, **shape)
        if access == "search":
            pattern = str(request.get("pattern") or "*").encode("utf-8", "backslashreplace").decode()
            return self._manager.search(pattern, n=n, unique=bool(request.get("unique", False)), **shape)
        return []

    def _translated(self, code: str) -> str:
        if len(code) > _LONGEST_TRANSLATED or not _NOT_PLAIN_PYTHON.search(code):
            return code
        try:
            return str(self._transformer.transform_cell(code))
        except Exception:  # a SyntaxError is the cell's to tell; IPython's transformers may fail in other ways
            return code

    def close(self) -> None:
        """Write what is not written yet."""
        with contextlib.suppress(sqlite3.Error):
            self._manager.end_session()
            self._manager.close()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
