"""Tables: finding those that a cell assigned, and describing one with a bounded excerpt that the kernel can read over Flight.

Neighbours: `session` (sends descriptions with the excerpt as reference), `carrying` (makes columns fit to travel), `kinds`
(tables that are not one table). Refuses to read rows itself.

A description is the JSON of a `table` frame: name, table_kind, columns (the outer ones; column_count where there are more),
rows, refreshing, flavors, problem, parts (descriptions, each with `reference`, the position of its own), and how the excerpt
stands for the table: head, characters, lengths, tree, as in `model.Excerpt`.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Sequence
from typing import Any

from .carrying import MOST_CHARACTERS, Carrier
from .engine import Engine
from .kinds import Kinds
from .threads import ServiceThread

_UNCOALESCED = -(2**63)
_PATIENCE_S = 2.0
_ROWS_TRIED = 10


class Tables:
    """What the runtime knows about Deephaven's table classes."""

    def __init__(self, engine: Engine) -> None:
        from deephaven.table import Table

        self.table_class = Table
        self._engine, self._jpy = engine, engine.jpy
        self._java_table = self._jpy.get_type("io.deephaven.engine.table.Table")
        self._carrier = Carrier(self._jpy)
        self._kinds = Kinds(engine, self.describe, self._carrier)
        self._described: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._failures: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def sample(self) -> Any:
        """A table of one row, for the kernel to try its connection with."""
        from deephaven import new_table
        from deephaven.column import int_col

        ServiceThread(target=self._carrier.warm_up, name="dh-kernel-warm-up", daemon=True).start()
        return new_table([int_col("X", [0])])

    def as_shown(self, value: object) -> Any | None:
        """The value as something that `describe` knows: a table, or another of Deephaven's kinds of tables; else None."""
        return value if self._kinds.knows(value) else self.as_table(value)

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
        """Whether the value is a table that ticks, or another of Deephaven's kinds of tables made of such."""
        if isinstance(value, self.table_class):
            return bool(value.is_refreshing)
        return self._kinds.knows(value) and self._kinds.is_refreshing(value)

    def sources(self, value: Any) -> list[Any]:
        """Of what `is_refreshing`: Java's tables whose changes change what is shown of it."""
        return [value.j_table] if isinstance(value, self.table_class) else self._kinds.sources(value)

    def referents(self, value: Any) -> list[Any]:
        """Of what `is_refreshing`: what must be held besides its sources to keep it alive."""
        return [] if isinstance(value, self.table_class) else self._kinds.referents(value)

    def note_failure(self, table: Any, reason: str) -> None:
        """Keep why a table has failed, for as long as this object of Python's lives: the engine does not."""
        if isinstance(table, self.table_class):
            self._failures[table] = reason

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
            if isinstance(name, str) and not name.startswith("_") and self.as_shown(namespace.get(name)) is not None
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

    def describe(
        self, table: Any, name: str | None, rows: int, *, columns: int = 20, depth: int = 1
    ) -> tuple[dict[str, Any], list[Any]]:
        """A table as the JSON of a `table` frame, and the rows to send beside it; none where they cannot be had.

        Args:
            rows: most rows, at least 1; columns: most columns, the outer ones.
            depth: down to which level a tree is expanded.
        """
        about: dict[str, Any] = {"name": name, "table_kind": type(table).__name__, "columns": [], "rows": None}
        about["refreshing"] = False
        references: list[Any] = []
        try:
            if isinstance(table, self.table_class):
                self._plain(table, about, references, rows, columns)
            else:
                self._kinds.describe(table, about, references, rows, columns, depth)
        except Exception as error:
            about["problem"] = f"{type(error).__name__}: {str(error)[:2000]}"
            references.clear()
            about.pop("parts", None)
        return about, references

    def _plain(self, table: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int) -> None:
        about["number"] = id(table)
        self._described[id(table)] = table
        j_table = self._coalesced(table.j_table)
        definitions = self._definitions(j_table, about, columns)
        about["flavors"], about["refreshing"] = flavors(j_table), bool(j_table.isRefreshing())
        if about["refreshing"] and self._engine.is_ring(j_table):
            about["flavors"].append("ring")
        if about["refreshing"] and j_table.isFailed():
            reason = self._failures.get(table, "the server's log has the error")
            about.update(rows=int(j_table.size()), problem=f"the table has failed while ticking; {reason}")
            return
        references.append(self._excerpt(j_table, about, definitions, rows))

    def _definitions(self, j_table: Any, about: dict[str, Any], most: int) -> list[Any]:
        """The definitions of the columns that are shown, which `about` is told."""
        definition = j_table.getDefinition()
        names = definition.getColumnNamesArray()
        count = len(names)
        indexes = outer(count, most)
        definitions = [definition.getColumn(names[index]) for index in indexes]
        about["columns"] = [[str(each.getName()), str(each.getDataType().getCanonicalName())] for each in definitions]
        if count > len(indexes):
            about["column_count"] = count
        return definitions

    def _coalesced(self, j_table: Any) -> Any:
        return j_table.coalesce() if int(j_table.size()) == _UNCOALESCED else j_table

    def _excerpt(self, j_table: Any, about: dict[str, Any], definitions: list[Any], rows: int) -> Any:
        """Some rows as a table of their own, whose columns are made fit to travel.

        In a liveness scope of its own: it ticks, and holds the table, only until the kernel has read it.
        """
        scope = self._engine.new_scope()
        with self._engine.inside(scope):
            part = self._some_rows(j_table, about, rows)
            part, lengths = self._carrier.fit(part, definitions)
            made = self.table_class(part)
        weakref.finalize(made, scope.release).atexit = False
        about["characters"] = MOST_CHARACTERS
        if lengths:
            about["lengths"] = lengths
        return made

    def reason(self, number: int) -> str | None:
        """Why a table's rows cannot be read: computes the values until one fails. For any thread but a cell's."""
        table = self._described.get(number)
        if table is None:
            return None
        _, references = self.describe(table, None, _ROWS_TRIED)
        return self._first_failure(references[0].j_table) if references else None

    def _first_failure(self, j_table: Any) -> str | None:
        keys = j_table.getRowSet()
        for name in j_table.getDefinition().getColumnNamesArray():
            source = j_table.getColumnSource(name)
            for position in range(int(keys.size())):
                try:
                    source.get(keys.get(position))
                except Exception as error:
                    return f"column {name}: {in_short(str(error))}"
        return None

    def _some_rows(self, j_table: Any, about: dict[str, Any], rows: int) -> Any:
        """All rows of a small table, the last ones of a table that grows at its end, the outer ones of others."""
        size = int(j_table.size())
        about["rows"] = size if size >= 0 else None
        if not about["refreshing"]:
            return self._outer_rows(j_table, size, about, rows) if size > rows else j_table
        if {"append-only", "blink", "ring"}.intersection(about["flavors"]):
            about["head"] = 0
            return j_table.tail(rows)
        if size <= rows or rows < 2:
            return j_table.head(rows)
        return self._ticking_outer_rows(j_table, about, rows)

    def _outer_rows(self, j_table: Any, size: int, about: dict[str, Any], rows: int) -> Any:
        """Of a static table: a selection of its rows, which copies and computes nothing."""
        about["head"] = (rows + 1) // 2
        keys = j_table.getRowSet()
        chosen = keys.subSetByPositionRange(0, about["head"])
        chosen.insert(keys.subSetByPositionRange(size - rows // 2, size))
        return j_table.getSubTable(chosen.toTracking())

    def _ticking_outer_rows(self, j_table: Any, about: dict[str, Any], rows: int) -> Any:
        """Head and tail in one table, made between two update cycles: whoever reads it sees both at one moment.

        The head alone where the update graph is too busy to wait for.
        """
        with self._engine.between_cycles(j_table, _PATIENCE_S) as quiet:
            about["rows"] = int(j_table.size())
            if not quiet or about["rows"] <= rows:
                return j_table.head(rows)
            about["head"] = (rows + 1) // 2
            return self._engine.merged([j_table.head(about["head"]), j_table.tail(rows // 2)])


def in_short(trace: str) -> str:
    """What a Java stack trace says first, and its last cause, or the last line of Python's; without the names of packages."""
    parts = [part.split("\n\tat ")[0].lstrip(": ") for part in re.split(r"\ncaused by", trace, flags=re.IGNORECASE)]
    told = []
    for part in (parts[:1] + parts[-1:]) if len(parts) > 1 else parts:
        lines = [line.strip() for line in part.splitlines() if line.strip()] or [""]
        told.append(_PACKAGES.sub("", lines[-1] if "Traceback (most recent" in part else lines[0]))
    return " — ".join(told)[:1000]


_PACKAGES = re.compile(r"^(?:RuntimeError: )?(?:[a-z]\w*\.)+(?=[A-Z])")


def outer(count: int, most: int) -> list[int]:
    """The indexes of `count` things that stay when the middle is cut out to keep `most`, the left half the larger one."""
    most = max(most, 1)
    return list(range(count)) if count <= most else [*range((most + 1) // 2), *range(count - most // 2, count)]


def flavors(j_table: Any) -> list[str]:
    """What a table is besides a table, by its attributes and classes."""
    attributes = {str(entry.getKey()): entry.getValue() for entry in j_table.getAttributes().entrySet().toArray()}
    found = [word for name, word in _FLAGS.items() if attributes.get(name) not in (None, False)]
    if "append-only" in found and "add-only" in found:
        found.remove("add-only")
    if str(j_table.getClass().getSimpleName()) == "TimeTable":
        found.insert(0, "time table")
    return found


_FLAGS = {"InputTable": "input", "BlinkTable": "blink", "AppendOnly": "append-only", "AddOnly": "add-only"}
_NEVER = object()
