"""Threads with an event loop on which cells run one after the other: the main thread if the launcher lends it, else our own.

Neighbours: `cells` (submits work), the launcher (lends its main thread and the loop that it runs). Refuses to know what the
work is.

As in ipykernel a loop runs between cells and around them: tasks that a cell has created go on when it is over, and
`asyncio.get_running_loop()` works in a cell that awaits nothing. Unlike there `asyncio.run` works in such a cell as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from .waits import wait_in_slices_here

LAUNCHER_MODULE = "_dh_kernel_launcher"

T = TypeVar("T")
Work = Callable[[], "Coroutine[Any, Any, None] | None"]
_lane_threads: set[int] = set()
_tasks_of_context: contextvars.ContextVar[Any] = contextvars.ContextVar("dh_kernel_tasks", default=None)


class SerialTasks:
    """Runs work on an event loop, one after the other; work that returns a coroutine is over when that is.

    All of it shares one context, so that a context variable that a cell sets is still set in the next one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Work] = deque()
        self._busy = False
        self._context = contextvars.Context()
        self._context.run(_tasks_of_context.set, self)
        self._background: set[asyncio.Task[None]] = set()

    def submit(self, work: Work) -> None:
        """Run this after what was submitted before. Any thread."""
        self._loop.call_soon_threadsafe(self._add, work, context=contextvars.Context())

    def submit_prompt(self, work: Callable[[], None]) -> None:
        """Run this as soon as the loop is free: also while the work before it awaits something. Any thread."""
        self._loop.call_soon_threadsafe(self._enter, work, context=contextvars.Context())

    def _add(self, work: Work) -> None:
        self._waiting.append(work)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        self._busy = True
        coroutine = None
        try:
            coroutine = self._enter(self._waiting.popleft())
        finally:
            if coroutine is None:
                self._loop.call_soon(self._next, context=contextvars.Context())
        if coroutine is not None:
            task = self._create_task(coroutine)
            self._background.add(task)
            task.add_done_callback(self._finished, context=contextvars.Context())

    def _enter(self, work: Callable[[], T]) -> T:
        if _tasks_of_context.get() is self:  # user code has nested loops: a context cannot be entered twice
            return work()
        return self._context.run(work)

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if sys.version_info >= (3, 11):
            return self._loop.create_task(coroutine, context=self._context)
        return self._enter(lambda: self._loop.create_task(coroutine))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # the work tells its own; what comes here is a late interrupt
        self._next()


class ThreadWorker:
    """A thread of our own: for attached servers, for subshells, and where the main thread is stuck."""

    main_thread = False

    def __init__(self, name: str, prepare: Callable[[], None], on_stray: Callable[[], None]) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks = SerialTasks(self.loop)
        self._prepare, self._on_stray = prepare, on_stray
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        """The thread's identifier."""
        return self._thread.ident or 0

    def stop(self) -> None:
        """End the thread when what it does just now is over."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.tasks.submit(self._stop)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end; not for a zero timeout, and not on the thread itself."""
        if timeout_s and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    def _run(self) -> None:
        _lane_threads.add(threading.get_ident())
        wait_in_slices_here()
        asyncio.set_event_loop(self.loop)
        self._prepare()
        while not self._stopping:
            try:
                self.loop.run_forever()
            except BaseException:  # an interrupt that landed in the loop's own code: this thread's edge
                self._on_stray()
        _lane_threads.discard(threading.get_ident())
        self.loop.close()


class MainThreadWorker:
    """The main thread of a launched server: signals, matplotlib and asyncio behave there as in any Python."""

    main_thread = True

    def __init__(self, main_thread: Any) -> None:
        self.loop: asyncio.AbstractEventLoop = main_thread.loop
        if not hasattr(main_thread, "tasks"):  # of all sessions on this server
            main_thread.tasks = SerialTasks(self.loop)
        self.tasks: SerialTasks = main_thread.tasks
        self.ident: int = main_thread.ident
        _lane_threads.add(main_thread.ident)

    def stop(self) -> None:
        """The main thread belongs to the launcher."""

    def join(self, timeout_s: float) -> None:
        """It does not end."""


Worker = ThreadWorker | MainThreadWorker


def lent_main_thread() -> MainThreadWorker | None:
    """The launcher's main thread, if a launcher of ours started this process."""
    main_thread = getattr(sys.modules.get(LAUNCHER_MODULE), "main_thread", None)
    return MainThreadWorker(main_thread) if main_thread is not None else None


@contextlib.contextmanager
def no_loop_around() -> Iterator[None]:
    """Asyncio as on the main thread of a process that has not used it: no loop runs, and a fresh one is the thread's."""
    around, policy, own = asyncio.get_running_loop(), asyncio.get_event_loop_policy(), asyncio.new_event_loop()
    asyncio._set_running_loop(None)
    asyncio.set_event_loop(own)
    try:
        yield
    finally:
        asyncio._set_running_loop(around)
        asyncio.set_event_loop_policy(policy)
        asyncio.set_event_loop(around)
        if not own.is_running():  # on another thread
            own.close()


def allow_asyncio_run() -> None:
    """Let `asyncio.run` work in cells that are no coroutines: the loop around them stands still meanwhile."""
    original = asyncio.run
    if hasattr(original, "dh_kernel_original"):
        return

    @functools.wraps(original)
    def run(*arguments: Any, **keywords: Any) -> Any:
        try:
            outer = asyncio.get_running_loop()
        except RuntimeError:
            outer = None
        if outer is None or threading.get_ident() not in _lane_threads or asyncio.current_task() is not None:
            return original(*arguments, **keywords)
        asyncio._set_running_loop(None)
        try:
            return original(*arguments, **keywords)
        finally:
            asyncio._set_running_loop(outer)
            asyncio.set_event_loop(outer)

    run.dh_kernel_original = original  # type: ignore[attr-defined]
    asyncio.run = run
