"""Tables: finding those that a cell assigned, and describing one with a bounded head that the kernel can read over Flight.

Neighbours: `session` (sends descriptions with the head as reference). Refuses to read rows itself.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from typing import Any

from .engine import Engine

_UNCOALESCED = -(2**63)
_AS_TEXT = ("java.time.Period", "java.time.ZonedDateTime", "org.jpy.PyObject")


class Tables:
    """What the runtime knows about Deephaven's table classes."""

    def __init__(self, engine: Engine) -> None:
        from deephaven.table import Table

        self.table_class = Table
        self._engine, self._jpy = engine, engine.jpy
        self._java_table = self._jpy.get_type("io.deephaven.engine.table.Table")

    def sample(self) -> Any:
        """A table of one row, for the kernel to try its connection with."""
        from deephaven import new_table
        from deephaven.column import int_col

        return new_table([int_col("X", [0])])

    def as_table(self, value: object) -> Any | None:
        """The value as a `deephaven.table.Table`, also if it is one of Java's; None if it is no table."""
        if isinstance(value, self.table_class):
            return value
        if type(value).__module__ == "jpy" or hasattr(type(value), "jclassname"):
            with contextlib.suppress(Exception):
                if self._java_table.jclass.isInstance(value):
                    return self.table_class(self._jpy.cast(value, self._java_table))
        return None

    def is_refreshing(self, value: object) -> bool:
        """Whether the value is a table that ticks."""
        return isinstance(value, self.table_class) and bool(value.is_refreshing)

    def assigned(self, before: dict[str, Any], namespace: dict[str, Any], names: dict[str, bool]) -> list[tuple[str, object]]:
        """The tables that a cell bound to names, in the order of assignment as far as the source tells it.

        Found by comparing the namespace, so that those bound through `globals()`, `exec` or a function's `global` are there
        too. Names with a leading underscore are private.

        Args:
            names: those that the source binds, in order; True for those that it binds in any case, which count also where they
                hold what they held before.
        """
        changed = {name: True for name, value in namespace.items() if before.get(name, _NEVER) is not value}
        order = {name: True for name, surely in names.items() if name in changed or (surely and name in namespace)} | changed
        return [
            (name, namespace[name])
            for name in order
            if isinstance(name, str) and not name.startswith("_") and self.as_table(namespace.get(name)) is not None
        ]

    def with_columns(self, table: Any, names: Sequence[str]) -> Any:
        """Some columns of a table, in this order; held by nothing but the object."""
        scope = self._engine.new_scope()
        try:
            with self._engine.inside(scope):
                view = table.view(list(names))
        except BaseException:
            scope.release()
            raise
        weakref.finalize(view, scope.release).atexit = False
        return view

    def describe(self, table: Any, name: str | None, rows: int) -> tuple[dict[str, Any], list[Any]]:
        """A table as the JSON of a `table` frame, and the head to send beside it; no head where it cannot be made.

        Args:
            rows: most rows of the head, at least 1.
        """
        description: dict[str, Any] = {"name": name, "table_kind": type(table).__name__, "columns": [], "rows": None}
        try:
            table = self._coalesced(table)
            description["columns"] = [[name, kind] for name, kind in self._columns(table)]
            description["refreshing"] = bool(table.is_refreshing)
            size = int(table.size)
            description["rows"] = size if size >= 0 else None
            return description, [self._head(table, rows, description["columns"])]
        except Exception as error:
            description.setdefault("refreshing", False)
            description["problem"] = f"{type(error).__name__}: {str(error)[:2000]}"
            return description, []

    def _coalesced(self, table: Any) -> Any:
        if int(table.j_table.size()) == _UNCOALESCED:
            return self.table_class(table.j_table.coalesce())
        return table

    def _columns(self, table: Any) -> list[tuple[str, str]]:
        columns = table.j_table.getDefinition().getColumnsArray()
        return [(str(column.getName()), str(column.getDataType().getCanonicalName())) for column in columns]

    def _head(self, table: Any, rows: int, columns: list[list[str]]) -> Any:
        """The first rows, in a scope of their own: they tick, and hold the table, only until the kernel has read them."""
        scope = self._engine.new_scope()
        with self._engine.inside(scope):
            head = self._readable(table.head(rows), columns)
        weakref.finalize(head, scope.release).atexit = False
        return head

    def _readable(self, head: Any, columns: list[list[str]]) -> Any:
        """The head with columns that Arrow Flight would bend, or cannot carry, turned into text by the server."""
        formulas = [f"{name} = java.util.Objects.toString({name}, null)" for name, kind in columns if kind in _AS_TEXT]
        return head.update_view(formulas) if formulas else head


_NEVER = object()
