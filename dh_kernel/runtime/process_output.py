"""What a launched server's process writes to its file descriptors 1 and 2, read inside it.

Neighbours: the launcher lends the descriptors, `outputs` takes the text. So a subprocess's lines stand where they belong.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from .journal import Journal
from .lanes import LAUNCHER_MODULE
from .threads import ServiceThread


class ProcessOutput:
    """Reads on a thread of its own, and on the thread of a cell that writes next."""

    def __init__(
        self,
        descriptors: tuple[int, int],
        take: Callable[[str, str], None],
        exact: Callable[[], bool] = lambda: False,
        journal: Journal | None = None,
    ) -> None:
        self._streams = list(zip(descriptors, ("stdout", "stderr"), strict=True))
        self._decoders = {fd: codecs.getincrementaldecoder("utf-8")("replace") for fd in descriptors}
        self._take, self._exact, self._journal = take, exact, journal
        self._lock = threading.Lock()
        self._closed = False
        self._here = threading.local()  # a poll object serves one thread at a time
        for fd in descriptors:
            os.set_blocking(fd, False)
        ServiceThread(target=self._run, name="dh-kernel-output", daemon=True).start()

    @classmethod
    def of_launcher(
        cls,
        take: Callable[[str, str], None],
        exact: Callable[[], bool] = lambda: False,
        journal: Journal | None = None,
    ) -> ProcessOutput | None:
        """A reader of the launcher's descriptors, if it has lent them. There is one: that of a former session stops."""
        launcher: Any = sys.modules.get(LAUNCHER_MODULE)
        descriptors = getattr(launcher, "output_fds", None)
        if not descriptors:
            return None
        former = getattr(launcher, "process_output", None)
        if former is not None:
            former.close()
        launcher.process_output = reader = cls(descriptors, take, exact, journal)
        return reader

    def has_text(self) -> bool:
        """Whether there is something to take, or somebody is taking it; asked before every write of a cell."""
        return bool(self._poll().poll(0)) or self._lock.locked()  # in this order: what the poll misses is being taken

    def drain(self) -> None:
        """Take what is there now."""
        with self._lock:
            for fd, name in self._streams:
                if not self._closed:
                    self._read(fd, name)

    def close(self) -> None:
        """Leave the descriptors to the kernel, or to the next session."""
        with self._lock:
            self._closed = True

    def _poll(self) -> select.poll:
        poll: select.poll | None = getattr(self._here, "poll", None)
        if poll is None:
            poll = self._here.poll = select.poll()
            for fd, _ in self._streams:
                poll.register(fd, select.POLLIN)
        return poll

    def _read(self, fd: int, name: str) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(fd, 1 << 16) if self._journal is None else self._journal.read(fd, name):
                text = data.decode("utf-8", "surrogateescape") if self._exact() else self._decoders[fd].decode(data)
                if text:
                    self._take(name, text)
                if self._journal is not None:
                    self._journal.dealt_with(len(data))
                if len(data) < 1 << 12:
                    return

    def _run(self) -> None:
        descriptors = [fd for fd, _ in self._streams]
        while not self._closed:
            readable, _, _ = select.select(descriptors, [], [], 1.0)
            if readable:
                self.drain()
