"""A cell's run on its lane: the window for interrupts, the engine's context, and what becomes of a cell that does not end.

Neighbours: `lanes` (threads and loops), `interrupts` (the window), `engine` (a thread's context), `streams` (whose text is
whose). Refuses to know the language: a cell's work is a coroutine function that the session gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from .engine import Engine
from .interrupts import StrikeZone
from .lanes import ThreadWorker, Worker, lent_main_thread
from .streams import Switchboard, TextBuffer

Outcome = dict[str, Any]


class Cell:
    """One request that runs code, while it runs, and whoever writes for it afterwards.

    `lane` is the subshell's id, None for the main shell. `parent` is the header of the Jupyter message that it answers.
    """

    def __init__(
        self,
        message: dict[str, Any],
        text: TextBuffer,
        wait_for_room: Callable[[], None],
        before_text: Callable[[], None],
        on_compiled: Callable[[str, Cell], None],
    ) -> None:
        self.id: str = message["cell"]
        self.count: int = message.get("count", 0)
        self.silent: bool = message.get("silent", False)
        self.lane: str | None = message.get("lane")
        self.parent: dict[str, Any] = message.get("parent", {})
        self.allow_stdin: bool = message.get("allow_stdin", False)
        self.front: Any = None
        self.abandoned = self.over = False
        self.zone: StrikeZone | None = None
        self._text, self._wait_for_room, self._before_text = text, wait_for_room, before_text
        self._on_compiled = on_compiled

    def compiled(self, file: str) -> None:
        """The cell's code has been compiled under this file name."""
        self._on_compiled(file, self)

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


class CellRunner:
    """Runs the cells of one lane. A cell that cannot be interrupted is abandoned, and a fresh thread takes over.

    Args:
        main: use the server's main thread where it is lent.
    """

    def __init__(self, name: str, engine: Engine, switchboard: Switchboard, scope: Any, *, main: bool) -> None:
        self._name, self._engine, self._switchboard, self._scope = name, engine, switchboard, scope
        self._main = lent_main_thread() if main else None
        self._worker: Worker = self._main or self._new_thread()
        self._running: list[Cell] = []

    def _new_thread(self) -> ThreadWorker:
        return ThreadWorker(f"dh-kernel-cells-{self._name}", self._enter_thread, self._stray_interrupt)

    def _enter_thread(self) -> None:
        self._engine.enter_for_good(self._scope)

    def prepare(self, work: Callable[[], None]) -> None:
        """Do something on the cells' thread before the first cell."""
        if self._worker.main_thread:
            self._worker.tasks.submit(self._enter_thread)
        self._worker.tasks.submit(work)

    def submit(
        self,
        cell: Cell,
        work: Callable[[], Coroutine[Any, Any, Outcome]],
        done: Callable[[Outcome], None],
        awaits: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run `work` as the cell, after those before it.

        Args:
            done: gets the cell's outcome on its thread, unless the cell has been abandoned.
            awaits: whether the work may suspend; asked on the cell's thread.
        """
        worker = self._worker
        worker.tasks.submit(lambda: self._start(worker, cell, work, done, awaits))

    def submit_prompt(
        self, cell: Cell, work: Callable[[], Coroutine[Any, Any, Outcome]], done: Callable[[Outcome], None]
    ) -> None:
        """Run `work`, which must not suspend, as soon as the thread is free: also while a cell awaits something."""
        worker = self._worker
        worker.tasks.submit_prompt(lambda: self._run_now(worker, cell, work, done))

    def _start(
        self,
        worker: Worker,
        cell: Cell,
        work: Callable[[], Coroutine[Any, Any, Outcome]],
        done: Callable[[Outcome], None],
        awaits: Callable[[], bool],
    ) -> Coroutine[Any, Any, None] | None:
        if not cell.abandoned and awaits():
            return self._run_later(worker, cell, work, done)
        self._run_now(worker, cell, work, done)
        return None

    def _run_now(
        self,
        worker: Worker,
        cell: Cell,
        work: Callable[[], Coroutine[Any, Any, Outcome]],
        done: Callable[[Outcome], None],
    ) -> None:
        if cell.abandoned:
            return
        zone = cell.zone = StrikeZone(self._engine, main_thread=worker.main_thread)
        with self._entered(cell):
            outcome = zone.run(lambda: _finished(work()), _interrupted)
        self._end(worker, cell, outcome, done)

    async def _run_later(
        self,
        worker: Worker,
        cell: Cell,
        work: Callable[[], Coroutine[Any, Any, Outcome]],
        done: Callable[[Outcome], None],
    ) -> None:
        zone = cell.zone = StrikeZone(self._engine, main_thread=worker.main_thread)
        with self._entered(cell):
            outcome = await zone.run_task(work, _interrupted)
        self._end(worker, cell, outcome, done)

    @contextlib.contextmanager
    def _entered(self, cell: Cell) -> Iterator[None]:
        self._running.append(cell)
        try:
            with self._switchboard.entered(cell), self._engine.cell_context(self._scope):
                yield
        finally:
            cell.over = True
            with contextlib.suppress(ValueError):  # abandoned meanwhile
                self._running.remove(cell)

    def _end(self, worker: Worker, cell: Cell, outcome: Outcome, done: Callable[[Outcome], None]) -> None:
        if cell.abandoned:
            self._take_main_back(worker)
        else:
            done(outcome)

    def abandon(self, cell: Cell) -> None:
        """Give up on a cell that does not end: cut off its output, and run what follows on a fresh thread."""
        cell.abandoned = True
        with contextlib.suppress(ValueError):
            self._running.remove(cell)
        self._worker.stop()
        self._worker = self._new_thread()

    def _take_main_back(self, worker: Worker) -> None:
        if worker.main_thread and self._main is not None:
            self._worker.stop()
            self._worker = self._main

    def _stray_interrupt(self) -> None:
        for cell in list(self._running):
            if cell.zone is not None:
                cell.zone.cancel_if_waiting()

    def close(self) -> None:
        """Take no more cells."""
        with contextlib.suppress(Exception):
            self._worker.stop()


def _interrupted() -> Outcome:
    return {"status": "interrupted"}


def _finished(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The result of a coroutine that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    coroutine.close()
    raise RuntimeError("the cell awaits something although nothing in its source says so; write `await` at its top level")
