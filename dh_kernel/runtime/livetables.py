"""Tables that are there: their columns and what else describes them, by calls that neither lock nor read data.

Neighbours: `tableshape` (the same for tables to come), `inspection`. Refuses what could wait: sizes and flags are fields of
the engine's objects, a definition never changes.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

from . import namelookup
from .tableshape import PARTITIONED, PROXY, TABLE, Shape

_MODULE = "deephaven.table"
_CLASSES = (TABLE, PARTITIONED, PROXY, "RollupTable", "TreeTable", "MultiJoinTable")
_UNCOALESCED = -(2**63)
_MOST_KEPT = 500

_shapes: dict[int, tuple[weakref.ref[Any], Shape]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Facts:
    """What a table is beyond its columns. `rows` is None where the engine does not know."""

    kind: str
    rows: int | None
    refreshing: bool
    attributes: dict[str, str]


def shape_of(value: Any) -> Shape | None:
    """A table's columns, None if it is no table."""
    kind = kind_of_table(value)
    if kind is None:
        return None
    with _lock:
        kept = _shapes.get(id(value))
    if kept is not None and kept[0]() is value:
        return kept[1]
    try:
        found = Shape(_columns(_definition(value, kind)), kind)
    except Exception:  # closed, or of another version
        return None
    _keep(value, found)
    return found


def kind_of_table(value: Any) -> str | None:
    """The class among Deephaven's that an object is of: `Table`, `PartitionedTable` …; None if it is no table."""
    for base in namelookup.mro(type(value)):
        if namelookup.module_name(base) == _MODULE and namelookup.class_name(base) in _CLASSES:
            return namelookup.class_name(base)
    return None


def facts_of(value: Any) -> Facts:
    """A table's size, and what else is known of it; what the server does not tell is left out."""
    kind = kind_of_table(value) or TABLE
    table = _java_table(value, kind)
    rows = int(table.size()) if kind == TABLE else None
    attributes = _attributes(table) if kind != PROXY else {}
    refreshing = kind == TABLE and bool(table.isRefreshing())
    return Facts(namelookup.class_name(type(value)), rows if rows is None or rows >= 0 else None, refreshing, attributes)


def _keep(value: Any, shape: Shape) -> None:
    try:
        reference = weakref.ref(value)
    except TypeError:
        return
    with _lock:
        if len(_shapes) >= _MOST_KEPT:
            _shapes.clear()
        _shapes[id(value)] = (reference, shape)


def _own(value: Any, name: str) -> Any:
    found = namelookup.attribute(value, name)
    if found is namelookup.MISSING or type(found) is namelookup.Computed:
        raise AttributeError(name)
    return found


def _java_table(value: Any, kind: str) -> Any:
    names = {
        TABLE: "j_table",
        PARTITIONED: "j_partitioned_table",
        PROXY: "j_pt_proxy",
        "RollupTable": "j_rollup_table",
        "TreeTable": "j_tree_table",
        "MultiJoinTable": "j_multijointable",
    }
    return _own(value, names[kind])


def _definition(value: Any, kind: str) -> Any:
    table = _java_table(value, kind)
    if kind == TABLE:
        return table.getDefinition()
    if kind == PARTITIONED:
        return table.constituentDefinition()
    if kind == PROXY:
        return table.target().constituentDefinition()
    return table.table().getDefinition() if kind == "MultiJoinTable" else table.getSource().getDefinition()


def _columns(definition: Any) -> dict[str, str]:
    names, types = definition.getColumnNamesArray(), definition.getColumnTypesArray()
    return {str(name): str(kind.getCanonicalName()) for name, kind in zip(names, types, strict=True)}


def _attributes(table: Any) -> dict[str, str]:
    """The attributes whose values are plain; of others the class."""
    found: dict[str, str] = {}
    entries = table.getAttributes().entrySet().toArray()
    for entry in entries:
        value = entry.getValue()
        plain = type(value) in (str, bool, int, float)
        text = str(value) if plain or value is None else str(value.getClass().getSimpleName())
        found[str(entry.getKey())] = text[:200]
    return found
