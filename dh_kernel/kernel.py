"""Jupyter messages to session calls and back: the kernel that front ends talk to.

Neighbours: `runs` (requests under way), `publishing` (their output), `asking` (stdin), `backend` (the server), `history`. With
`app` the only importer of ipykernel. Refuses to know gRPC, processes, and how cells run.

Every handler runs on the main thread's event loop and never blocks it, also those of subshells; except those of the control
channel, which ipykernel runs on a thread of its own. A cell's life here: its request waits for a session, is sent, and then
one coroutine publishes the cell's events in order until the one that says it is done. Events of a cell that is over (threads,
listeners) are published with its parent all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import threading
import time
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from ipykernel._version import kernel_protocol_version
from ipykernel.jsonutil import json_clean
from ipykernel.kernelbase import Kernel
from traitlets import Instance

from dh_kernel import __version__
from dh_kernel.errors import DhKernelError, SessionLostError
from dh_kernel.history import History
from dh_kernel.session import Answered, CellDone, Event, InputAsked, Resulted, ServerInfo, StreamText

from . import losses
from .asking import Asker
from .backend import Backend
from .commands import Command, command_of, run_command, without_secrets
from .debug_channel import DebugChannel
from .flow import TAKEN
from .heartbeat import Heartbeat
from .interrupting import Interrupter
from .publishing import Publisher
from .questions import Questions
from .reattaching import Reattacher, left_behind
from .runs import COMM_MESSAGES, Lane, Run, Runs, interrupted

T = TypeVar("T")
NOTE_AFTER_S = 1.0
QUESTION_TIMEOUT_S = 2.0
_ACK_AFTER_S = 0.1


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
        for name in COMM_MESSAGES:
            self.shell_handlers[name] = self.comm_message
        self.backend: Backend | None = None
        self._publisher: Publisher | None = None
        self._asker = Asker(self)
        self._debug = DebugChannel(self)
        self._count = 1
        self._runs = Runs()
        self._interrupter = Interrupter(self, self._runs)
        self._heartbeat = Heartbeat(self, self._runs)
        self.heard_at = 0.0  # when the session last said anything
        self._lanes: dict[str | None, Lane] = {}
        self._questions = Questions()
        self._notices = losses.Notices()
        self._told_of: Any = None
        self._warned = False
        self._late: set[asyncio.Task[None]] = set()
        self._reattacher: Reattacher | None = None
        self._numbers = iter(range(1, 1 << 62))
        self._tag = uuid.uuid4().hex[:8]  # a session may hold cells of another kernel, which it has taken over

    def connect_backend(self, backend: Backend) -> None:
        """The server's side is there; called once, before the first request is served."""
        self.backend = backend
        backend.ask = self.question
        self._publisher = Publisher(backend, self._send, self.question, self._runs.is_young)
        self._reattacher = Reattacher(self._runs, backend, self.question, self._publish_event)

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
        """Jupyter's `kernel_info_reply`, with the features of ipykernel that are there. The base class imports debugpy."""
        features = ["kernel subshells", *(["debugger"] if self._debug.works else [])]
        return {
            "protocol_version": kernel_protocol_version,
            "implementation": self.implementation,
            "implementation_version": self.implementation_version,
            "language_info": self.language_info,
            "banner": self.banner,
            "help_links": self.help_links,
            "supported_features": features,
            "deephaven": self._about_server(),
        }

    def _about_server(self) -> dict[str, Any] | None:
        about = self.backend.description if self.backend is not None else None
        return None if self.backend is None or about is None else {**about, "warnings": list(self.backend.settings.warnings)}

    # --- lanes: the main shell's, and one for each subshell

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        """Handle a message of the shell channel: on the main thread's loop, which nothing blocks, also those of subshells."""
        if subshell_id is None:  # a task of its own has a context of its own, in which the base class keeps the parent
            await asyncio.get_running_loop().create_task(self._in_lane(None, msg))
        else:
            handling = asyncio.run_coroutine_threadsafe(self._in_lane(subshell_id, msg), self.io_loop.asyncio_loop)
            await asyncio.wrap_future(handling)

    async def _in_lane(self, lane: str | None, msg: Any) -> None:
        """One after the other; but questions, and messages to comms, pass a cell that runs.

        With a status of their own: JupyterLab takes an answer as complete, and ipywidgets send more, only after idle.
        """
        async with self._lanes.setdefault(lane, Lane()).turn(self._kind_of(msg)) as passing:
            await self.dispatch_shell(msg, subshell_id=lane)
        if passing:
            self._still_busy()

    def _kind_of(self, msg: Any) -> str | None:
        assert self.session is not None
        try:
            _, frames = self.session.feed_identities(msg, copy=False)
            return str(self.session.deserialize(frames, content=False, copy=False)["header"]["msg_type"])
        except (ValueError, KeyError, TypeError):
            return None  # the base class logs it

    def _still_busy(self) -> None:
        """Front ends take any idle status for the kernel's: say that a cell still runs."""
        for run in [run for run in self._runs.active if not run.is_comm][:1]:
            self._publish_status("busy", "shell", parent=run.parent)

    def pre_handler_hook(self) -> None:
        """The base class lets SIGINT raise KeyboardInterrupt here while a cell runs; cells do not run here."""

    def post_handler_hook(self) -> None:
        """As `pre_handler_hook`."""

    async def create_subshell_request(self, socket: Any, ident: Any, parent: dict[str, Any]) -> None:
        """As in the base class; the subshell's thread on the server is there before the reply."""
        assert self.session is not None
        manager_socket = self.shell_channel_thread.manager.control_to_shell_channel.from_socket
        manager_socket.send_json({"type": "create"})
        reply = manager_socket.recv_json()
        if reply["status"] == "ok":
            await self.question("open_lane", lane=reply["subshell_id"])
        self.session.send(socket, "create_subshell_reply", reply, parent, ident)

    async def delete_subshell_request(self, socket: Any, ident: Any, parent: dict[str, Any]) -> None:
        """As in the base class; what runs in the subshell is interrupted, and its thread on the server ends."""
        lane = parent["content"].get("subshell_id")
        if lane is not None:
            for run in self._runs.active:
                if run.lane == lane and run.session is not None:
                    run.session.send("interrupt", cell=run.id)
            await self.question("close_lane", lane=lane)
        await super().delete_subshell_request(socket, ident, parent)
        self._lanes.pop(lane, None)

    async def _on_main_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Handlers of the control channel run on a thread of its own; all that is kept of runs belongs to the main one."""
        loop = self.io_loop.asyncio_loop
        if asyncio.get_running_loop() is loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    # --- cells

    def _publish_execute_input(self, code: str, parent: dict[str, Any], execution_count: int) -> None:
        """As in the base class; but a lone surrogate, which cannot be sent as UTF-8, must not end the request. No keys."""
        super()._publish_execute_input(_without_surrogates(without_secrets(code)), parent, execution_count)

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
        """Run one cell on the server; the content of its `execute_reply`. Also for a request on the control channel."""
        parent = self.get_parent()
        ident = self._shell_parent_ident.get(None) or self._control_parent_ident
        running = self._execute(parent, ident, code, silent, store_history and not silent, user_expressions or {}, allow_stdin)
        return await self._on_main_loop(running)

    async def _execute(
        self,
        parent: dict[str, Any],
        ident: Any,
        code: str,
        silent: bool,
        store_history: bool,
        user_expressions: dict[str, str],
        allow_stdin: bool,
    ) -> dict[str, Any]:
        run = self._new_run(parent, ident)
        if store_history:
            self._count += 1
        assert self.backend is not None
        message = {
            "code": code,
            "count": run.count,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": user_expressions,
            "allow_stdin": allow_stdin,
            "cell_meta": json_clean(parent.get("metadata", {})),
            "show_tables": store_history,  # a cell without is a front end's own
        }
        if store_history and self.history is not None:
            self.history.store(run.count, _without_surrogates(without_secrets(code)))
        command = command_of(code)
        done = await (self._run_to_end(run, "execute", message) if command is None else self._run_command(run, command))
        return self._reply(run, done)

    def _new_run(self, parent: dict[str, Any], ident: Any) -> Run:
        run = Run(f"c{self._tag}-{next(self._numbers)}", parent, ident, self._count)
        self._runs.add(run)
        return run

    async def _run_to_end(self, run: Run, kind: str, message: dict[str, Any], buffers: Any = ()) -> CellDone:
        """Send a request once there is a session, and publish what the server says of it until it is done."""
        try:
            session = await self._wait_for_session(run)
            if session is None:
                return interrupted(run, "interrupted before the server was ready")
            run.session = session
            if not run.is_comm:
                self._tell(run)
            session.send(kind, buffers, cell=run.id, lane=run.lane, parent=run.header, **message)
            self._heartbeat.watch()
            done = await self._publish_until_done(run)
            self._tell_timings(run)
            return done
        except DhKernelError as error:
            return _failed(run, error)
        except Exception as error:  # a front end waits for the reply for good
            self.log.exception("a cell failed in the kernel itself")
            text = f"the kernel itself failed: {type(error).__name__}: {error}. Its log has the traceback."
            return _failed(run, DhKernelError(text))
        finally:
            self._end_run(run)

    def _end_run(self, run: Run) -> None:
        """A run is over. What has arrived behind its end, of its threads, shows all the same."""
        self._runs.end(run)
        while not run.events.empty():
            session, event, size, begun = run.events.get_nowait()
            if run.cut_off or isinstance(event, CellDone):
                session.consumed(size)
            else:
                self._publish_late(run, session, event, size, begun)

    def _publish_late(self, run: Run, session: Any, event: Event, size: int, begun: Any) -> None:
        task = asyncio.ensure_future(self._publish_event(run, event, begun))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        task.add_done_callback(lambda _: session.consumed(size))

    def _tell(self, run: Run) -> None:
        """What has become of the former session, or of another one of this name; and what to mind about the settings."""
        notes: list[str | None] = [*self._warnings_for(run), *self._notices.for_next(run.session)]
        if not run.silent and self._told_of is not run.session:
            self._told_of = run.session
            notes.append(left_behind(run.session.left_behind))
        for note in filter(None, notes):
            self._send(run, "stream", {"name": "stderr", "text": f"{note.rstrip()}\n"})

    def _warnings_for(self, run: Run) -> Sequence[str]:
        """Those of the settings, in the first cell that shows. Who wants no notes has them from `kernel_info`."""
        assert self.backend is not None
        if self._warned or (run.silent and not run.quiet):
            return ()
        self._warned = True
        return () if run.quiet else self.backend.settings.warnings

    async def _reattach(self, run: Run, wanted: str) -> CellDone:
        """Pick up a session, and what it goes on with as this cell's own."""
        assert self._reattacher is not None
        assert self.backend is not None
        former = self.backend.current
        text = await self._noted(run, asyncio.ensure_future(self._reattacher.pick_up(run, wanted)), "Connecting")
        if text is None:
            return interrupted(run, "interrupted before the server was reached")
        self._end_former(former)
        self._told_of = run.session
        self._send(run, "stream", {"name": "stderr", "text": text})
        done = await self._reattacher.follow(run)
        if self._publisher is not None:
            self._publisher.finish(run)
        return done

    def _tell_timings(self, run: Run) -> None:
        """Under the first cell, where the time until its end went."""
        assert self.backend is not None
        if self.backend.settings.timings and not (run.is_comm or run.silent) and "done" not in self.backend.timings.kernel:
            self.backend.timings.mark("done")
            self._send(run, "stream", {"name": "stderr", "text": f"{self.backend.timings.line()}\n"})

    async def _run_command(self, run: Run, command: Command) -> CellDone:
        """Run a cell that changes the server. What runs elsewhere on the former one ends."""
        assert self.backend is not None
        former = self.backend.current
        try:
            if command.words[:1] == ("reattach",):
                return await self._reattach(run, "".join(command.words[1:2]))
            text = await self._noted(run, asyncio.ensure_future(run_command(command, self.backend)), command.notice)
            if text is None:
                return interrupted(run, "interrupted before the server was ready")
            self._send(run, "stream", {"name": "stdout", "text": text})
            return CellDone(run.id)
        except DhKernelError as error:
            return _failed(run, error)
        finally:
            self._end_run(run)
            self._end_former(former)

    def _end_former(self, former: Any) -> None:
        """What runs, and what is live, in a session that is not in use any more."""
        assert self.backend is not None
        if self.backend.current is not former:
            self._notices.forget()
            if self._publisher is not None:
                self._publisher.live.end_all("another server runs the cells", former)
            self._end_runs(former, SessionLostError(f"Another cell has changed the server. {self.backend.next_step}"))

    async def _wait_for_session(self, run: Run) -> Any:
        """The open session; None if the wait was interrupted."""
        assert self.backend is not None
        if self.backend.current is not None:
            return self.backend.current
        if self.backend.lost is not None and self.backend.settings.restart == "ask" and run.can_be_asked:
            answer = await self._asker.question(run, f"{_cause(self.backend.lost)} {_ASK}")
            if answer is None:
                return None
            if answer.strip().lower() in ("y", "yes"):
                self.backend.start_anew()
        return await self._noted(run, asyncio.ensure_future(self.backend.session()))

    async def _noted(self, run: Run, work: asyncio.Future[T], what: str = "") -> T | None:
        """The result of what a run waits for; None if it was interrupted. After a second says what, and takes that back."""
        assert self.backend is not None
        stop = asyncio.ensure_future(run.interrupted.wait())
        noted = False
        try:
            await asyncio.wait((work, stop), timeout=NOTE_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not stop.done() and not run.quiet:
                noted = True
                self._send(run, "stream", {"name": "stderr", "text": f"{what or self.backend.what_starts} …\n"})
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
            if noted:
                self._send(run, "clear_output", {"wait": False})

    async def _publish_until_done(self, run: Run) -> CellDone:
        while True:
            session, event, size, begun = await run.next_event()
            if isinstance(event, CellDone):
                if self._publisher is not None:
                    self._publisher.finish(run)
                # Told, so that the end counts as known; a little later, so that what waits for the cell comes first.
                asyncio.get_running_loop().call_later(_ACK_AFTER_S, _consumed_at_once, session, size)
                return event
            await run.flow.room(size)
            await self._publish_event(run, event, begun)
            session.consumed(size)

    def _reply(self, run: Run, done: CellDone) -> dict[str, Any]:
        if done.error is None:
            return {
                "status": "ok",
                "execution_count": run.count,
                "user_expressions": done.user_expressions,
                "payload": list(done.payload),
            }
        advice = self.backend.advice(str(done.error["evalue"])) if self.backend is not None else None
        if advice is not None:
            self.note(run, advice)
        if done.error["traceback"]:  # without one it has been shown already, in the user's own way
            self._send(run, "error", done.error)
        return {"status": "error", "execution_count": run.count, "user_expressions": {}, "payload": [], **done.error}

    # --- comms

    async def comm_message(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Hand a message to the server's comms; what its callback puts out is published with it as the parent."""
        assert self.backend is not None
        run = self._new_run(parent, ident)
        kind = parent["header"]["msg_type"]
        if not self.backend.is_open_or_opening:
            self._refuse(run, parent)
            return
        message = {"msg_type": kind, "content": parent["content"], "metadata": parent.get("metadata", {})}
        buffers = [bytes(buffer) for buffer in parent.get("buffers", ())]
        done = await self._run_to_end(run, "comm", {"message": message}, buffers)
        if run.session is None:
            self._refuse(run, parent)
        elif done.error is not None and done.error["ename"] != "KeyboardInterrupt":
            self._send(run, "stream", {"name": "stderr", "text": "\n".join([*done.error["traceback"], ""])})

    def _refuse(self, run: Run, parent: dict[str, Any]) -> None:
        """There is no server, so no comm and no target. A message to a comm starts none: what it meant is gone."""
        self._runs.end(run)
        if parent["header"]["msg_type"] == "comm_open":
            self._send(run, "comm_close", {"comm_id": parent["content"].get("comm_id", ""), "data": {}})

    async def comm_info_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """The comms that are open on the server, of one target if the request names one."""
        assert self.session is not None
        found = await self.question("comm_info", target=parent["content"].get("target_name"))
        content = {"comms": found.get("comms", {}), "status": "ok"}
        self.session.send(stream, "comm_info_reply", json_clean(content), parent, ident)

    # --- events, on the event loop

    def on_event(self, session: Any, event: Event, size: int) -> None:
        """What the session says, in order: to the run's coroutine, or at once if the run is over."""
        assert self.backend is not None
        assert self._publisher is not None
        assert self._reattacher is not None
        self.heard_at = time.monotonic()
        if isinstance(event, ServerInfo):
            session.consumed(size)
            self.backend.warm_up(session)
            return
        if isinstance(event, Answered):
            self._answered(session, event, size)
            return
        if isinstance(event, StreamText) and event.log:
            event = replace(event, text=self.backend.note_log(event.text))
        dealing = self._publisher.outside_cells(session, event)
        if dealing is not None:
            dealing.add_done_callback(lambda _: session.consumed(size))
            return
        run = self._runs.get(event.cell) or self._reattacher.heir(session)
        if isinstance(event, StreamText) and event.last:
            run = self._runs.latest(session)
        if run is None or run.cut_off or _is_empty(event):
            session.consumed(size, at_once=isinstance(event, CellDone))
            return
        begun = self._publisher.begin(session, event)
        if run.over:
            self._publish_late(run, session, event, size, begun)
        else:
            run.events.put_nowait((session, event, size, begun))

    def _end_runs(self, session: Any, error: DhKernelError, plain: DhKernelError | None = None) -> bool:
        """What runs in a session ends with an error; whether that shows anywhere.

        Args:
            plain: the error without advice for a next cell, for runs that want no notes of ours.
        """
        hit = False
        for run in self._runs.of_session(session):
            if not run.gone.done():
                run.gone.set_result(plain if plain is not None and run.quiet else error)
                hit |= not run.is_comm  # what a callback says may be shown nowhere
        return hit

    def on_gone(self, session: Any, error: DhKernelError) -> bool:
        """The server died, or the connection is lost for good: what runs ends, the next cell gets a new session.

        Returns:
            Whether a cell was running.
        """
        if self._publisher is not None:
            self._publisher.live.end_all("the server or its session has ended", session)
        assert self.backend is not None
        settings = self.backend.settings
        gone = self._notices.lose(
            session,
            error,
            attached=settings.endpoint is not None,
            private=settings.private_names,
            automatic=settings.restart == "automatic",
        )
        hit = self._end_runs(session, gone, error)
        if hit:
            self._notices.shown()
        self._questions.end_all()
        return hit

    def _answered(self, session: Any, event: Answered, size: int) -> None:
        settle = self._questions.take(event.request)
        if event.table is None or settle is None:
            if event.table is not None and self.backend is not None:
                self.backend.discard(session, event.table)
            session.consumed(size)
            if settle is not None:
                settle(event.content)
            return
        assert self._publisher is not None
        bundle = asyncio.ensure_future(self._publisher.bundle(session, event.table))
        bundle.add_done_callback(lambda _: session.consumed(size))
        bundle.add_done_callback(lambda done: settle({**event.content, "data": done.result()}))

    async def _publish_event(self, run: Run, event: Event, begun: Any) -> None:
        assert self._publisher is not None
        if isinstance(event, InputAsked):
            self._asker.ask(run, event)
        else:
            await self._publisher.publish(run, event, begun)
        if isinstance(event, Resulted) and self.history is not None:
            self.history.note_output(run.count, str(event.data.get("text/plain", "")))

    def _send(self, run: Run, kind: str, content: dict[str, Any], metadata: Any = None, buffers: Any = None) -> None:
        """Put a message of a run on IOPub."""
        if self.session is None or (run.silent and kind != "error" and kind not in COMM_MESSAGES):
            return
        self.session.send(
            self.iopub_socket,
            kind,
            content,
            parent=run.parent,
            ident=self._topic(kind),
            metadata=run.flow.marked(metadata),
            buffers=buffers,
        )

    # --- questions

    def note(self, run: Run, text: str) -> None:
        """Say something about a run that is under way, among its output."""
        if not run.quiet:
            self._send(run, "stream", {"name": "stderr", "text": f"{text}\n"})

    async def question(self, kind: str, timeout_s: float | None = QUESTION_TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """The runtime's answer; empty if there is none in time, or no session."""
        return await self._on_main_loop(self._ask_runtime(kind, timeout_s, fields))

    async def _ask_runtime(self, kind: str, timeout_s: float | None, fields: dict[str, Any]) -> dict[str, Any]:
        session = self.backend.current if self.backend is not None else None
        if session is None:
            return {}
        return await self._questions.put(session, kind, timeout_s, fields)

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """Completions on the server's live names; none within two seconds if it does not answer."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        content = await self.question("complete", code=code, cursor=cursor)
        nothing = {"matches": [], "cursor_start": cursor, "cursor_end": cursor, "metadata": {}, "status": "ok"}
        return content if content.get("status") == "ok" else nothing

    async def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> dict[str, Any]:
        """What the server knows of the name at the cursor."""
        content = await self.question("inspect", code=code, cursor=cursor_pos, detail=detail_level)
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

    # --- debugger

    async def dispatch_control(self, msg: Any) -> None:
        """One after the other, as in the base class, but for what debuggers ask."""
        kind = self._kind_of(msg)
        if kind not in ("debug_request", TAKEN):
            await super().dispatch_control(msg)
            return
        assert self.session is not None
        idents, frames = self.session.feed_identities(msg, copy=False)
        message = self.session.deserialize(frames, content=True, copy=False)
        if kind == TAKEN:
            self.io_loop.asyncio_loop.call_soon_threadsafe(self._runs.taken, message["content"])
        else:
            await self._debug.handle(idents, message)

    def running_parent(self) -> dict[str, Any]:
        """The message that the running cell answers, or else the latest one. Any thread."""
        return next((run.parent for run in self._runs.active), None) or self.get_parent("shell")

    # --- interrupt and end

    async def interrupt_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Interrupt what runs. On the control thread, so a busy event loop does not delay it."""
        self.interrupt()
        assert self.session is not None
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    def interrupt(self) -> None:
        """Interrupt what runs. Any thread."""
        self._interrupter.interrupt()

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the session, and the server if it was launched; on the control thread. A restart means a clean namespace."""
        if self.backend is not None:
            loop = self.io_loop.asyncio_loop
            closing = asyncio.run_coroutine_threadsafe(self._end(self.backend, restart), loop)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(closing), 10.0)
        if self.history is not None and threading.current_thread() is threading.main_thread():
            self.history.close()
        return {"status": "ok", "restart": restart}

    async def _end(self, backend: Backend, restart: bool) -> None:
        if self._publisher is not None:
            self._publisher.live.end_all("the kernel has ended")
        await backend.close(forget=restart)


def _consumed_at_once(session: Any, size: int) -> None:
    session.consumed(size, at_once=True)


def _is_empty(event: Event) -> bool:
    return isinstance(event, StreamText) and not event.text and not event.raw


_ASK = "Its variables are gone. Start a fresh one? [y/n] "


def _cause(error: DhKernelError) -> str:
    return str(error).partition("\n")[0]


def _without_surrogates(code: str) -> str:
    """The code as it can be sent and kept: lone surrogates, which UTF-8 does not have, spelled out."""
    return code.encode("utf-8", "backslashreplace").decode("utf-8")


def _failed(run: Run, error: DhKernelError) -> CellDone:
    """The end of a run by an error of ours; `dh_kernel` tells it from one of the user's code with the same name."""
    name = type(error).__name__
    return CellDone(run.id, {"ename": name, "evalue": str(error), "traceback": [f"{name}: {error}"], "dh_kernel": True})
