"""What cells find on standard input, and debuggers that ask at the notebook: as in ipykernel.

Neighbours: `front` (`input` and `getpass`), `session` (installs this). A kernel's standard input is at its end: reading it
gives nothing, in a cell as in a program that a cell starts. A launched server's is so by itself; one that the kernel is
attached to has its own, perhaps a terminal, which is nobody's at the notebook. A script that `dh-kernel run` sends has that
command's standard input instead (`FrontEndInput`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

_CHUNK = 512 << 10


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


class _FrontEnd(io.RawIOBase):
    """The bytes of a front end's standard input, asked for when they are wanted."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = memoryview(b"")
        self.begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self.begun = True
        if not self._left:  # a question each takes its time: more than is wanted now
            self._left = memoryview(self._read(_CHUNK))
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class FrontEndInput(io.TextIOWrapper):
    """A script's `sys.stdin`.

    Args:
        read: `read(size)` gives what there is, at most `size` bytes, and none at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._raw = _FrontEnd(read)
        super().__init__(io.BufferedReader(self._raw), encoding="utf-8", errors="surrogateescape")

    @property
    def is_begun(self) -> bool:
        """Whether some of it has been read: what follows may be here already."""
        return self._raw.begun


@contextlib.contextmanager
def inherited(place: Any) -> Iterator[None]:
    """File descriptor 0 as that of the process that runs a script, for `open(0)` and for programs that the script starts.

    Args:
        place: the `process`, and the `machine` on which it is: elsewhere, and where it has no such file, nothing changes.
    """
    theirs = _open_theirs(place)
    if theirs is None:
        yield
        return
    before, opened = os.dup(0), os.fstat(theirs)
    os.dup2(theirs, 0)
    os.close(theirs)
    try:
        yield
    finally:
        if _is_free_or(opened):  # what closes it, as `open(0)` does in the end, leaves its number to whoever opens next
            os.dup2(before, 0)
        os.close(before)


def _open_theirs(place: Any) -> int | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            if [boot.read(), os.readlink("/proc/self/ns/pid")] != place["machine"]:
                return None
        process = int(place["process"])
        theirs = os.open(f"/proc/{process}/fd/0", os.O_RDONLY | os.O_NOCTTY)
        # Of a file: from where it has been read to. All others have no such place.
        with contextlib.suppress(OSError), open(f"/proc/{process}/fdinfo/0", encoding="ascii") as info:
            os.lseek(theirs, int(info.readline().split()[1]), os.SEEK_SET)
        return theirs
    except (OSError, TypeError, KeyError):
        return None


def _is_free_or(opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(0), opened)
    except OSError:
        return True


def install_empty_stdin(current: Callable[[], object | None]) -> None:
    """Let cells, and the programs that they start, find standard input at its end; nobody else.

    Args:
        current: the calling thread's cell, if it has one. A cell with a `stdin` of its own finds that.
    """
    if isinstance(sys.stdin, _CellStdin) or hasattr(sys.stdin, "dh_kernel_previous"):
        return
    sys.stdin = _CellStdin(sys.stdin, current)
    original = subprocess.Popen.__init__

    @functools.wraps(original)
    def init(
        self: Any, args: Any, bufsize: int = -1, executable: Any = None, stdin: Any = None, *more: Any, **named: Any
    ) -> None:
        if stdin is None and current() is not None:
            stdin = subprocess.DEVNULL
        original(self, args, bufsize, executable, stdin, *more, **named)

    subprocess.Popen.__init__ = init  # type: ignore[method-assign]


class _CellStdin(io.TextIOBase):
    """The server's standard input, which is empty in cells."""

    def __init__(self, previous: Any, current: Callable[[], object | None]) -> None:
        self.dh_kernel_previous, self._current = previous, current

    @property
    def _source(self) -> Any:
        cell = self._current()
        if cell is None and self.dh_kernel_previous is not None:
            return self.dh_kernel_previous
        return getattr(cell, "stdin", None) or io.StringIO()

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

    def close(self) -> None:
        """It stays open: it is not the calling code's alone; `exit()` closes its standard input."""

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        with contextlib.suppress(AttributeError):
            return int(self.dh_kernel_previous.fileno())
        raise io.UnsupportedOperation("fileno")
