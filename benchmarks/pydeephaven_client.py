"""A pydeephaven client in a process of its own, for the peer `pydeephaven`, so that its memory can be read by itself.

Standard input: a JSON line `{"port": …, "key": …}`, then one command a line; standard output: one JSON line for each.

    {"do": "run_script", "code": c, "times": n}    n scripts, the seconds of each
    {"do": "head", "table": name}                  ten rows of a table as Arrow
    {"do": "download", "table": name}              a whole table as Arrow

Ends with its standard input. Run by `peers.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from pydeephaven import Session


def run_script(session: Session, command: dict[str, Any]) -> list[float]:
    """Each script's seconds."""
    return [_seconds(lambda: session.run_script(command["code"])) for _ in range(command["times"])]


def head(session: Session, command: dict[str, Any]) -> list[float]:
    """Open, take ten rows, read, close."""

    def read() -> None:
        table = session.open_table(command["table"])
        first = table.head(10)
        if first.to_arrow().num_rows != 10:
            raise ValueError("expected ten rows")
        first.close()
        table.close()

    return [_seconds(read)]


def download(session: Session, command: dict[str, Any]) -> list[float]:
    """Open, read all, close."""

    def read() -> None:
        table = session.open_table(command["table"])
        table.to_arrow()
        table.close()

    return [_seconds(read)]


COMMANDS: dict[str, Callable[[Session, dict[str, Any]], list[float]]] = {
    "run_script": run_script,
    "head": head,
    "download": download,
}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Answer commands until standard input ends."""
    where = json.loads(sys.stdin.readline())
    session = Session(
        "127.0.0.1",
        where["port"],
        auth_type="io.deephaven.authentication.psk.PskAuthenticationHandler",
        auth_token=where["key"],
    )
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer: dict[str, Any] = {"seconds": COMMANDS[command["do"]](session, command)}
        except Exception as error:  # the edge of this process: the other side raises it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    session.close()
    os._exit(0)  # pydeephaven can hang an interpreter that exits


if __name__ == "__main__":
    main()
