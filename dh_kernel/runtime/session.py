"""One kernel's session inside the server: its messages, its cells, its output.

Neighbours: everything of the runtime; this is where it is put together. Refuses to touch private names (`engine`) and bytes
(`wire`).

Messages in: one method `_on_…` each. Frames out are listed at the methods that queue them; each carries `kind`, and `cell`
where it belongs to one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import front
from .cells import Cell, CellRunner
from .channel import Channel
from .display import Bundle, forget_figure, open_figures, text_of
from .engine import Engine
from .interpreter import Evaluation, Interpreter, PlainInterpreter
from .introspection import complete, inspect_at
from .scope import ScopeObserver, worth_telling
from .streams import TextBuffer, install_switchboard, printable
from .tables import Tables
from .tracebacks import format_error, safe_text


class StdinNotImplementedError(NotImplementedError):
    """The front end of this cell does not answer questions. IPython has one of this name, which is used where it is loaded."""


class RuntimeSession:
    """What the kernel talks to. One per kernel; it outlives a broken stream for `linger_s`."""

    def __init__(
        self, session_id: str, namespace: dict[str, Any], engine: Engine, own_files: tuple[str, ...], options: dict[str, Any]
    ) -> None:
        self.id = session_id
        self._engine, self._namespace = engine, namespace
        self._linger_s = float(options["linger_s"])
        self._launched = bool(options["launched"])
        self._grace_s = float(options["interrupt_grace_s"])
        self._when_closed: Callable[[], None] = lambda: None
        self._scope = engine.new_scope()
        self._switchboard = install_switchboard()
        self.channel = Channel(session_id, self._on_message)
        self._text = TextBuffer(self._send_text, self.channel.poke)
        self.channel.flush_source = self._text.flush_if_due
        self.channel.on_connected = self._connected
        self.channel.on_disconnected = self._disconnected
        self._tables = Tables(engine)
        self._own_files = own_files
        self._interpreter: Interpreter = PlainInterpreter(namespace, session_id, own_files)
        self._runner = CellRunner(session_id, engine, self._switchboard, self._scope)
        if self._launched:
            self._runner.prepare(lambda: self._load_ipython(own_files))
        self._scope_observer = ScopeObserver(session_id, engine, self._scope, collect=self._launched)
        self._cells: dict[str, Cell] = {}
        self._last_cell: Cell | None = None
        self._inputs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._questions: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._linger: threading.Timer | None = None
        self._closed = False
        self._output_reader: OutputReader | None = None
        threading.Thread(target=self._answer, name=f"dh-kernel-questions-{session_id}", daemon=True).start()
        if self._launched:
            self._output_reader = OutputReader.of_launcher(self._take_unowned)
            if self._output_reader is None:  # else what belongs to no cell comes by the file descriptors
                self._switchboard.unowned.append(self._take_unowned)
        self.ready = {
            "deephaven": engine.version,
            "python": sys.version.split()[0],
            "pid": os.getpid(),
            "heap_bytes": engine.heap_bytes(),
            "reads_output": self._output_reader is not None,
        }

    def _load_ipython(self, own_files: tuple[str, ...]) -> None:
        """Let IPython run the cells if it is there. Its shell is one per process, so only in a launched server.

        On the cells' thread, before the first of them: the import takes as long as opening the stream, which goes on.
        """
        with contextlib.suppress(ImportError):
            from .ipython_shell import IPythonInterpreter

            os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
            self._interpreter = IPythonInterpreter(self._namespace, own_files, self.show, self._tables.table_class)

    # --- messages in; on a gRPC thread, so nothing here waits

    def _on_message(self, header: dict[str, Any], buffers: list[bytes]) -> None:
        handler = getattr(self, f"_on_{header['kind']}", None)
        if handler is not None:
            handler(header)

    def _on_execute(self, message: dict[str, Any]) -> None:
        cell = Cell(
            message["cell"], message["count"], message["silent"], self._text, self.channel.wait_for_room, self._drain_output
        )
        self._cells[cell.id] = cell
        self._runner.submit(cell, lambda: self._work(cell, message), lambda outcome: self._done(cell, outcome))

    def _on_interrupt(self, message: dict[str, Any]) -> None:
        cell = self._cells.get(message["cell"])
        if cell is None:
            return
        if cell.zone is None or not cell.zone.strike():
            return
        timer = threading.Timer(self._grace_s, self._abandon_if_stuck, (cell,))
        timer.name, timer.daemon = "dh-kernel-abandon", True
        timer.start()

    def _on_complete(self, message: dict[str, Any]) -> None:
        self._questions.put(message)

    _on_inspect = _on_complete

    def _on_input_reply(self, message: dict[str, Any]) -> None:
        self._inputs.put(message)

    def _on_ping(self, message: dict[str, Any]) -> None:
        self.channel.queue({"kind": "answer", "request": message["request"], "content": {}})

    def _on_close(self, message: dict[str, Any]) -> None:
        threading.Thread(target=self.close, name="dh-kernel-close", daemon=True).start()

    # --- a cell, on its thread

    def _work(self, cell: Cell, message: dict[str, Any]) -> dict[str, Any]:
        """Run a cell; its outcome. Whatever goes wrong, there is one."""
        try:
            return self._evaluate(cell, message)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # such as a RecursionError of IPython's own, on deeply nested source
            traceback = format_error(error, self._own_files)
            return {"status": "error", "ename": type(error).__name__, "evalue": safe_text(error), "traceback": traceback}

    def _evaluate(self, cell: Cell, message: dict[str, Any]) -> dict[str, Any]:
        self._last_cell = cell
        before = dict(self._namespace)
        front.enter(self, cell, message["allow_stdin"])
        shown = _Shown(before, message["show_tables"] and not cell.silent, message["rows"])
        evaluation = self._interpreter.run(
            message["code"],
            cell.count,
            silent=cell.silent,
            store=message["store_history"],
            on_result=lambda value: self._show_result(cell, shown, value),
        )
        if evaluation.error is None:
            try:
                self._show_assigned(cell, shown)
                self._show_figures(cell)
                expressions = self._interpreter.expressions(message["user_expressions"])
            except Exception as error:
                evaluation.error, evaluation.exception = self._interpreter.describe(error), error
        self._drain_output()
        self._note_changes(before)
        if evaluation.error is not None:
            return {"status": "error", **self._as_interrupt(cell, evaluation), "payload": evaluation.payload}
        return {"status": "ok", "user_expressions": expressions, "payload": evaluation.payload}

    def _note_changes(self, before: dict[str, Any]) -> None:
        """Let other clients see the tables and other objects that the cell bound or replaced."""
        names = self._namespace
        gone = [value for name, value in before.items() if names.get(name) is not value]
        new = [value for name, value in names.items() if before.get(name) is not value]
        if worth_telling(gone) or worth_telling(new):
            self._scope_observer.changed(value for value in gone if self._tables.is_refreshing(value))

    def _show_assigned(self, cell: Cell, shown: _Shown, result: object = None) -> None:
        """The tables that the cell has assigned and that have not been shown yet."""
        if not shown.tables:
            return
        for name, table in self._tables.assigned(shown.before, self._namespace, self._interpreter.names):
            if table is not result and shown.first_time(table):
                self._send_table(cell, table, name, shown.rows, result=False)

    def _show_figures(self, cell: Cell) -> None:
        for figure in open_figures():
            self.display(cell, self._interpreter.bundle(figure))

    def _show_result(self, cell: Cell, shown: _Shown, value: object) -> None:
        """The trailing expression's value, behind the assigned tables; a table that is both shows once."""
        self._show_assigned(cell, shown, value)
        if self._tables.as_table(value) is not None:
            shown.first_time(value)
            self._send_table(cell, value, self._name_of(value), shown.rows, result=True)
            return
        data, metadata = self._interpreter.bundle(value)
        forget_figure(value)
        if data:
            self._queue(cell, {"kind": "result", "cell": cell.id, "data": data, "metadata": metadata})

    def _send_table(self, cell: Cell, value: object, name: str | None, rows: int, *, result: bool) -> None:
        table = self._tables.as_table(value)
        description, references = self._tables.describe(table, name, rows)
        header = {"kind": "table", "cell": cell.id, "result": result, "text": text_of(value)[:1000], **description}
        self._queue(cell, header, references)

    def _name_of(self, value: object) -> str | None:
        names = (name for name, held in list(self._namespace.items()) if held is value and not name.startswith("_"))
        return next(names, None)

    def _as_interrupt(self, cell: Cell, evaluation: Evaluation) -> dict[str, Any]:
        """The error; the engine's own words for an interruption become the KeyboardInterrupt that the user expects."""
        assert evaluation.error is not None
        assert evaluation.exception is not None
        if (
            cell.zone is not None
            and cell.zone.interrupted
            and not isinstance(evaluation.exception, KeyboardInterrupt)
            and self._engine.is_interruption(evaluation.exception)
        ):
            lines = [*evaluation.error["traceback"], "KeyboardInterrupt: interrupted while the engine was at work"]
            return {"ename": "KeyboardInterrupt", "evalue": "interrupted while the engine was at work", "traceback": lines}
        return evaluation.error

    def _done(self, cell: Cell, outcome: dict[str, Any]) -> None:
        if outcome["status"] == "interrupted":
            outcome = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}
        self._text.flush()
        self._cells.pop(cell.id, None)
        self.channel.queue({"kind": "done", "cell": cell.id, **_clean(outcome)})

    def _abandon_if_stuck(self, cell: Cell) -> None:
        if cell.id not in self._cells or cell.zone is None or not cell.zone.stuck():
            return
        self._text.flush()
        self._runner.abandon(cell)
        if self._cells.pop(cell.id, None) is None:
            return
        text = (
            "interrupted; what the cell was doing cannot be stopped and is still running in the server, its output is cut off"
        )
        self.channel.queue(
            {
                "kind": "done",
                "cell": cell.id,
                "status": "error",
                "ename": "KeyboardInterrupt",
                "evalue": text,
                "traceback": [f"KeyboardInterrupt: {text}"],
            }
        )

    # --- output

    def display(self, cell: Cell, bundle: Bundle, *, display_id: str | None = None, update: bool = False) -> None:
        """Queue a `display` frame."""
        data, metadata = bundle
        header = {"kind": "display", "cell": cell.id, "data": data, "metadata": metadata, "update": update}
        if display_id is not None:
            header["display_id"] = display_id
        self._queue(cell, header)

    def show(self, value: object, *, display_id: str | None = None, update: bool = False, rows: int = 10) -> None:
        """Display an object in the cell of the calling thread."""
        cell = self._current_cell()
        if cell is None:
            print(text_of(value))
        elif self._tables.as_table(value) is not None and not update:
            self._send_table(cell, value, self._name_of(value), rows, result=False)
        else:
            self.display(cell, self._interpreter.bundle(value), display_id=display_id, update=update)

    def clear_output(self, wait: bool) -> None:
        """Queue a `clear` frame."""
        cell = self._current_cell()
        if cell is not None:
            self._queue(cell, {"kind": "clear", "cell": cell.id, "wait": wait})

    def _current_cell(self) -> Cell | None:
        target = self._switchboard.current()
        return target if isinstance(target, Cell) else self._last_cell

    def _queue(self, cell: Cell, header: dict[str, Any], references: list[Any] | None = None) -> None:
        """Queue a frame of a cell behind the text it has written so far."""
        if cell.abandoned or cell.silent:
            return
        self._drain_output()
        self.channel.wait_for_room()
        size = sum(len(part) for part in header.get("data", {}).values() if isinstance(part, str)) + 512
        header = _clean(header)

        def queue_it() -> None:
            self._text.flush()
            self.channel.queue(header, (), references or (), size)

        cell.guarded(queue_it)

    def _send_text(self, cell_id: str, name: str, text: str) -> None:
        log, _, stream = name.rpartition(":")
        header = {"kind": "stream", "cell": cell_id, "name": stream, "text": text, "log": bool(log)}
        self.channel.queue(header, size=len(text) + 64)

    def _take_unowned(self, name: str, text: str) -> None:
        """Text that belongs to no cell, in a launched server: it shows under the latest one."""
        cell = self._last_cell
        self._text.write(cell.id if cell is not None and not cell.silent else "", f"log:{name}", text)

    def _drain_output(self) -> None:
        """Take what subprocesses and the like have written, so that it stands before what comes now."""
        if self._output_reader is not None and self._output_reader.has_text():
            cell = self._runner.current
            if cell is None:
                self._output_reader.drain()
            else:
                cell.guarded(self._output_reader.drain)

    # --- questions: stdin, completion

    def ask(self, cell: Cell, prompt: str, password: bool, allowed: bool) -> str:
        """Ask the person at the front end, from the cell's thread; the wait can be interrupted."""
        if not allowed:
            loaded = sys.modules.get("IPython.core.error")
            raise getattr(loaded, "StdinNotImplementedError", StdinNotImplementedError)(
                "input was called, but this frontend does not support input requests."
            )
        while True:  # a reply that came too late for its question
            try:
                self._inputs.get_nowait()
            except queue.Empty:
                break
        self._queue(cell, {"kind": "input", "cell": cell.id, "prompt": prompt, "password": password})
        while True:
            try:
                reply = self._inputs.get(timeout=0.05)
            except queue.Empty:
                continue
            if reply.get("eof"):
                raise EOFError
            return str(reply["value"])

    def _answer(self) -> None:
        while (message := self._questions.get()) is not None:
            try:
                if message["kind"] == "complete":
                    content = complete(self._namespace, message["code"], message["cursor"])
                else:
                    content = inspect_at(self._namespace, message["code"], message["cursor"], message["detail"])
            except Exception as error:  # a thread's edge
                content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
            self.channel.queue({"kind": "answer", "request": message["request"], "content": _clean(content)})

    # --- the session's life

    def _connected(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.channel.queue({"kind": "ready", **self.ready}, references=[self._tables.sample()])

    def _disconnected(self) -> None:
        if self._closed or self._linger is not None:
            return
        self._linger = threading.Timer(self._linger_s, self.close)
        self._linger.name, self._linger.daemon = "dh-kernel-linger", True
        self._linger.start()

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
        self._runner.close()
        self._questions.put(None)
        self._scope_observer.close()
        self._engine.leave_to_console(self._scope)
        with contextlib.suppress(ValueError):
            self._switchboard.unowned.remove(self._take_unowned)
        if self._output_reader is not None:
            self._output_reader.close()
        self.channel.close()
        self._when_closed()


class _Shown:
    """What a cell has shown of its tables so far."""

    def __init__(self, before: dict[str, Any], tables: bool, rows: int) -> None:
        self.before, self.tables, self.rows = before, tables, rows
        self._seen: set[int] = set()

    def first_time(self, table: object) -> bool:
        """Note a table; whether it is new. Told by identity: the namespace keeps those of one cell alive."""
        if id(table) in self._seen:
            return False
        self._seen.add(id(table))
        return True


class OutputReader:
    """Reads a launched server's file descriptors 1 and 2 inside it, so that a subprocess's lines stand where they belong."""

    def __init__(self, descriptors: tuple[int, int], take: Callable[[str, str], None]) -> None:
        import codecs

        self._streams = list(zip(descriptors, ("stdout", "stderr"), strict=True))
        self._decoders = {fd: codecs.getincrementaldecoder("utf-8")("replace") for fd in descriptors}
        self._take = take
        self._lock = threading.Lock()
        self._closed = False
        self._poll = select.poll()
        for fd in descriptors:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        threading.Thread(target=self._run, name="dh-kernel-output", daemon=True).start()

    @classmethod
    def of_launcher(cls, take: Callable[[str, str], None]) -> OutputReader | None:
        """A reader of the launcher's descriptors, if it has lent them."""
        descriptors = getattr(sys.modules.get("_dh_kernel_launcher"), "output_fds", None)
        return cls(descriptors, take) if descriptors else None

    def has_text(self) -> bool:
        """Whether there is something to take; asked before every write of a cell."""
        return bool(self._poll.poll(0))

    def drain(self) -> None:
        """Take what is there now."""
        with self._lock:
            for fd, name in self._streams:
                if not self._closed:
                    self._read(fd, name)

    def close(self) -> None:
        """Leave the descriptors to the kernel."""
        self._closed = True

    def _read(self, fd: int, name: str) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(fd, 1 << 16):
                text = self._decoders[fd].decode(data)
                if text:
                    self._take(name, text)
                if len(data) < 1 << 12:
                    return

    def _run(self) -> None:
        descriptors = [fd for fd, _ in self._streams]
        while not self._closed:
            readable, _, _ = select.select(descriptors, [], [], 1.0)
            if readable:
                self.drain()


def _clean(value: Any) -> Any:
    """JSON data with what cannot be sent made sendable: keys as text, lone surrogates spelled out, odd objects as text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if isinstance(value, dict):
        return {printable(str(key)): _clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    return printable(str(value))
