"""What arrives from the runtime, as frozen data: the frames of `dh_kernel.runtime.session`, read in one place.

Pure. Refuses to know how frames travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dh_kernel.model import WHOLE, Column, Excerpt, TableInfo

from .sent import SentTable


@dataclass(frozen=True)
class Event:
    """Something that belongs to the cell `cell`; an empty text where it belongs to none."""

    cell: str


@dataclass(frozen=True)
class StreamText(Event):
    """Text that was written; `name` is `stdout` or `stderr`. `log`: not by a cell, but by the server's process.

    `last`: read after the server's death, and of no cell that is known.
    `raw` has the bytes where text cannot tell them and the cell's front end wants them exactly; then the text is empty.
    """

    name: str
    text: str
    log: bool = False
    raw: bytes | None = None
    last: bool = False


@dataclass(frozen=True)
class Displayed(Event):
    """A MIME bundle to show, or to put in the place of what has `display_id`."""

    data: dict[str, Any]
    metadata: dict[str, Any]
    display_id: str | None
    update: bool


@dataclass(frozen=True)
class Cleared(Event):
    """The cell's output is to be cleared; with `wait` only when the next output comes."""

    wait: bool


@dataclass(frozen=True)
class Resulted(Event):
    """The value of the trailing expression."""

    data: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ErrorShown(Event):
    """An error that does not end the cell: `ename`, `evalue`, `traceback`."""

    error: dict[str, Any]


@dataclass(frozen=True)
class HowShown:
    """How much of a table is wanted, 0: as the settings say; and where it goes. `live`: updates of the output will follow."""

    rows: int = 0
    columns: int = 0
    display_id: str | None = None
    update: bool = False
    live: bool = False


@dataclass(frozen=True)
class TableShown(Event):
    """A table to show. `head` refers to some of its rows on the server; None where there is none, `problem` says why."""

    info: TableInfo
    result: bool
    text: str
    head: Any = None
    problem: str | None = None
    excerpt: Excerpt = WHOLE
    parts: tuple[TableShown, ...] = ()
    how: HowShown = HowShown()


@dataclass(frozen=True)
class LiveUpdate:
    """The new state of the output `display_id`, read `taken` seconds after 1970 UTC. `ended`: why it was the last one."""

    display_id: str
    table: TableShown
    taken: float
    ended: str | None = None


@dataclass(frozen=True)
class LiveUpdated(Event):
    """Live outputs have changed. `flush`: to be shown before the cell's end, and as its own."""

    updates: Sequence[LiveUpdate]
    flush: bool


@dataclass(frozen=True)
class GridAsked(Event):
    """The server's own view of the variable `name` is to be shown; `height` in pixels, 0: as usual."""

    name: str
    height: int


@dataclass(frozen=True)
class SettingChanged(Event):
    """A cell has changed how tables show."""

    name: str
    value: Any


@dataclass(frozen=True)
class InputAsked(Event):
    """The cell waits for a line from the person at the front end; with `bytes` for so many at most of its standard input."""

    prompt: str
    password: bool
    bytes: int = 0


@dataclass(frozen=True)
class CommSent(Event):
    """A message of a comm to the front end: `comm_open`, `comm_msg` or `comm_close`."""

    msg_type: str
    content: dict[str, Any]
    metadata: dict[str, Any]
    buffers: Sequence[bytes]


@dataclass(frozen=True)
class CellDone(Event):
    """A cell's end; nothing of it follows. `error` has `ename`, `evalue`, `traceback`, a script's `exit_code`; or is None."""

    error: dict[str, Any] | None = None
    user_expressions: dict[str, Any] = field(default_factory=dict)
    payload: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Answered(Event):
    """The reply to a question such as `complete`; with a table to preview where the content speaks of one."""

    request: str
    content: dict[str, Any]
    table: TableShown | None = None


@dataclass(frozen=True)
class DetachedSession:
    """A session on the server that no kernel is connected to. `running`: the numbers of its cells that run or wait.

    `since`: when its kernel was last there, in seconds since 1970 UTC.
    """

    id: str
    name: str
    running: tuple[int, ...]
    since: float

    @classmethod
    def of(cls, content: dict[str, Any]) -> DetachedSession:
        """From what the runtime says of it."""
        return cls(content["id"], content["name"], tuple(content["running"]), content["since"])


@dataclass(frozen=True)
class ServerInfo(Event):
    """What the runtime says of the server when a stream opens."""

    deephaven: str
    python: str
    pid: int
    heap_bytes: int
    reads_output: bool
    debugger: bool = False
    journal: str | None = None


def parse(header: dict[str, Any], references: Sequence[Any], buffers: Sequence[bytes] = ()) -> Event | None:
    """The event of a frame; None for one that is none of these (a newer runtime may send more)."""
    if header["kind"] == "stream":
        raw, last = buffers[0] if buffers else None, header.get("last", False)
        return StreamText(header["cell"], header["name"], header["text"], header["log"], raw, last)
    if header["kind"] == "comm":
        return CommSent(header["cell"], header["msg_type"], header["content"], header["metadata"], buffers)
    if header["kind"] == "live":
        return _live(header, buffers)
    reader = _READERS.get(header["kind"])
    return reader(header, references) if reader is not None else None


def _table(header: dict[str, Any], references: Sequence[Any]) -> TableShown:
    """The first reference is the table's own rows, the others are those of its parts, which say which."""
    columns = tuple(Column(name, kind) for name, kind in header["columns"])
    flavors = tuple(header.get("flavors", ()))
    sizes = (header["rows"], header["refreshing"], columns, header.get("column_count"), flavors)
    info = TableInfo(header["name"], header["table_kind"], *sizes)
    about = {"cell": header["cell"], "result": False, "text": ""}
    parts = tuple(
        _table({**part, **about}, references[part.get("reference", len(references)) :]) for part in header.get("parts", ())
    )
    head = references[0] if references and "problem" not in header else None
    return TableShown(
        header["cell"], info, header["result"], header["text"], head, header.get("problem"), _excerpt(header), parts
    )


def _excerpt(header: dict[str, Any]) -> Excerpt:
    lengths = tuple(header.get("lengths", ()))
    return Excerpt(header.get("head"), header.get("characters"), lengths, header.get("tree", False), header.get("number"))


def _shown(header: dict[str, Any], references: Sequence[Any]) -> TableShown:
    how = HowShown(
        header.get("rows_wanted", 0),
        header.get("columns_wanted", 0),
        header.get("display_id"),
        header.get("update", False),
        header.get("live", False),
    )
    return replace(_table(header, references), how=how)


def _live(header: dict[str, Any], buffers: Sequence[bytes]) -> LiveUpdated:
    left = iter(buffers)
    updates = []
    for update in header["updates"]:
        heads = [SentTable(list(itertools.islice(left, count))) for count in update["parts"]]
        table = _shown(update["table"], heads)
        updates.append(LiveUpdate(update["output"], table, update["taken"], update.get("ended")))
    return LiveUpdated(header["cell"], tuple(updates), header["flush"])


def _done(header: dict[str, Any], references: Sequence[Any]) -> CellDone:
    error = _error(header) if header["status"] != "ok" else None
    return CellDone(header["cell"], error, header.get("user_expressions", {}), header.get("payload", ()))


def _error(header: dict[str, Any]) -> dict[str, Any]:
    optional = {name: header[name] for name in ("exit_code",) if name in header}
    return {**{name: header[name] for name in ("ename", "evalue", "traceback")}, **optional}


def _answer(header: dict[str, Any], references: Sequence[Any]) -> Answered:
    content = header["content"]
    return Answered("", header["request"], content, _table(content["table"], references) if "table" in content else None)


def _ready(header: dict[str, Any]) -> ServerInfo:
    plain = {name: header[name] for name in ("deephaven", "python", "pid", "heap_bytes", "reads_output")}
    return ServerInfo("", **plain, debugger=header.get("debugger", False), journal=header.get("journal"))


_READERS: dict[str, Any] = {
    "display": lambda h, r: Displayed(h["cell"], h["data"], h["metadata"], h.get("display_id"), h["update"]),
    "clear": lambda h, r: Cleared(h["cell"], h["wait"]),
    "result": lambda h, r: Resulted(h["cell"], h["data"], h["metadata"]),
    "error": lambda h, r: ErrorShown(h["cell"], _error(h)),
    "table": _shown,
    "grid": lambda h, r: GridAsked(h["cell"], h["name"], h["height"]),
    "setting": lambda h, r: SettingChanged(h["cell"], h["name"], h["value"]),
    "input": lambda h, r: InputAsked(h["cell"], h["prompt"], h["password"], h.get("bytes", 0)),
    "done": _done,
    "answer": _answer,
    "ready": lambda h, r: _ready(h),
}
