"""The runtime's frames become events, each kind once; what a newer runtime may send is no error."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from dh_kernel.model import Column, TableInfo
from dh_kernel.session.events import (
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
    parse,
)

TABLE = {
    "kind": "table",
    "cell": "c",
    "result": True,
    "text": "Table()",
    "name": "t",
    "table_kind": "Table",
    "rows": 5,
    "refreshing": False,
    "columns": [["X", "int"], ["Y", "java.lang.String"]],
}
INFO = TableInfo("t", "Table", 5, False, (Column("X", "int"), Column("Y", "java.lang.String")))
READY = {"deephaven": "42.7", "python": "3.11.2", "pid": 7, "heap_bytes": 1, "reads_output": False, "interpreter": "plain"}


@pytest.mark.parametrize(
    ("header", "event"),
    [
        ({"kind": "stream", "cell": "c", "name": "stderr", "text": "x", "log": False}, StreamText("c", "stderr", "x")),
        ({"kind": "stream", "cell": "c", "name": "stdout", "text": "x", "log": True}, StreamText("c", "stdout", "x", True)),
        (
            {"kind": "display", "cell": "c", "data": {"a": 1}, "metadata": {}, "update": False},
            Displayed("c", {"a": 1}, {}, None, False),
        ),
        (
            {"kind": "display", "cell": "c", "data": {}, "metadata": {"m": 1}, "update": True, "display_id": "d"},
            Displayed("c", {}, {"m": 1}, "d", True),
        ),
        ({"kind": "clear", "cell": "c", "wait": True}, Cleared("c", True)),
        ({"kind": "result", "cell": "c", "data": {"text/plain": "1"}, "metadata": {}}, Resulted("c", {"text/plain": "1"}, {})),
        ({"kind": "input", "cell": "c", "prompt": "?", "password": False}, InputAsked("c", "?", False)),
        ({"kind": "done", "cell": "c", "status": "ok"}, CellDone("c")),
        (
            {"kind": "done", "cell": "c", "status": "ok", "user_expressions": {"a": 1}, "payload": [{"source": "page"}]},
            CellDone("c", None, {"a": 1}, [{"source": "page"}]),
        ),
        (
            {"kind": "done", "cell": "c", "status": "error", "ename": "E", "evalue": "v", "traceback": ["t"], "payload": []},
            CellDone("c", {"ename": "E", "evalue": "v", "traceback": ["t"]}, {}, []),
        ),
        ({"kind": "answer", "request": "r", "content": {"a": 1}}, Answered("", "r", {"a": 1})),
        ({"kind": "ready", **READY}, ServerInfo("", "42.7", "3.11.2", 7, 1, False)),
        (TABLE, TableShown("c", INFO, True, "Table()", None, None)),
        ({**TABLE, "problem": "why"}, TableShown("c", INFO, True, "Table()", None, "why")),
    ],
)
def test_each_kind(header: dict[str, Any], event: Event) -> None:
    assert parse(header, []) == event


def test_a_tables_head_is_its_first_reference() -> None:
    head = object()
    event = parse(TABLE, [head])
    assert isinstance(event, TableShown)
    assert event.head is head


def test_an_unknown_kind_is_no_event() -> None:
    assert parse({"kind": "of the future", "cell": "c"}, []) is None


def test_events_are_frozen() -> None:
    event = StreamText("c", "stdout", "x")
    with pytest.raises(FrozenInstanceError):
        event.text = "y"  # type: ignore[misc]
