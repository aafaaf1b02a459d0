"""Where text goes: one switchboard per server process decides by the writing thread, one buffer per session collects.

Neighbours: `cells` (registers threads), `session` (sends what is collected). Refuses to know the wire.

The switchboard replaces `sys.stdout` and `sys.stderr` once per process and serves every kernel on the server, of whatever
version of the runtime: a cell's thread, and threads it started, write to that cell; what belongs to nobody goes where it went
before, and to the launching kernel if there is one. Two kernels never see each other's text.
"""

from __future__ import annotations

import io
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .wire import MAX_FRAME_BYTES

STATE_MODULE = "_dh_kernel_switchboard_1"
FLUSH_EVERY_S = 0.03


class Target(Protocol):
    """Whoever takes text: a cell."""

    def write_text(self, name: str, text: str) -> None:
        """Take text for the stream `stdout` or `stderr`."""


class Switchboard:
    """Maps threads to targets. One per process; kept in `sys.modules` so that other versions of the runtime find it."""

    def __init__(self) -> None:
        self.by_thread: dict[int, Target] = {}
        self.by_thread_object: weakref.WeakKeyDictionary[threading.Thread, Target] = weakref.WeakKeyDictionary()
        self.unowned: list[Callable[[str, str], None]] = []

    def current(self) -> Target | None:
        """The target of the calling thread: set for it, or inherited from the thread that started it."""
        target = self.by_thread.get(threading.get_ident())
        if target is None and self.by_thread_object:
            target = self.by_thread_object.get(threading.current_thread())
        return target

    def inherit(self, thread: threading.Thread) -> None:
        """A new thread belongs to the cell whose code starts it."""
        target = self.current()
        if target is not None:
            self.by_thread_object[thread] = target


class RoutedStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of the server while a kernel is there."""

    def __init__(self, name: str, switchboard: Switchboard, previous: Any) -> None:
        self._name, self._switchboard, self._previous = name, switchboard, previous

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    encoding = "utf-8"
    errors = "backslashreplace"
    dh_kernel_routed = True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        target = self._switchboard.current()
        if target is not None:
            target.write_text(self._name, text)
            return len(text)
        for take in self._switchboard.unowned:
            take(self._name, text)
        self._previous.write(text)
        return len(text)

    def flush(self) -> None:
        if self._switchboard.current() is None:
            self._previous.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return int(self._previous.fileno())

    @property
    def buffer(self) -> _RoutedBytes:
        """For code that writes bytes; what is not UTF-8 shows as replacement characters."""
        return _RoutedBytes(self)


class _RoutedBytes(io.RawIOBase):
    def __init__(self, stream: RoutedStream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def install_switchboard() -> Switchboard:
    """The process's switchboard; made and put in place by the first session."""
    import types

    module = sys.modules.get(STATE_MODULE)
    if module is None:
        module = types.ModuleType(STATE_MODULE)
        module.switchboard = Switchboard()  # type: ignore[attr-defined]
        sys.modules[STATE_MODULE] = module
        _follow_threads(module.switchboard)
    switchboard: Switchboard = module.switchboard
    for name in ("stdout", "stderr"):
        current = getattr(sys, name)
        if not getattr(current, "dh_kernel_routed", False):
            routed = RoutedStream(name, switchboard, current)
            setattr(sys, name, routed)
    return switchboard


def _follow_threads(switchboard: Switchboard) -> None:
    """Note which cell starts a thread. Python has no hook for that, so `Thread.start` is wrapped, as ipykernel does."""
    start = threading.Thread.start

    def start_in_cell(self: threading.Thread) -> None:
        switchboard.inherit(self)
        start(self)

    threading.Thread.start = start_in_cell  # type: ignore[method-assign]


class TextBuffer:
    """Text of one session's cells, in order, waiting to be sent: at once when quiet, in lumps when it pours.

    `send(cell_id, name, text)` queues a piece of at most `MAX_FRAME_BYTES` characters and does not wait.
    """

    def __init__(self, send: Callable[[str, str, str], None], wake: Callable[[], None]) -> None:
        self._send, self._wake = send, wake
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._parts: list[tuple[str, str, list[str]]] = []
        self._size = 0
        self._last_flush = 0.0

    def write(self, cell_id: str, name: str, text: str) -> bool:
        """Add text; True when so much has come together that the writer had better flush."""
        if not text:
            return False
        with self._lock:
            first = not self._parts
            if self._parts and self._parts[-1][0] == cell_id and self._parts[-1][1] == name:
                self._parts[-1][2].append(text)
            else:
                self._parts.append((cell_id, name, [text]))
            self._size += len(text)
        if first:
            self._wake()
        return self._size >= MAX_FRAME_BYTES

    def flush(self) -> None:
        """Queue everything now."""
        with self._send_lock:
            with self._lock:
                parts, self._parts, self._size = self._parts, [], 0
                self._last_flush = time.monotonic()
            for cell_id, name, pieces in parts:
                text = printable("".join(pieces))
                for start in range(0, len(text), MAX_FRAME_BYTES):
                    self._send(cell_id, name, text[start : start + MAX_FRAME_BYTES])

    def flush_if_due(self) -> float | None:
        """Flush if the last time was long enough ago; the seconds until it will be due, None if there is nothing."""
        if not self._parts:
            return None
        wait = self._last_flush + FLUSH_EVERY_S - time.monotonic()
        if wait > 0:
            return wait
        self.flush()
        return None


def printable(text: str) -> str:
    """The text with lone surrogates spelled out: they cannot be sent as UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
