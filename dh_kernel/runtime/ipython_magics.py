# mypy: disallow-untyped-decorators=False
"""Magics that mean something else in a kernel whose cells run in a server, and our own, for IPython's shell.

Neighbours: `ipython_shell` (registers them), `dh_magic` (does the work of ours, for both interpreters).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from . import dh_magic, front
from .dh_line import DhUsageError
from .elsewhere import ELSEWHERE


@magics_class
class KernelMagics(Magics):  # type: ignore[misc]
    """Registered behind IPython's own, which they replace."""

    @line_magic
    def dh(self, line: str) -> None:
        """About the server that runs the cells, and which one: `%dh help`."""
        try:
            dh_magic.run(line)
        except DhUsageError as error:
            raise UsageError(str(error)) from None

    @cell_magic
    def dh_console(self, line: str, cell: str) -> Any:
        """Run the cell as Deephaven's console does: under the exclusive lock of the update graph, so that no table ticks."""
        if line.strip():
            raise UsageError("%%dh_console takes no arguments.")
        with dh_magic.exclusively():
            return self.shell.run_cell(cell, store_history=False).raise_error()

    @line_magic
    def edit(self, line: str) -> None:
        """There is no editor beside a server."""
        print(ELSEWHERE["edit"])

    @line_magic
    def connect_info(self, line: str) -> None:
        """How to open another client of this kernel."""
        print(ELSEWHERE["connect_info"])

    @line_magic
    def qtconsole(self, line: str) -> None:
        """How to open another client of this kernel."""
        print(ELSEWHERE["qtconsole"])

    @line_magic
    def autosave(self, line: str) -> None:
        """The front end saves notebooks."""
        print(ELSEWHERE["autosave"])

    @line_magic
    def clear(self, line: str) -> None:
        """Clear the cell's output."""
        front.clear_output()

    @line_magic
    def subshell(self, line: str) -> None:
        """Which subshell runs the cell."""
        cell = front.current_cell()
        lane = cell.lane if cell is not None else None
        print(f"subshell id: {lane or 'none, this is the main shell'}")

    @line_magic
    def less(self, line: str) -> None:
        """Show a file in the pager."""
        if not line.strip():
            raise UsageError("Missing filename.")
        text = Path(line.strip()).read_text("utf-8", "replace")
        page.page(self.shell.pycolorize(text) if line.strip().endswith(".py") else text)

    more = line_magic("more")(less)

    @line_magic
    def man(self, line: str) -> None:
        """Show a manual page in the pager."""
        page.page(self.shell.getoutput(f"man {line} | col -b", split=False))
