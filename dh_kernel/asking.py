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
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, run: Run, event: InputAsked) -> None:
        """Put the question; the answer goes to the run's session."""
        task = asyncio.ensure_future(self._ask(run, event))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, run: Run, event: InputAsked) -> None:
        async with self._turn:
            socket, session = self._kernel.stdin_socket, self._kernel.session
            while socket.poll(0):
                socket.recv_multipart(zmq.NOBLOCK)  # a reply that came too late for its question
            if run.over:  # a thread of a cell that has ended, where front ends take no questions any more
                run.session.send("input_reply", cell=run.id, value="", eof=True)
                return
            content = {"prompt": event.prompt, "password": event.password}
            session.send(socket, "input_request", content, parent=run.parent, ident=run.ident)
            while not run.over:
                if socket.poll(0):
                    _, reply = session.recv(socket, zmq.NOBLOCK)
                    if reply is not None:
                        value = reply["content"].get("value", "")
                        run.session.send("input_reply", cell=run.id, value=value, eof=value == END_OF_FILE)
                        return
                await asyncio.sleep(_LOOK_EVERY_S)
            run.session.send("input_reply", cell=run.id, value="", eof=True)
