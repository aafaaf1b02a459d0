"""What cells find on standard input, and debuggers that ask at the notebook: as in ipykernel.

Neighbours: `front` (`input` and `getpass`), `session` (installs this). A kernel's standard input is at its end: reading it
gives nothing, in a cell as in a program that a cell starts. A launched server's is so by itself; one that the kernel is
attached to has its own, perhaps a terminal, which is nobody's at the notebook.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def install_pdb(*, by_ipython: bool) -> None:
    """Let an interrupt end a debugger that waits for a command. On the cells' thread.

    Args:
        by_ipython: IPython runs the cells; its debugger takes the place of Python's, as in ipykernel.
    """
    import pdb

    if by_ipython:
        debugger: Any = importlib.import_module("IPython.core.debugger")
        for module in (debugger, pdb):
            vars(module)["Pdb"] = debugger.InterruptiblePdb
        pdb.set_trace = debugger.set_trace
    elif not hasattr(pdb.Pdb, "dh_kernel_interruptible"):
        pdb.Pdb = _interruptible(pdb.Pdb)  # type: ignore[misc]


def _interruptible(original: Any) -> Any:
    class Pdb(original):  # type: ignore[misc]
        """Python's own takes an interrupt for a slip of the hand, and asks again."""

        dh_kernel_interruptible = True

        def _cmdloop(self) -> None:
            self.allow_kbdint = True
            self.cmdloop()
            self.allow_kbdint = False

    return Pdb


def install_empty_stdin(in_cell: Callable[[], bool]) -> None:
    """Let cells, and the programs that they start, find standard input at its end; nobody else."""
    if isinstance(sys.stdin, _CellStdin) or hasattr(sys.stdin, "dh_kernel_previous"):
        return
    sys.stdin = _CellStdin(sys.stdin, in_cell)
    original = subprocess.Popen.__init__

    @functools.wraps(original)
    def init(
        self: Any, args: Any, bufsize: int = -1, executable: Any = None, stdin: Any = None, *more: Any, **named: Any
    ) -> None:
        if stdin is None and in_cell():
            stdin = subprocess.DEVNULL
        original(self, args, bufsize, executable, stdin, *more, **named)

    subprocess.Popen.__init__ = init  # type: ignore[method-assign]


class _CellStdin(io.TextIOBase):
    """The server's standard input, which is empty in cells."""

    def __init__(self, previous: Any, in_cell: Callable[[], bool]) -> None:
        self.dh_kernel_previous, self._in_cell = previous, in_cell

    @property
    def _source(self) -> Any:
        return io.StringIO() if self._in_cell() or self.dh_kernel_previous is None else self.dh_kernel_previous

    @property
    def name(self) -> str:
        return "<stdin>"

    encoding = "utf-8"

    @property
    def buffer(self) -> Any:
        return getattr(self._source, "buffer", None) or io.BytesIO()

    def read(self, size: int | None = -1, /) -> str:
        return str(self._source.read(size))

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        return str(self._source.readline(size))

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        with contextlib.suppress(AttributeError):
            return int(self.dh_kernel_previous.fileno())
        raise io.UnsupportedOperation("fileno")
