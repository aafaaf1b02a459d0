"""One kernel's session inside the server: its messages, its lanes of cells, its life.

Neighbours: everything of the runtime; this is where it is put together. Refuses to touch private names (`engine`) and bytes
(`wire`).

Messages in: one method `_on_…` each. Frames out are listed in `outputs`; besides these there are `done` (a cell's outcome),
`answer` (to a question) and `ready`.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from . import front
from .cells import Cell, CellRunner, Outcome, interrupted
from .channel import Channel
from .comms import Comms
from .comms import install as install_comms
from .debugger import Debugger
from .dh_magic import About
from .engine import Engine
from .evaluation import Evaluator
from .interpreter import PlainInterpreter
from .introspection import complete, inspect_at
from .lanes import allow_asyncio_run
from .listeners import follow_listeners
from .live import LiveOutputs
from .objectcards import ObjectCards
from .outputs import Outputs, clean
from .ownership import inherited, leave
from .preferences import Preferences
from .programs import Program, ProgramInterpreter
from .questioner import Questioner
from .scope import ScopeObserver
from .stdin import install_empty_stdin, install_pdb
from .streams import install_switchboard
from .tables import Tables
from .threads import ServiceThread, ServiceTimer

_LANE_END_S = 1.0


class RuntimeSession:
    """What the kernel talks to. One per kernel; it outlives a broken stream for `linger_s`.

    Where something runs then, or has ended and nobody knows, it goes on without a kernel for `detached_s`.
    """

    def __init__(
        self,
        session_id: str,
        namespace: dict[str, Any],
        engine: Engine,
        own_files: tuple[str, ...],
        options: dict[str, Any],
        left_behind: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        self.id, self.name = session_id, str(options.get("name", ""))
        self._detached_s, self._alone_since = float(options.get("detached_s", 0)), 0.0
        self._left_behind = left_behind
        self._engine, self._namespace, self._own_files = engine, namespace, own_files
        self._linger_s = float(options["linger_s"])
        self._launched = bool(options["launched"])
        self._private = bool(options.get("private"))
        self._follows_profile = self._launched and bool(options.get("profile", True))
        self._grace_s = float(options["interrupt_grace_s"])
        self._when_closed: Callable[[], None] = lambda: None
        self._scope = engine.new_scope()
        self._switchboard = install_switchboard()
        front.install()
        allow_asyncio_run()
        self.channel = Channel(session_id, self._on_message)
        self.channel.on_connected = self._connected
        self.channel.on_disconnected = self._disconnected
        self.channel.greeting = self._greeting
        self._tables = Tables(engine)
        preferences = Preferences(**options.get("tables", {}))
        self._outputs = Outputs(
            self.channel, self._switchboard, self._tables, namespace, lambda value: self._bundle(value), preferences
        )
        self._live = LiveOutputs(
            session_id, engine, self._tables, preferences, self._outputs.queue_live, lambda age_s: self._has_young_cell(age_s)
        )
        self._outputs.live = self._live
        self._cards = ObjectCards(engine, self._outputs.name_of, str(options.get("address", "")))
        self._comms = self._outputs.comms = Comms(self._outputs)
        if self._launched:
            self._comms.own_process()
        self._scope_observer = ScopeObserver(session_id, engine, self._scope, collect=self._launched)
        plain = self._outputs.plain = PlainInterpreter(namespace, session_id, own_files)
        self._kernel = str(options.get("kernel", ""))
        self._ownership = None if self._launched else inherited(self._kernel, namespace)
        self._evaluator = Evaluator(namespace, plain, self._outputs, self._scope_observer, engine, own_files, self._ownership)
        self._lanes: dict[str | None, CellRunner] = {}
        self._debugger = Debugger(session_id, namespace, self._describe, self._keep_lines, own_files, self._reply)
        self._outputs.about = About(
            engine,
            self._tables,
            namespace,
            launched=self._launched,
            address=str(options.get("address", "")),
            session=session_id,
        )
        self._lane(None).prepare(lambda: self._load_ipython(own_files))
        self._lane(None).prepare(self._install_wrappers)
        self._cells: dict[str, Cell] = {}
        self._left_over: dict[str, Cell] = {}  # abandoned, and not at its end yet
        self._questioner = Questioner(f"dh-kernel-questions-{session_id}", self._answer)
        self._linger: threading.Timer | None = None
        self._closed = self._leaves_nothing = False
        self.ready = {
            "deephaven": engine.version,
            "python": sys.version.split()[0],
            "pid": os.getpid(),
            "heap_bytes": engine.heap_bytes(),
            "journal": self._outputs.keep_journal() if self._launched else None,
            "reads_output": self._launched and self._outputs.take_process_output(),
            "debugger": self._debugger.files is not None,
        }

    def _load_ipython(self, own_files: tuple[str, ...]) -> None:
        """Let IPython run the cells if it is there. A shell that cannot be made leaves the plain wrapper in place.

        On the cells' thread, before the first of them: the import takes as long as opening the stream, which goes on.
        """
        try:
            from .ipython_shell import IPythonInterpreter

            if self._launched:
                os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
            made = IPythonInterpreter(
                self._namespace,
                own_files,
                lambda value: self._tables.as_shown(value) is not None,
                self._cards.added,
                launched=self._launched,
                follows_profile=self._follows_profile,
                cell_files=self._debugger.files,
            )
        except ImportError:
            return
        except Exception:  # an IPython of another age
            traceback.print_exc()
            return
        self._outputs.shell, self._evaluator.interpreter = made.shell, made
        made.start()

    def _install_wrappers(self) -> None:
        """What needs modules that take a while to import."""
        install_pdb(by_ipython=self._outputs.shell is not None)
        if not self._launched:
            install_empty_stdin(self._switchboard.current)
        follow_listeners(self._switchboard)

    def _bundle(self, value: object) -> Any:
        return self._cards.added(value, self._evaluator.interpreter.bundle(value))

    def _lane(self, name: str | None) -> CellRunner:
        """The cells' runner of the main shell, or of a subshell, which begins with its first cell."""
        runner = self._lanes.get(name)
        if runner is None:
            full_name = self.id if name is None else f"{self.id}-{name}"
            main = self._launched and name is None
            runner = self._lanes[name] = CellRunner(full_name, self._engine, self._switchboard, self._scope, main=main)
        return runner

    # --- messages in; on a gRPC thread, so nothing here waits

    def _on_message(self, header: dict[str, Any], buffers: list[bytes]) -> None:
        handler = getattr(self, f"_on_{header['kind']}", None)
        if handler is not None:
            header["buffers"] = buffers
            handler(header)

    def _on_execute(self, message: dict[str, Any]) -> None:
        cell = self._cells[message["cell"]] = self._outputs.new_cell(message)
        self._live.cell_begins(cell)
        evaluator = self._evaluator_of(cell)
        self._lane(cell.lane).submit(
            cell,
            lambda: self._evaluate(evaluator, cell, message),
            lambda outcome: self._done(cell, outcome),
            lambda: evaluator.interpreter.awaits(message["code"]),
        )

    def _has_young_cell(self, age_s: float) -> bool:
        return any(time.monotonic() - cell.arrived < age_s for cell in list(self._cells.values()))

    def _evaluator_of(self, cell: Cell) -> Evaluator:
        """The session's, or one for a script that is run as a program."""
        program = Program.of(cell.cell_meta)
        if program is None:
            return self._evaluator
        evaluator = copy.copy(self._evaluator)
        evaluator.interpreter = ProgramInterpreter(
            program,
            self._namespace,
            lambda: self._evaluator.interpreter,
            self._switchboard,
            self._own_files,
            launched=self._launched,
        )
        return evaluator

    def _evaluate(self, evaluator: Evaluator, cell: Cell, message: dict[str, Any]) -> Coroutine[Any, Any, Outcome]:
        install_comms()
        self._debugger.enter_cell()
        return evaluator.run(cell, message)

    def _on_comm(self, message: dict[str, Any]) -> None:
        """A message to a comm: as soon as its lane is free, also while a cell awaits something there."""
        lane = message["lane"] = self._comms.lane_of(message["message"], message.get("lane"))
        cell = self._cells[message["cell"]] = self._outputs.new_cell(message)

        async def handle() -> Outcome:
            self._comms.handle(message["message"], message["buffers"], cell)
            return {"status": "ok", "user_expressions": {}, "payload": []}

        self._lane(lane).submit_prompt(cell, lambda: self._evaluator.guard(handle()), lambda done: self._done(cell, done))

    def _on_interrupt(self, message: dict[str, Any]) -> None:
        """Strike a cell; without one, or if earlier ones still run, say what can be done about those."""
        self._tell_of_left_over(message["cell"])
        cell = self._cells.get(message["cell"])
        if cell is None or self._waits_for_another(cell):
            return
        self._debugger.let_go()
        if self._lane(cell.lane).withdraw(cell):
            self._done(cell, interrupted("interrupted before it began"))
        elif cell.zone is not None and cell.zone.strike():
            timer = ServiceTimer(self._grace_s, self._abandon_if_stuck, (cell,))
            timer.name, timer.daemon = "dh-kernel-abandon", True
            timer.start()

    def _waits_for_another(self, cell: Cell) -> bool:
        """Whether a message to a comm waits for a cell that runs, or the other way: then the interrupt means that one."""
        return cell.zone is None and any(
            other.zone is not None and other.lane == cell.lane and not other.over and (other.is_comm or cell.is_comm)
            for other in list(self._cells.values())
        )

    def _on_ping(self, message: dict[str, Any]) -> None:
        """The kernel asks whether the server's Python is held up by a call that lets nobody else run."""
        self.channel.queue({"kind": "answer", "request": message["request"], "content": {"status": "ok"}})

    def _on_complete(self, message: dict[str, Any]) -> None:
        self._questioner.put(message)

    _on_inspect = _on_forget = _on_why = _on_left_behind = _on_comm_info = _on_open_lane = _on_close_lane = _on_complete

    def _on_debug(self, message: dict[str, Any]) -> None:
        self._debugger.put(message)

    def _on_live_unseen(self, message: dict[str, Any]) -> None:
        self._live.replaced(message["output"])

    def _on_live_shown(self, message: dict[str, Any]) -> None:
        self._live.shown(message["outputs"])

    def _on_input_reply(self, message: dict[str, Any]) -> None:
        self._outputs.answer(message)

    def _on_close(self, message: dict[str, Any]) -> None:
        leave(self._kernel)
        ServiceThread(target=self.close, name="dh-kernel-close", daemon=True).start()

    # --- a cell's end, on its thread or on that of the interrupt

    def _done(self, cell: Cell, outcome: Outcome) -> None:
        if self._cells.pop(cell.id, None) is None:
            self._left_over.pop(cell.id, None)
            self._tell(cell.id, f"The interrupted cell [{cell.count}] has come to its end in the server.")
            return
        self._outputs.flush()
        self.channel.queue({"kind": "done", "cell": cell.id, **clean(outcome)})

    def _abandon_if_stuck(self, cell: Cell) -> None:
        if cell.id not in self._cells or cell.zone is None or not cell.zone.stuck():
            return
        self._outputs.flush()
        self._left_over[cell.id] = cell
        if self._cells.pop(cell.id, None) is None:
            del self._left_over[cell.id]
            return
        self._lane(cell.lane).abandon(cell)
        text = (
            "interrupted; what the cell was doing cannot be stopped and is still running in the server, its output is cut off"
        )
        self.channel.queue({"kind": "done", "cell": cell.id, **interrupted(text)})

    def _tell_of_left_over(self, cell_id: str) -> None:
        """Shown in the cell that is interrupted, or in the one that is left over if none is."""
        for cell in list(self._left_over.values()):
            text = f"The interrupted cell [{cell.count}] is still running in the server and cannot be stopped there."
            way = "Restart the kernel, or run `%dh restart`, to end it." if self._launched else "It ends with the server."
            self._tell(cell_id or cell.id, f"{text} {way}")

    def _tell(self, cell_id: str, text: str) -> None:
        self.channel.queue({"kind": "stream", "cell": cell_id, "name": "stderr", "text": f"{text}\n", "log": False})

    # --- questions: completion, inspection, which comms there are; on the questioner's thread

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            if message["kind"] == "complete":
                content = complete(self._namespace, message["code"], message["cursor"])
            elif message["kind"] == "comm_info":
                content = {"comms": self._comms.info(message["target"])}
            elif message["kind"] == "why":
                with self._engine.cell_context(self._scope):
                    content = {"reason": self._tables.reason(message["table"])}
            elif message["kind"] == "left_behind":
                content = {"sessions": self._left_behind()}
            elif message["kind"] == "forget":
                self._forget()
                content = {"status": "ok"}
            elif message["kind"] == "open_lane":
                self._lane(message["lane"])
                content = {}
            elif message["kind"] == "close_lane":
                self._close_lane(message["lane"])
                content = {}
            else:
                content = inspect_at(self._namespace, message["code"], message["cursor"], message["detail"])
        except Exception as error:  # a thread's edge
            content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        self._reply(message, content)

    def _reply(self, message: dict[str, Any], content: dict[str, Any], references: Sequence[Any] = ()) -> None:
        frame = {"kind": "answer", "request": message["request"], "content": clean(content)}
        self.channel.queue(frame, references=references)

    # --- for the debugger, on its thread

    def _describe(self, value: object, rows: int) -> tuple[dict[str, Any], list[Any]]:
        """An object as a bundle, or as a table to preview."""
        with self._engine.cell_context(self._scope):
            table = self._tables.as_shown(value)
            if table is None:
                data, metadata = self._bundle(value)
                return {"data": data, "metadata": metadata}, []
            description, references = self._tables.describe(table, self._outputs.name_of(value), rows)
            return {"table": {"cell": "", "result": False, "text": "", **description}}, references

    def _keep_lines(self, keep: bool) -> None:
        self._evaluator.interpreter.keep_lines(keep)

    def _forget(self) -> None:
        """Leave the namespace as if the session had not been there, also at its end; others' variables stay."""
        self._leaves_nothing = True
        if self._ownership is not None:
            self._ownership.forget()
        self._engine.observe_scope()

    def _close_lane(self, name: str) -> None:
        runner = self._lanes.pop(name, None)
        if runner is not None:
            runner.close(_LANE_END_S)

    # --- the session's life

    def _connected(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.channel.queue({"kind": "ready", **self.ready}, references=[self._tables.sample()])

    def _greeting(self) -> dict[str, Any]:
        """What a kernel knows from the start: the cells that it will hear of, and sessions of this name left behind."""
        namesakes = [each for each in self._left_behind() if self.name and each["name"] == self.name]
        return {"cells": self._cells_to_tell(), "left_behind": namesakes}

    def _disconnected(self) -> None:
        if not self._closed and self._linger is None:
            self._alone_since = time.time()
            self._in(self._linger_s, self._detach)

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        self._linger = ServiceTimer(seconds, action)
        self._linger.name, self._linger.daemon = "dh-kernel-linger", True
        self._linger.start()

    def _detach(self) -> None:
        """Nobody came back: end, unless something runs, or has ended, that somebody may want."""
        if self._closed:
            return
        if not self._detached_s or not self._cells_to_tell():
            self.close()
            return
        self._in(self._detached_s, self.close)
        self.channel.detach()

    def _cells_to_tell(self) -> list[str]:
        """The cells that run, or wait, or have ended and no kernel knows it."""
        return [*(cell.id for cell in list(self._cells.values()) if not cell.is_comm), *self.channel.undelivered_ends()]

    @property
    def is_left_behind(self) -> bool:
        """Whether nobody is connected, and somebody may want to know what has become of a cell."""
        return not self._closed and not self.channel.is_connected and bool(self._detached_s and self._cells_to_tell())

    @property
    def description(self) -> dict[str, Any]:
        """For kernels that may take over a detached session."""
        running = [cell.count for cell in list(self._cells.values()) if not cell.is_comm]
        return {"id": self.id, "name": self.name, "running": running, "since": self._alone_since}

    def on_close(self, action: Callable[[], None]) -> None:
        """Call `action` when the session has ended."""
        self._when_closed = action

    def close(self) -> None:
        """End the session: interrupt what runs, release its threads. Its variables stay on the server."""
        self._closed = True
        if self._linger is not None:
            self._linger.cancel()
        for cell in list(self._cells.values()):
            if cell.zone is not None:
                cell.zone.strike()
        for runner in list(self._lanes.values()):
            runner.close()
        self._questioner.close()
        self._debugger.close()
        self._live.close()
        self._comms.close()
        self._scope_observer.close()
        self._evaluator.interpreter.close()
        self._switchboard.remember_names(self._namespace, None)
        if self._private:
            self._namespace.clear()
            self._engine.release(self._scope)
        elif self._leaves_nothing:
            if self._ownership is not None:
                self._ownership.forget()  # what has been bound since
            self._engine.leave_to_console(self._scope, only=list(self._namespace.values()))
        else:
            self._engine.leave_to_console(self._scope)
        self._outputs.close()
        self.channel.close()
        self._when_closed()
