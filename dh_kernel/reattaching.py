"""Picks up the cells that a server goes on with since nobody was connected: `%dh reattach`.

Neighbours: `kernel` (whose cell it is), `backend` (the sessions), `runs`. Refuses to know how a session is resumed. Lives on
the event loop. A cell that was lost with its kernel has no run here: the one that picks its session up takes what comes of it.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dh_kernel.errors import DhKernelError, SessionLostError
from dh_kernel.session import CellDone, DetachedSession, Event

from .backend import Backend
from .runs import Run, Runs


class ReattachError(DhKernelError):
    """There is nothing to pick up, or more than one session; the text says which."""


class Reattacher:
    """The sessions of a kernel that are picked up.

    Args:
        ask: `await ask(kind)` puts a question to the runtime; nothing if it does not answer in time.
        publish: `await publish(run, event, begun)` shows an event.
    """

    def __init__(
        self,
        runs: Runs,
        backend: Backend,
        ask: Callable[[str], Awaitable[dict[str, Any]]],
        publish: Callable[[Run, Event, Any], Awaitable[None]],
    ) -> None:
        self._runs, self._backend, self._ask, self._publish = runs, backend, ask, publish
        self._heirs: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()
        self._next: Run | None = None
        self._former: Any = None

    def heir(self, session: Any) -> Run | None:
        """Whose the events of unknown cells are."""
        if self._next is not None and session is not self._former and session not in self._heirs:
            self._heirs[session], self._next.session = self._next, session
        return self._heirs.get(session)

    async def pick_up(self, run: Run, wanted: str) -> str:
        """Find a session, and go on with it; the text that says which.

        Raises:
            DhKernelError: there is none, or it cannot be reached.
        """
        mine = [each for each in reversed(self._backend.detached) if each.id.startswith(wanted)]
        if mine:
            self._heirs[mine[0]], run.session = run, mine[0]
            self._runs.leave_to(run, mine[0])
            await self._backend.reattach(mine[0])
            return "Connected again with the former session.\n"
        if self._backend.settings.endpoint is None:
            raise ReattachError("The cells run on the kernel's own server: there is nothing to pick up.")
        self._former = await self._backend.session()
        chosen = _chosen(await self._left_behind(), wanted, self._backend.settings.session_name)
        self._next = run
        try:
            run.session = await self._backend.take_over(chosen.id)
            self._heirs[run.session] = run
        except SessionLostError:
            raise ReattachError(f"The session {chosen.id} has just ended.") from None
        finally:
            self._next = self._former = None
        return f"Connected with the session {chosen.id}: {description(chosen)}.\n"

    async def _left_behind(self) -> list[DetachedSession]:
        answer = await self._ask("left_behind")
        return [DetachedSession.of(each) for each in answer.get("sessions", ())]

    async def follow(self, run: Run) -> CellDone:
        """Publish what comes of the session's cells until all have ended; the last one's end.

        Raises:
            DhKernelError: the session is lost, again.
        """
        left = set(run.session.cells)
        last = CellDone(run.id)
        while left:
            run.cells = tuple(left)
            session, event, size, begun = await run.next_event()
            if isinstance(event, CellDone):
                left.discard(event.cell)
                last = event
            else:
                await run.flow.room(size)
                await self._publish(run, event, begun)
            session.consumed(size, at_once=isinstance(event, CellDone))
        return last


def _chosen(found: Sequence[DetachedSession], wanted: str, own_name: str) -> DetachedSession:
    """The one that is meant."""
    if wanted:
        fitting = [each for each in found if each.id.startswith(wanted) or each.name == wanted]
    else:
        fitting = [each for each in found if each.name == own_name]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise ReattachError("There is no session to pick up: the server goes on with no cell that has lost its kernel.")
    lines = "\n".join(f"    {each.id}  {description(each)}" for each in found)
    name = wanted or own_name
    what = "several" if fitting else f"none that is called {name}" if name else "none without a name"
    raise ReattachError(f"There are sessions to pick up, but {what}. Say which one you mean: %dh reattach ID\n{lines}")


def description(session: DetachedSession) -> str:
    """What there is to pick up."""
    numbers = ", ".join(f"[{number}]" for number in session.running)
    state = f"cell {numbers} runs" if session.running else "its cell has ended"
    since = time.strftime("%H:%M:%S", time.localtime(session.since))
    return f"{session.name or 'without a name'}: {state}; without a kernel since {since}"


def left_behind(sessions: Sequence[DetachedSession]) -> str | None:
    """The note for a kernel that finds sessions of its name."""
    if not sessions:
        return None
    lines = "".join(f"    {each.id}  {description(each)}\n" for each in sessions)
    return f"Left behind by a former kernel; `%dh reattach` picks it up:\n{lines}"
