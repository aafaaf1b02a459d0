"""Threads of the runtime's own, which a debugger neither stops nor shows: what they do must go on while a cell is stopped.

Neighbours: everything that starts one. Cells' threads are none of these. Source: debugpy looks for these two attributes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_Made = TypeVar("_Made")
_MOST_ABANDONED = 4
_abandoned: list[threading.Thread] = []


class ServiceThread(threading.Thread):
    """A thread that a debugger leaves alone."""

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True


class ServiceTimer(threading.Timer):
    """A timer whose thread a debugger leaves alone."""

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True


def in_time(work: Callable[[], _Made], limit_s: float, what: str) -> _Made:
    """What some work gives that reads data, which the calling thread must not wait for long.

    Raises:
        TimeoutError: it takes longer, and goes on in the background; or too much does so already.
    """
    done: list[tuple[_Made | None, Exception | None]] = []

    def run() -> None:
        try:
            done.append((work(), None))
        except Exception as error:
            done.append((None, error))

    _abandoned[:] = [thread for thread in _abandoned if thread.is_alive()]
    if len(_abandoned) >= _MOST_ABANDONED:
        raise TimeoutError(f"{what} cannot be read: {len(_abandoned)} others that take long are still being read")
    thread = ServiceThread(target=run, name="dh-kernel-reading", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not done:
        _abandoned.append(thread)
        raise TimeoutError(f"{what} could not be read within {limit_s:g} seconds")
    made, error = done[0]
    if error is not None:
        raise error
    return made  # type: ignore[return-value]
