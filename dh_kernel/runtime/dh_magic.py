"""What `%dh` and `%%dh_console` do on the server, for both interpreters. They find the session by the calling cell.

Neighbours: `dh_line` (the words), `server_state` (facts), `front` (shows). What changes the server is the kernel's work: it
takes such a line for itself where it is all that a cell has.
"""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from typing import Any

from . import front
from .dh_line import HELP, OF_KERNEL, DhUsageError, words_of
from .dh_show import SHOWING, show
from .server_state import server_lines

_OTHER_KINDS = ("PartitionedTable", "TreeTable", "RollupTable")
_CONSOLE_CELL = re.compile(r"^\s*%%dh_console[ \t]*(.*)(?:\n|$)")


class About:
    """What the magics want to know of their session. `address` is without secrets."""

    def __init__(
        self, engine: Any, tables: Any, namespace: dict[str, Any], *, launched: bool, address: str, session: str
    ) -> None:
        self.engine, self.tables, self.namespace = engine, tables, namespace
        self.launched, self.address, self.session = launched, address, session

    def lines(self) -> list[tuple[str, str]]:
        """Facts as pairs of name and text."""
        kind = "launched by this kernel" if self.launched else "attached"
        rows = self.table_rows()
        ticking = sum(row[-1] == "yes" for row in rows)
        about = [("server", f"{self.address}, {kind}"), *server_lines(self.engine)]
        return [*about, ("tables", f"{len(rows):,}, of which {ticking:,} tick"), ("session", self.session)]

    def table_rows(self) -> list[tuple[str, str, str, str, str]]:
        """Name, kind, rows, columns, whether it ticks: of each table among the variables."""
        found = []
        for name, value in list(self.namespace.items()):
            if name.startswith("_"):
                continue
            table = self.tables.as_table(value)
            if table is not None:
                found.append((name, *_in_short(table)))
            elif type(value).__module__ == "deephaven.table" and type(value).__name__ in _OTHER_KINDS:
                found.append((name, type(value).__name__, "", "", "yes" if value.is_refreshing else "no"))
        return found


def run(line: str) -> None:
    """Do what a line behind `%dh` says.

    Raises:
        DhUsageError: it says nothing that is known, or what must stand alone.
    """
    words = words_of(line)
    if words and words[0] in OF_KERNEL:
        raise DhUsageError(f"%dh {words[0]} must be the only line of its cell: the kernel does it, not the server.")
    if words == ["help"]:
        print(HELP, end="")
        return
    about = _about()
    if words and words[0] in SHOWING:
        show(words)
    elif words == ["tables"]:
        show_table(("name", "kind", "rows", "columns", "refreshing"), about.table_rows(), empty="There are no tables.")
    else:
        _show_pairs(about.lines())


def console_cell(code: str) -> str | None:
    """The code of a cell that begins with `%%dh_console`, with its lines where they were; None for other cells.

    Raises:
        DhUsageError: something stands behind `%%dh_console`.
    """
    match = _CONSOLE_CELL.match(code)
    if match is None:
        return None
    if match[1].strip():
        raise DhUsageError("%%dh_console takes no arguments.")
    return "\n" * match[0].count("\n") + code[match.end() :]


@contextlib.contextmanager
def exclusively() -> Iterator[None]:
    """Hold the update graph's exclusive lock, as `evaluateScript` does around console code. The wait can be interrupted."""
    lock = _about().engine.execution_context.update_graph.j_update_graph.exclusiveLock()
    lock.lockInterruptibly()
    try:
        yield
    finally:
        lock.unlock()


def _in_short(table: Any) -> tuple[str, str, str, str]:
    """Kind, rows, columns, whether it ticks."""
    size = int(table.j_table.size())  # that of a table that has not been read yet, such as of a Parquet file, is negative
    columns = len(table.j_table.getDefinition().getColumnsArray())
    return (
        type(table).__name__,
        f"{size:,}" if size >= 0 else "not read yet",
        str(columns),
        "yes" if table.is_refreshing else "no",
    )


def _about() -> About:
    cell = front.current_cell()
    if cell is None or cell.front.about is None:
        raise DhUsageError("%dh works in cells only.")
    about: About = cell.front.about
    return about


def _show_pairs(pairs: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in pairs)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(value)}</td></tr>'
        for name, value in pairs
    )
    front.publish({"text/plain": text, "text/html": f"<table>{rows}</table>"}, {}, None, False)


def show_table(header: tuple[str, ...], rows: list[Any], *, empty: str) -> None:
    if not rows:
        print(empty)
        return
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    head = "".join(f'<th scope="col" style="text-align: left">{html.escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align: left">{html.escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    data = {"text/plain": "\n".join(lines), "text/html": f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"}
    front.publish(data, {}, None, False)
