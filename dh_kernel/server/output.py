"""Reads what a server writes to its file descriptors 1 and 2, and keeps the tail of its log.

Neighbour: `process.py`, which makes the pipes and says when the server is ready and when it is dead. Knows nothing of what the
text means. One thread on POSIX, which waits on all pipes at once and so can stop reading at once; one for each pipe on
Windows, where pipes cannot be waited for together.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable

CHUNK = 1 << 16
LEFTOVER_CHUNKS = 64  # more than a pipe holds; a bound, as a process that outlived the server may write for ever
LINES_KEPT = 400
LINE_LENGTH = 2000

OutputCallback = Callable[[str, str], None]


class LogTail:
    """The last lines of a log, in bounded memory. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._unfinished: dict[str, str] = {}
        self._secret = ""

    def hide(self, secret: str) -> None:
        """Never keep this text."""
        self._secret = secret

    def add(self, text: str, stream: str = "") -> None:
        """Add text; lines of different streams do not mix."""
        with self._lock:
            *lines, rest = (self._unfinished.get(stream, "") + text).split("\n")
            self._lines.extend(self._clean(line) for line in lines[-LINES_KEPT:])
            self._unfinished[stream] = rest[:LINE_LENGTH]

    def last(self, count: int) -> tuple[str, ...]:
        with self._lock:
            lines = [*self._lines, *(self._clean(rest) for rest in self._unfinished.values() if rest)]
        return tuple(line for line in lines if line.strip())[-count:]

    def _clean(self, line: str) -> str:
        line = line.rstrip("\r")[:LINE_LENGTH]
        return line.replace(self._secret, "<key>") if self._secret else line


class OutputReader:
    """What both readers share: bytes in, text to the tail and to the callback.

    Until the server is ready everything goes to the tail only: what a JVM says while it starts is no output of a user.
    """

    def __init__(self, tail: LogTail) -> None:
        self._tail = tail
        self._callback: OutputCallback | None = None
        self._silent = True
        # A character that two reads cut in two stays whole, and what is no UTF-8 is replaced.
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")(errors="replace") for name in ("stdout", "stderr")}

    def on_output(self, callback: OutputCallback | None) -> None:
        self._callback = callback

    def _take(self, stream: str, data: bytes, *, deliver: bool = True) -> None:
        text = self._decoders[stream].decode(data, final=not data)
        self._tail.add(text, stream)
        callback = self._callback
        if callback is not None and text and deliver and not self._silent:
            with contextlib.suppress(Exception):  # the edge of the thread: a front end's error must not stop the reading
                callback(stream, text)


class PosixReader(OutputReader):
    """One thread that polls both pipes and the launcher's reports. Owns the read ends of all three.

    The read ends do not block, because the server holds them too and may have taken what the poll announced.
    """

    def __init__(self, tail: LogTail, fds: tuple[int, int], report_fd: int, on_report: Callable[[str], None]) -> None:
        super().__init__(tail)
        self._streams = {fds[0]: "stdout", fds[1]: "stderr"}
        self._report_fd: int | None = report_fd
        self._on_report = on_report
        self._report = b""
        self._wake_fd, self._waker = os.pipe()
        self._lock = threading.Lock()  # held while reading, so that no read is under way once hand_over() has returned
        self._handed_over = False
        self._finishing = False
        self._closed = False
        self.leftover: list[tuple[str, str]] = []
        self._left = False
        for fd in (*fds, report_fd, self._wake_fd, self._waker):
            os.set_blocking(fd, False)
        self._thread = threading.Thread(target=self._run, name="dh-server-output", daemon=True)
        self._thread.start()

    def hand_over(self) -> None:
        self._set_handed_over(True)

    def take_back(self) -> None:
        self._set_handed_over(False)

    def finish(self, timeout_s: float) -> None:
        """Read what is left, close everything and end the thread. Only after the process has ended, or another reads.

        What the server was to read itself, and could not any more, is in `leftover` then.
        """
        self._end_thread(timeout_s)
        if self._left and not self._closed:
            self._close()

    def leave(self, timeout_s: float) -> tuple[int, ...]:
        """Read no more, for another process will. The read ends of stdout, stderr and the reports; `finish` closes them."""
        self._left = True
        self._end_thread(timeout_s)
        return (*self._streams, *(() if self._report_fd is None else (self._report_fd,)))

    def _end_thread(self, timeout_s: float) -> None:
        self._finishing = True
        self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _set_handed_over(self, value: bool) -> None:
        with self._lock:
            self._handed_over = value
        self._wake()

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.write(self._waker, b"x")

    def _run(self) -> None:
        while not self._finishing:
            for fd in self._wait():
                if fd == self._wake_fd:
                    os.read(fd, CHUNK)
                elif fd == self._report_fd:
                    self._read_reports()
                else:
                    self._read(fd)
        if self._left:
            return
        self._read_reports()
        if self._handed_over:
            self.on_output(lambda stream, text: self.leftover.append((stream, text)))
        self._drain(deliver=True)
        self._close()

    def _wait(self) -> list[int]:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        if self._report_fd is not None:
            poll.register(self._report_fd, select.POLLIN)
        if not self._handed_over:
            for fd in self._streams:
                poll.register(fd, select.POLLIN)
        return [fd for fd, _ in poll.poll()]

    def _read(self, fd: int) -> None:
        with self._lock:
            data = None if self._handed_over else _read_now(fd)
        if data is None:
            return
        self._take(self._streams[fd], data)
        if not data:
            del self._streams[fd]
            os.close(fd)

    def _read_reports(self) -> None:
        while self._report_fd is not None and (data := _read_now(self._report_fd)) is not None:
            if not data:
                os.close(self._report_fd)
                self._report_fd = None
            *lines, self._report = (self._report + data).split(b"\n")
            for line in lines:
                self._hand_on(line.decode("utf-8", "replace"))

    def _hand_on(self, report: str) -> None:
        """What was written before the report that gives the port is chatter."""
        if self._silent and '"port"' in report:
            self._drain(deliver=False)
            self._silent = False
        self._on_report(report)

    def _drain(self, *, deliver: bool) -> None:
        for fd, name in self._streams.items():
            for _ in range(LEFTOVER_CHUNKS):
                data = _read_now(fd)
                if not data:
                    break
                self._take(name, data, deliver=deliver)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            for fd in (*self._streams, self._wake_fd, self._waker, self._report_fd):
                if fd is not None:
                    os.close(fd)
            self._streams.clear()


class WindowsReader(OutputReader):
    """A thread for each pipe. The launcher's reports come on its stdout, as lines that start with a random marker.

    The server cannot read these pipes, so there is nothing to hand over. Written for Windows, and not yet run there.
    """

    def __init__(self, tail: LogTail, fds: tuple[int, int], marker: str, on_report: Callable[[str], None]) -> None:
        super().__init__(tail)
        self.leftover: list[tuple[str, str]] = []
        self._marker = marker.encode()
        self._on_report = on_report
        self._threads = [
            threading.Thread(target=self._run, args=(fd, name), name=f"dh-server-{name}", daemon=True)
            for fd, name in zip(fds, ("stdout", "stderr"), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def hand_over(self) -> None:
        """Nothing to do."""

    def take_back(self) -> None:
        """Nothing to do."""

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of both pipes, which comes when the process and its children have ended."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _run(self, fd: int, name: str) -> None:
        with open(fd, "rb", buffering=0) as pipe:
            if name == "stdout":
                self._read_start(pipe)
            while data := pipe.read(CHUNK):
                self._take(name, data)
        self._take(name, b"")

    def _read_start(self, pipe: io.FileIO) -> None:
        """Until the server is ready: by line, since a line may be a report."""
        pending = b""
        while self._silent:
            data = pipe.read(CHUNK)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.startswith(self._marker):
                    report = line[len(self._marker) :].decode("utf-8", "replace")
                    self._silent = self._silent and '"port"' not in report
                    self._on_report(report)
                else:
                    self._take("stdout", line + b"\n")
        if pending:
            self._take("stdout", pending)


def _read_now(fd: int) -> bytes | None:
    """What is there; empty at the end, None if nothing is there now."""
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
