"""Makes the archive of Java's classes that lets the next servers start sooner: a server's whole start, once more.

By a thread of the kernel some time after its first start, at low priority and no longer than the kernel lives, or by hand
(`archive`).

Neighbours: `server` (the launch; `server.archives` names files), `trial` (a first cell and its table, so that their classes
are in the archive), `backend` (begins and ends it). Refuses to know Jupyter.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

from dh_kernel.launching import launch_options
from dh_kernel.server import ServerProcess, archives
from dh_kernel.settings import Settings
from dh_kernel.trial import run_cell

_WRITTEN_WITHIN_S = 180.0
_CELL_WITHIN_S = 120.0
_HEAP = "1g"  # an archive does not depend on it
_CELL = """
from deephaven import agg, empty_table, merge, time_table
numbers = empty_table(1000).update(["X = i", "Y = Math.sin(X)", "S = `a` + i", "K = i % 7"])
chosen = numbers.where("X > 3").sort("Y").agg_by([agg.sum_("X"), agg.avg("Y")], "K")
joined = chosen.natural_join(numbers.last_by("K"), "K", "S")
ticking = time_table("PT0.2s").update("X = ii").tail(3)
ticking.await_update(2000)
print("made", merge([numbers, numbers]).size)
numbers
"""


class Training:
    """Makes the archive for some settings, unless it is there."""

    def __init__(self, settings: Settings) -> None:
        self._options = replace(launch_options(settings), heap=_HEAP, port=0, takes_spare=False, make_archive=True)
        self._lock = threading.Lock()
        self._process: ServerProcess | None = None
        self._stopped = False

    def run(self, progress: Callable[[str], None] = lambda step: None) -> bool:
        """Make it; whether there is a new one. Blocks for the time of a slow start and of writing some 80 MB.

        Args:
            progress: called with a line for each step.
        Raises:
            DhKernelError: the server did not start.
        """
        if self._options.archives is None:
            return False
        with self._lock:
            if self._stopped:
                return False
            progress("starting a server")
            process = self._process = ServerProcess.start(self._options)
        try:
            endpoint = process.wait_ready()
            if process.archive is None or process.archive_made is None:
                return False
            progress("running a cell on a server")
            run_cell(endpoint, _CELL, launched=True, timeout_s=_CELL_WITHIN_S)
            progress("writing the archive")
            process.stop(_WRITTEN_WITHIN_S)
            return not self._stopped and archives.finish(process.archive, process.archive_made)
        finally:
            process.stop(0.0)
            if process.archive and process.archive_made:
                archives.give_up(process.archive, process.archive_made)

    def run_quietly(self) -> None:
        """Make it, or do without: a thread's edge."""
        with contextlib.suppress(Exception):
            self.run()

    def stop(self) -> None:
        """Give it up."""
        with self._lock:
            self._stopped = True
        if self._process is not None:
            self._process.kill()
