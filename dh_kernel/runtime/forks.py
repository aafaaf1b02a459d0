"""The end of a process that code has forked: where the code ends, as in Python, not in the loop that is its parent's.

Neighbours: `evaluation` (looks whether it is still in its own process). The child has the engine's memory without its threads:
nothing of ours but its text may be used there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

_SUCCESS, _FAILURE, _INTERRUPTED = 0, 1, 130


@functools.cache
def keep_from_collecting() -> None:
    """Let no forked process collect the garbage of its parent: to let go of Java's objects it would have to wait for Java."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=gc.freeze)


def exit_code(error: SystemExit) -> int:
    """The exit code that Python would end with; a text goes to stderr, as there."""
    if error.code is None:
        return _SUCCESS
    if isinstance(error.code, int):
        return int(error.code) & 0xFF
    print(error.code, file=sys.stderr)
    return _FAILURE


def end_child(error: BaseException | None, traceback: Sequence[str], code: int | None = None) -> NoReturn:
    """End this process as Python ends a program.

    Args:
        code: the exit code, where it has been made out of the error already.
    """
    try:
        with contextlib.suppress(Exception):
            if error is not None and not isinstance(error, SystemExit):
                print("\n".join(traceback), file=sys.stderr)
            if code is None:
                code = _code_of(error)
            _flush_files()
    finally:
        os._exit(_FAILURE if code is None else code)


def _code_of(error: BaseException | None) -> int:
    if error is None:
        return _SUCCESS
    if isinstance(error, SystemExit):
        return exit_code(error)
    return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _FAILURE


def _flush_files() -> None:
    gc.disable()
    gc.unfreeze()
    for kind in (io.TextIOWrapper, (io.BufferedWriter, io.BufferedRandom)):  # the text first: it goes through the others
        for thing in gc.get_objects():
            if issubclass(type(thing), kind):  # to ask an object of Java for its class may be a call of Java
                with contextlib.suppress(Exception):
                    thing.flush()
