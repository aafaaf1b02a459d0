"""Bytes to stdout and stderr, on a thread of its own: a reader that is slow, or stuck, holds up nothing but this.

Refuses to know what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable

OUT, ERR = 1, 2
_BAR = 30


class Notes:
    """What goes on, for a person, on stderr.

    Args:
        lines: whether notes are wanted; `bars`: whether there is a terminal, where a line can be written over.
    """

    def __init__(self, writer: Writer, prog: str, *, lines: bool, bars: bool) -> None:
        self._writer, self._prog, self._lines, self._bars = writer, prog, lines, bars

    def note(self, text: str) -> None:
        """A line."""
        if self._lines:
            self.say(text)

    def say(self, text: str) -> None:
        """A line, wanted or not."""
        self._writer.put(ERR, f"{self._prog}: {text}\n".encode("utf-8", "backslashreplace"))

    def bar(self, done: int, total: int) -> None:
        """How far a notebook has come; written over the former one."""
        if self._bars and total:
            filled = _BAR * done // total
            line = f"\r[{'#' * filled}{'.' * (_BAR - filled)}] cell {done} of {total}"
            self._writer.put(ERR, (line + ("\n" if done == total else "")).encode())


class Writer:
    """Writes in the order given. What waits is bounded by whoever puts it, who learns of what has been written.

    Args:
        on_broken: called once, on the thread, when nobody reads stdout any more; what comes later is dropped.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[tuple[int, bytes] | Callable[[], object]] = queue.SimpleQueue()
        self._broken: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="dh-run-writer", daemon=True)
        self._thread.start()

    @property
    def is_whole(self) -> bool:
        """Whether nothing of stdout has been dropped."""
        return OUT not in self._broken

    def put(self, descriptor: int, data: bytes) -> None:
        """Write these bytes when their turn comes."""
        if data:
            self._queue.put((descriptor, data))

    def after(self, action: Callable[[], object]) -> None:
        """Call this, on the thread, when all that was put before has been written."""
        self._queue.put(action)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if callable(item):
                item()
            elif item[0] not in self._broken:
                self._write(*item)

    def _write(self, descriptor: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # whoever started us has made it so
                with contextlib.suppress(OSError, ValueError):
                    select.select([], [descriptor], [])
            except OSError:
                self._broken.add(descriptor)
                if descriptor == OUT:  # as SIGPIPE would: without a word
                    self._broken.add(ERR)
                    self._on_broken()
                return
