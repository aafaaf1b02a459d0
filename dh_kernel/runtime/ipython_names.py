"""What cells get for `IPython` where the plain wrapper runs them: `get_ipython`, and `display` beside it.

Editors and notebooks import it by habit; VS Code's start-up cell, its variables view and its completion need it. Only cells
see this: `stand_ins` redirects the imports in their source, so that no library takes the server for a notebook.
Neighbours: `stand_ins`, `ipython_display`, `facade`. Where IPython is installed, all other names are its own.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from . import ipython_display as display
from .facade import KernelFacade
from .stand_ins import HARMLESS_MAGICS, NEEDS_IPYTHON

__all__ = ["PlainShell", "display", "get_ipython"]


class PlainShell:
    """As much of IPython's shell as the standard library carries. Made for each call: it holds the namespace and no more."""

    run_cell = None  # VS Code replaces it where there is one

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.user_ns = namespace

    @property
    def kernel(self) -> KernelFacade:
        """The part of a kernel that can be called from here."""
        return KernelFacade(self)

    def run_line_magic(self, magic_name: str, line: str = "", _stack_depth: int = 1) -> Any:
        """Run one of the few line magics that are there: `%who_ls`, and those without effect.

        Raises:
            NotImplementedError: the magic needs IPython.
        """
        if magic_name == "who_ls":
            wanted = set(line.split())
            names = (name for name, value in list(self.user_ns.items()) if not wanted or type(value).__name__ in wanted)
            return sorted(name for name in names if not name.startswith("_"))
        if magic_name in HARMLESS_MAGICS:
            return None
        raise NotImplementedError(f"`%{magic_name}` {NEEDS_IPYTHON}")


def get_ipython() -> PlainShell:
    """The shell of the calling code: its globals are the namespace."""
    return PlainShell(sys._getframe(1).f_globals)


def __getattr__(name: str) -> Any:
    try:
        return getattr(importlib.import_module("IPython"), name)
    except ImportError:
        raise AttributeError(f"{name} needs IPython, which is not in the server's Python") from None
