"""Requests on their way through the kernel: cells, and messages to comms, each with what the server says about it.

Neighbours: `kernel` (makes them), `publishing` (shows their events). Refuses to know sockets. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from dh_kernel.errors import DhKernelError
from dh_kernel.session import CellDone, Event

_REMEMBERED = 1000
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
        self.silent = bool(parent["content"].get("silent", False))
        self.events: asyncio.Queue[tuple[Any, Event, int, Any]] = asyncio.Queue()
        self.gone: asyncio.Future[DhKernelError] = asyncio.get_running_loop().create_future()
        self.interrupted = asyncio.Event()
        self.session: Any = None
        self.over = False

    @property
    def header(self) -> dict[str, Any]:
        """The parent's header as JSON data."""
        return {name: value if isinstance(value, str) else str(value) for name, value in self.parent["header"].items()}

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
    """Whose turn it is in the main shell, or in a subshell: cells take turns, questions do not wait.

    Messages to comms pass a running cell; the server sees to it that they run when its thread is free. They keep their own
    order. A comm is opened only behind the cells that wait, since one of them may register its target.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = self._comms_waiting = 0

    def lets_pass(self, kind: str | None) -> bool:
        """Whether a message may be handled at once."""
        if kind in _QUESTIONS:
            return self._turn.locked()
        if kind in COMM_MESSAGES:
            return not (self._waiting if kind == "comm_open" else self._comms_waiting)
        return False

    @contextlib.asynccontextmanager
    async def turn(self, kind: str | None) -> AsyncIterator[None]:
        """Wait for a message's turn."""
        is_comm = kind in COMM_MESSAGES
        self._waiting += 1
        self._comms_waiting += is_comm
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
            self._comms_waiting -= is_comm
        try:
            yield
        finally:
            self._turn.release()


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
        """A run by its id."""
        return self._all.get(cell_id)

    @property
    def active(self) -> list[Run]:
        """Those under way, oldest first. May be asked from any thread."""
        return list(self._active.values())

    def to_interrupt(self) -> list[Run]:
        """Whom the stop button means: the main shell's runs; where there are none, those of the subshells."""
        active = self.active
        return [run for run in active if run.lane is None] or active

    def of_session(self, session: Any) -> Iterator[Run]:
        """Those under way in a session."""
        return (run for run in self.active if run.session is session)


def interrupted(run: Run, text: str) -> CellDone:
    """The end of a run that was interrupted before the server knew of it."""
    error = {"ename": "KeyboardInterrupt", "evalue": text, "traceback": [f"KeyboardInterrupt: {text}"]}
    return CellDone(run.id, error)
