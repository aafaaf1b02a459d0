"""A bounded number of a table's rows as plain lists, for a figure to be drawn of them.

Neighbours: `figures`, `plots`. Refuses to know what is drawn.

Of a table with more rows than are wanted come such at even distances, and of a ticking one the last ones; what has been left
out is told with the figure.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from .engine import Engine

MOST_ROWS = 5_000
_MOST_VALUES = 40_000
_LEAST_ROWS = 100
_MOST_CHARACTERS = 200
_MOST_ELEMENTS = 500
_UNCOALESCED = -(2**63)


class Points:
    """Reads the columns of one figure, all of whose values together are bounded."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._jpy = engine, engine.jpy
        self._left = _MOST_VALUES
        self.notes: list[str] = []
        """What has been left out, in words."""
        self.ticks = False

    def of(self, j_table: Any, names: list[str]) -> dict[str, list[Any]]:
        """Some rows of these columns, as values that JSON can hold."""
        from deephaven import pandas as to_frames
        from deephaven.table import Table

        names = list(dict.fromkeys(names))
        table = self._jpy.cast(j_table, self._jpy.get_type("io.deephaven.engine.table.Table"))
        if int(table.size()) == _UNCOALESCED:
            table = table.coalesce()
        self.ticks |= bool(table.isRefreshing())
        most = max(_LEAST_ROWS, min(MOST_ROWS, self._left // max(len(names), 1)))
        view = Table(self._some(table, most)).view(names)
        frame = to_frames.to_pandas(view)
        self._left -= len(frame) * len(names)
        return {name: [plain(value) for value in frame[name].tolist()] for name in names}

    def _some(self, table: Any, most: int) -> Any:
        size = int(table.size())
        if size <= most:
            return table
        if table.isRefreshing():
            self._note(f"the last {most:,} of {size:,} rows")
            return table.tail(most)
        self._note(f"{most:,} of {size:,} rows, at even distances")
        rows = self._jpy.get_type("io.deephaven.engine.rowset.RowSetFactory")
        positions = self._jpy.array("long", [number * (size - 1) // (most - 1) for number in range(most)])
        return table.getSubTable(table.getRowSet().subSetForPositions(rows.fromKeys(positions)).toTracking())

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def plain(value: Any) -> Any:
    """A value as JSON has it: null for what is missing or no number, a time as plotly reads it."""
    if value is None or isinstance(value, (bool, str)):
        return value[:_MOST_CHARACTERS] if isinstance(value, str) else value
    if hasattr(value, "isoformat"):
        text = str(value.isoformat())
        return None if text == "NaT" else text.replace("T", " ").removesuffix("+00:00")
    if type(value).__name__ == "NAType":
        return None
    if isinstance(value, (list, tuple)) or type(value).__name__ == "ndarray":
        return [plain(each) for each in itertools.islice(value, _MOST_ELEMENTS)]
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, int):
        return number
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return str(value)[:_MOST_CHARACTERS]
