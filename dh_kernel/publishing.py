"""What the server says about a run, as messages on IOPub.

Neighbours: `runs`, `backend` (reads previews), `render` (previews to MIME bundles), `budget`; `kernel` decides when. Refuses
to know cells and replies.
"""

from __future__ import annotations

import asyncio
import os
import uuid
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from dh_kernel.model import TablePreview
from dh_kernel.session import (
    Cleared,
    CommSent,
    Displayed,
    ErrorShown,
    Event,
    GridAsked,
    LiveUpdated,
    Resulted,
    SettingChanged,
    StreamText,
    TableShown,
)

from .backend import Backend
from .budget import ProgramBudget, TableBudget
from .grid import grid_bundle
from .live import LiveOutputs
from .runs import Run

Send = Callable[..., None]
Ask = Callable[..., Awaitable[dict[str, Any]]]
SLOW_S = 2.0  # a table whose rows take longer shows its columns first
_AHEAD = 8  # how many tables are read before it is their turn to be published
_WIDTH = 100
_NO_ROOM = "this cell's tables have filled its output; `%dh show NAME` shows one"


@dataclass
class _Reading:
    """A table whose rows are being read, and since when, by the event loop's clock."""

    preview: asyncio.Future[TablePreview]
    since: float


class Publisher:
    """Publishes the events of runs.

    Args:
        send: `send(run, msg_type, content, metadata=None, buffers=None)` puts a message with the run's parent on IOPub.
        ask: `await ask(kind, **fields)` puts a question to the runtime; nothing if it does not answer in time.
        is_young: as `LiveOutputs`'.
    """

    def __init__(self, backend: Backend, send: Send, ask: Ask, is_young: Callable[[float], bool]) -> None:
        self._backend, self._send, self._ask = backend, send, ask
        self._budgets: weakref.WeakKeyDictionary[Run, TableBudget] = weakref.WeakKeyDictionary()
        self._reading = 0
        self._later_ones: set[asyncio.Future[None]] = set()
        self.live = LiveOutputs(
            lambda session, table: self._bundle(session.preview(table), table),
            send,
            lambda: backend.settings.time_zone,
            is_young,
        )

    def begin(self, session: Any, event: Event) -> Any:
        """Start what takes time, such as reading a table's rows; `publish` wants what this returns."""
        return self._read(session, event) if isinstance(event, TableShown) and self._reading < _AHEAD else None

    def _read(self, session: Any, event: TableShown) -> _Reading:
        loop = asyncio.get_running_loop()
        reading = _Reading(asyncio.ensure_future(self._backend.preview(session, event)), loop.time())
        self._reading += 1
        reading.preview.add_done_callback(self._has_read)
        return reading

    def _has_read(self, _: Any) -> None:
        self._reading -= 1

    async def bundle(self, session: Any, table: TableShown) -> dict[str, Any]:
        """A table's preview as a MIME bundle."""
        return self._bundle(await self._backend.preview(session, table), table)

    async def publish(self, run: Run, event: Event, begun: Any) -> None:
        """Publish one event."""
        if isinstance(event, StreamText):
            self._send(run, "stream", {"name": event.name, "text": event.text}, buffers=[event.raw] if event.raw else None)
        elif isinstance(event, Displayed):
            self._display(run, event)
        elif isinstance(event, Resulted):
            self._result(run, event.data, event.metadata)
        elif isinstance(event, ErrorShown):
            self._send(run, "error", event.error)
        elif isinstance(event, TableShown):
            await self._table(run, event, begun)
        elif isinstance(event, Cleared):
            self._send(run, "clear_output", {"wait": event.wait})
        elif isinstance(event, LiveUpdated):
            await self.live.publish(run.session, run if event.flush else None, event)
        elif isinstance(event, GridAsked):
            self._grid(run, event)
        elif isinstance(event, CommSent):
            self._send(run, event.msg_type, event.content, event.metadata, event.buffers)

    def _display(self, run: Run, event: Displayed) -> None:
        content: dict[str, Any] = {"data": event.data, "metadata": event.metadata, "transient": {}}
        if event.display_id is not None:
            content["transient"] = {"display_id": event.display_id}
        self._send(run, "update_display_data" if event.update else "display_data", content)

    def _result(self, run: Run, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._send(run, "execute_result", {"data": data, "metadata": metadata, "execution_count": run.count})

    def _bundle(self, preview: TablePreview, table: TableShown) -> dict[str, Any]:
        from dh_kernel.render import RenderOptions, table_bundle  # with pyarrow: imported while the server starts

        settings = self._backend.settings
        rows, columns = table.how.rows or settings.rows, table.how.columns or settings.columns
        options = RenderOptions(rows=rows, columns=columns, time_zone=settings.time_zone, width=_terminal_width())
        return table_bundle(preview, options=options)

    # --- tables

    async def _table(self, run: Run, event: TableShown, begun: _Reading | None) -> None:
        """Publish a table: at once if its rows are there in time, else its columns now and the rows in their place later.

        Later is only for front ends that name the cell: consoles, and programs that run notebooks, do not take it in.
        """
        is_program = bool(run.flow.window)
        budget = self._budgets.setdefault(run, ProgramBudget() if is_program else TableBudget())
        if is_program and event.how.live:
            event = _once(run, event)
        if budget.is_spent:
            self._leave_out(run, event, budget)
            self._backend.discard(run.session, event)
            return
        reading = begun if begun is not None else self._read(run.session, event)
        if run.can_update:
            patience_s = max(0.0, reading.since + SLOW_S - asyncio.get_running_loop().time())
            await asyncio.wait((reading.preview,), timeout=patience_s)
            if not reading.preview.done():
                self._later(run, event, reading, budget)
                return
        bundle = budget.fitted(self._bundle(await self._explained(await reading.preview), event))
        if bundle is None:
            self._leave_out(run, event, budget)
        elif event.result and not event.how.live:  # front ends update what is displayed, and no result
            self._result(run, bundle, {})
        else:
            self._show(run, event, bundle, event.how.display_id, update=event.how.update)

    @staticmethod
    def _leave_out(run: Run, event: TableShown, budget: TableBudget) -> None:
        budget.leave_out(event.info.name)
        if event.how.live:
            run.session.send("live_unseen", output=event.how.display_id)

    def _show(self, run: Run, event: TableShown, bundle: dict[str, Any], display_id: str | None, *, update: bool) -> None:
        if event.how.live:
            bundle = self.live.begin(run, event, bundle)
        transient = {} if display_id is None else {"display_id": display_id}
        content = {"data": bundle, "metadata": {}, "transient": transient}
        self._send(run, "update_display_data" if update else "display_data", content)

    async def _explained(self, preview: TablePreview) -> TablePreview:
        """A preview whose rows could not be read, with the reason: the server tells no more than where it has logged it."""
        number = preview.excerpt.number
        if preview.problem is None or number is None:
            return preview
        reason = (await self._ask("why", table=number)).get("reason")
        return preview if not reason else replace(preview, problem=str(reason))

    def _later(self, run: Run, event: TableShown, reading: _Reading, budget: TableBudget) -> None:
        """Show a table's columns, and its rows when they come. Also of a result: front ends update only what is displayed."""
        display_id = event.how.display_id or uuid.uuid4().hex
        columns = budget.fitted(self._bundle(TablePreview(event.info, None, excerpt=event.excerpt, pending=True), event))
        if columns is not None:
            content = {"data": columns, "metadata": {}, "transient": {"display_id": display_id}}
            self._send(run, "update_display_data" if event.how.update else "display_data", content)

        async def show_rows() -> None:
            try:
                preview = await self._explained(await reading.preview)
            except Exception as error:  # the session has ended
                preview = TablePreview(event.info, None, problem=f"{type(error).__name__}: {error}", excerpt=event.excerpt)
            bundle = budget.fitted(self._bundle(preview, event))
            if bundle is None:
                self._leave_out(run, event, budget)
                unshown = TablePreview(event.info, None, problem=_NO_ROOM, excerpt=event.excerpt)
                content = {"data": self._bundle(unshown, event), "metadata": {}, "transient": {"display_id": display_id}}
                self._send(run, "update_display_data", content)
            else:
                self._show(run, event, bundle, display_id, update=True)

        task = asyncio.ensure_future(show_rows())
        self._later_ones.add(task)  # the event loop itself keeps none
        task.add_done_callback(self._later_ones.discard)

    def finish(self, run: Run) -> None:
        """A run has ended: say what its output lacks."""
        budget = self._budgets.pop(run, None)
        line = budget.last_line() if budget is not None else None
        if line is not None:
            self._send(run, "display_data", {"data": {"text/plain": line}, "metadata": {}, "transient": {}})

    def _grid(self, run: Run, event: GridAsked) -> None:
        settings = self._backend.settings
        bundle = grid_bundle(
            event.name,
            run.session.endpoint,
            launched=settings.endpoint is None,
            browser_url=settings.browser_url,
            height=event.height,
        )
        self._send(run, "display_data", {"data": bundle, "metadata": {}, "transient": {}})

    def outside_cells(self, session: Any, event: Event) -> asyncio.Future[None] | None:
        """Begin to deal with what waits for no cell: updates of live outputs, changed settings. None for all else."""
        if isinstance(event, LiveUpdated) and not event.flush:
            return asyncio.ensure_future(self.live.publish(session, None, event))
        if isinstance(event, SettingChanged):
            self._backend.change_setting(event.name, event.value)
            return asyncio.ensure_future(asyncio.sleep(0))
        return None


def _once(run: Run, event: TableShown) -> TableShown:
    """A table that would be updated, for a front end that takes what comes and shows it as it was."""
    run.session.send("live_unseen", output=event.how.display_id)
    return replace(event, how=replace(event.how, live=False))


def _terminal_width() -> int:
    """The width of the terminal that the kernel was started from, where it says so: a console's."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and 20 <= int(columns) <= 1000 else _WIDTH
