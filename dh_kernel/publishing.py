"""What the server says about a run, as messages on IOPub.

Neighbours: `runs`, `backend` (reads previews), `render` (previews to MIME bundles); `kernel` decides when. Refuses to know
cells and replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dh_kernel.model import TablePreview
from dh_kernel.session import Cleared, CommSent, Displayed, ErrorShown, Event, Resulted, StreamText, TableShown

from .backend import Backend
from .runs import Run

Send = Callable[..., None]


class Publisher:
    """Publishes the events of runs.

    Args:
        send: `send(run, msg_type, content, metadata=None, buffers=None)` puts a message with the run's parent on IOPub.
    """

    def __init__(self, backend: Backend, send: Send) -> None:
        self._backend, self._send = backend, send

    def begin(self, session: Any, event: Event) -> Any:
        """Start what takes time, such as reading a table's rows; `publish` wants what this returns."""
        return asyncio.ensure_future(self._backend.preview(session, event)) if isinstance(event, TableShown) else None

    async def bundle(self, session: Any, table: TableShown) -> dict[str, Any]:
        """A table's preview as a MIME bundle."""
        return self._bundle(await self._backend.preview(session, table))

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
            self._table(run, event, await begun)
        elif isinstance(event, Cleared):
            self._send(run, "clear_output", {"wait": event.wait})
        elif isinstance(event, CommSent):
            self._send(run, event.msg_type, event.content, event.metadata, event.buffers)

    def _display(self, run: Run, event: Displayed) -> None:
        content: dict[str, Any] = {"data": event.data, "metadata": event.metadata, "transient": {}}
        if event.display_id is not None:
            content["transient"] = {"display_id": event.display_id}
        self._send(run, "update_display_data" if event.update else "display_data", content)

    def _result(self, run: Run, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._send(run, "execute_result", {"data": data, "metadata": metadata, "execution_count": run.count})

    def _bundle(self, preview: TablePreview) -> dict[str, Any]:
        from dh_kernel.render import RenderOptions, table_bundle  # with pyarrow: imported while the server starts

        return table_bundle(preview, options=RenderOptions(rows=self._backend.settings.rows))

    def _table(self, run: Run, event: TableShown, preview: TablePreview) -> None:
        bundle = self._bundle(preview)
        if event.result:
            self._result(run, bundle, {})
        else:
            self._send(run, "display_data", {"data": bundle, "metadata": {}, "transient": {}})
