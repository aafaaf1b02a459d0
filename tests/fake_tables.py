"""Stand-ins for Deephaven's Python modules, for tests without a server: the classes, functions and fields that are looked at.

They have the names, modules and annotations of the real ones; a Java object is a plain one with the same methods. What really
runs on a server is tested in `tests/server`.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Java:
    """A Java object: methods by their names, that return what they were made with."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update({name: (lambda value=value: value) for name, value in values.items()})


def definition(columns: dict[str, str]) -> Java:
    """A table definition."""
    return Java(
        getColumnNamesArray=list(columns), getColumnTypesArray=[Java(getCanonicalName=kind) for kind in columns.values()]
    )


def java_table(columns: dict[str, str], size: int, refreshing: bool, attributes: dict[str, Any]) -> Java:
    """A table of Java's."""
    entries = [Java(getKey=key, getValue=value) for key, value in attributes.items()]
    return Java(
        getDefinition=definition(columns),
        size=size,
        isRefreshing=refreshing,
        getAttributes=Java(entrySet=Java(toArray=entries)),
    )


_SOURCE = '''
from __future__ import annotations

class Table:
    """A Deephaven table."""
    def __init__(self, j_table):
        self.j_table = j_table
    def __repr__(self):
        raise RuntimeError("repr must not run")
    @property
    def size(self) -> int:
        raise RuntimeError("a property must not run")
    def where(self, filters=None) -> Table: "Filters rows."
    def update(self, formulas) -> Table: "Adds columns."
    def head(self, num_rows: int) -> Table: "The first rows."
    def natural_join(self, table: Table, on, joins=None, type=None) -> Table: "Joins."
    def partition_by(self, by, drop_keys=False) -> PartitionedTable: "Partitions."

class InputTable(Table):
    pass

class PartitionedTable:
    def __init__(self, j_partitioned_table):
        self.j_partitioned_table = j_partitioned_table
    def proxy(self) -> PartitionedTableProxy: "A proxy."

class PartitionedTableProxy:
    def __init__(self, j_pt_proxy):
        self.j_pt_proxy = j_pt_proxy

class MultiJoinInput:
    def __init__(self, table, on, joins=None):
        pass

def empty_table(size: int) -> Table: "An empty table."
def time_table(period, start_time=None, blink_table=False) -> Table: "A ticking table."
def new_table(cols) -> Table: "A table of columns."
def merge(tables) -> Table: "Tables together."
def input_table(col_defs=None, init_table=None, key_cols=None) -> InputTable: "A table to edit."
def string_col(name: str, data): "A column."
def to_pandas(table: Table, cols=None): "A frame."
def read_csv(path: str, headers=None) -> Table: "A table from a file."
class Figure:
    def plot_xy(self, series_name, t=None, x=None, y=None) -> Figure: "Plots."
'''
_SUBMODULES = {
    "agg": ("sum_", "avg", "count_", "first", "weighted_avg", "formula"),
    "updateby": ("cum_sum", "rolling_avg_time", "ema_time"),
    "filters": ("is_null", "or_"),
}


@contextmanager
def installed() -> Iterator[types.ModuleType]:
    """Have the stand-ins in `sys.modules` for as long as the block lasts."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "deephaven"}
    for name in before:
        del sys.modules[name]
    package, table = types.ModuleType("deephaven"), types.ModuleType("deephaven.table")
    package.__path__ = []
    exec(compile(_SOURCE, "<fake deephaven>", "exec", dont_inherit=True), vars(table))
    vars(package).update({name: value for name, value in vars(table).items() if not name.startswith("__")})
    sys.modules.update({"deephaven": package, "deephaven.table": table})
    for name, functions in _SUBMODULES.items():
        module = types.ModuleType(f"deephaven.{name}")
        exec("\n".join(f"def {each}(*args, **kwargs): pass" for each in functions), vars(module))
        sys.modules[module.__name__] = module
        setattr(package, name, module)
    try:
        yield package
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "deephaven"]:
            del sys.modules[name]
        sys.modules.update(before)


def table(
    columns: dict[str, str], *, size: int = 3, refreshing: bool = False, attributes: dict[str, Any] | None = None
) -> Any:
    """A table with columns, in a block of `installed`."""
    cls = sys.modules["deephaven.table"].Table
    return cls(java_table(columns, size, refreshing, attributes or {}))


def partitioned(columns: dict[str, str]) -> Any:
    """A partitioned table."""
    return sys.modules["deephaven.table"].PartitionedTable(Java(constituentDefinition=definition(columns)))
