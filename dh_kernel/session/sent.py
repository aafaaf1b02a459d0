"""Rows that came inside a frame, as messages of Arrow's stream format: in the place of a reference to a table on the server.

Neighbours: `events` (makes them), `previews` (reads them). Refuses to ask the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class SentTable:
    """A table's schema message, and one message for each batch of rows."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._messages = messages

    def read(self) -> pa.Table:
        """The rows; the same as Flight would give for the table.

        Source: `deephaven.arrow.to_arrow`, which reads what the same writer on the server makes.
        """
        import pyarrow as pa

        first, *batches = self._messages
        with pa.ipc.open_stream(pa.py_buffer(first)) as reader:
            schema = reader.schema
        read = [pa.ipc.read_record_batch(pa.ipc.read_message(pa.py_buffer(batch)), schema) for batch in batches]
        return pa.Table.from_batches(read, schema)

    def close(self) -> None:
        """There is nothing to release on the server."""
