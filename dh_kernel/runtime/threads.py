"""Threads of the runtime's own, which a debugger neither stops nor shows: what they do must go on while a cell is stopped.

Neighbours: everything that starts one. Cells' threads are none of these. Source: debugpy looks for these two attributes.
"""

from __future__ import annotations

import threading


class ServiceThread(threading.Thread):
    """A thread that a debugger leaves alone."""

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True


class ServiceTimer(threading.Timer):
    """A timer whose thread a debugger leaves alone."""

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True
