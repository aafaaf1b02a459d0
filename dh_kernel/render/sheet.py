"""What all three forms show: which rows and columns of a preview, its caption, its last line. Decides; draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

import pyarrow as pa

from dh_kernel.model import Column, Excerpt, TableInfo, TablePreview
from dh_kernel.render.characters import ELLIPSIS, cut
from dh_kernel.render.options import RenderOptions
from dh_kernel.render.temporal import clock_text, time_zone
from dh_kernel.render.values import Cell, Reading, read_column, read_lengths

PARTITIONED = ("PartitionedTable", "PartitionedTableProxy")
_DEEPEST_INDENT = 20
_TIMES = "×"  # noqa: RUF001 (not the letter: a size is written with this sign)


@dataclass(frozen=True)
class SheetColumn:
    """A column that is shown, with as many cells as rows are shown."""

    column: Column
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Branch:
    """Where a tree's row stands: its level, the uppermost is 1, and whether it is expanded; None: it has nothing below."""

    level: int
    expanded: bool | None


@dataclass(frozen=True)
class Sheet:
    """The part of a table that is shown: the first `left` of `columns` come before the hidden ones, the rest after.

    `shown` rows, of which the first `gap` come before those that are not shown; None where all are. `problem` is why rows are
    missing. `total` is the table's size, None where unknown. `tree` has one entry a row, None for what is no tree.
    """

    info: TableInfo
    columns: tuple[SheetColumn, ...]
    left: int
    shown: int
    total: int | None
    problem: str | None
    gap: int | None = None
    tree: tuple[Branch, ...] | None = None
    snapshot: str | None = None
    pending: bool = False

    @property
    def hidden(self) -> int:
        """How many columns are not shown."""
        return self.info.width - len(self.columns)


def lay_out(preview: TablePreview, options: RenderOptions) -> Sheet:
    """Choose rows and columns, and read no more of the data than these."""
    info, excerpt = preview.info, preview.excerpt
    indexes, left = outer(len(info.columns), options.columns)
    if info.width > len(indexes):
        left = (len(indexes) + 1) // 2
    data, head = _chosen(preview.data, excerpt.head, max(options.rows, 0))
    shown = 0 if data is None else data.num_rows
    total = max(info.rows, shown) if info.rows is not None and info.rows >= 0 else None
    zone = time_zone(options.time_zone)
    reader = _Reader(info, data, excerpt, zone, max(options.full_characters, 1))
    columns = tuple(SheetColumn(info.columns[index], reader.cells(index)) for index in indexes)
    problem = preview.problem or (None if preview.data is not None or preview.pending else "no reason given")
    return Sheet(
        info,
        columns,
        left,
        shown,
        total,
        problem and cut(problem, max(options.full_characters, 1)),
        head if data is not None and total is not None and shown < total else None,
        reader.tree() if excerpt.tree else None,
        None if preview.snapshot_ns is None else clock_text(preview.snapshot_ns, zone),
        preview.pending,
    )


def _chosen(data: pa.Table | None, head: int | None, most: int) -> tuple[pa.Table | None, int]:
    """At most so many rows, from the table's start and its end as they are there; and how many of them are from its start."""
    if data is None:
        return None, 0
    count = data.num_rows
    first = count if head is None else min(head, count)
    if count <= most:
        return data, first
    left = min(first, max((most + 1) // 2, most - (count - first)))
    parts = [data.slice(0, left), data.slice(count - (most - left))] if most > left else [data.slice(0, left)]
    return (parts[0] if len(parts) == 1 else pa.concat_tables(parts)), left


class _Reader:
    """Reads the cells of one preview."""

    def __init__(self, info: TableInfo, data: pa.Table | None, excerpt: Excerpt, zone: tzinfo, bound: int) -> None:
        self._info, self._data, self._excerpt = info, data, excerpt
        self._zone, self._bound = zone, bound
        self._before = 2 if excerpt.tree else 0

    def cells(self, index: int) -> tuple[Cell, ...]:
        """All of a column."""
        if self._data is None:
            return ()
        kind = self._info.columns[index].type
        reading = Reading(kind, None, self._zone, self._bound, self._excerpt.characters, self._lengths(index))
        return tuple(read_column(self._data, self._before + index, reading))

    def _lengths(self, index: int) -> tuple[int | None, ...] | None:
        if index not in self._excerpt.lengths:
            return None
        position = self._before + len(self._info.columns) + self._excerpt.lengths.index(index)
        return read_lengths(self._data, position)

    def tree(self) -> tuple[Branch, ...]:
        """Where each row stands."""
        if self._data is None:
            return ()
        levels, expanded = self._data.column(0).to_pylist(), self._data.column(1).to_pylist()
        return tuple(Branch(level, state) for level, state in zip(levels, expanded, strict=True))


def outer(count: int, most: int) -> tuple[list[int], int]:
    """The indexes of `count` things that stay when the middle is cut out to keep `most`, and how many are left of the cut."""
    if count <= max(most, 1):
        return list(range(count)), count
    left, right = (max(most, 1) + 1) // 2, max(most, 1) // 2
    return [*range(left), *range(count - right, count)], left


def size_text(sheet: Sheet) -> str:
    """How many rows, times how many columns."""
    partitioned = sheet.info.kind in PARTITIONED
    row = "constituent" if partitioned else "expanded row" if sheet.tree is not None else "row"
    rows = f"unknown number of {row}s" if sheet.total is None else _count(sheet.total, row)
    return f"{rows} {_TIMES} {_count(sheet.info.width, 'key column' if partitioned else 'column')}"


def title_texts(sheet: Sheet) -> tuple[str, str]:
    """The caption in two: whose table it is, and the rest."""
    info = sheet.info
    name = info.kind if info.name is None else info.name
    parts = [size_text(sheet)]
    if info.name is not None and info.kind != "Table":
        parts.insert(0, info.kind)
    parts += [flavor for flavor in info.flavors if not (flavor == "input" and info.kind == "InputTable")]
    if info.refreshing:
        parts.append("refreshing")
    if sheet.snapshot is not None:
        parts.append(f"snapshot {sheet.snapshot}")
    return name, " · ".join(parts)


def last_line(sheet: Sheet, columns_shown: int) -> str | None:
    """What is missing, `10 of 20,000,000 rows`; None where all is shown."""
    parts = []
    total = sheet.total
    is_read = sheet.problem is None and not sheet.pending
    if sheet.info.width and is_read and (total is None or sheet.shown < total):
        parts.append(f"{sheet.shown:,} of " + ("an unknown number of rows" if total is None else _count(total, "row")))
    if columns_shown < sheet.info.width:
        parts.append(f"{columns_shown:,} of {_count(sheet.info.width, 'column')}")
    return ", ".join(parts) or None


def tree_mark(branch: Branch) -> str:
    """Level and state of a tree's row, indented."""
    sign = {True: "▾", False: "▸", None: "·"}[branch.expanded]
    return f"{'  ' * min(branch.level - 1, _DEEPEST_INDENT)}{sign} {branch.level}"


def gap_text(sheet: Sheet) -> str:
    """What stands in place of the rows that are not shown."""
    assert sheet.total is not None
    return f"{ELLIPSIS} {_count(sheet.total - sheet.shown, 'row')} not shown"


def notice(sheet: Sheet) -> str | None:
    """The line in place of rows, where there are none to show."""
    if sheet.problem is not None:
        return f"rows could not be read: {sheet.problem}"
    if sheet.pending:
        return f"the rows are being read {ELLIPSIS}"
    if not sheet.info.width:
        return "no columns"
    return "no rows" if sheet.total == 0 and not sheet.shown else None


def parts_left_out(preview: TablePreview) -> str | None:
    """A line for the parts of a table that are not shown."""
    more = (preview.info.rows or 0) - len(preview.parts)
    return f"and {_count(more, 'more constituent')}" if preview.parts and more > 0 else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
