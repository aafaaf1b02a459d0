"""A thread that answers questions in order, beside the cells.

Neighbours: `session` (puts questions). Refuses to know what is asked.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from .threads import ServiceThread


class Questioner:
    """Calls `answer` with each message, on a thread of its own."""

    def __init__(self, name: str, answer: Callable[[dict[str, Any]], None]) -> None:
        self._answer = answer
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        ServiceThread(target=self._run, name=name, daemon=True).start()

    def put(self, message: dict[str, Any]) -> None:
        """Ask; returns at once."""
        self._messages.put(message)

    def close(self) -> None:
        """End the thread after the questions that wait."""
        self._messages.put(None)

    def _run(self) -> None:
        while (message := self._messages.get()) is not None:
            self._answer(message)
