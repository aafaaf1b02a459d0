"""Striking one cell, and only that cell, with an interrupt.

Neighbours: `cells` (opens the window), `session` (asks to strike). Refuses to know what the cell does.

An interrupt reaches Python code as SIGINT where it runs on the process's main thread, else as an asynchronous exception
(`PyThreadState_SetAsyncExc`), which can land at any bytecode. Either waits while the thread is inside Java; if it waits there
itself, for a sleep, a lock, or the engine's other threads, `Thread.interrupt` ends that. So:

- `armed` says whether a strike may land; it is taken back before the cell's outcome is sent, together with a strike that has
  not landed yet, so that none ever hits the next cell. A strike that comes before that lands as the cell begins.
- Short sections that must not be cut (queueing a frame) run in `shielded`: a strike waits for their end.
- A cell that awaits something is cancelled by its loop. If something else keeps the loop busy, that is struck, until the loop
  gets round to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from .engine import Engine
from .threads import ServiceThread

T = TypeVar("T")

PRESS_ON_FOR_S = 5.0
LOOK_EVERY_S = 0.02
SELDOM_S = 0.5
FORMULA_THREADS = "java-OperationInitializationThreadPool"
LOOP_PATIENCE_S = 0.1  # how long a loop may take to cancel a cell before what keeps it busy is struck


def checkpoint() -> None:
    """A call is where Python delivers a pending asynchronous exception."""


class StrikeZone:
    """The window in which one thread's current cell may be interrupted."""

    def __init__(
        self, engine: Engine, *, main_thread: bool, is_cell_code: Callable[[FrameType], bool] = lambda frame: False
    ) -> None:
        self.interrupted = False
        self.abandoned = False  # nobody waits for the cell any more: it may be struck for as long as it runs
        self._engine = engine
        self._main_thread = main_thread
        self._ident = threading.get_ident()
        self._java_thread = engine.java_thread()
        self._lock = threading.RLock()
        self._armed = self._over = False
        self._depth = 0
        self._postponed = False
        self._landed = False
        self._previous_handler: Any = None
        self._struck_since = 0.0
        self._struck_at: tuple[FrameType | None, int] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_cell_code = is_cell_code
        self._formula_threads: set[int] = set()

    # --- on the cell's thread

    def run(self, work: Callable[[], T], interrupted: Callable[[], T]) -> T:
        """Run a cell's work, open to interrupts; `interrupted` gives the result if one struck outside the user's code."""
        result: list[T] = []
        try:
            try:
                self._arm()
                result.append(work())
            finally:
                self._disarm()
        except KeyboardInterrupt:
            self._disarm()
        return result[0] if result else interrupted()

    async def run_task(self, work: Callable[[], Coroutine[Any, Any, T]], interrupted: Callable[[], T]) -> T:
        """As `run`, for work that may suspend: while it does, an interrupt cancels it, as asyncio's own runner would."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        result: list[T] = []
        try:
            try:
                self._arm()
                result.append(await work())
            finally:
                self._disarm()
        except KeyboardInterrupt:
            self._disarm()
        except asyncio.CancelledError:
            if not self.interrupted:
                raise
        return result[0] if result else interrupted()

    def is_own_thread(self) -> bool:
        """Whether the calling thread is the one whose cell this is."""
        return threading.get_ident() == self._ident

    def shielded(self, work: Callable[[], None]) -> None:
        """Do something short that an interrupt must not cut in two."""
        with self._lock:
            checkpoint()
            self._depth += 1
            try:
                work()
            finally:
                self._depth -= 1
        if self._postponed and not self._depth:
            self._postponed = False
            raise KeyboardInterrupt

    def _arm(self) -> None:
        if self._main_thread:
            take_pending_signals()  # of what ran before
            self._previous_handler = signal.signal(signal.SIGINT, self._on_signal)
        with self._lock:
            self._armed = True
        _armed_zones.add(self)
        if self.interrupted:
            raise KeyboardInterrupt

    def _disarm(self) -> None:
        while True:
            try:
                with self._lock:
                    self._armed, self._over = False, True
                    self._postponed = False
                    self._struck_at = None
                    while self._formula_threads:
                        set_async_exception(self._formula_threads.pop(), None)
                    drop_async_exception()  # the last: what was taken back from others needs it too
                _armed_zones.discard(self)
                self._engine.clear_interrupted()
                if self._main_thread:
                    take_pending_signals()
                    if self._previous_handler is not None:
                        signal.signal(signal.SIGINT, self._previous_handler)
                return
            except KeyboardInterrupt:
                continue

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._landed or not self._armed:
            return  # one strike lands once, however often it is repeated
        if not self.interrupted and getattr(getattr(self._previous_handler, "__self__", None), "interrupted", False):
            return  # meant for the cell that awaits something while this one runs; it is repeated until that can take it
        if _would_be_ignored(frame):
            return
        if self._waits():
            self.cancel_if_waiting()
            if not self._loop_is_hogged():
                return
        else:
            # Python code that Java has called: what it raises may end the Java call, or vanish there. Then the next one must
            # come.
            self._landed = not self._engine.runs_java(self._java_thread)
        if self._depth:
            self._postponed = True
            return
        self._engine.clear_interrupted()
        raise KeyboardInterrupt

    # --- on another thread

    def strike(self) -> bool:
        """Interrupt the cell; False if it is over. Returns at once, what comes later is done by a thread of its own."""
        with self._lock:
            if self._over:
                return False
            self.interrupted = True
            self._landed = False
            self._struck_since = time.monotonic()
            self._struck_at = None
        self._strike_python()
        ServiceThread(target=self._press_on, name="dh-kernel-interrupt", daemon=True).start()
        return True

    def cancel_if_waiting(self) -> None:
        """Cancel a cell that has been struck while it awaits something. Any thread; the loop does it."""
        loop = self._loop
        if loop is not None and self.interrupted and self._armed and not self._landed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._cancel, context=contextvars.Context())

    def _cancel(self) -> None:
        with self._lock:
            checkpoint()
            if self.interrupted and self._armed and not self._landed and self._waits():
                assert self._task is not None
                self._landed = True
                self._task.cancel()

    def _waits(self) -> bool:
        """Whether the cell's task is suspended, and the loop or something else on it runs."""
        return self._task is not None and self._loop is not None and asyncio.current_task(self._loop) is not self._task

    def _loop_is_hogged(self) -> bool:
        return self.interrupted and self._since() > LOOP_PATIENCE_S

    def _since(self) -> float:
        return time.monotonic() - self._struck_since

    def _press_on(self) -> None:
        """Repeat the strike until it lands, and end a wait inside Java, so that it can.

        A signal that comes right before a blocking call is noted by Python only when that call is over; the next one ends it.
        In Java only a thread that waits is interrupted. One that runs may be reading a file, and Java closes the channel under
        it: an interrupted javac leaves the server without a compiler for good.
        """
        java_struck = False
        while not self._over and not self._landed and (self.abandoned or self._since() < PRESS_ON_FOR_S):
            if not java_struck and self._armed and self._engine.waits_in_java(self._java_thread):
                with self._lock:
                    if self._armed:
                        self._java_thread.interrupt()
                java_struck = True
            time.sleep(LOOK_EVERY_S if self._since() < PRESS_ON_FOR_S else SELDOM_S)
            self._strike_python()
            if java_struck and self._since() > LOOP_PATIENCE_S:
                self._strike_formulas()

    def _strike_formulas(self) -> None:
        """End the Python functions of cells that the engine calls on its own threads while this cell waits for them.

        The engine gives up on a formula when one of its calls fails, and on nothing else. Whose call it is can be told only
        while no other cell waits in the engine. Short functions are seldom found at work, and then Java has to tell; not on a
        server that others use as well, whose call it might be.
        """
        others = [zone for zone in list(_armed_zones) if zone is not self and not zone.interrupted]
        if any(self._engine.runs_java(zone._java_thread) for zone in others):
            return
        threads = {thread.name: thread.ident or 0 for thread in threading.enumerate()}
        threads = {name: ident for name, ident in threads.items() if name.startswith(FORMULA_THREADS)}
        frames = sys._current_frames()
        found = {ident for ident in threads.values() if ident in frames and self._is_cell_code(frames[ident])}
        if not found and self._main_thread:
            found = {threads[name] for name in self._engine.threads_in_python(FORMULA_THREADS) if name in threads}
        with self._lock:
            for ident in found:
                if self._armed:
                    self._formula_threads.add(ident)
                    set_async_exception(ident, KeyboardInterrupt)

    def _strike_python(self) -> None:
        with self._lock:
            if not self._armed or self._landed:
                return
            self.cancel_if_waiting()  # its loop does it at a moment when nothing else is hit
            if self._main_thread:
                self._struck_at = self._position()
                _signal_main_thread(self._ident)
            elif self._task is None:
                self._strike_once()
            elif self._loop_is_hogged():
                self._strike_loop()

    def _strike_loop(self) -> None:
        """Strike what keeps the loop from cancelling the cell, again and again; the cell itself, if it is that, once."""
        if self._waits() and self._struck_at != self._position():
            self._struck_at = None
        self._strike_once()

    def _strike_once(self) -> None:
        """An asynchronous exception stays pending until it lands, so that it needs no repeating.

        But what it does in Python code that Java has called may vanish there, while the Java call goes on. Then it must come
        again.
        """
        if self._struck_at is None or (self._since() > LOOP_PATIENCE_S and self._still_at(self._struck_at)):
            self._struck_at = self._struck_at or self._position()
            set_async_exception(self._ident, KeyboardInterrupt)

    def _still_at(self, position: tuple[FrameType | None, int]) -> bool:
        """Whether what the thread did there has not ended: it is there, or in what was called from there."""
        frame = sys._current_frames().get(self._ident)
        while frame is not None and frame is not position[0]:
            frame = frame.f_back
        return frame is not None and frame.f_lasti == position[1]

    def stuck(self) -> bool:
        """Whether the strike has not reached the code: it is inside a call that cannot be interrupted."""
        if self._task is not None and self._landed:
            return False  # cancelled: what a task makes of that is its own affair, and the thread is free
        if not self._armed or self._struck_at is None:
            return self._armed and self._engine.runs_java(self._java_thread)
        if self._main_thread:
            return not self._landed
        return self._position() == self._struck_at

    def _position(self) -> tuple[FrameType | None, int]:
        frame = sys._current_frames().get(self._ident)
        return frame, frame.f_lasti if frame is not None else 0


_armed_zones: set[StrikeZone] = set()  # of all sessions


def _would_be_ignored(frame: FrameType | None) -> bool:
    """Whether Python only reports what is raised here: in a finalizer, or in the callback of a weak reference."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def strike_what_runs(ident: int, *, main_thread: bool) -> None:
    """Raise KeyboardInterrupt in whatever a thread runs between cells. The caller sees to it that no cell is hit.

    On the main thread a signal ends a blocking call first: its handler, which does nothing, is where the exception lands.
    """
    set_async_exception(ident, KeyboardInterrupt)
    if main_thread:
        _signal_main_thread(ident)


def take_pending_signals() -> None:
    """Let the handler that is in place have the signals that have been sent already. On the main thread."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, ())  # on its way back from the system call they arrive, and Python looks


def _signal_main_thread(ident: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(ident, signal.SIGINT)
    else:  # Windows
        import _thread

        _thread.interrupt_main()


def drop_async_exception() -> None:
    """Take back the exception that may be pending in the calling thread, by letting another one land in its place.

    Where one is taken back without that, Python up to 3.12 looks for it at every turn ever after, and hangs in traced code.
    """
    try:
        set_async_exception(threading.get_ident(), KeyboardInterrupt)
        while True:
            pass
    except KeyboardInterrupt:
        pass


def set_async_exception(ident: int, exception: type[BaseException] | None) -> None:
    """Make an exception pending in a thread, in the place of what is pending there; None only takes that back."""
    argument = ctypes.py_object(exception) if exception is not None else ctypes.py_object()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), argument)
