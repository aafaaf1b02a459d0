"""A cell's run on its lane: the window for interrupts, the engine's context, and what becomes of a cell that does not end.

Neighbours: `lanes` (threads and loops), `interrupts` (the window), `engine` (a thread's context), `streams` (whose text is
whose). Refuses to know the language: a cell's work is a coroutine function that the session gives.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from .engine import Engine
from .interrupts import LOOP_PATIENCE_S, StrikeZone, checkpoint, strike_what_runs
from .lanes import ThreadWorker, Worker, lent_main_thread
from .streams import EXACT, Switchboard, TextBuffer
from .threads import ServiceThread

Outcome = dict[str, Any]
FREE_WITHIN_S = 1.0  # how long what an earlier cell has left behind may keep a thread after an interrupt


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
        self.cell_meta: dict[str, Any] = message.get("cell_meta") or {}
        self.parent: dict[str, Any] = message.get("parent", {})
        self.allow_stdin: bool = message.get("allow_stdin", False)
        self.exact = bool((self.cell_meta.get("dh_kernel") or {}).get("exact"))
        self.reads_stdin = bool((self.cell_meta.get("dh_kernel") or {}).get("stdin"))
        """Whether the front end hands out its standard input in pieces."""
        self.is_program = bool((self.cell_meta.get("dh_kernel") or {}).get("program"))
        self.stdin: Any = None
        self.asking = threading.Lock()
        self.front: Any = None
        self.abandoned = self.over = False
        self.suspends = False  # whether it may await something
        self.is_comm: bool = message.get("kind") == "comm"
        self.arrived = time.monotonic()
        self.headless = not self.allow_stdin and "cellId" not in self.cell_meta
        """Whether a program runs the notebook: nobody looks before the run is over."""
        self.place: str | None = self.cell_meta.get("cellId") or (None if self.headless else message.get("code"))
        """The same for all runs of one cell of a notebook; by its code where the front end does not tell."""
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
        if self._text.write(self.id, EXACT + name if self.exact else name, text):
            self._wait_for_room()
            self.guarded(self._text.flush)

    def guarded(self, work: Callable[[], None]) -> None:
        """Run a short section whole: an interrupt of this cell waits for its end. On other threads it just runs."""
        zone = self.zone
        if zone is not None and zone.is_own_thread():
            zone.shielded(work)
        else:
            work()


@dataclass(frozen=True)
class _Job:
    """A cell and what running it means. `prompt` work must not suspend, and runs also while another cell awaits something."""

    cell: Cell
    work: Callable[[], Coroutine[Any, Any, Outcome]]
    done: Callable[[Outcome], None]
    awaits: Callable[[], bool]


class CellRunner:
    """Runs the cells of one lane. A cell that cannot be interrupted is abandoned, and a fresh thread takes over.

    The worker is only told that there is something to run: what waits stays here, so that another worker can have it.

    Args:
        main: use the server's main thread where it is lent.
    """

    def __init__(self, name: str, engine: Engine, switchboard: Switchboard, scope: Any, *, main: bool) -> None:
        self._name, self._engine, self._switchboard, self._scope = name, engine, switchboard, scope
        self._main = lent_main_thread() if main else None
        self._worker: Worker = self._main or self._new_thread()
        if self._main is not None:
            self._main.tasks.submit(self._enter_thread)
        self._running: list[Cell] = []
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._prompt: deque[_Job] = deque()
        self._begun = 0  # how many cells have been
        self._main_free = False  # again, while another thread stands in
        self._closed = False

    def _new_thread(self) -> ThreadWorker:
        return ThreadWorker(f"dh-kernel-cells-{self._name}", self._enter_thread, self._stray_interrupt)

    def _enter_thread(self) -> None:
        self._engine.enter_for_good(self._scope)

    def prepare(self, work: Callable[[], None]) -> None:
        """Do something on the cells' thread before the first cell."""
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
            done: gets the cell's outcome on its thread; also that of a cell that has been abandoned, if it ends at last.
            awaits: whether the work may suspend; asked on the cell's thread.
        """
        with self._lock:
            self._waiting.append(_Job(cell, work, done, awaits))
            if not self._closed:
                self._tell(self._worker)

    def submit_prompt(
        self, cell: Cell, work: Callable[[], Coroutine[Any, Any, Outcome]], done: Callable[[Outcome], None]
    ) -> None:
        """Run `work`, which must not suspend, as soon as the thread is free: also while a cell awaits something."""
        with self._lock:
            self._prompt.append(_Job(cell, work, done, lambda: False))
            if not self._closed:
                self._tell_prompt(self._worker)

    def _tell(self, worker: Worker) -> None:
        worker.tasks.submit(lambda: self._run_next(worker))

    def _tell_prompt(self, worker: Worker) -> None:
        worker.tasks.submit_prompt(lambda: self._run_prompt(worker))

    # --- on the worker's thread

    def _run_next(self, worker: Worker) -> Coroutine[Any, Any, None] | None:
        job = self._begin(worker, self._waiting)
        if job is None:
            return None
        if job.awaits():
            return self._run_later(worker, job)
        self._run_now(worker, job)
        return None

    def _run_prompt(self, worker: Worker) -> None:
        job = self._begin(worker, self._prompt)
        if job is not None:
            self._run_now(worker, job)

    def _begin(self, worker: Worker, jobs: deque[_Job]) -> _Job | None:
        with self._lock:
            checkpoint()  # a strike that was meant for what ran before lands here, and the job is still there
            if worker is not self._worker or not jobs:
                return None
            job = jobs.popleft()
            self._begun += 1
            job.cell.zone = StrikeZone(
                self._engine, main_thread=worker.main_thread, is_cell_code=self._switchboard.is_cell_code
            )
            return job

    def _run_now(self, worker: Worker, job: _Job) -> None:
        zone = job.cell.zone
        assert zone is not None
        with self._entered(job.cell):
            outcome = zone.run(lambda: _finished(job.work()), _interrupted)
        self._end(job, outcome)

    async def _run_later(self, worker: Worker, job: _Job) -> None:
        job.cell.suspends = True
        zone = job.cell.zone
        assert zone is not None
        with self._entered(job.cell):
            outcome = await zone.run_task(job.work, _interrupted)
        self._end(job, outcome)

    def _end(self, job: _Job, outcome: Outcome) -> None:
        if self._main_free:
            self._take_main_back()
        job.done(outcome)

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

    # --- interrupts

    def withdraw(self, cell: Cell) -> bool:
        """Take back a cell that has not begun; False if it has. What keeps it from beginning is interrupted.

        That is no cell, since a lane has one at a time: a task that an earlier one has left on the loop.
        """
        with self._lock:
            if cell.zone is not None:
                return False
            for jobs in (self._waiting, self._prompt):
                for job in [job for job in jobs if job.cell is cell]:
                    jobs.remove(job)
            begun, worker = self._begun, self._worker
        if not self._running:
            ServiceThread(
                target=self._free, args=(worker, begun), name=f"dh-kernel-interrupt-{self._name}", daemon=True
            ).start()
        return True

    def _free(self, worker: Worker, begun: int) -> None:
        """Strike what holds up the worker's loop, until the loop goes on; a fresh thread takes over if it never does."""
        reached = threading.Event()

        def reach() -> None:
            with self._lock:
                checkpoint()
                reached.set()

        deadline = time.monotonic() + FREE_WITHIN_S
        while time.monotonic() < deadline and not self._closed:
            worker.tasks.submit_prompt(reach)
            if reached.wait(LOOP_PATIENCE_S):
                break
            with self._lock:
                if reached.is_set() or self._begun != begun or self._worker is not worker:
                    break
                strike_what_runs(worker.ident, main_thread=worker.main_thread)
        with self._lock:
            if not reached.is_set() and self._begun == begun:
                self._replace(worker)
            else:
                self._tell_all(self._worker)  # a strike may have hit the loop as it was about to run what waits

    def abandon(self, cell: Cell) -> None:
        """Give up on a cell that does not end: cut off its output, and run what follows on a fresh thread."""
        cell.abandoned = True
        if cell.zone is not None:
            cell.zone.abandoned = True
        with contextlib.suppress(ValueError):
            self._running.remove(cell)
        with self._lock:
            self._replace(self._worker)

    def _replace(self, worker: Worker) -> None:
        """Let a fresh thread do the work of one that is stuck; the main thread comes back when it is free."""
        if worker is not self._worker or self._closed:
            return
        self._worker = self._new_thread()
        worker.stop()
        if worker.main_thread:
            worker.tasks.submit_prompt(self._main_is_free)
        self._tell_all(self._worker)

    def _main_is_free(self) -> None:
        self._main_free = True
        self._take_main_back()

    def _take_main_back(self) -> None:
        """Between cells, and not while one awaits something on the thread that stands in."""
        with self._lock:
            if self._main_free and not self._running and not self._closed:
                assert self._main is not None
                self._main_free = False
                self._worker.stop()
                self._worker = self._main
                self._tell_all(self._main)

    def _tell_all(self, worker: Worker) -> None:
        for _ in self._waiting:
            self._tell(worker)
        for _ in self._prompt:
            self._tell_prompt(worker)

    def _stray_interrupt(self) -> None:
        for cell in list(self._running):
            if cell.zone is not None:
                cell.zone.cancel_if_waiting()

    def close(self, wait_s: float = 0.0) -> None:
        """Take no more cells; wait a while for the thread's end."""
        with self._lock:
            self._closed = True
            worker = self._worker
            with contextlib.suppress(Exception):
                worker.stop()
        worker.join(wait_s)


def interrupted(text: str) -> Outcome:
    """The outcome of a cell that an interrupt has ended outside its own code."""
    traceback = [f"KeyboardInterrupt: {text}" if text else "KeyboardInterrupt"]
    return {"status": "error", "ename": "KeyboardInterrupt", "evalue": text, "traceback": traceback}


def _interrupted() -> Outcome:
    return interrupted("")


def _finished(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The result of a coroutine that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    coroutine.close()
    raise RuntimeError("the cell awaits something although nothing in its source says so; write `await` at its top level")
