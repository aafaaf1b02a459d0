"""A thread that answers questions in order, beside the cells; one that does not come back is replaced.

Neighbours: `session` and `debugger` (put questions). Refuses to know what is asked.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from .threads import ServiceThread

Message = dict[str, Any]
_LOOK_EVERY_S = 0.1
_QUIET_S = 5.0
_MOST_STUCK = 10


class _Turn:
    """What one thread is at: the message, and since when."""

    message: Message | None = None
    since = 0.0
    given_up = False


class Questioner:
    """Calls `answer` with each message, on a thread of its own.

    Args:
        limit_s: how long an answer may take. Then `give_up` is called with the message in its place, on another thread, and a
            fresh thread takes the questions that follow. What the late one still sends is the receiver's to ignore.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Message], None],
        *,
        limit_s: float | None = None,
        give_up: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self._name, self._answer, self._limit_s, self._give_up = name, answer, limit_s, give_up
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._asked, self._closed = threading.Event(), threading.Event()
        self._last_asked = 0.0
        self._stuck = 0
        self._turn = self._begin()
        if limit_s is not None:
            ServiceThread(target=self._watch, name=f"{name}-watch", daemon=True).start()

    def put(self, message: Message) -> None:
        """Ask; returns at once."""
        self._last_asked = time.monotonic()
        self._messages.put(message)
        self._asked.set()

    def close(self) -> None:
        """End the thread after the questions that wait."""
        self._closed.set()
        self._asked.set()
        self._messages.put(None)

    def _begin(self) -> _Turn:
        turn = _Turn()
        ServiceThread(target=self._run, args=(turn,), name=self._name, daemon=True).start()
        return turn

    def _run(self, turn: _Turn) -> None:
        while (message := self._messages.get()) is not None:
            turn.since, turn.message = time.monotonic(), message
            self._answer(message)
            with self._lock:
                turn.message = None
                if turn.given_up:
                    self._stuck -= 1
                    return

    # --- on the watching thread: woken by the first question after a pause, it looks often until the next pause

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._asked.wait()
            self._asked.clear()
            while not self._closed.wait(_LOOK_EVERY_S) and self._is_busy():
                self._look()

    def _is_busy(self) -> bool:
        asked = time.monotonic() - self._last_asked < _QUIET_S or not self._messages.empty()
        return asked or (self._turn.message is not None and not self._turn.given_up)

    def _look(self) -> None:
        """Give up what takes too long, and have another thread go on. While too many are stuck all is given up."""
        with self._lock:
            turn = self._turn
            late = turn.message if self._is_late(turn) else None
            if late is not None:
                turn.given_up = True
                self._stuck += 1
            if turn.given_up and self._stuck < _MOST_STUCK:
                self._turn = self._begin()
            nobody_left = self._turn.given_up
        if late is not None:
            self._give_up(late)
        while nobody_left and (waiting := self._next_waiting()) is not None:
            self._give_up(waiting)

    def _is_late(self, turn: _Turn) -> bool:
        long_ago = self._limit_s is not None and time.monotonic() - turn.since >= self._limit_s
        return turn.message is not None and not turn.given_up and long_ago

    def _next_waiting(self) -> Message | None:
        try:
            return self._messages.get_nowait()
        except queue.Empty:
            return None
