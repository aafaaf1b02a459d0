"""Jupyter messages to session calls and back: the kernel that front ends talk to.

Neighbours: `backend` (the server), `render` (previews to MIME bundles), `history`. With `app` the only importer of ipykernel.
Refuses to know gRPC, processes, and how cells run.

Every handler runs on the main thread's event loop and never blocks it, except those of the control channel, which ipykernel
runs on a thread of its own: `interrupt_request`. A cell's life here: its request waits for a session, is sent, and then one
coroutine publishes the cell's events in order until the one that says it is done. Events of a cell that is over (threads,
listeners) are published with its parent all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import threading
from collections import OrderedDict
from typing import Any, ClassVar

import zmq
import zmq.asyncio
from ipykernel.jsonutil import json_clean
from ipykernel.kernelbase import Kernel
from traitlets import Instance

from dh_kernel import __version__
from dh_kernel.errors import DhKernelError
from dh_kernel.history import History
from dh_kernel.model import TablePreview
from dh_kernel.session import (
    Answered,
    CellDone,
    Cleared,
    Displayed,
    Event,
    InputAsked,
    Resulted,
    ServerInfo,
    StreamText,
    TableShown,
)

from .backend import Backend

NOTE_AFTER_S = 1.0
QUESTION_TIMEOUT_S = 2.0
_REMEMBERED_CELLS = 1000
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


class CellRun:
    """One execute request on its way through the kernel."""

    def __init__(self, cell_id: str, parent: dict[str, Any], ident: Any, count: int) -> None:
        self.id, self.ident, self.count = cell_id, ident, count
        self.parent = {"header": parent["header"]}  # without the code, which may be large: runs are remembered for long
        self.silent = bool(parent["content"].get("silent", False))
        self.events: asyncio.Queue[tuple[Any, Event, int, Any]] = asyncio.Queue()
        self.gone: asyncio.Future[DhKernelError] = asyncio.get_running_loop().create_future()
        self.interrupted = asyncio.Event()
        self.session: Any = None
        self.over = False
        self.error_shown = False


class DeephavenKernel(Kernel):  # type: ignore[misc]
    """The Jupyter kernel whose cells run inside a Deephaven server."""

    implementation = "dh-kernel"
    implementation_version = __version__
    help_links: ClassVar = [
        {"text": "Deephaven", "url": "https://deephaven.io/core/docs/"},
        {"text": "Deephaven Python API", "url": "https://docs.deephaven.io/core/pydoc/"},
    ]
    history = Instance(History, allow_none=True)
    _execute_sleep = 0.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backend: Backend | None = None
        self._count = 1
        self._run: CellRun | None = None
        self._runs: OrderedDict[str, CellRun] = OrderedDict()
        self._questions: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._died_idle: str | None = None
        self._asking: asyncio.Future[None] | None = None
        self._numbers = iter(range(1, 1 << 62))

    # --- what front ends ask first

    @property
    def language_info(self) -> dict[str, object]:
        """Jupyter's `language_info`; the server's Python where it is known, else the kernel's."""
        session = self.backend.current if self.backend is not None else None
        version = session.info.python if session is not None and session.info is not None else platform.python_version()
        return {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "nbconvert_exporter": "python",
        }

    @property
    def banner(self) -> str:
        """What consoles print at the start."""
        return f"dh-kernel {__version__}: Python cells run inside a Deephaven server, and their tables show here.\n"

    @property
    def execution_count(self) -> int:
        """The number of the next cell that is kept in history."""
        return self._count

    @execution_count.setter
    def execution_count(self, value: int) -> None:
        """The base class counts every cell, also those without history; counted here instead."""

    @property
    def kernel_info(self) -> dict[str, Any]:
        """Jupyter's `kernel_info_reply`, without the features of ipykernel that are not there: subshells, the debugger."""
        return {**super().kernel_info, "supported_features": []}

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        """Questions are answered while a cell runs; everything else waits for its turn."""
        if subshell_id is None and self._main_asyncio_lock.locked() and self._is_question(msg):
            await self.dispatch_shell(msg, subshell_id=subshell_id, concurrent=True)
        else:
            await super().shell_main(subshell_id, msg)

    def _is_question(self, msg: Any) -> bool:
        assert self.session is not None
        try:
            _, frames = self.session.feed_identities(msg, copy=False)
            header = self.session.deserialize(frames, content=False, copy=False)["header"]
        except (ValueError, KeyError, TypeError):
            return False  # the base class logs it
        return header.get("msg_type") in _QUESTIONS

    # --- cells

    def _publish_execute_input(self, code: str, parent: dict[str, Any], execution_count: int) -> None:
        """As in the base class; but a lone surrogate, which cannot be sent as UTF-8, must not end the request."""
        super()._publish_execute_input(_without_surrogates(code), parent, execution_count)

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Run one cell on the server; the content of its `execute_reply`."""
        store_history = store_history and not silent
        run = self._new_run()
        try:
            done = await self._run_cell(run, code, silent, store_history, user_expressions or {}, allow_stdin)
        except DhKernelError as error:
            done = CellDone(run.id, {"ename": type(error).__name__, "evalue": str(error), "traceback": _told(error)})
        finally:
            run.over = True
            self._run = None
        if store_history:
            if self.history is not None:
                self.history.store(run.count, _without_surrogates(code))
            self._count += 1
        return self._reply(run, done)

    def _new_run(self) -> CellRun:
        run = CellRun(f"c{next(self._numbers)}", self.get_parent("shell"), self._shell_parent_ident.get(), self._count)
        self._run = self._runs[run.id] = run
        while len(self._runs) > _REMEMBERED_CELLS:
            self._runs.popitem(last=False)
        return run

    async def _run_cell(
        self, run: CellRun, code: str, silent: bool, store_history: bool, user_expressions: dict[str, str], allow_stdin: bool
    ) -> CellDone:
        assert self.backend is not None
        session = await self._wait_for_session(run)
        if session is None:
            return CellDone(run.id, _interrupted("interrupted before the server was ready"))
        run.session = session
        if self._died_idle is not None:
            self._publish(run, "stream", {"name": "stderr", "text": f"{self._died_idle}\n"})
            self._died_idle = None
        session.send(
            "execute",
            cell=run.id,
            code=code,
            count=run.count,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            allow_stdin=allow_stdin,
            show_tables=self.backend.settings.show_tables,
            rows=self.backend.settings.rows,
        )
        return await self._publish_until_done(run)

    async def _wait_for_session(self, run: CellRun) -> Any:
        """The open session; None if the wait was interrupted. Says what is awaited after a second, and takes that back."""
        assert self.backend is not None
        if self.backend.current is not None:
            return self.backend.current
        opening = asyncio.ensure_future(self.backend.session())
        interrupted = asyncio.ensure_future(run.interrupted.wait())
        noted = False
        try:
            await asyncio.wait((opening, interrupted), timeout=NOTE_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done() and not interrupted.done():
                noted = True
                self._publish(run, "stream", {"name": "stderr", "text": self.backend.what_starts + " …\n"})
                await asyncio.wait((opening, interrupted), return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return None
            return opening.result()
        finally:
            interrupted.cancel()
            if not opening.done():
                opening.cancel()
            if noted:
                self._publish(run, "clear_output", {"wait": False})

    async def _publish_until_done(self, run: CellRun) -> CellDone:
        while True:
            getter = asyncio.ensure_future(run.events.get())
            await asyncio.wait((getter, run.gone), return_when=asyncio.FIRST_COMPLETED)
            if not getter.done():
                getter.cancel()
                raise run.gone.result()
            session, event, size, preview = getter.result()
            if isinstance(event, CellDone):
                session.consumed(size)
                return event
            await self._publish_event(run, event, preview)
            session.consumed(size, at_once=isinstance(event, TableShown))

    def _reply(self, run: CellRun, done: CellDone) -> dict[str, Any]:
        if done.error is None:
            return {
                "status": "ok",
                "execution_count": run.count,
                "user_expressions": done.user_expressions,
                "payload": list(done.payload),
            }
        self._publish(run, "error", done.error)
        return {"status": "error", "execution_count": run.count, "user_expressions": {}, "payload": [], **done.error}

    # --- events, on the event loop

    def on_event(self, session: Any, event: Event, size: int) -> None:
        """What the session says, in order: to the cell's coroutine, or at once if the cell is over."""
        if isinstance(event, ServerInfo):
            session.consumed(size)
            assert self.backend is not None
            self.backend.warm_up(session)
            return
        if isinstance(event, Answered):
            session.consumed(size)
            question = self._questions.pop(event.request, None)
            if question is not None and not question.done():
                question.set_result(event.content)
            return
        if isinstance(event, StreamText) and event.log:
            assert self.backend is not None
            self.backend.note_log(event.text)
        run = self._runs.get(event.cell)
        if run is None:
            session.consumed(size)
            return
        preview = None
        if isinstance(event, TableShown):
            assert self.backend is not None
            preview = asyncio.ensure_future(self.backend.preview(session, event))
        if run.over:
            task = asyncio.ensure_future(self._publish_event(run, event, preview))
            task.add_done_callback(lambda _: session.consumed(size, at_once=True))
        else:
            run.events.put_nowait((session, event, size, preview))

    def on_gone(self, session: Any, error: DhKernelError) -> None:
        """The server died, or the connection is lost for good: the running cell ends, the next one gets a new session."""
        run = self._run
        if run is not None and run.session is session and not run.gone.done():
            run.gone.set_result(type(error)(f"{error}\n{_GONE}"))
        else:
            self._died_idle = f"{error}\n{_GONE}"
        for question in self._questions.values():
            if not question.done():
                question.set_result({})
        self._questions.clear()

    async def _publish_event(self, run: CellRun, event: Event, preview: Any) -> None:
        if isinstance(event, StreamText):
            self._publish(run, "stream", {"name": event.name, "text": event.text})
        elif isinstance(event, Displayed):
            self._publish_display(run, event)
        elif isinstance(event, Resulted):
            self._publish_result(run, event.data, event.metadata)
        elif isinstance(event, TableShown):
            self._publish_table(run, event, await preview)
        elif isinstance(event, Cleared):
            self._publish(run, "clear_output", {"wait": event.wait})
        elif isinstance(event, InputAsked):
            self._asking = asyncio.ensure_future(self._ask(run, event))

    def _publish_display(self, run: CellRun, event: Displayed) -> None:
        content: dict[str, Any] = {"data": event.data, "metadata": event.metadata, "transient": {}}
        if event.display_id is not None:
            content["transient"] = {"display_id": event.display_id}
        self._publish(run, "update_display_data" if event.update else "display_data", content)

    def _publish_result(self, run: CellRun, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._publish(run, "execute_result", {"data": data, "metadata": metadata, "execution_count": run.count})

    def _publish_table(self, run: CellRun, event: TableShown, preview: TablePreview) -> None:
        from dh_kernel.render import RenderOptions, table_bundle  # with pyarrow: imported while the server starts

        assert self.backend is not None
        bundle = table_bundle(preview, options=RenderOptions(rows=self.backend.settings.rows))
        if event.result:
            self._publish_result(run, bundle, {})
        else:
            self._publish(run, "display_data", {"data": bundle, "metadata": {}, "transient": {}})

    def _publish(self, run: CellRun, kind: str, content: dict[str, Any]) -> None:
        if self.session is not None and not (run.silent and kind != "error"):
            self.session.send(self.iopub_socket, kind, content, parent=run.parent, ident=self._topic(kind))

    # --- stdin

    async def _ask(self, run: CellRun, event: InputAsked) -> None:
        """One `input_request`; its reply goes to the server. Runs beside the cell's events, so that output goes on."""
        assert self.session is not None
        socket = self.stdin_socket
        while socket.poll(0):
            socket.recv_multipart(zmq.NOBLOCK)  # a reply that came too late for its question
        content = {"prompt": event.prompt, "password": event.password}
        self.session.send(socket, "input_request", content, parent=run.parent, ident=run.ident)
        while not run.over:
            if socket.poll(0):
                _, reply = self.session.recv(socket, zmq.NOBLOCK)
                if reply is not None:
                    value = reply["content"].get("value", "")
                    run.session.send("input_reply", value=value, eof=value == "\x04")
                    return
            await asyncio.sleep(0.02)

    # --- questions

    async def _question(self, kind: str, **fields: Any) -> dict[str, Any]:
        session = self.backend.current if self.backend is not None else None
        if session is None:
            return {}
        request = f"q{next(self._numbers)}"
        answer = self._questions[request] = asyncio.get_running_loop().create_future()
        session.send(kind, request=request, **fields)
        try:
            return await asyncio.wait_for(answer, QUESTION_TIMEOUT_S)
        except (TimeoutError, asyncio.TimeoutError):
            self._questions.pop(request, None)
            return {}

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """Completions on the server's live names; none within two seconds if it does not answer."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        content = await self._question("complete", code=code, cursor=cursor)
        nothing = {"matches": [], "cursor_start": cursor, "cursor_end": cursor, "metadata": {}, "status": "ok"}
        return content if content.get("status") == "ok" else nothing

    async def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> dict[str, Any]:
        """What the server knows of the name at the cursor."""
        content = await self._question("inspect", code=code, cursor=cursor_pos, detail=detail_level)
        return content if content.get("status") == "ok" else {"status": "ok", "found": False, "data": {}, "metadata": {}}

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """Whether a console should run the code or offer another line; by IPython's rules, magics included."""
        from IPython.core.inputtransformer2 import TransformerManager

        status, indent = TransformerManager().check_complete(code)
        reply: dict[str, Any] = {"status": status}
        if status == "incomplete":
            reply["indent"] = " " * (indent or 0)
        return reply

    async def do_history(self, hist_access_type: str, output: bool, raw: bool, **request: Any) -> dict[str, Any]:
        """Inputs of this and of earlier sessions."""
        entries: list[Any] = []
        if self.history is not None:
            entries = self.history.look_up(hist_access_type, output=output, raw=raw, **request)
        return {"status": "ok", "history": entries}

    async def comm_info_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """No comms are open."""
        assert self.session is not None
        self.session.send(stream, "comm_info_reply", json_clean({"comms": {}, "status": "ok"}), parent, ident)

    # --- interrupt and end

    async def interrupt_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Interrupt the running cell. Runs on the control thread, so a busy event loop does not delay it."""
        run = self._run
        if run is not None and run.session is not None:
            run.session.send("interrupt", cell=run.id)
        elif run is not None:
            self.io_loop.asyncio_loop.call_soon_threadsafe(run.interrupted.set)
        assert self.session is not None
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the session, and the server if it was launched; on the control thread."""
        if self.backend is not None:
            loop = self.io_loop.asyncio_loop
            closing = asyncio.run_coroutine_threadsafe(self.backend.close(), loop)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(closing), 10.0)
        if self.history is not None and threading.current_thread() is threading.main_thread():
            self.history.close()
        return {"status": "ok", "restart": restart}


_GONE = "The next cell gets a fresh session; the variables of this one are gone."


def _without_surrogates(code: str) -> str:
    """The code as it can be sent and kept: lone surrogates, which UTF-8 does not have, spelled out."""
    return code.encode("utf-8", "backslashreplace").decode("utf-8")


def _told(error: DhKernelError) -> list[str]:
    return [f"{type(error).__name__}: {error}"]


def _interrupted(text: str) -> dict[str, Any]:
    return {"ename": "KeyboardInterrupt", "evalue": text, "traceback": [f"KeyboardInterrupt: {text}"]}
