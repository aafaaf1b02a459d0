"""Questions of cells to the person at the front end, over the stdin channel; one at a time.

Neighbours: `kernel`. Refuses to know what a cell does with the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import zmq

from dh_kernel.session import InputAsked

from .runs import Run

_LOOK_EVERY_S = 0.02
END_OF_FILE = "\x04"


class Asker:
    """Asks for cells. Runs beside their events, so that output goes on.

    Args:
        kernel: its `session` and `stdin_socket` are used.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._turn = asyncio.Lock()  # of cells in several subshells: an answer does not tell its question
        self._asking: dict[str, asyncio.Task[None]] = {}

    def ask(self, run: Run, event: InputAsked) -> None:
        """Put the question; the answer goes to the run's session."""
        former = self._asking.get(run.id)
        if former is not None:  # the cell asks once at a time: it has been interrupted, and asks again
            former.cancel()
        task = self._asking[run.id] = asyncio.ensure_future(self._ask(run, event))
        task.add_done_callback(lambda _: self._forget(run, task))

    def _forget(self, run: Run, task: asyncio.Task[None]) -> None:
        if self._asking.get(run.id) is task:
            del self._asking[run.id]

    async def _ask(self, run: Run, event: InputAsked) -> None:
        async with self._turn:
            if run.over:  # a thread of a cell that has ended, where front ends take no questions any more
                run.session.send("input_reply", cell=event.cell, value="", eof=True)
                return
            value = await self._answer(run, event.prompt, event.password, event.bytes)
            eof = value in (None, END_OF_FILE)
            run.session.send("input_reply", cell=event.cell, value=value or "", eof=eof)

    async def question(self, run: Run, prompt: str) -> str | None:
        """The answer to a question of the kernel's own; None if the run is interrupted first."""
        async with self._turn:
            return await self._answer(run, prompt, False, 0)

    async def _answer(self, run: Run, prompt: str, password: bool, number: int) -> str | None:
        """None if the run ended first, or was interrupted before it was on the server."""
        socket, session = self._kernel.stdin_socket, self._kernel.session
        while socket.poll(0):
            socket.recv_multipart(zmq.NOBLOCK)  # a reply that came too late for its question
        content: dict[str, Any] = {"prompt": prompt, "password": password}
        if number:
            content["dh_kernel"] = {"bytes": number}
        session.send(socket, "input_request", content, parent=run.parent, ident=run.ident)
        while not run.over and not run.interrupted.is_set():
            if socket.poll(0):
                reply = _receive(session, socket)
                if reply is not None:
                    return str(reply["content"].get("value", ""))
            await asyncio.sleep(_LOOK_EVERY_S)
        return None


def _receive(session: Any, socket: Any) -> dict[str, Any] | None:
    """What has come; None if it is no message of Jupyter's, or not signed with the key."""
    try:
        reply: dict[str, Any] | None = session.recv(socket, zmq.NOBLOCK)[1]
    except ValueError:
        return None
    return reply if reply is not None and reply["header"]["msg_type"] == "input_reply" else None
