"""The first rows of a table over Arrow Flight.

Neighbours: `session`. Refuses to render.
"""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
from pydeephaven import Session as DeephavenSession

from dh_kernel.model import Endpoint

from .connect import flight_client

_UNREACHED = (flight.FlightUnavailableError, flight.FlightCancelledError)


class HeadReader:
    """Reads exported tables as Arrow data: one call each, without pydeephaven's own look at their schema."""

    def __init__(self, endpoint: Endpoint, session: DeephavenSession) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._client: Any = None
        self._endpoint = endpoint

    def read(self, reference: Any) -> pa.Table:
        """All rows of the referenced table, as one consistent snapshot.

        Source: DoGet of an export ticket, Deephaven's Flight service; field metadata `deephaven:type`.
        """
        options = flight.FlightCallOptions(headers=self._session.grpc_metadata, timeout=60.0)
        return self._flight().do_get(flight.Ticket(reference.ticket.bytes), options).read_all()

    def close(self) -> None:
        """Close the Flight connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _flight(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = flight_client(self._endpoint)
            return self._client


def is_connection_error(error: Exception) -> bool:
    """Whether the server was not reached, or not to the end: not what it answered."""
    return isinstance(error, _UNREACHED)
