"""What cells get for `IPython` where the plain wrapper runs them: `get_ipython`, and `display` beside it.

Editors and notebooks import it by habit; VS Code's start-up cell, its variables view and its completion need it. Only cells
see this: `stand_ins` redirects the imports in their source, so that no library takes the server for a notebook.
Neighbours: `stand_ins`, `plain_magics`, `ipython_display`, `facade`. Where IPython is installed, all other names are its own.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

from . import ipython_display as display
from . import plain_magics, subprocesses
from .facade import KernelFacade
from .parents import Parents
from .plain_magics import NEEDS_IPYTHON

__all__ = ["PlainShell", "display", "get_ipython"]


class PlainShell(Parents):
    """As much of IPython's shell as the standard library carries. Made for each call: it holds the namespace and no more."""

    run_cell = None  # VS Code replaces it where there is one

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.user_ns = namespace

    @property
    def kernel(self) -> KernelFacade:
        """The part of a kernel that can be called from here."""
        return KernelFacade(self)

    def run_line_magic(self, magic_name: str, line: str = "", _stack_depth: int = 1) -> Any:
        """Run one of the line magics that there are.

        Raises:
            NotImplementedError: the magic needs IPython.
        """
        return plain_magics.run_line(magic_name, line, self.user_ns)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """Run one of the cell magics that there are.

        Raises:
            NotImplementedError: the magic needs IPython.
        """
        return plain_magics.run_cell(magic_name, line, cell, self.user_ns)

    def system(self, cmd: str) -> None:
        """Run a command by the shell."""
        subprocesses.system(cmd, self.user_ns)

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """The lines that a command writes, or its text."""
        lines = subprocesses.getoutput(cmd, self.user_ns)
        return lines if split else "\n".join(lines)

    def showtraceback(self, *arguments: Any, **options: Any) -> None:
        """Print the exception that is being handled."""
        traceback.print_exc()

    def set_custom_exc(self, exc_tuple: Any, handler: Any) -> None:
        """Only IPython calls handlers of one's own."""
        raise NotImplementedError(f"`set_custom_exc` {NEEDS_IPYTHON}.")


def get_ipython() -> PlainShell:
    """The shell of the calling code: its globals are the namespace."""
    return PlainShell(sys._getframe(1).f_globals)


def __getattr__(name: str) -> Any:
    try:
        return getattr(importlib.import_module("IPython"), name)
    except ImportError:
        raise AttributeError(f"{name} needs IPython, which is not in the server's Python") from None
