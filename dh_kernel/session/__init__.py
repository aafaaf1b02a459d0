"""One open session with a Deephaven server: connect, ship the runtime, talk over one object stream, read previews over Flight.

The only package that imports pydeephaven and gRPC. It runs no event loop: what arrives is handed to callbacks on the reader's
thread. Knows nothing of Jupyter and of processes.

`Session` and `SessionOptions` bring pydeephaven, numpy and pyarrow, and are imported when first asked for.

    session.py   Session: open, send, resume, close
    events.py    what arrives, as frozen data
    shipping.py  the runtime as a console script
    previews.py  the head of a table over Arrow Flight; sent.py one that came inside a frame
    references.py  tables on the server, over several connections
    connect.py   pydeephaven's and gRPC's errors, translated once; proxies.py HTTP proxies on the way
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
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


@contextlib.contextmanager
def _without_pandas() -> Iterator[None]:
    """pydeephaven imports pandas for the name of one type, in filters that are not used here."""
    if "pandas" in sys.modules:
        yield
        return
    stand_in = ModuleType("pandas")

    def real(name: str) -> Any:
        if sys.modules.get("pandas") is stand_in:
            del sys.modules["pandas"]
        return getattr(importlib.import_module("pandas"), name)

    stand_in.Timestamp = type("Timestamp", (), {})  # type: ignore[attr-defined]
    stand_in.__getattr__ = real  # type: ignore[method-assign]  # for versions of pydeephaven that want more
    sys.modules["pandas"] = stand_in
    try:
        yield
    finally:
        if sys.modules.get("pandas") is stand_in:
            del sys.modules["pandas"]


def __getattr__(name: str) -> Any:
    if name in ("Session", "SessionOptions"):
        with _without_pandas():
            from . import session

        return getattr(session, name)
    raise AttributeError(name)
