"""Notices a server that answers nobody while a cell runs, and says so; also when it is back.

Neighbours: `kernel` (says that a cell has begun, puts the question), `backend` (knows the process). Refuses to end anything:
what does not answer now, such as a call into C that lets nothing else run, may do so later. `interrupting` ends it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .runs import Run, Runs

QUIET_S = 3.0  # a server that has said nothing for so long is asked
NOTE_AFTER_S = 6.0  # and one that does not answer is spoken of when it has been silent for so long
_LOOK_EVERY_S = 1.0


class Heartbeat:
    """Watches while cells run; costs nothing otherwise.

    Args:
        kernel: its `backend`, `question`, `heard_at` and `note` are used.
    """

    def __init__(self, kernel: Any, runs: Runs) -> None:
        self._kernel, self._runs = kernel, runs
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """A cell has begun."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch())

    def _running(self) -> list[Run]:
        return [run for run in self._runs.active if run.session is not None and not run.over]

    async def _watch(self) -> None:
        begun = time.monotonic()
        while self._running():
            heard = max(begun, self._kernel.heard_at)
            quiet_for = time.monotonic() - heard
            if quiet_for < QUIET_S:
                await asyncio.sleep(min(_LOOK_EVERY_S, QUIET_S - quiet_for))
            else:
                await self._ask(heard)

    async def _ask(self, heard: float) -> None:
        """Wait for an answer for as long as it takes, with a note meanwhile."""
        answer = asyncio.ensure_future(self._kernel.question("ping", timeout_s=None))
        told: list[Run] = []
        while self._running() and not (await asyncio.wait((answer,), timeout=_LOOK_EVERY_S))[0]:
            silent_s = time.monotonic() - heard
            for run in self._running() if silent_s >= NOTE_AFTER_S else ():
                if run not in told and not run.is_comm and time.monotonic() - run.since >= NOTE_AFTER_S:
                    told.append(run)
                    self._kernel.note(run, self._text(silent_s))
        if not answer.done():
            answer.cancel()
        elif answer.result():
            for run in told:
                if not run.over:
                    self._kernel.note(run, f"The server answers again, after {time.monotonic() - heard:.0f} s.")

    def _text(self, silent_s: float) -> str:
        return (
            f"The server has not answered for {silent_s:.0f} s: {self._kernel.backend.why_silent}. "
            "The cell goes on when it answers again; interrupt the cell to give it up."
        )
