"""What tests of sessions share: a client that drives one `dh_kernel.session.Session` and keeps all that arrives, by cell.

Neighbours: `tests/server/conftest.py` starts the servers. Nothing here knows Jupyter.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydeephaven import Session as DeephavenSession

from dh_kernel.errors import SessionLostError
from dh_kernel.model import Endpoint, TablePreview
from dh_kernel.session.events import (
    Answered,
    CellDone,
    Displayed,
    Event,
    LiveUpdate,
    LiveUpdated,
    Resulted,
    StreamText,
    TableShown,
)
from dh_kernel.session.session import Session, SessionOptions

TIMEOUT_S = 60.0


@dataclass
class Run:
    """One cell: what has arrived for it so far."""

    id: str
    events: list[Event] = field(default_factory=list)
    done: CellDone | None = None

    def text(self, name: str = "stdout") -> str:
        """What was printed to a stream."""
        return "".join(event.text for event in self.events if isinstance(event, StreamText) and event.name == name)

    @property
    def tables(self) -> list[TableShown]:
        """The tables shown, results included."""
        return [event for event in self.events if isinstance(event, TableShown)]

    @property
    def table_names(self) -> list[str | None]:
        """The names of the tables shown as assigned, in order."""
        return [table.info.name for table in self.tables if not table.result]

    @property
    def result(self) -> str | None:
        """The text of the result, None if there was none."""
        results = [event.data["text/plain"] for event in self.events if isinstance(event, Resulted)]
        assert len(results) <= 1, results
        return str(results[0]) if results else None

    @property
    def displays(self) -> list[Displayed]:
        """What was displayed."""
        return [event for event in self.events if isinstance(event, Displayed)]

    @property
    def error(self) -> dict[str, Any]:
        """The error, which there must be."""
        assert self.done is not None
        assert self.done.error is not None, self.events
        return self.done.error


class Client:
    """One open session. `hold` keeps events unconsumed, as a kernel does whose front end is slow."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        launched: bool = False,
        linger_s: float = 60.0,
        tables: dict[str, Any] | None = None,
        detached_s: float = 0.0,
        name: str = "",
        kernel: str = "",
        take_over: str | None = None,
    ) -> None:
        self.shows_live = True
        """Whether updates of live outputs are acknowledged, as the kernel does once it has published them."""
        self.lost: list[SessionLostError] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.received_bytes = 0
        self._news = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._numbers = itertools.count(1)
        self._held: list[int] | None = None
        self._made: Session | None = None
        options = SessionOptions(launched, linger_s, tables=tables or {}, detached_s=detached_s, name=name, kernel=kernel)
        self.session = Session.open(endpoint, options, self._on_event, self._on_lost, self._on_made, take_over=take_over)
        self.wait(lambda: self.session.info is not None, "the runtime's first word")

    def _on_made(self, session: Session) -> None:
        self._made = session

    def _on_event(self, event: Event, size: int) -> None:
        assert self._made is not None
        with self._news:
            self.received_bytes += size
            if isinstance(event, Answered):
                self.answers[event.request] = event.content
            run = self._runs.setdefault(event.cell, Run(event.cell))
            run.events.append(event)
            if isinstance(event, CellDone):
                assert run.done is None, "a cell has ended twice"
                run.done = event
            held = self._held
            if held is not None:
                held.append(size)
            self._news.notify_all()
        if held is None:
            self._made.consumed(size)
        if self.shows_live:
            self.show_live(event)

    def show_live(self, event: Event) -> None:
        """Acknowledge what an event says of live outputs."""
        assert self._made is not None
        if isinstance(event, TableShown) and event.how.live:
            self._made.send("live_shown", outputs=[event.how.display_id])
        elif isinstance(event, LiveUpdated):
            self._made.send("live_shown", outputs=[update.display_id for update in event.updates])

    def updates(self, table: TableShown) -> list[LiveUpdate]:
        """The updates of a table's output that have arrived."""
        with self._news:
            events = [event for run in self._runs.values() for event in run.events if isinstance(event, LiveUpdated)]
        return [update for event in events for update in event.updates if update.display_id == table.how.display_id]

    def wait_for_update(self, table: TableShown, which: Callable[[LiveUpdate], bool] = lambda update: True) -> LiveUpdate:
        """Wait for an update of a table's output."""
        self.wait(lambda: any(map(which, self.updates(table))), f"an update of {table.info.name}")
        return next(filter(which, self.updates(table)))

    def _on_lost(self, error: SessionLostError) -> None:
        with self._news:
            self.lost.append(error)
            self._news.notify_all()

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for what arrives to make the condition true."""
        with self._news:
            assert self._news.wait_for(condition, timeout_s), f"not within {timeout_s} s: {what}"

    def send(self, code: str, **options: Any) -> Run:
        """Send a cell and return at once."""
        number = next(self._numbers)
        run = self.run_of(f"c{id(self)}-{number}")
        message: dict[str, Any] = {
            "cell": run.id,
            "code": code,
            "count": number,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "show_tables": True,
        }
        self.session.send("execute", **{**message, **options})
        return run

    def run_of(self, cell: str) -> Run:
        """What arrives under an identifier of one's own, or for a cell that another client has sent."""
        with self._news:
            return self._runs.setdefault(cell, Run(cell))

    def finish(self, run: Run, timeout_s: float = TIMEOUT_S) -> Run:
        """Wait for a cell's end."""
        self.wait(lambda: run.done or self.lost, f"the end of the cell; so far {run.events[-3:]}", timeout_s)
        assert run.done is not None, self.lost
        return run

    def run(self, code: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Run:
        """Run a cell to its end."""
        return self.finish(self.send(code, **options), timeout_s)

    def ok(self, code: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Run:
        """Run a cell that must not fail."""
        run = self.run(code, timeout_s, **options)
        assert run.done is not None
        assert run.done.error is None, "\n".join(run.done.error["traceback"])
        return run

    def value(self, expression: str) -> str:
        """The text of an expression's value."""
        result = self.ok(expression, show_tables=False).result
        assert result is not None
        return result

    def wait_for_text(self, run: Run, wanted: str, name: str = "stdout") -> None:
        """Wait until a cell has printed something."""
        self.wait(lambda: wanted in run.text(name), f"{wanted!r} in the output")

    def interrupt(self, run: Run) -> None:
        """Interrupt a cell."""
        self.session.send("interrupt", cell=run.id)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Put a question to the runtime, and wait for the answer."""
        request = f"r{next(self._numbers)}"
        self.session.send(kind, request=request, **fields)
        self.wait(lambda: request in self.answers, f"the answer to {kind}")
        return self.answers[request]

    def preview(self, table: TableShown) -> TablePreview:
        """Read a table's rows, then let the server forget it, as the kernel does."""
        made = self.session.preview(table)
        self.session.release(table)
        self.session.consumed(0, at_once=True)
        return made

    def hold(self) -> None:
        """Stop telling the server that events were dealt with."""
        with self._news:
            self._held = []

    def release(self) -> None:
        """Tell all that was held, and go on as usual."""
        with self._news:
            held, self._held = self._held or [], None
        for size in held:
            self.session.consumed(size)

    def settled_bytes(self, quiet_s: float = 0.7) -> int:
        """How much has arrived, once nothing arrives any more for a while."""
        with self._news:
            while True:
                seen = self.received_bytes
                if not self._news.wait_for(lambda: self.received_bytes != seen, quiet_s):  # noqa: B023
                    return seen

    def close(self) -> None:
        """Close the session."""
        self.session.close()


def until(condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """For what no event tells, such as the end of another session."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


class Console:
    """A console of the server, as other clients have: it sees the namespace also while the cells' thread is taken."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self._answer = folder / "answer.json"
        self.session = DeephavenSession(
            endpoint.host, endpoint.port, auth_type=endpoint.auth_type, auth_token=endpoint.auth_token
        )

    def value(self, expression: str) -> Any:
        """An expression's value, by way of JSON; None where it raises."""
        self._answer.write_text("null", "utf-8")
        code = (
            f"with open({str(self._answer)!r}, 'w') as _file: _file.write(__import__('json').dumps({expression}))\ndel _file"
        )
        self.session.run_script(code)
        return json.loads(self._answer.read_text("utf-8"))

    def close(self) -> None:
        """Close the session."""
        self.session.close()


@dataclass(frozen=True)
class Kind:
    """A running server of one kind."""

    name: str
    endpoint: Endpoint

    @property
    def launched(self) -> bool:
        """Whether it belongs to its kernel."""
        return self.name == "launched"

    def open(self, *, linger_s: float = 60.0, tables: dict[str, Any] | None = None) -> Client:
        """A session of its own; the caller closes it."""
        return Client(self.endpoint, launched=self.launched, linger_s=linger_s, tables=tables)
