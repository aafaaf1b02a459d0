"""What a run shows: text for people and pipes, one JSON object at the end, or JSON lines as things happen.

Neighbours: `writing` (takes the bytes), `outcome`; `conversation` and `notebooks` tell what the kernel says. The JSON
forms are described by the schemas in `schemas/`, which tests hold every run against. Refuses to know the kernel.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from .outcome import Outcome
from .writing import ERR, OUT, Writer

SCHEMA = 1
_TABLE = "application/vnd.dataresource+json"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STREAMS = {"stdout": OUT, "stderr": ERR}


class Report:
    """What all forms share. Every method is called on the event loop."""

    reads_answers_on = OUT

    def __init__(self, writer: Writer, *, table_meta: bool = True, colours: bool = False) -> None:
        self._writer, self._table_meta, self._colours = writer, table_meta, colours

    def stream(self, name: str, raw: bytes) -> None:
        """What the code has written."""

    def display(self, data: dict[str, Any], *, result: bool) -> None:
        """A MIME bundle that the code has shown; `result`: the value of a trailing expression."""
        if _TABLE in data:
            self.table(table_of(data), data, result=result)
        else:
            self.shown(data, result=result)

    def table(self, table: dict[str, Any], data: dict[str, Any], *, result: bool) -> None:
        """A table's preview."""

    def shown(self, data: dict[str, Any], *, result: bool) -> None:
        """Anything else."""

    def error(self, error: dict[str, Any]) -> None:
        """An error of the code, with `name`, `value`, `traceback`, or one of ours."""

    def server(self, server: dict[str, Any], started_s: float) -> None:
        """The server is ready."""

    def serving(self, url: str) -> None:
        """The server stays, and this is its page."""
        self._writer.put(ERR, f"{url}\n".encode())

    def item(self, kind: str, name: str, outcome: Outcome | None, seconds: float, **more: Any) -> None:
        """A script, or a cell of a notebook, begins (no outcome yet) or has ended."""

    def finish(self, outcome: Outcome, seconds: float) -> None:
        """The run has ended."""

    def for_notebooks(self) -> Report:
        """What is told of a notebook's cells: their output is in the notebook."""
        return self

    def after(self, action: Callable[[], object]) -> None:
        """Call this, on any thread, when what has been reported until now has been taken."""
        self._writer.after(action)

    def _lines(self, error: dict[str, Any]) -> str:
        text = "\n".join(error["traceback"]) or f"{error['name']}: {error['value']}"
        return text if self._colours else _COLOURS.sub("", text)


class TextReport(Report):
    """The code's own output, byte for byte, and results and tables as text."""

    def stream(self, name: str, raw: bytes) -> None:
        self._writer.put(_STREAMS[name], raw)

    def table(self, table: dict[str, Any], data: dict[str, Any], *, result: bool) -> None:
        heading = [table_heading(table)] if self._table_meta else []
        self._say("\n".join([*heading, table["preview"]]))

    def shown(self, data: dict[str, Any], *, result: bool) -> None:
        if "text/plain" in data and not any(kind.startswith("image/") for kind in data):
            self._say(str(data["text/plain"]))

    def error(self, error: dict[str, Any]) -> None:
        self._writer.put(ERR, f"{self._lines(error)}\n".encode("utf-8", "backslashreplace"))

    def serving(self, url: str) -> None:
        self._say(url)

    def for_notebooks(self) -> Report:
        return ErrorsOnly(self._writer, colours=self._colours)

    def _say(self, text: str) -> None:
        self._writer.put(OUT, f"{text}\n".encode("utf-8", "backslashreplace"))


class ErrorsOnly(Report):
    """Nothing but errors."""

    def error(self, error: dict[str, Any]) -> None:
        self._writer.put(ERR, f"{self._lines(error)}\n".encode("utf-8", "backslashreplace"))


class JsonReport(Report):
    """Collects all, and writes one object at the end."""

    reads_answers_on = ERR

    def __init__(self, writer: Writer, **options: Any) -> None:
        super().__init__(writer, **options)
        self._streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._tables: list[dict[str, Any]] = []
        self._displays: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        self._result: dict[str, Any] | None = None
        self._server: dict[str, Any] = dict.fromkeys(("version", "java_home", "host", "port"))
        self._start_s: float | None = None

    def stream(self, name: str, raw: bytes) -> None:
        self._streams[name].append(raw)

    def table(self, table: dict[str, Any], data: dict[str, Any], *, result: bool) -> None:
        self._tables.append(table)
        if result:
            self._result = {"text/plain": table["preview"]}

    def shown(self, data: dict[str, Any], *, result: bool) -> None:
        if result:
            self._result = data
        else:
            self._displays.append(data)

    def server(self, server: dict[str, Any], started_s: float) -> None:
        self._server, self._start_s = server, started_s

    def item(self, kind: str, name: str, outcome: Outcome | None, seconds: float, **more: Any) -> None:
        if outcome is not None and kind != "cell":
            self._items.append(_ended(kind, name, outcome, seconds, more))

    def finish(self, outcome: Outcome, seconds: float) -> None:
        text = {name: b"".join(parts).decode("utf-8", "replace") for name, parts in self._streams.items()}
        whole = {
            "schema": SCHEMA,
            "status": outcome.status.value,
            "exit_code": outcome.exit_code,
            **text,
            "result": self._result,
            "error": _plain(outcome.error),
            "tables": self._tables,
            "displays": self._displays,
            "items": self._items,
            "server": self._server,
            "timings": {"start_s": _rounded(self._start_s), "total_s": _rounded(seconds)},
        }
        self._writer.put(OUT, _json(whole))

    def after(self, action: Callable[[], object]) -> None:
        action()


class JsonLinesReport(Report):
    """One JSON object a line, for each thing as it happens."""

    reads_answers_on = ERR

    def __init__(self, writer: Writer, **options: Any) -> None:
        super().__init__(writer, **options)
        self._begun, self._is_over = time.monotonic(), False
        self._decoders: dict[str, Any] = {}

    def stream(self, name: str, raw: bytes) -> None:
        import codecs

        decoder = self._decoders.setdefault(name, codecs.getincrementaldecoder("utf-8")("replace"))
        text = decoder.decode(raw)
        if text:
            self._event("stream", name=name, text=text)

    def table(self, table: dict[str, Any], data: dict[str, Any], *, result: bool) -> None:
        self._event("table", result=result, **table)

    def shown(self, data: dict[str, Any], *, result: bool) -> None:
        self._event("display", result=result, data=data)

    def error(self, error: dict[str, Any]) -> None:
        self._event("error", error=_plain(error))

    def server(self, server: dict[str, Any], started_s: float) -> None:
        self._event("status", status="ready", server=server)

    def item(self, kind: str, name: str, outcome: Outcome | None, seconds: float, **more: Any) -> None:
        if outcome is None:
            self._event("cell", kind=kind, name=name, status="running", **more)
        else:
            self._event("cell", **_ended(kind, name, outcome, seconds, more))

    def finish(self, outcome: Outcome, seconds: float) -> None:
        for name in list(self._decoders):
            text = self._decoders.pop(name).decode(b"", True)
            if text:
                self._event("stream", name=name, text=text)
        self._event("status", status=outcome.status.value, exit_code=outcome.exit_code, error=_plain(outcome.error))
        self._is_over = True  # what the kernel still says while it ends comes behind the last line

    def _event(self, event: str, **fields: Any) -> None:
        if self._is_over:
            return
        time_s = _rounded(time.monotonic() - self._begun)
        self._writer.put(OUT, _json({"schema": SCHEMA, "event": event, "time_s": time_s, **fields}))


REPORTS: dict[str, type[Report]] = {"text": TextReport, "json": JsonReport, "json-lines": JsonLinesReport}


def table_of(data: dict[str, Any]) -> dict[str, Any]:
    """A table's entry in the JSON forms, from its MIME bundle."""
    resource = data[_TABLE]
    about = resource.get("deephaven", {})
    fields = resource.get("schema", {}).get("fields", [])
    return {
        "name": resource.get("name"),
        "row_count": about.get("rows"),
        "is_refreshing": bool(about.get("refreshing")),
        "columns": [{"name": field["name"], "type": field.get("deephavenType", field["type"])} for field in fields],
        "preview": _without_title(str(data.get("text/plain", "")), resource.get("name")),
        "rows": resource.get("data", []),
    }


def table_heading(table: dict[str, Any]) -> str:
    """`=== Table: t (100 rows, static) ===`."""
    rows = table["row_count"]
    count = "unknown number of rows" if rows is None else f"{rows:,} row{'' if rows == 1 else 's'}"
    name = f": {table['name']}" if table["name"] else ""
    return f"=== Table{name} ({count}, {'refreshing' if table['is_refreshing'] else 'static'}) ==="


def _without_title(text: str, name: str | None) -> str:
    """The text of a table without its first line, which the heading says."""
    title, newline, rest = text.partition("\n")
    return rest if newline and " — " in title else text


def _ended(kind: str, name: str, outcome: Outcome, seconds: float, more: dict[str, Any]) -> dict[str, Any]:
    status, code = outcome.status.value, outcome.exit_code
    return {"kind": kind, "name": name, "status": status, "exit_code": code, "seconds": _rounded(seconds), **more}


def _plain(error: dict[str, Any] | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {**error, "traceback": [_COLOURS.sub("", line) for line in error["traceback"]]}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _json(value: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # there is no NaN in JSON, but in what some kernels send
        text = json.dumps(json.loads(json.dumps(value), parse_constant=str), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"
