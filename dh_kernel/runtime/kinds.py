"""Deephaven's tables that are not one table: partitioned ones, rollups and trees, described like tables.

Neighbours: `tables` (describes the tables that they are made of), `carrying`. Refuses more than a bounded part: the first
constituents, and the first rows of a tree expanded down to a level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from .carrying import MOST_CHARACTERS, Carrier
from .engine import Engine
from .threads import in_time

_MODULE = "deephaven.table"
_TREES = {"RollupTable": "j_rollup_table", "TreeTable": "j_tree_table"}
_MOST_PARTS = 3
_PART_ROWS = 4
_LABEL_CHARACTERS = 60
_STRUCTURE = 2  # a tree's columns for depth and expansion stand before its own
_EXPAND_TO_DEPTH = 0x70  # the action that expands one level; each more expands one more
_DEEPEST = 14
_READ_S = 2.0


class Describe(Protocol):
    """How `tables` describes what it knows."""

    def __call__(
        self, table: Any, name: str | None, rows: int, *, columns: int = 20, depth: int = 1
    ) -> tuple[dict[str, Any], list[Any]]:
        """As `Tables.describe`."""


class Kinds:
    """The kinds of tables besides `Table`."""

    def __init__(self, engine: Engine, describe: Describe, carrier: Carrier) -> None:
        from deephaven import table as module

        self._module, self._describe_table = module, describe
        self._engine, self._jpy, self._carrier = engine, engine.jpy, carrier
        names = ("PartitionedTable", "PartitionedTableProxy", "MultiJoinTable", *_TREES)
        self._classes = tuple(getattr(module, name) for name in names if hasattr(module, name))

    def knows(self, value: object) -> bool:
        """Whether this is for `describe`."""
        return isinstance(value, self._classes)

    def is_refreshing(self, value: Any) -> bool:
        """Whether what is shown of it can change."""
        return bool(self.sources(value))

    def sources(self, value: Any) -> list[Any]:
        """As `Tables.sources`. Of a partitioned table the keys, and the constituents that are shown now."""
        kind = _kind(value)
        if kind == "MultiJoinTable":
            found = [value.table.j_table]
        elif kind in _TREES:
            found = [getattr(value, _TREES[kind]).getSource()]
        else:
            partitioned = _target(value)
            found = [partitioned.j_partitioned_table.table(), *(table.j_table for _, table in self._constituents(partitioned))]
        return [j_table for j_table in found if j_table.isRefreshing()]

    def referents(self, value: Any) -> list[Any]:
        """As `Tables.referents`."""
        kind = _kind(value)
        if kind == "MultiJoinTable":
            return []
        return [getattr(value, _TREES[kind]) if kind in _TREES else _target(value).j_partitioned_table]

    def describe(self, value: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int, depth: int) -> None:
        """Fill in a description and its references, as `Tables.describe` does for a table."""
        scope = self._engine.new_scope()  # what is made on the way is held by what is made of it
        try:
            with self._engine.inside(scope):
                self._describe(value, about, references, rows, columns, depth)
        finally:
            scope.release()

    def _describe(self, value: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int, depth: int) -> None:
        kind = _kind(value)
        if kind == "MultiJoinTable":
            self._like(value.table, about, references, rows, columns)
        elif kind in _TREES:
            self._tree(getattr(value, _TREES[kind]), about, references, rows, columns, depth)
        else:
            self._partitioned(_target(value), about, references, rows, columns)

    def _like(self, table: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int) -> None:
        described, found = self._describe_table(table, about["name"], rows, columns=columns)
        references += found
        about.update({**described, "table_kind": about["table_kind"]})

    # --- partitioned tables: their keys as rows, then the first constituents

    def _partitioned(self, value: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int) -> None:
        j_keys = value.j_partitioned_table.table()
        keys = [str(name) for name in value.key_columns]
        self._like(self._module.Table(j_keys.view(keys)), about, references, rows, columns)
        about["parts"] = []
        for name, table in self._constituents(value):
            part, found = self._describe_table(table, name, min(rows, _PART_ROWS), columns=columns)
            about["parts"].append({**part, "reference": len(references)} if found else part)
            references += found

    def _constituents(self, value: Any) -> Iterator[tuple[str, Any]]:
        """The first constituents, each with its keys' values."""
        j_keys, keys = value.j_partitioned_table.table(), [str(name) for name in value.key_columns]
        row_keys = j_keys.getRowSet()
        for position in range(min(int(row_keys.size()), _MOST_PARTS)):
            row_key = row_keys.get(position)
            constituent = j_keys.getColumnSource(value.constituent_column).get(row_key)
            label = ", ".join(f"{key}={j_keys.getColumnSource(key).get(row_key)}"[:_LABEL_CHARACTERS] for key in keys)
            table = self._module.Table(self._jpy.cast(constituent, self._module.Table.j_object_type))
            yield label or f"constituent {position}", table

    # --- rollups and trees

    def _tree(self, j_tree: Any, about: dict[str, Any], references: list[Any], rows: int, columns: int, depth: int) -> None:
        available = j_tree.getAvailableColumnDefinitions()
        definitions = [available.get(index) for index in range(available.size())]
        # A rollup that includes its constituents has their columns behind its own, under the same names.
        named = {str(definition.getName()): index for index, definition in reversed(list(enumerate(definitions)))}
        own = sorted(index for index in named.values() if index >= _STRUCTURE)
        left, right = (columns + 1) // 2, columns // 2
        shown = own if len(own) <= columns else [*own[:left], *own[len(own) - right :]]
        about["columns"] = [
            [str(definitions[i].getName()), str(definitions[i].getDataType().getCanonicalName())] for i in shown
        ]
        if len(shown) < len(own):
            about["column_count"] = len(own)
        j_source = j_tree.getSource()
        about["refreshing"] = bool(j_source.isRefreshing())
        if about["refreshing"] and j_source.isFailed():
            about["problem"] = "the table that it is made of has failed while ticking; the server's log has the error"
            return
        snapshot = _Snapshot(self._engine, j_tree, definitions, [0, 1, *shown])
        table = in_time(lambda: snapshot.take(rows, min(depth, _DEEPEST)), _READ_S, "the tree")
        about.update(rows=snapshot.size, tree=True, characters=MOST_CHARACTERS)
        chosen = list(table.getDefinition().getColumnsArray())
        table, lengths = self._carrier.fit(table, chosen)
        about["lengths"] = [index - _STRUCTURE for index in lengths]
        references.append(self._module.Table(table))


def _kind(value: Any) -> str:
    return next(base.__name__ for base in type(value).__mro__ if base.__module__ == _MODULE)


def _target(value: Any) -> Any:
    """The partitioned table, of a proxy too."""
    return value.target if _kind(value) == "PartitionedTableProxy" else value


class _Snapshot:
    """The first rows of a tree, as the server's UI would show them. `size` is how many there would be.

    Source: `HierarchicalTable.snapshot`, Deephaven 42.7. Its chunks are arrays, around which a table is put.
    """

    def __init__(self, engine: Engine, j_tree: Any, definitions: list[Any], indexes: list[int]) -> None:
        self._engine, self._jpy, self._tree = engine, engine.jpy, j_tree
        self._definitions, self._indexes = definitions, indexes
        self._sources = "io.deephaven.engine.table.impl.sources."
        self._primitive = self._class("ReinterpretUtils")
        self._in_memory = self._class("InMemoryColumnSource").getImmutableMemoryColumnSource
        self._rows = self._jpy.get_type("io.deephaven.engine.rowset.RowSetFactory")
        self._map = self._jpy.get_type("java.util.LinkedHashMap")
        self._table = self._jpy.get_type("io.deephaven.engine.table.impl.QueryTable")
        self.size = 0

    def _class(self, name: str) -> Any:
        return self._jpy.get_type(self._sources + name)

    def take(self, rows: int, depth: int) -> Any:
        """At most so many rows, expanded down to that level, as a table of Java's."""
        new_array = self._jpy.get_type("java.lang.reflect.Array").newInstance
        arrays, chunks = [], self._jpy.array("io.deephaven.chunk.WritableChunk", len(self._indexes))
        chosen = self._jpy.get_type("java.util.BitSet")()
        for place, index in enumerate(self._indexes):
            chosen.set(index)
            kind = self._primitive.maybeConvertToPrimitiveDataType(self._definitions[index].getDataType())
            arrays.append(new_array(kind, rows))
            chunk_type = self._primitive.maybeConvertToPrimitiveChunkType(kind)
            chunks[place] = chunk_type.writableChunkWrap(arrays[-1], 0, rows)
        scope = self._engine.new_scope()
        with self._engine.cell_context(scope):
            try:
                action = self._jpy.get_type("io.deephaven.api.ColumnName").of(_ACTION)
                state = self._tree.makeSnapshotState()
                scope.manage(state)
                positions = self._rows.flat(rows)
                self.size = int(self._tree.snapshot(state, self._expansion(depth), action, chosen, positions, chunks))
            finally:
                scope.release()
        sources = self._map()
        for index, array in zip(self._indexes, arrays, strict=True):
            sources.put(str(self._definitions[index].getName()), self._source(self._definitions[index], array))
        return self._made(min(self.size, rows), sources)

    def _made(self, rows: int, sources: Any) -> Any:
        return self._table(self._rows.flat(rows).toTracking(), sources)

    def _source(self, definition: Any, array: Any) -> Any:
        return self._in_memory(array, definition.getDataType(), definition.getComponentType())

    def _expansion(self, depth: int) -> Any:
        """The directive to expand the root, and from there downwards."""
        sources = self._map()
        for definition in self._tree.getEmptyExpansionsTable().getDefinition().getColumnsArray():
            name = str(definition.getName())
            if name == str(self._tree.getRowDepthColumn().name()):
                sources.put(name, self._plain([0], "int"))
            else:
                null = self._class("NullValueColumnSource")
                sources.put(name, null.getInstance(definition.getDataType(), definition.getComponentType()))
        sources.put(_ACTION, self._plain([_EXPAND_TO_DEPTH + depth], "byte"))
        return self._made(1, sources)

    def _plain(self, values: list[int], kind: str) -> Any:
        primitive = self._jpy.get_type({"int": "java.lang.Integer", "byte": "java.lang.Byte"}[kind]).TYPE
        return self._in_memory(self._jpy.array(kind, values), primitive, None)


_ACTION = "DhKernelAction"
