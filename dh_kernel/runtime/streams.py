"""Where text goes: one switchboard per server process decides by the writing thread, one buffer per session collects.

Neighbours: `cells` (registers threads), `session` (sends what is collected). Refuses to know the wire.

The switchboard replaces `sys.stdout` and `sys.stderr` once per process and serves every kernel on the server, of whatever
version of the runtime: a cell's thread, the asyncio tasks and threads it started, and its functions that the engine calls on
threads of its own, write to that cell; what belongs to nobody goes where it went before, and to the launching kernel if there
is one. Two kernels never see each other's text.
"""

from __future__ import annotations

import codecs
import contextlib
import contextvars
import functools
import io
import os
import re
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol, TypeVar

from .journal import Journal
from .wire import MAX_FRAME_BYTES

T = TypeVar("T")
STATE_MODULE = "_dh_kernel_switchboard_5"
FLUSH_EVERY_S = 0.03
# How long unfinished lines wait for their end: `print` writes its parts one by one, and the processors may be busy.
SETTLE_S = 0.025
_REMEMBERED_FILES = 5000
EXACT = "exact:"
"""Before the name of a stream: the text of an exact cell."""
_UNCHANGED = object()
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_CONSOLE_FILE = "<string>"


class Target(Protocol):
    """Whoever takes text: a cell. `over` tells that its code has ended.

    It may have `exact`, true where its front end wants bytes as they are: those that are not UTF-8 are then lone surrogates in
    its text, as `surrogateescape` makes them.
    """

    over: bool

    def write_text(self, name: str, text: str) -> None:
        """Take text for the stream `stdout` or `stderr`."""


class Latest:
    """In the place of a target: whichever cell is a session's latest when something is written."""

    def __init__(self, find: Callable[[], Target | None]) -> None:
        self.find = find


class Switchboard:
    """Tells whose a text is. One per process; kept in `sys.modules` so that other versions of the runtime find it."""

    def __init__(self) -> None:
        self.by_context: contextvars.ContextVar[Any] = contextvars.ContextVar("dh_kernel_cell", default=None)
        self.by_thread_object: weakref.WeakKeyDictionary[threading.Thread, Target] = weakref.WeakKeyDictionary()
        self.by_file: OrderedDict[str, Target] = OrderedDict()
        self.by_names: dict[int, tuple[dict[str, Any], Target]] = {}
        self.unowned: list[Callable[[str, str], None]] = []

    @contextlib.contextmanager
    def entered(self, target: Target) -> Iterator[None]:
        """Code in this context, and the asyncio tasks that it creates, write to the target.

        What else runs in the context afterwards does so as well: callbacks of the event loop, until the next cell.
        """
        before = self.by_context.get()
        self.by_context.set(target)
        try:
            yield
        finally:
            if not getattr(before, "over", True):  # it awaits something while this one ran
                self.by_context.set(before)

    def current(self) -> Target | None:
        """The target of the calling code, None if it is nobody's.

        Set for its context, or inherited from the cell that started its thread; on the engine's threads that of the cell
        whose function the engine called.
        """
        target: Target | Latest | None = self.by_context.get()
        if isinstance(target, Latest):
            return target.find()
        if target is None and self.by_thread_object:
            target = self.by_thread_object.get(threading.current_thread())
        if target is None and self.by_file:
            target = self._of_frames(sys._getframe(1))
        return target

    def _of_frames(self, frame: FrameType | None) -> Target | None:
        found = None
        while frame is not None:
            file = frame.f_code.co_filename
            if file == _CONSOLE_FILE:
                names, target = self.by_names.get(id(frame.f_globals), (None, None))
                if names is frame.f_globals:
                    found = target
                elif frame.f_globals.get("__name__") == "__main__":
                    return None  # a console of another client has called the function
            else:
                found = self.by_file.get(file, found)
            frame = frame.f_back
        return found

    def is_cell_code(self, frame: FrameType) -> bool:
        """Whether a thread that stands at this frame runs a cell's function, called by no console."""
        return self._of_frames(frame) is not None

    def owned(self, function: Callable[..., T]) -> Callable[..., T]:
        """The function as the calling cell's: whatever thread calls it, it writes to that cell."""
        target = self.current()
        if target is None:
            return function

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> T:
            token = self.by_context.set(target)
            try:
                return function(*arguments, **keywords)
            finally:
                self.by_context.reset(token)

        return call

    def remember_file(self, file: str, target: Target) -> None:
        """Code compiled under this file name is the target's; `<string>` is the name of too much."""
        if file == _CONSOLE_FILE:
            return
        self.by_file[file] = target
        self.by_file.move_to_end(file)
        while len(self.by_file) > _REMEMBERED_FILES:
            self.by_file.popitem(last=False)

    def remember_names(self, names: dict[str, Any], target: Target | None) -> None:
        """Code compiled as `<string>` with these globals is the target's; None: no longer."""
        if target is not None:
            self.by_names[id(names)] = names, target
        else:
            self.by_names.pop(id(names), None)

    def inherit(self, thread: threading.Thread) -> None:
        """A new thread belongs to the cell whose code starts it."""
        target = self.current()
        if target is not None:
            self.by_thread_object[thread] = target


@dataclass(frozen=True)
class Manner:
    """How text becomes bytes: what `io.TextIOWrapper.reconfigure` sets."""

    encoding: str = "utf-8"
    errors: str = "backslashreplace"
    newline: str = "\n"
    line_buffering: bool = False
    write_through: bool = False

    def applied(self, text: str) -> str:
        """The text as an exact cell takes it, which carries the bytes of other encodings."""
        raw = text.replace("\n", self.newline).encode(self.encoding, self.errors)
        return raw.decode("utf-8", "surrogateescape")


class RoutedStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of the server while a kernel is there."""

    def __init__(self, name: str, switchboard: Switchboard, previous: Any) -> None:
        self._name, self._switchboard, self._previous = name, switchboard, previous
        self._forked = False
        self._kept: Any = None
        self._usual = Manner(line_buffering=name == "stderr")
        self._manners: weakref.WeakKeyDictionary[Target, Manner] = weakref.WeakKeyDictionary()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        """A forked process has none of our threads: its text goes to its file descriptor, which a launched server reads.

        Not by what was here before: Deephaven's own stream calls Java, which has no threads there either. It is kept: to let
        go of it would call Java as well.
        """
        self._forked = True
        own = getattr(sys, f"__{self._name}__", None)
        if own is not None:
            self._kept, self._previous = self._previous, own

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    mode = "w"

    dh_kernel_routed = True

    # --- what `reconfigure` sets, for the calling code's cell alone: this stream is everybody's

    @property
    def _manner(self) -> Manner:
        target = None if self._forked else self._switchboard.current()
        return self._manners.get(target, self._usual) if target is not None else self._usual

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._manner.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return self._manner.errors

    @property
    def line_buffering(self) -> bool:
        return self._manner.line_buffering

    @property
    def write_through(self) -> bool:
        return self._manner.write_through

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: Any = _UNCHANGED,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """As `io.TextIOWrapper` does. Text is never held back, and it is the bytes of a script's output that are encoded so:
        notebooks are text.
        """
        given = {"encoding": encoding, "errors": errors, "line_buffering": line_buffering, "write_through": write_through}
        target = None if self._forked else self._switchboard.current()
        if target is None:
            self._previous.reconfigure(**{name: value for name, value in given.items() if value is not None})
            return
        if newline not in (_UNCHANGED, None, "", "\n", "\r", "\r\n"):
            raise ValueError(f"illegal newline value: {newline}")
        if encoding is not None:
            codecs.lookup(encoding)
            given["errors"] = errors or "strict"
        if errors is not None:
            codecs.lookup_error(errors)
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if newline is not _UNCHANGED:
            changed["newline"] = newline or "\n"
        self._manners[target] = replace(self._manner, **changed)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        target = None if self._forked else self._switchboard.current()
        if target is not None:
            target.write_text(self._name, self._in_its_manner(target, text) if self._manners else text)
            return len(text)
        for take in () if self._forked else self._switchboard.unowned:
            take(self._name, text)
        self._previous.write(text)
        return len(text)

    def _in_its_manner(self, target: Target, text: str) -> str:
        manner = self._manners.get(target)
        return manner.applied(text) if manner is not None and getattr(target, "exact", False) else text

    def write_bytes(self, raw: bytes) -> None:
        target = None if self._forked else self._switchboard.current()
        exact = getattr(target, "exact", False)  # not so in a cell of another version of the runtime
        text = raw.decode("utf-8", "surrogateescape" if exact else "replace")
        if target is not None:
            target.write_text(self._name, text)
        else:
            self.write(text)

    def flush(self) -> None:
        if self._forked or self._switchboard.current() is None:
            self._previous.flush()

    def close(self) -> None:
        """It stays open: it is not the calling code's alone."""
        self.flush()

    def detach(self) -> _RoutedBytes:  # type: ignore[override]
        """The stream for bytes; this one can be used all the same."""
        return self.buffer

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return int(self._previous.fileno())

    @property
    def buffer(self) -> _RoutedBytes:
        """For code that writes bytes; what is not UTF-8 shows as replacement characters, but where all must be exact."""
        return _RoutedBytes(self)


class _RoutedBytes(io.RawIOBase):
    mode = "wb"

    def __init__(self, stream: RoutedStream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._stream.write_bytes(raw)
        return len(raw)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def name(self) -> str:
        return self._stream.name

    @property
    def raw(self) -> _RoutedBytes:
        return self


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

    `send(cell_id, name, text)` queues a piece of at most `MAX_FRAME_BYTES` characters and does not wait. The text of
    an `exact` cell keeps its lone surrogates.
    """

    def __init__(self, send: Callable[[str, str, str], None], wake: Callable[[], None]) -> None:
        self._send, self._wake = send, wake
        self.journal: Journal | None = None
        self.together: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        # Reentrant: a collection of garbage may run a `__del__` that prints while a lock is held.
        self._lock = threading.RLock()
        self._send_lock = threading.RLock()
        self._parts: list[tuple[str, str, list[str]]] = []
        self._size = 0
        self._last_flush = self._first_write = self._last_write = 0.0

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
            if self.journal is not None:
                self.journal.text(cell_id, name, text)
            self._size += len(text)
            self._last_write = time.monotonic()
            if first:
                self._first_write = self._last_write
        if first:
            self._wake()
        return self._size >= MAX_FRAME_BYTES

    def flush(self) -> None:
        """Queue everything now."""
        with self._send_lock:
            with self._lock:
                parts, self._parts, self._size = self._parts, [], 0
                self._last_flush = time.monotonic()
                if parts and self.journal is not None:
                    self.journal.flip()
            if parts:
                self._send_all(parts)

    def _send_all(self, parts: list[tuple[str, str, list[str]]]) -> None:
        with self.together():
            for cell_id, name, pieces in parts:
                text = "".join(pieces)
                if EXACT not in name:
                    text = printable(text)
                for start in range(0, len(text), MAX_FRAME_BYTES):
                    self._send(cell_id, name, text[start : start + MAX_FRAME_BYTES])

    def flush_if_due(self) -> float | None:
        """Flush if it is due; the seconds until it will be, None if there is nothing.

        Due once the last time is long enough ago, and the text ends with its line or nothing has been added for a while.
        """
        with self._lock:
            if not self._parts:
                return None
            now = time.monotonic()
            due = self._last_flush + FLUSH_EVERY_S
            if not self._parts[-1][2][-1].endswith("\n"):
                due = max(due, min(self._last_write + SETTLE_S, self._first_write + 2 * FLUSH_EVERY_S))
        if due > now:
            return due - now
        self.flush()
        return None


def text_frame(cell_id: str, name: str, text: str) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """The frame of a collected text. `log:` and `exact:` may stand before the name of the stream."""
    marks, _, stream = name.rpartition(":")
    raw = exact_bytes(text) if EXACT in name else None
    shown = text if raw is None else ""
    header = {"kind": "stream", "cell": cell_id, "name": stream, "text": shown, "log": "log" in marks}
    return header, () if raw is None else (raw,)


def exact_bytes(text: str) -> bytes | None:
    """The bytes that a text with lone surrogates stands for; None for one without, which is sent as it is."""
    try:
        text.encode("utf-8")
        return None
    except UnicodeEncodeError:
        return _NO_BYTE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """The text with lone surrogates spelled out: they cannot be sent as UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
