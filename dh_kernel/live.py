"""Live outputs at the kernel's end: each update of the server becomes an `update_display_data`, each end a marked snapshot.

Neighbours: `publishing` (shows a table first, and hands updates here), `runs`. The server decides when an output is updated
and when it ends (`runtime.live`); what ends them all, a server's or the kernel's own end, is told here. Refuses to know
settings.

The last bundle of each output is kept, so that the end of a server that says nothing more leaves a snapshot with its time.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dh_kernel.session import LiveUpdate, LiveUpdated, TableShown

from .runs import Run

DATARESOURCE = "application/vnd.dataresource+json"
_STYLE = "padding:0.2em 0.7em;font-size:0.95em;opacity:0.75"  # as the table's own last line
_YOUNG_S, _YIELD_S, _MOST_YIELDED_S = (
    0.05,
    0.002,
    0.25,
)  # as in runtime.live, for the event loop's sake; that module is shipped
_KEPT = 2000  # more than can be live at a time: those whose end is never told are forgotten, oldest first

Send = Callable[..., None]


@dataclass(frozen=True)
class _Shown:
    """The last state of an output, and the session that updates it."""

    run: Run
    session: Any
    bundle: dict[str, Any]
    taken: float


class LiveOutputs:
    """The live outputs of a kernel.

    Args:
        render: a table, with rows that are here already, as a MIME bundle.
        send: as `Publisher`'s.
        zone: the name of the time zone in which times show.
        is_young: whether a cell runs that came less than so many seconds ago: most end soon, and updates can wait that long.
    """

    def __init__(
        self,
        render: Callable[[Any, TableShown], dict[str, Any]],
        send: Send,
        zone: Callable[[], str] = lambda: "UTC",
        is_young: Callable[[float], bool] = lambda age_s: False,
    ) -> None:
        self._render, self._send, self._zone, self._is_young = render, send, zone, is_young
        self._shown: dict[str, _Shown] = {}

    def begin(self, run: Run, table: TableShown, bundle: dict[str, Any]) -> dict[str, Any]:
        """An output is shown for the first time; its bundle, marked as live."""
        taken = time.time()
        assert table.how.display_id is not None
        self._shown[table.how.display_id] = _Shown(run, run.session, bundle, taken)
        while len(self._shown) > _KEPT:
            del self._shown[next(iter(self._shown))]
        run.session.send("live_shown", outputs=[table.how.display_id])
        return marked(bundle, taken, None, self._zone())

    async def publish(self, session: Any, run: Run | None, event: LiveUpdated) -> None:
        """Publish updates, one after the other, and tell the server. Between two of them the event loop can do other things.

        Args:
            run: in whose name; None: in that of each output's own.
        """
        try:
            until = asyncio.get_running_loop().time() + _MOST_YIELDED_S
            for update in event.updates:
                while run is None and asyncio.get_running_loop().time() < until and self._is_young(_YOUNG_S):
                    await asyncio.sleep(_YIELD_S)
                self._publish_one(session, run, update)
                await asyncio.sleep(0)
        finally:
            session.send("live_shown", outputs=[update.display_id for update in event.updates])

    def _publish_one(self, session: Any, run: Run | None, update: LiveUpdate) -> None:
        former = self._shown.pop(update.display_id, None)
        if former is None:  # it ended here when the session was lost, before somebody picked that up again
            session.send("live_unseen", output=update.display_id)
            return
        bundle = self._render(session, update.table)
        if update.ended is None:
            self._shown[update.display_id] = _Shown(former.run, session, bundle, update.taken)
        self._update(run or former.run, update.display_id, marked(bundle, update.taken, update.ended, self._zone()))

    def end_all(self, reason: str, session: Any = None) -> None:
        """Nothing more comes from a session, or from any: mark what is shown as the last state."""
        for name, shown in list(self._shown.items()):
            if session is None or shown.session is session:
                del self._shown[name]
                self._update(shown.run, name, marked(shown.bundle, shown.taken, reason, self._zone()))

    def _update(self, run: Run, display_id: str, bundle: dict[str, Any]) -> None:
        content = {"data": bundle, "metadata": {}, "transient": {"display_id": display_id}}
        self._send(run, "update_display_data", content)


def marked(bundle: dict[str, Any], taken: float, ended: str | None, zone: str = "UTC") -> dict[str, Any]:
    """A table's bundle with a line on whether it is live; the last state's with date and time, in the caption's zone."""
    moment = datetime.fromtimestamp(taken, ZoneInfo(zone))
    line = "live" if ended is None else f"snapshot of {moment:%Y-%m-%d %H:%M:%S %Z}, no longer live: {ended}"
    made = dict(bundle)
    if "text/plain" in bundle:
        made["text/plain"] = f"{bundle['text/plain']}\n{line}"
    if "text/html" in bundle:
        made["text/html"] = f'{bundle["text/html"]}<div style="{_STYLE}">{html.escape(line)}</div>'
    resource = bundle.get(DATARESOURCE)
    if isinstance(resource, dict):
        utc = moment.astimezone(timezone.utc)
        about = {**resource.get("deephaven", {}), "live": ended is None, "snapshot": f"{utc:%Y-%m-%dT%H:%M:%SZ}"}
        made[DATARESOURCE] = {**resource, "deephaven": about}
    return made
