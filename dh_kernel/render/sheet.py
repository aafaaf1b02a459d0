"""What all three forms show: which rows and columns of a preview, its caption, its last line. Decides; draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

from dh_kernel.model import Column, TableInfo, TablePreview
from dh_kernel.render.characters import cut
from dh_kernel.render.options import RenderOptions
from dh_kernel.render.temporal import time_zone
from dh_kernel.render.values import Cell, Reading, read_column

_TIMES = "×"  # noqa: RUF001 (not the letter: a size is written with this sign)


@dataclass(frozen=True)
class SheetColumn:
    """A column that is shown, with as many cells as rows are shown."""

    column: Column
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """The part of a table that is shown: the first `left` of `columns` come before the hidden ones, the rest after.

    `problem` is why rows are missing. `total` is the table's size, None where unknown.
    """

    info: TableInfo
    columns: tuple[SheetColumn, ...]
    left: int
    shown: int
    total: int | None
    problem: str | None

    @property
    def hidden(self) -> int:
        """How many columns are not shown."""
        return len(self.info.columns) - len(self.columns)


def lay_out(preview: TablePreview, options: RenderOptions) -> Sheet:
    """Choose rows and columns, and read no more of the data than these."""
    info, data = preview.info, preview.data
    indexes, left = outer(len(info.columns), options.columns)
    shown = 0 if data is None else min(max(options.rows, 0), data.num_rows)
    columns = tuple(SheetColumn(info.columns[index], _cells(preview, index, shown, options)) for index in indexes)
    total = info.rows if info.rows is not None and info.rows >= 0 else None
    problem = preview.problem or (None if data is not None else "no reason given")
    return Sheet(info, columns, left, shown, total, problem and cut(problem, max(options.full_characters, 1)))


def outer(count: int, most: int) -> tuple[list[int], int]:
    """The indexes of `count` things that stay when the middle is cut out to keep `most`, and how many are left of the cut."""
    if count <= max(most, 1):
        return list(range(count)), count
    left, right = (max(most, 1) + 1) // 2, max(most, 1) // 2
    return [*range(left), *range(count - right, count)], left


def _cells(preview: TablePreview, index: int, rows: int, options: RenderOptions) -> tuple[Cell, ...]:
    if preview.data is None:
        return ()
    reading = Reading(preview.info.columns[index].type, None, time_zone(options.time_zone), max(options.full_characters, 1))
    return tuple(read_column(preview.data, index, rows, reading))


def size_text(sheet: Sheet) -> str:
    """How many rows, times how many columns."""
    rows = "unknown number of rows" if sheet.total is None else _count(sheet.total, "row")
    return f"{rows} {_TIMES} {_count(len(sheet.info.columns), 'column')}"


def title_texts(sheet: Sheet) -> tuple[str, str]:
    """The caption in two: whose table it is, and the rest."""
    info = sheet.info
    name = info.kind if info.name is None else info.name
    parts = [size_text(sheet)]
    if info.name is not None and info.kind != "Table":
        parts.insert(0, info.kind)
    if info.refreshing:
        parts.append("refreshing")
    return name, " · ".join(parts)


def last_line(sheet: Sheet, columns_shown: int) -> str | None:
    """What is missing, `10 of 20,000,000 rows`; None where all is shown."""
    parts = []
    total = sheet.total
    if sheet.info.columns and sheet.problem is None and (total is None or sheet.shown < total):
        parts.append(f"{sheet.shown:,} of " + ("an unknown number of rows" if total is None else _count(total, "row")))
    if columns_shown < len(sheet.info.columns):
        parts.append(f"{columns_shown:,} of {_count(len(sheet.info.columns), 'column')}")
    return ", ".join(parts) or None


def notice(sheet: Sheet) -> str | None:
    """The line in place of rows, where there are none to show."""
    if sheet.problem is not None:
        return f"rows could not be read: {sheet.problem}"
    if not sheet.info.columns:
        return "no columns"
    return "no rows" if sheet.total == 0 and not sheet.shown else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
