"""One cell on a server, outside any notebook: what a start's classes are learnt from, and what tells whether all works.

Neighbours: `session` (imported here when it is needed, since it is heavy); `training` and `doctor` call this. Refuses to know
how the server came to be.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dh_kernel.model import PSK_AUTH_TYPE, Endpoint

if TYPE_CHECKING:
    from dh_kernel.session import Event

_REQUEST: dict[str, Any] = {
    "cell": "trial",
    "count": 1,
    "silent": False,
    "store_history": False,
    "user_expressions": {},
    "show_tables": True,
}


@dataclass(frozen=True)
class Trial:
    """What came of it: the versions of the server, seconds until connected and until the cell was done, and its error.

    `tables` is how many tables were read; `error` None where the cell succeeded.
    """

    deephaven: str
    python: str
    connected_s: float
    done_s: float
    tables: int
    error: str | None


# Leaves no variable, and loads what most first cells need.
_WARMED_WITHIN_S = 500.0
_WARMING_CELL = """
__import__("deephaven.time"); __import__("deephaven.plot"); __import__("deephaven.agg")
__import__("deephaven").empty_table(1000).update(["X = i", "Y = Math.sin(X)", "S = `a` + i"]).where("X > 3").sort("Y")
"""


def run_cell(endpoint: Endpoint, code: str, *, launched: bool, timeout_s: float = 120.0, stays: bool = False) -> Trial:
    """Connect to a server, run a cell there, read the tables that it assigns, and leave. Blocks.

    Start-up files of the user are not run: they would be once more, and maybe for somebody else.

    Args:
        stays: a launched server is used by somebody else afterwards.
    Raises:
        SessionError: with the next step.
    """
    from dh_kernel.session import CellDone, Session, SessionOptions, TableShown

    done = threading.Event()
    opened: list[Session] = []
    tables: list[TableShown] = []
    errors: list[str] = []

    def take(event: Event, size: int) -> None:
        if isinstance(event, TableShown):
            opened[0].preview(event)
            tables.append(event)
        elif isinstance(event, CellDone):
            if event.error is not None:
                errors.append(f"{event.error['ename']}: {event.error['evalue']}")
            done.set()

    def lost(error: Exception) -> None:
        errors.append(str(error))
        done.set()

    begun = time.monotonic()
    session = Session.open(endpoint, SessionOptions(launched=launched, profile=False), take, lost, opened.append)
    connected_s = time.monotonic() - begun
    try:
        session.send("execute", code=code, **_REQUEST)
        if not done.wait(timeout_s):
            errors.append(f"the cell was not done after {timeout_s:g} s")
        info = session.info
    finally:
        session.close(say_goodbye=not launched or stays)
    return Trial(
        deephaven=info.deephaven if info is not None else "",
        python=info.python if info is not None else "",
        connected_s=connected_s,
        done_s=time.monotonic() - begun - connected_s,
        tables=len(tables),
        error=errors[0] if errors else None,
    )


def main() -> int:
    """Warm a server that waits for its first kernel; which one says stdin."""
    if hasattr(os, "nice"):
        os.nice(10)
    where = json.load(sys.stdin)
    endpoint = Endpoint("127.0.0.1", where["port"], PSK_AUTH_TYPE, where["key"])
    error = run_cell(endpoint, _WARMING_CELL, launched=True, timeout_s=_WARMED_WITHIN_S, stays=True).error
    if error is not None:
        print(error, file=sys.stderr)
    return 0 if error is None else 1
