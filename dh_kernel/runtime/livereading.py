"""Reading a live output's table: its description and rows, as they travel inside a frame.

Neighbours: `live` (says when), `tables` (describes), `engine` (its Arrow writer). Refuses to decide anything.

The rows are read here, with the engine's own writer, and travel inside the frame: no export, no call from the kernel, and
nothing to release.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .cells import Cell
from .engine import Engine
from .preferences import Extent
from .tables import Tables
from .watches import Watch

_BYTES_PER_S = 1 << 20  # an output whose update is larger than this waits longer for its next
_IDLE_SHARE = 4.0  # so does one that takes long to read: for each second, so many in which others have their turn


@dataclass(eq=False)
class LiveOutput:
    """One output that follows a table. Only the session's live thread changes it, once it has begun.

    `table` is a wrapper of our own, or what stands for an unnamed table; `user_table` is the variable's, weakly. `under_way`:
    an update, at first the table itself, has not been acknowledged. `told`: of a change, since the watch was resumed.
    """

    id: str
    cell: Cell
    table: Any
    name: str | None
    extent: Extent
    begun: float
    user_table: Any = None
    watch: Watch | None = None
    told: bool = False
    dirty: bool = False
    under_way: bool = True
    earliest: float = 0.0
    updates: int = 0
    failure: str | None = None
    read_at: float = 0.0
    least_pause_s: float = 0.0
    taken: float = field(default_factory=time.time)

    @property
    def label(self) -> str:
        """The variable's name, or what else to call it."""
        return self.name or "(unnamed)"

    def shows(self, value: object) -> bool:
        """Whether it shows this table, as that of a variable."""
        return self.user_table is not None and value is not None and self.user_table() is value


class LiveReader:
    """Reads for one session."""

    def __init__(self, engine: Engine, tables: Tables) -> None:
        self._engine, self._tables = engine, tables

    def entry(self, output: LiveOutput, ended: str | None) -> tuple[dict[str, Any], list[bytes]]:
        """An output's update as an entry of a `live` frame, and its buffers. `ended`: why it is the last one."""
        output.taken, output.read_at = time.time(), time.monotonic()
        description, parts = self._read(output)
        buffers = [buffer for part in parts for buffer in part]
        taken_s = time.monotonic() - output.read_at
        output.least_pause_s = max(sum(map(len, buffers)) / _BYTES_PER_S, _IDLE_SHARE * taken_s)
        table = {**description, "cell": output.cell.id, "result": False, "text": ""}
        table |= {"rows_wanted": output.extent.rows, "columns_wanted": output.extent.columns}
        entry: dict[str, Any] = {"output": output.id, "table": table, "taken": output.taken}
        if ended is not None:
            entry["ended"] = ended
        return {**entry, "parts": [len(part) for part in parts]}, buffers

    def _read(self, output: LiveOutput) -> tuple[dict[str, Any], list[list[bytes]]]:
        """The table's description, and of each head the Arrow messages."""
        scope, extent = self._engine.new_scope(), output.extent
        try:
            with self._engine.cell_context(scope):
                description, heads = self._tables.describe(
                    output.table, output.name, extent.rows, columns=extent.columns, depth=extent.depth
                )
                if output.failure is not None:
                    return {**description, "problem": output.failure}, []
                try:
                    return description, [self._engine.arrow_messages(head) for head in heads]
                except Exception as error:
                    return {**description, "problem": f"{type(error).__name__}: {str(error)[:2000]}"}, []
        finally:
            scope.release()
