"""Interrupting what runs; also where the server's Python answers nobody, and so cannot end a cell itself.

Neighbours: `kernel` (asks for it, and puts questions), `runs`, `backend` (the server's process). Refuses to know how a cell is
struck: that is the runtime's.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .runs import Run, Runs, interrupted

_ASK_EVERY_S = 0.4
_SILENT_S = 1.6  # after this much silence the cell is ended here; longer where cells are given more time to end by themselves
_BEYOND_GRACE_S = 0.6
_STOPPED = "interrupted; the server does not answer: {}. The next cell waits for it. {}"
_END_SERVER = "Interrupt again, or restart the kernel, to end the server; its variables end with it."
_LET_GO = "Interrupt again to let go of the server."
_FROZEN = (
    "interrupted; the server's Python answers nobody: something keeps it that lets nothing else run, such as a long regular "
    "expression. It is still running in the server, and the next cell waits for it. {}"
)


class Interrupter:
    """The stop button.

    Args:
        kernel: its `backend`, `io_loop`, `question` and `heard_at` are used.
    """

    def __init__(self, kernel: Any, runs: Runs) -> None:
        self._kernel, self._runs = kernel, runs
        self._silent: tuple[Any, float] | None = None  # a session whose cells were ended here, and when
        self._watching: set[asyncio.Task[None]] = set()

    def interrupt(self) -> None:
        """Interrupt what runs; where nothing does, let the server say what earlier interrupts could not end. Any thread."""
        loop = self._kernel.io_loop.asyncio_loop
        if self._silent is not None:
            session, since = self._silent
            self._silent = None
            if session is self._kernel.backend.current and self._kernel.heard_at < since:
                loop.call_soon_threadsafe(self._kernel.backend.give_up)
                return
        runs = self._runs.to_interrupt()
        for run in reversed(runs):  # so that what waits is still known to wait for what runs
            loop.call_soon_threadsafe(run.interrupted.set)
            if run.session is not None:
                for cell in run.cells:
                    run.session.send("interrupt", cell=cell)
        session = self._kernel.backend.current if self._kernel.backend is not None else None
        if session is not None and not runs:
            session.send("interrupt", cell="")
        if any(run.session is not None for run in runs):
            loop.call_soon_threadsafe(self._watch, runs)

    def _watch(self, runs: list[Run]) -> None:
        task = asyncio.ensure_future(self._end_if_silent(runs))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _end_if_silent(self, runs: list[Run]) -> None:
        """End the runs here unless the server's Python answers, or says anything.

        A signal to the server's process comes first: some such calls look for signals, on the main thread.
        """
        backend = self._kernel.backend
        begun = time.monotonic()
        longest = max(_SILENT_S, backend.settings.interrupt_grace_s + _BEYOND_GRACE_S)
        signalled = False
        while any(not run.over for run in runs):
            if await self._kernel.question("ping", timeout_s=_ASK_EVERY_S):
                return
            silent = time.monotonic() - max(begun, self._kernel.heard_at)
            if not signalled and silent >= _ASK_EVERY_S and any(run.lane is None for run in runs):
                backend.signal_server()
                signalled = True
            if silent >= longest:
                self._give_up(runs)
                return
            if silent < _ASK_EVERY_S:
                await asyncio.sleep(_ASK_EVERY_S - silent)

    def _give_up(self, runs: list[Run]) -> None:
        """End the runs without the server; another interrupt, if it is still silent then, ends the server."""
        backend = self._kernel.backend
        way = _END_SERVER if backend.settings.endpoint is None else _LET_GO
        text = _STOPPED.format(backend.why_silent, way) if backend.is_stopped else _FROZEN.format(way)
        for run in runs:
            if not run.over and run.session is not None:
                self._silent = run.session, time.monotonic()
                run.end_here(interrupted(run, text))
