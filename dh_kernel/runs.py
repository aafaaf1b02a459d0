"""Requests on their way through the kernel: cells, and messages to comms, each with what the server says about it.

Neighbours: `kernel` (makes them), `publishing` (shows their events). Refuses to know sockets. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from dh_kernel.errors import DhKernelError
from dh_kernel.session import CellDone, Event

from .flow import Flow

_REMEMBERED = 1000
_PATIENCE_S = 0.75
COMM_MESSAGES = frozenset({"comm_open", "comm_msg", "comm_close"})
_QUESTIONS = frozenset(
    {
        "complete_request",
        "inspect_request",
        "is_complete_request",
        "history_request",
        "kernel_info_request",
        "comm_info_request",
    }
)


class Run:
    """One request that runs code on the server.

    `lane` is the subshell's id, None for the main shell. `count` is the number of the cell.
    """

    def __init__(self, cell_id: str, parent: dict[str, Any], ident: Any, count: int) -> None:
        self.id, self.ident, self.count = cell_id, ident, count
        header = parent["header"]
        self.parent = {"header": header}  # without the code, which may be large: runs are remembered for long
        self.lane: str | None = header.get("subshell_id")
        self.is_comm = header["msg_type"] in COMM_MESSAGES
        self.can_be_asked = bool(parent["content"].get("allow_stdin", False))
        self.silent = bool(parent["content"].get("silent", False))
        self.can_update = "cellId" in parent.get("metadata", {})  # who names the cell also updates what it has shown
        wishes = (parent.get("metadata") or {}).get("dh_kernel") or {}
        self.quiet = bool(wishes.get("quiet"))  # no notes of ours among the code's output
        self.flow = Flow(int(wishes.get("window", 0)))
        self.since = time.monotonic()
        self.events: asyncio.Queue[tuple[Any, Event, int, Any]] = asyncio.Queue()
        self.gone: asyncio.Future[DhKernelError] = asyncio.get_running_loop().create_future()
        self.interrupted = asyncio.Event()
        self.session: Any = None
        self.over = False
        self.cut_off = False  # ended here; what the server says of it later is dropped
        self.cells: tuple[str, ...] = (cell_id,)
        """The server's cells that it stands for: its own, or those that it has picked up."""
        self.heir: Run | None = None  # who has picked it up

    @property
    def header(self) -> dict[str, Any]:
        """The parent's header as JSON data."""
        return {name: value if isinstance(value, str) else str(value) for name, value in self.parent["header"].items()}

    def end_here(self, done: CellDone) -> None:
        """End the run without the server."""
        self.cut_off = True
        self.events.put_nowait((self.session, done, 0, None))

    async def next_event(self) -> tuple[Any, Event, int, Any]:
        """What the server says next.

        Raises:
            DhKernelError: the server or the session has ended.
        """
        getter = asyncio.ensure_future(self.events.get())
        try:
            await asyncio.wait((getter, self.gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getter.done():
                getter.cancel()
        if getter.done() and not getter.cancelled():
            return getter.result()
        raise self.gone.result()


class Lane:
    """Whose turn it is in the main shell, or in a subshell: cells take turns, questions do not wait for one that takes long.

    A question waits a little for a cell that has just begun: most end soon, and what is asked after a cell is often about what
    it did. Messages to comms pass a running cell; the server sees to it that they run when its thread is free. They keep their
    own order. A comm is opened only behind the cells that wait, since one of them may register its target.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._since = 0.0
        self._waiting = self._comms_waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, kind: str | None) -> AsyncIterator[bool]:
        """Wait for a message's turn. Gives whether it passes a cell that runs."""
        if kind in COMM_MESSAGES and not (self._waiting if kind == "comm_open" else self._comms_waiting):
            yield self._turn.locked()
        elif not await self._take_turn(kind):
            yield True
        else:
            try:
                yield False
            finally:
                self._turn.release()

    async def _take_turn(self, kind: str | None) -> bool:
        is_comm, is_question = kind in COMM_MESSAGES, kind in _QUESTIONS
        self._waiting += not is_question
        self._comms_waiting += is_comm
        try:
            patience = max(0.0, self._since + _PATIENCE_S - time.monotonic()) if is_question and self._turn.locked() else None
            await asyncio.wait_for(self._turn.acquire(), patience)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        finally:
            self._waiting -= not is_question
            self._comms_waiting -= is_comm
        self._since = time.monotonic()
        return True


class Runs:
    """The kernel's runs: those that are under way, and the latest others, whose late output still finds its parent."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Run] = OrderedDict()
        self._active: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        """A run begins."""
        self._all[run.id] = self._active[run.id] = run
        while len(self._all) > _REMEMBERED:
            self._all.popitem(last=False)

    def end(self, run: Run) -> None:
        """A run is over."""
        run.over = True
        self._active.pop(run.id, None)

    def get(self, cell_id: str) -> Run | None:
        """A run by its id, or who has picked it up."""
        run = self._all.get(cell_id)
        return run.heir or run if run is not None else None

    def leave_to(self, heir: Run, session: Any) -> None:
        """What comes of a session's former runs belongs to another one now."""
        for run in self._all.values():
            if run.session is session and run is not heir:
                run.heir = heir

    def latest(self, session: Any) -> Run | None:
        """The cell to which what is written by nobody belongs: the main shell's latest of a session."""
        cells = (run for run in reversed(self._all.values()) if run.session is session and run.lane is None)
        return next((run for run in cells if not run.is_comm), None)

    @property
    def active(self) -> list[Run]:
        """Those under way, oldest first. May be asked from any thread."""
        return list(self._active.values())

    def is_young(self, age_s: float) -> bool:
        """Whether one is under way that came less than so many seconds ago."""
        return any(time.monotonic() - run.since < age_s for run in self._active.values())

    def to_interrupt(self) -> list[Run]:
        """Whom the stop button means: the main shell's runs; where there are none, those of the subshells."""
        active = self.active
        return [run for run in active if run.lane is None] or active

    def taken(self, content: dict[str, Any]) -> None:
        """A front end has dealt with a run's output, up to a number; see `flow`."""
        for run in self.active:
            if run.parent["header"]["msg_id"] == content.get("run"):
                run.flow.taken(int(content.get("taken", 0)))

    def of_session(self, session: Any) -> Iterator[Run]:
        """Those under way in a session."""
        return (run for run in self.active if run.session is session)


def interrupted(run: Run, text: str) -> CellDone:
    """The end of a run that was interrupted and that the server does not end."""
    error = {"ename": "KeyboardInterrupt", "evalue": text, "traceback": [f"KeyboardInterrupt: {text}"]}
    return CellDone(run.id, error)
