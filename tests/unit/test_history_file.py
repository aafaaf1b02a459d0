"""The file of inputs, which several kernels and IPythons write at the same time."""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dh_kernel.history import History


def inputs(connect: Callable[..., Any], file: Path) -> list[str]:
    connection = connect(file)
    try:
        return [text for (text,) in connection.execute("SELECT source_raw FROM history ORDER BY session, line")]
    finally:
        connection.close()


def test_an_input_is_kept_while_another_has_the_file_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite may refuse at once, without waiting: so it does here. IPython would forget the input."""
    connect, file = sqlite3.connect, tmp_path / "history.sqlite"
    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, timeout=0.0))
    history = History(file)
    other = connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.15, lambda: other.execute("COMMIT"))
    release.start()
    history.store(1, "first = 1")
    deadline = time.monotonic() + 20.0
    while not inputs(connect, file) and time.monotonic() < deadline:
        time.sleep(0.01)
    release.join()
    other.close()
    history.close()
    assert inputs(connect, file) == ["first = 1"]
