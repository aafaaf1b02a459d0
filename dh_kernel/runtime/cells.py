"""Where cells run: one after the other, on the server's main thread if the launcher lends it, else on a thread of their own.

Neighbours: `interrupts` (the window of a cell), `engine` (a thread's context), `streams` (whose text is whose). Refuses to
know the language: a cell's work is a callable that the session gives.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from .engine import Engine
from .interrupts import StrikeZone
from .streams import Switchboard, TextBuffer

LAUNCHER_MODULE = "_dh_kernel_launcher"


class Cell:
    """One execute request while it runs, and whoever writes for it afterwards."""

    def __init__(
        self,
        cell_id: str,
        count: int,
        silent: bool,
        text: TextBuffer,
        wait_for_room: Callable[[], None],
        before_text: Callable[[], None],
    ) -> None:
        self.id, self.count, self.silent = cell_id, count, silent
        self.abandoned = False
        self.zone: StrikeZone | None = None
        self._text, self._wait_for_room, self._before_text = text, wait_for_room, before_text

    def write_text(self, name: str, text: str) -> None:
        """Take what the cell, or a thread it started, prints. Waits while the kernel is behind."""
        if self.abandoned or self.silent:
            return
        self._before_text()
        if self._text.write(self.id, name, text):
            self._wait_for_room()
            self.guarded(self._text.flush)

    def guarded(self, work: Callable[[], None]) -> None:
        """Run a short section whole: an interrupt of this cell waits for its end. On other threads it just runs."""
        zone = self.zone
        if zone is not None and zone.is_own_thread():
            zone.shielded(work)
        else:
            work()


class Worker(Protocol):
    """A thread that runs tasks in order."""

    main_thread: bool

    def submit(self, task: Callable[[], None]) -> None:
        """Run the task after those before it."""

    def stop(self) -> None:
        """Take no more tasks."""


class ThreadWorker:
    """A thread of our own, for attached servers, and where the main thread is stuck."""

    main_thread = False

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def stop(self) -> None:
        self._tasks.put(None)

    def _run(self) -> None:
        while True:
            try:
                task = self._tasks.get()
                if task is None:
                    return
                task()
            except BaseException:  # an interrupt of an abandoned cell that lands late: this thread's edge
                continue


class MainThreadWorker:
    """The main thread of a launched server: signals, matplotlib and asyncio behave there as in any Python."""

    main_thread = True

    def __init__(self, main_thread: Any) -> None:
        self._main_thread = main_thread

    def submit(self, task: Callable[[], None]) -> None:
        self._main_thread.submit(task)

    def stop(self) -> None:
        """The main thread belongs to the launcher."""


def lent_main_thread() -> MainThreadWorker | None:
    """The launcher's main thread, if a launcher of ours started this process."""
    launcher = sys.modules.get(LAUNCHER_MODULE)
    main_thread = getattr(launcher, "main_thread", None)
    return MainThreadWorker(main_thread) if main_thread is not None else None


class CellRunner:
    """Runs one session's cells. A cell that cannot be interrupted is abandoned, and a fresh thread takes over."""

    def __init__(self, session_id: str, engine: Engine, switchboard: Switchboard, scope: Any) -> None:
        self._name, self._engine, self._switchboard, self._scope = session_id, engine, switchboard, scope
        self._main = lent_main_thread()
        self._worker: Worker = self._main or self._new_thread()
        self.current: Cell | None = None

    def _new_thread(self) -> ThreadWorker:
        return ThreadWorker(f"dh-kernel-cells-{self._name}")

    def prepare(self, work: Callable[[], None]) -> None:
        """Do something on the cells' thread before the first cell."""
        self._worker.submit(work)

    def submit(self, cell: Cell, work: Callable[[], dict[str, Any]], done: Callable[[dict[str, Any]], None]) -> None:
        """Run `work` as the cell; `done` gets its outcome on the cell's thread, unless the cell has been abandoned."""
        worker = self._worker
        worker.submit(lambda: self._run(worker, cell, work, done))

    def _run(
        self, worker: Worker, cell: Cell, work: Callable[[], dict[str, Any]], done: Callable[[dict[str, Any]], None]
    ) -> None:
        if cell.abandoned:
            return
        ident = threading.get_ident()
        zone = cell.zone = StrikeZone(self._engine, main_thread=worker.main_thread)
        previous = self._switchboard.by_thread.get(ident)
        self._switchboard.by_thread[ident] = cell
        self.current = cell
        try:
            with self._engine.cell_context(self._scope):
                outcome = zone.run(work, lambda: {"status": "interrupted"})
        finally:
            if previous is None:
                self._switchboard.by_thread.pop(ident, None)
            else:
                self._switchboard.by_thread[ident] = previous
            if self.current is cell:
                self.current = None
        if cell.abandoned:
            self._take_main_back(worker)
            return
        done(outcome)

    def abandon(self, cell: Cell) -> None:
        """Give up on a cell that does not end: cut off its output, and run what follows on a fresh thread."""
        cell.abandoned = True
        if self.current is cell:
            self.current = None
        self._worker.stop()
        self._worker = self._new_thread()

    def _take_main_back(self, worker: Worker) -> None:
        if worker.main_thread and self._main is not None:
            self._worker.stop()
            self._worker = self._main

    def close(self) -> None:
        """Take no more cells."""
        with contextlib.suppress(Exception):
            self._worker.stop()
