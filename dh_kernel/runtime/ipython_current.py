"""Whose IPython shell the calling code means: several kernels share a server, and each session has a shell of its own.

Neighbours: `ipython_shell` (its shells are found here), `front` (whose cell the calling code is). IPython itself knows one
shell per process: `get_ipython()`, `InteractiveShell.instance()`, the displayhook, the builtins of a running cell. Here each
of these asks which cell it is called from; code of no cell finds what it found before, or a launched server's shell.
"""

from __future__ import annotations

import builtins
import sys
import weakref
from typing import Any

from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.display_trap import DisplayTrap
from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell

from . import front


def shell_of_cell() -> Any:
    """The shell of the calling code's cell; None if it belongs to no cell, or to one without IPython."""
    cell = front.current_cell()
    return cell.front.shell if cell is not None and not getattr(cell, "is_program", False) else None


class CurrentShell:
    """What IPython's classes hold as their only instance: a descriptor that looks for the calling cell's shell.

    One per process, whatever the versions of the runtime in it: shells are found by their cells.
    """

    dh_kernel_routed = True

    def __init__(self, before: Any) -> None:
        self._before = before
        self.main: Any = None
        """A weak reference to the shell of a launched server, which belongs to one kernel alone."""

    def __get__(self, instance: object, owner: type) -> Any:
        if getattr(front.current_cell(), "is_program", False):  # it runs as by python, which has no shell
            return None
        main = self.main() if self.main is not None else None
        return shell_of_cell() or main or self._before


class RoutedDisplayHook:
    """`sys.displayhook` of the process: values that cells show go to their shells, all others where they went before."""

    dh_kernel_routed = True

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, value: object = None) -> None:
        """Show a value."""
        shell = get_ipython()
        if shell is not None:
            shell.displayhook(value)
        else:
            self._before(value)


class _NoTrap:
    """In the place of IPython's traps, which change the process while a cell runs: cells of several shells run at a time."""

    is_active = True

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was changed."""


class NoBuiltinTrap(_NoTrap, BuiltinTrap):  # type: ignore[misc]
    """Changes no builtins."""


class NoDisplayTrap(_NoTrap, DisplayTrap):  # type: ignore[misc]
    """Changes no displayhook."""


def ensure_routed(main: Any = None) -> None:
    """Put the three into their places, where they stay; others may have taken them meanwhile.

    Args:
        main: the shell that code without a cell finds.
    """
    current = vars(InteractiveShell).get("_instance")
    if not hasattr(type(current), "dh_kernel_routed"):
        current = CurrentShell(current)
        InteractiveShell._instance = current
    if main is not None:
        current.main = weakref.ref(main)
    if not hasattr(type(sys.displayhook), "dh_kernel_routed"):
        sys.displayhook = RoutedDisplayHook(sys.displayhook)
    if getattr(builtins, "get_ipython", None) is not get_ipython:
        builtins.get_ipython = get_ipython  # type: ignore[attr-defined]
