"""One open session with a Deephaven server: connect, ship the runtime, talk over one object stream, read previews over Flight.

The only package that imports pydeephaven and gRPC. It runs no event loop: what arrives is handed to callbacks on the reader's
thread. Knows nothing of Jupyter and of processes.

`Session` and `SessionOptions` bring pydeephaven, pandas and pyarrow, and are imported when first asked for.

    session.py   Session: open, send, resume, close
    events.py    what arrives, as frozen data
    shipping.py  the runtime as a console script
    previews.py  the head of a table over Arrow Flight; sent.py one that came inside a frame
    references.py  tables on the server, over several connections
    connect.py   pydeephaven's and gRPC's errors, translated once
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .events import (
    Answered,
    CellDone,
    Cleared,
    CommSent,
    DetachedSession,
    Displayed,
    ErrorShown,
    Event,
    GridAsked,
    InputAsked,
    LiveUpdate,
    LiveUpdated,
    Resulted,
    ServerInfo,
    SettingChanged,
    StreamText,
    TableShown,
)

if TYPE_CHECKING:
    from .session import Session, SessionOptions

__all__ = [
    "Answered",
    "CellDone",
    "Cleared",
    "CommSent",
    "DetachedSession",
    "Displayed",
    "ErrorShown",
    "Event",
    "GridAsked",
    "InputAsked",
    "LiveUpdate",
    "LiveUpdated",
    "Resulted",
    "ServerInfo",
    "Session",
    "SessionOptions",
    "SettingChanged",
    "StreamText",
    "TableShown",
]


def __getattr__(name: str) -> Any:
    if name in ("Session", "SessionOptions"):
        from . import session

        return getattr(session, name)
    raise AttributeError(name)
