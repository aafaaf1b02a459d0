"""What the kernel makes of updates of live outputs, and of the grid: pure data, without a server."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dh_kernel.grid import grid_bundle
from dh_kernel.live import DATARESOURCE, LiveOutputs, marked
from dh_kernel.model import Column, Endpoint, TableInfo
from dh_kernel.session import LiveUpdate, LiveUpdated, TableShown
from dh_kernel.session.events import HowShown, parse
from dh_kernel.session.sent import SentTable

BUNDLE = {"text/plain": "t\n1", "text/html": "<table></table>", DATARESOURCE: {"data": [], "deephaven": {"rows": 1}}}


class Session:
    """Takes what is sent to the server."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        (value,) = fields.values()
        self.sent.append((kind, value))


def table(name: str = "d1") -> TableShown:
    info = TableInfo("t", "Table", 1, True, (Column("X", "int"),))
    return TableShown("c1", info, False, "", how=HowShown(display_id=name, live=True))


class Shown:
    """A `LiveOutputs` whose messages are kept: parent and content."""

    def __init__(self) -> None:
        self.session, self.run = Session(), SimpleNamespace(id="c1")
        self.run.session = self.session
        self.messages: list[tuple[Any, str, dict[str, Any]]] = []
        self.outputs = LiveOutputs(
            lambda session, table: {"text/plain": "new"}, lambda run, kind, content: self.messages.append((run, kind, content))
        )

    def publish(self, *updates: LiveUpdate, run: Any = None) -> None:
        asyncio.run(self.outputs.publish(self.session, run, LiveUpdated("c1", updates, run is not None)))

    @property
    def texts(self) -> list[str]:
        return [content["data"]["text/plain"] for _, _, content in self.messages]


def test_the_first_state_is_marked_and_acknowledged() -> None:
    shown = Shown()
    bundle = shown.outputs.begin(shown.run, table(), BUNDLE)
    assert bundle["text/plain"] == "t\n1\nlive"
    assert bundle["text/html"].startswith("<table></table><div")
    assert bundle[DATARESOURCE]["deephaven"].keys() == {"rows", "live", "snapshot"}
    assert BUNDLE[DATARESOURCE] == {"data": [], "deephaven": {"rows": 1}}, "what was given stays as it was"
    assert shown.session.sent == [("live_shown", ["d1"])]


def test_updates_have_their_outputs_parent_or_that_of_the_cell_that_ends() -> None:
    shown = Shown()
    shown.outputs.begin(shown.run, table(), BUNDLE)
    shown.publish(LiveUpdate("d1", table(), 0.0))
    ending = SimpleNamespace(id="c2")
    shown.publish(LiveUpdate("d1", table(), 0.0), run=ending)
    assert [message[0] for message in shown.messages] == [shown.run, ending]
    assert {message[1] for message in shown.messages} == {"update_display_data"}
    assert {message[2]["transient"]["display_id"] for message in shown.messages} == {"d1"}
    assert shown.session.sent[1:] == [("live_shown", ["d1"])] * 2


def test_an_output_that_has_ended_is_not_updated_again() -> None:
    shown = Shown()
    shown.outputs.begin(shown.run, table(), BUNDLE)
    shown.publish(LiveUpdate("d1", table(), 0.0, "its time was over"), LiveUpdate("d1", table(), 1.0))
    shown.publish(LiveUpdate("unknown", table("unknown"), 0.0))
    shown.outputs.end_all("the kernel has ended")
    assert shown.texts == ["new\nsnapshot of 1970-01-01 00:00:00 UTC, no longer live: its time was over"]
    assert ("live_unseen", "unknown") in shown.session.sent, "the server need not go on with it"


def test_the_end_of_a_session_leaves_its_last_states() -> None:
    shown = Shown()
    for name in ("d1", "d2"):
        shown.outputs.begin(shown.run, table(name), BUNDLE)
    shown.publish(LiveUpdate("d2", table("d2"), 0.0))
    shown.outputs.end_all("gone", Session())
    assert len(shown.messages) == 1, "another session's end"
    shown.outputs.end_all("gone", shown.session)
    assert [text.partition("\n")[0] for text in shown.texts[1:]] == ["t", "new"]
    assert all(text.endswith("no longer live: gone") for text in shown.texts[1:])


def test_times_are_in_the_zone_of_the_settings() -> None:
    text = marked(BUNDLE, 0.0, "why", "Asia/Tokyo")["text/plain"]
    assert text.endswith("snapshot of 1970-01-01 09:00:00 JST, no longer live: why")


def test_a_reason_is_no_markup() -> None:
    assert "&lt;b&gt;" in marked(BUNDLE, 0.0, "<b>")["text/html"]


def test_a_frame_of_updates_is_read_with_its_rows() -> None:
    """Each head has its own messages; what was read is what was written."""
    rows = pa.table({"X": pa.array([1, 2], pa.int32())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema):
        pass
    batch = rows.to_batches()[0].serialize().to_pybytes()
    described = {"name": "t", "table_kind": "Table", "rows": 2, "refreshing": True, "columns": [["X", "int"]]}
    common = {**described, "cell": "c1", "result": False, "text": "", "rows_wanted": 7}
    updates = [
        {"output": "d1", "table": common, "taken": 5.0, "parts": []},
        {"output": "d2", "table": common, "taken": 6.0, "parts": [2], "ended": "why"},
    ]
    header = {"kind": "live", "cell": "c1", "flush": True, "updates": updates}
    event = parse(header, (), [sink.getvalue().to_pybytes(), batch])
    assert isinstance(event, LiveUpdated)
    one, two = event.updates
    assert (one.display_id, one.table.head, one.ended) == ("d1", None, None)
    assert (two.taken, two.ended, two.table.how.rows) == (6.0, "why", 7)
    assert isinstance(two.table.head, SentTable)
    assert two.table.head.read().equals(rows)


ENDPOINT = Endpoint("127.0.0.1", 1234, "psk", "secret&key")


def test_the_key_of_a_launched_server_stands_in_the_frame_alone() -> None:
    bundle = grid_bundle("a", ENDPOINT, launched=True)
    assert "psk=secret%26key" in bundle["text/html"]
    assert bundle["text/plain"] == "a: http://127.0.0.1:1234/iframe/widget/?name=a"


def test_of_an_attached_server_no_credential_is_shown() -> None:
    bundle = grid_bundle("a", ENDPOINT, launched=False, browser_url="https://x.example.org", height=99)
    assert "secret" not in json.dumps(bundle)
    assert 'src="https://x.example.org/iframe/widget/?name=a"' in bundle["text/html"]
    assert "height: 99px" in bundle["text/html"]


@pytest.mark.parametrize("name", ['"><script>', "a b&c=1", "é"])
def test_names_are_escaped(name: str) -> None:
    frame = grid_bundle(name, ENDPOINT, launched=True)["text/html"]
    assert frame.count("<") == frame.count(">") == 2
    assert "<script" not in frame
