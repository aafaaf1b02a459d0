"""What one session's cells put out: text, displays, tables, questions to the person; as frames, in order.

Neighbours: `channel` (sends frames), `streams` (collects text), `tables` (describes them), `front` (what cells call). Refuses
to know how cells run.

Frames, with `kind` and `cell`: `stream` (name, text, log), `display` (data, metadata, update, display_id), `clear` (wait),
`result` (data, metadata), `error` (ename, evalue, traceback: one that does not end the cell), `table` (see `tables.describe`),
`input` (prompt, password); `live` (updates of outputs that follow their tables, see there), `grid` (name, height: the server's
own view of a variable), `setting` (name, value: `%dh set` has changed one); and `comm`, see there.
"""

from __future__ import annotations

import base64
import itertools
import numbers
import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .cells import Cell
from .channel import Channel
from .display import Bundle, text_of
from .journal import Journal
from .live import LiveOutputs
from .preferences import Extent, Preferences
from .process_output import ProcessOutput
from .streams import EXACT, Switchboard, TextBuffer, printable, text_frame
from .tables import Tables

_ANSWER_LOOK_S = 0.05  # how long a wait may last before Python gets a chance to deliver an interrupt


class StdinNotImplementedError(NotImplementedError):
    """The front end of this cell does not answer questions. IPython has one of this name, which is used where it is loaded."""


@dataclass(frozen=True)
class Shown:
    """How a table is to be shown: None and 0 mean as the preferences say. `only` are the columns that are wanted.

    `assigned`: by itself, since a cell assigned it.
    """

    result: bool = False
    assigned: bool = False
    rows: int = 0
    columns: int = 0
    only: tuple[str, ...] = ()
    live: bool | None = None
    display_id: str | None = None
    update: bool = False


PLAIN = Shown()


class Outputs:
    """One session's output. `last_cell` is the main lane's latest: what belongs to no cell shows there.

    Args:
        bundle: from an object to its MIME bundle, by the session's interpreter.
    """

    def __init__(
        self,
        channel: Channel,
        switchboard: Switchboard,
        tables: Tables,
        namespace: dict[str, Any],
        bundle: Callable[[object], Bundle],
        preferences: Preferences | None = None,
    ) -> None:
        self.last_cell: Cell | None = None
        self.comms: Any = None
        self.shell: Any = None  # IPython's, where it runs the cells
        self.about: Any = None  # for `%dh`
        self.plain: Any = None  # the plain wrapper, for its magics
        self.live: LiveOutputs | None = None
        self.preferences = preferences if preferences is not None else Preferences()
        self.tables = tables
        self._channel, self._switchboard = channel, switchboard
        self._namespace, self.bundle = namespace, bundle
        self._text = TextBuffer(self._send_text, channel.poke)
        channel.flush_source = self._text.flush_if_due
        self._text.together = channel.together
        self._process_output: ProcessOutput | None = None
        self._takes_unowned = False
        self._answers: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}

    def keep_journal(self) -> str | None:
        """In a launched server: keep what is put out where the kernel finds it after this process's death; its path."""
        journal = self._channel.journal = self._text.journal = Journal.make()
        return journal.path if journal is not None else None

    def take_process_output(self) -> bool:
        """In a launched server: show what belongs to no cell as well. Returns whether the file descriptors are read here."""
        self._process_output = ProcessOutput.of_launcher(self._take_unowned, self._is_exact, self._channel.journal)
        self._takes_unowned = self._process_output is None
        if self._takes_unowned:  # else what belongs to no cell comes by the file descriptors
            self._switchboard.unowned.append(self._take_unowned)
        return self._process_output is not None

    def new_cell(self, message: dict[str, Any]) -> Cell:
        """The cell of a request, with this as its output."""
        cell = Cell(message, self._text, self._channel.wait_for_room, self.drain, self._switchboard.remember_file)
        cell.front = self
        return cell

    # --- what cells call, on any thread

    def display(self, cell: Cell, bundle: Bundle, *, display_id: str | None = None, update: bool = False) -> None:
        """Show a MIME bundle, or put it in the place of what has `display_id`."""
        data, metadata = bundle
        header = {"kind": "display", "cell": cell.id, "data": data, "metadata": metadata, "update": update}
        if display_id is not None:
            header["display_id"] = display_id
            if self.live is not None:
                self.live.replaced(display_id)
        self.queue(cell, header)

    def show(self, value: object, *, display_id: str | None = None, update: bool = False, how: Shown = PLAIN) -> None:
        """Display an object in the cell of the calling thread."""
        cell = self.current_cell()
        if cell is None:
            print(text_of(value))
        elif self.tables.as_shown(value) is not None:
            self.table(cell, value, self.name_of(value), replace(how, display_id=display_id, update=update))
        else:
            self.display(cell, self.bundle(value), display_id=display_id, update=update)

    def result(self, cell: Cell, bundle: Bundle) -> None:
        """Show the value of the trailing expression."""
        data, metadata = bundle
        if data:
            self.queue(cell, {"kind": "result", "cell": cell.id, "data": data, "metadata": metadata})

    def error(self, cell: Cell, error: dict[str, Any]) -> None:
        """Show an error that does not end the cell: one that a widget has caught, or `showtraceback()`."""
        self.queue(cell, {"kind": "error", "cell": cell.id, **error})

    def table(self, cell: Cell, value: object, name: str | None, how: Shown = PLAIN) -> None:
        """Show a table; one that ticks keeps its output current."""
        if cell.abandoned or cell.silent:
            return
        table = self.tables.as_shown(value)
        if how.only:
            table = self.tables.with_columns(table, how.only)
        preferences = self.preferences
        extent = Extent(how.rows or preferences.rows, how.columns or preferences.columns, preferences.depth)
        if how.display_id is not None and self.live is not None:
            self.live.replaced(how.display_id)
        live_id = None
        if self.live is not None and self._wants_live(table, how):
            hold = not how.assigned
            live_id = self.live.begin(cell, value, table, name, extent, hold=hold, display_id=how.display_id)
        description, references = self.tables.describe(table, name, extent.rows, columns=extent.columns, depth=extent.depth)
        header = {"kind": "table", "cell": cell.id, "result": how.result, "text": text_of(value)[:1000], **description}
        header |= {
            "rows_wanted": extent.rows,
            "columns_wanted": extent.columns,
            "update": how.update,
            "live": live_id is not None,
        }
        header["display_id"] = live_id or how.display_id
        self.queue(cell, header, references)

    def _wants_live(self, table: Any, how: Shown) -> bool:
        wanted = self.preferences.live if how.live is None else how.live
        return wanted and self.tables.is_refreshing(table)

    def clear_output(self, wait: bool) -> None:
        """Clear the output of the calling thread's cell."""
        cell = self.current_cell()
        if cell is not None:
            if self.live is not None:
                self.live.cleared(cell)
            self.queue(cell, {"kind": "clear", "cell": cell.id, "wait": wait})

    def ask(self, cell: Cell, prompt: str, password: bool) -> str:
        """Ask the person at the front end, from the cell's thread; the wait can be interrupted."""
        if not cell.allow_stdin:
            loaded = sys.modules.get("IPython.core.error")
            what = "getpass" if password else "input"
            raise getattr(loaded, "StdinNotImplementedError", StdinNotImplementedError)(
                f"{what} was called, but this frontend does not support input requests."
            )
        return self._ask_in_turn(cell, {"prompt": prompt, "password": password})

    def read_stdin(self, cell: Cell, size: int) -> bytes:
        """What there is of the front end's standard input, at most `size` bytes; none at its end. As `ask`."""
        try:
            text = self._ask_in_turn(cell, {"prompt": "", "password": False, "bytes": size})
        except EOFError:
            return b""
        return base64.b64decode(text)

    def _ask_in_turn(self, cell: Cell, question: dict[str, Any]) -> str:
        while not cell.asking.acquire(timeout=_ANSWER_LOOK_S):
            pass  # another thread of the cell asks
        try:
            return self._ask(cell, question)
        finally:
            cell.asking.release()

    def _ask(self, cell: Cell, question: dict[str, Any]) -> str:
        answers = self._answers[cell.id] = queue.SimpleQueue()  # a reply that came too late for its question is lost with it
        self.queue(cell, {"kind": "input", "cell": cell.id, **question})
        try:
            while True:
                try:
                    reply = answers.get(timeout=_ANSWER_LOOK_S)
                except queue.Empty:
                    continue
                if reply.get("eof"):
                    raise EOFError
                return str(reply["value"])
        finally:
            self._answers.pop(cell.id, None)

    def answer(self, message: dict[str, Any]) -> None:
        """Hand on what the person answered."""
        answers = self._answers.get(message["cell"])
        if answers is not None:
            answers.put(message)

    def name_of(self, value: object) -> str | None:
        """A variable that holds the object."""
        names = (name for name, held in list(self._namespace.items()) if held is value and not name.startswith("_"))
        return next(names, None)

    def evaluate(self, code: str) -> Any:
        """The value of an expression among the session's variables."""
        return eval(compile(code, "<expression>", "eval"), self._namespace)

    def bind_new(self, prefix: str, value: object) -> str:
        """Bind an object to a new variable, so that other clients find it; the variable's name."""
        number = next(number for number in itertools.count(1) if f"{prefix}{number}" not in self._namespace)
        self._namespace[f"{prefix}{number}"] = value
        return f"{prefix}{number}"

    # --- queueing

    def queue(
        self,
        cell: Cell,
        header: dict[str, Any],
        references: list[Any] | None = None,
    ) -> None:
        """Queue a frame of a cell behind the text it has written so far."""
        if cell.abandoned or cell.silent:
            return
        self.drain()
        self._channel.wait_for_room()
        size = sum(len(part) for part in header.get("data", {}).values() if isinstance(part, str)) + 512
        header = clean(header)

        def queue_it() -> None:
            self._text.flush()
            self._channel.queue(header, (), references or (), size)

        cell.guarded(queue_it)

    def queue_comm(self, cell: Cell | None, header: dict[str, Any], buffers: list[bytes]) -> None:
        """Queue a message of a comm; also of a silent cell, since the comm's state goes on."""
        self._channel.wait_for_room()
        header = clean(header)
        size = 512 + sum(len(str(part)) for part in header["content"].values())

        def queue_it() -> None:
            self._text.flush()
            self._channel.queue(header, buffers, (), size)

        if cell is not None:
            cell.guarded(queue_it)
        else:
            queue_it()

    def queue_live(self, header: dict[str, Any], buffers: list[bytes]) -> None:
        """Queue updates of live outputs, on their thread."""
        self._channel.wait_for_room()
        self._channel.queue(clean(header), buffers)

    def queue_plain(self, header: dict[str, Any]) -> None:
        """Queue a frame for the kernel itself."""
        self._channel.queue(clean(header))

    def flush(self) -> None:
        """Queue the text that has been collected."""
        self._text.flush()

    def drain(self) -> None:
        """Take what subprocesses and the like have written, so that it stands before what comes now."""
        reader = self._process_output
        if reader is not None and reader.has_text():
            cell = self._switchboard.current()
            if isinstance(cell, Cell):
                cell.guarded(reader.drain)
            else:
                reader.drain()

    def current_cell(self) -> Cell | None:
        """The cell of the calling thread, or the latest one."""
        target = self._switchboard.current()
        return target if isinstance(target, Cell) else self.last_cell

    def close(self) -> None:
        """Take nothing more from outside cells."""
        if self._takes_unowned:
            self._switchboard.unowned.remove(self._take_unowned)
        if self._process_output is not None:
            self._process_output.close()
        if self._channel.journal is not None:
            self._channel.journal.close()

    def _send_text(self, cell_id: str, name: str, text: str) -> None:
        header, buffers = text_frame(cell_id, name, text)
        self._channel.queue(header, buffers, size=len(text) + 64)

    def _take_unowned(self, name: str, text: str) -> None:
        cell = self.last_cell
        mark = EXACT if cell is not None and cell.exact else ""
        self._text.write(cell.id if cell is not None and not cell.silent else "", f"log:{mark}{name}", text)

    def _is_exact(self) -> bool:
        return self.last_cell is not None and self.last_cell.exact


def clean(value: Any) -> Any:
    """JSON data with what cannot be sent made sendable, as in ipykernel: bytes in base64, numpy's numbers as plain ones.

    Keys and odd objects become text, lone surrogates are spelled out.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if isinstance(value, dict):
        return {printable(str(key)): clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(part) for part in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, numbers.Integral):  # numpy's
        return int(value)
    if isinstance(value, numbers.Real):
        return clean(float(value))
    return printable(str(value))
