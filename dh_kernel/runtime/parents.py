"""Which cell a thread writes for, as code can ask and choose it: `get_ipython().get_parent()`, `set_thread_parent(parent)` …

Neighbours: `front` (whose cell calls), `streams` (remembers the choice). The names and what they do are ipykernel's. A parent
is the message that a cell answers, here its header only.
"""

from __future__ import annotations

import contextvars
import weakref
from typing import Any

from . import front
from .streams import Latest, install_switchboard

_cells: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
Token = contextvars.Token[Any]


class Parents:
    """The methods of a shell that concern parents."""

    @property
    def parent_header(self) -> dict[str, Any]:
        """The message that the calling code answers; empty where it belongs to no cell."""
        cell = front.current_cell()
        if cell is None:
            return {}
        header = dict(cell.parent)
        own = {"msg_id": header.get("msg_id"), "msg_type": header.get("msg_type")}
        _cells[str(header.get("msg_id"))] = cell
        return {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "buffers": [], **own}

    def get_parent(self) -> dict[str, Any]:
        """As `parent_header`."""
        return self.parent_header

    def set_parent(self, parent: dict[str, Any]) -> None:
        """From now on the calling thread, or task, writes for the cell of this parent."""
        self.set_thread_parent(parent)

    def set_thread_parent(self, parent: dict[str, Any]) -> Token | None:
        """As `set_parent`; what is returned takes it back. A parent that is not known changes nothing."""
        cell = _cells.get(str(parent.get("header", {}).get("msg_id")))
        return install_switchboard().by_context.set(cell) if cell is not None else None

    def reset_thread_parent(self, token: Token | None) -> None:
        """Take back `set_thread_parent`. A thread that was no cell's own writes for the latest cell then."""
        if token is None:
            return
        cell, before = front.current_cell(), token.old_value
        if before is Token.MISSING or before is None:
            before = Latest(lambda: cell.front.last_cell if cell is not None else None)
        install_switchboard().by_context.set(before)
