"""Debuggers' messages: `debug_request` on the control channel, its reply, and `debug_event`.

Neighbours: `kernel` (hands them over, owns the questions to the server), `debugging` (knows the debug adapter protocol).

Requests run beside each other and beside everything else on the control channel: one that waits for a cell that is stopped
must not hold up an interrupt. All this is on the control channel's loop, but for the questions to the server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from .debugging import DebugError, Debugger

if TYPE_CHECKING:
    from .kernel import DeephavenKernel

_NOT_HERE = "there is no debugger here: it needs a server that the kernel launched, and debugpy in the server's Python"


class DebugChannel:
    """One kernel's debugger."""

    def __init__(self, kernel: DeephavenKernel) -> None:
        self._kernel = kernel
        self._debugger = Debugger(self, self._publish)

    @property
    def works(self) -> bool:
        """Whether cells can be debugged. Before the server has told, its Python is asked if it is the kernel's own."""
        backend = self._kernel.backend
        if backend is None or backend.settings.endpoint is not None:
            return False
        session = backend.current
        if session is not None and session.info is not None:
            return bool(session.info.debugger)
        return backend.settings.python == sys.executable and importlib.util.find_spec("debugpy") is not None

    async def handle(self, idents: Any, request: dict[str, Any]) -> None:
        """Answer a request; on the control channel's loop."""
        kernel = self._kernel
        assert kernel.session is not None
        kernel._publish_status("busy", "control", parent=request)
        reply = await self._debugger.handle(request["content"])
        kernel.session.send(kernel.control_stream, "debug_reply", reply, request, idents)
        kernel._publish_status("idle", "control", parent=request)

    def _publish(self, event: dict[str, Any]) -> None:
        kernel = self._kernel
        if kernel.session is not None:
            kernel.session.send(
                kernel.iopub_socket, "debug_event", event, parent=kernel.running_parent(), ident=kernel._topic("debug_event")
            )

    async def ask(self, command: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """As `debugging.Server` says: on the main loop, where the session is."""
        asking = asyncio.run_coroutine_threadsafe(
            self._ask(command, timeout_s, fields),
            self._kernel.io_loop.asyncio_loop,
        )
        return await asyncio.wrap_future(asking)

    async def _ask(self, command: str, timeout_s: float, fields: dict[str, Any]) -> dict[str, Any]:
        backend = self._kernel.backend
        if backend is None or backend.settings.endpoint is not None:
            raise DebugError(_NOT_HERE)
        await backend.session()
        rows = backend.settings.rows
        answer = await self._kernel.question("debug", timeout_s, command=command, rows=rows, **fields)
        if not answer:
            raise DebugError(f"the server did not answer within {timeout_s:g} s")
        if answer["status"] != "ok":
            raise DebugError(answer["evalue"])
        return answer
