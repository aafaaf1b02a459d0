"""Waits that an interrupt can end, on threads where Python delivers none to a call that blocks.

Neighbours: `lanes` (says which threads these are). On the main thread a signal ends such a call. On others an asynchronous
exception lands only between bytecodes, so that the most common waits are cut in slices there: `time.sleep`, `Thread.join`,
waiting for a program, and whatever waits for a `Condition`: events, queues, futures, semaphores. Everywhere else they stay as
they are. A plain `Lock`, a socket and the like are not reached: the cell is abandoned then.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

SLICE_S = 0.05

_here = threading.local()


def wait_in_slices_here() -> None:
    """Let the calling thread's waits be cut, from now on."""
    _here.slices = True
    _install()


def _in_slices() -> bool:
    return getattr(_here, "slices", False)


class _SlicedLock:
    """What `Condition.wait` waits for: a lock that is taken already, until another thread gives it back."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.release = lock.release
        self.locked = lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            return bool(self._lock.acquire(False))
        return any(self._lock.acquire(True, left) for left in _slices(timeout if timeout >= 0 else None))


_installed = False
_lock = threading.Lock()


def _install() -> None:
    """Put the cut waits in place, once per process."""
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    _cut_sleep()
    _cut_join()
    _cut_program_waits()
    make_lock = getattr(threading, "_allocate_lock", None)  # private: `Condition.wait` asks it for each wait's lock
    if make_lock is not None:
        threading._allocate_lock = lambda: _SlicedLock(make_lock()) if _in_slices() else make_lock()  # type: ignore[attr-defined]


def _cut_sleep() -> None:
    original = time.sleep

    @functools.wraps(original)
    def sleep(seconds: Any, /) -> None:
        if not _in_slices() or not isinstance(seconds, (int, float)) or not SLICE_S < seconds < threading.TIMEOUT_MAX:
            original(seconds)
            return
        for left in _slices(seconds):
            original(left)

    time.sleep = sleep


def _cut_join() -> None:
    original = threading.Thread.join

    @functools.wraps(original)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        if not _in_slices() or (timeout is not None and timeout <= SLICE_S):
            original(self, timeout)
            return
        for left in _slices(timeout):
            original(self, left)
            if not self.is_alive():
                return

    threading.Thread.join = join  # type: ignore[method-assign]


def _cut_program_waits() -> None:
    wait, communicate = subprocess.Popen.wait, subprocess.Popen.communicate

    @functools.wraps(wait)
    def wait_in_slices(self: Any, timeout: float | None = None) -> int:
        while timeout is None and _in_slices():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return int(wait(self, timeout=SLICE_S))
        return int(wait(self, timeout=timeout))

    @functools.wraps(communicate)
    def communicate_in_slices(self: Any, input: Any = None, timeout: float | None = None) -> Any:
        while timeout is None and _in_slices() and (self.stdin or self.stdout or self.stderr):
            try:
                return communicate(self, input, timeout=SLICE_S)
            except subprocess.TimeoutExpired:
                input = None  # taken already
        return communicate(self, input, timeout=timeout)

    subprocess.Popen.wait = wait_in_slices  # type: ignore[method-assign]
    subprocess.Popen.communicate = communicate_in_slices  # type: ignore[method-assign]


def _slices(seconds: float | None) -> Iterator[float]:
    """The lengths of the slices of a wait, as time goes by, one at least; without end for None."""
    end = None if seconds is None else time.monotonic() + seconds
    left = SLICE_S if seconds is None else max(seconds, 0)
    while True:
        yield min(left, SLICE_S)
        if end is not None and (left := end - time.monotonic()) <= 0:
            return
