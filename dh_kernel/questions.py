"""Questions to the runtime on the server, and their answers: completion, inspection, what is alive.

Neighbours: `kernel` (asks, and hands answers in). Refuses to know what is asked. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any


class Questions:
    """Those that have been put and not answered."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    async def put(self, session: Any, kind: str, timeout_s: float | None, fields: dict[str, Any]) -> dict[str, Any]:
        """The answer; empty if there is none in time, or if the session ends first."""
        request = f"q{next(self._numbers)}"
        answer = self._open[request] = asyncio.get_running_loop().create_future()
        session.send(kind, request=request, **fields)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            return {}
        finally:
            self._open.pop(request, None)

    def take(self, request: str) -> Callable[[dict[str, Any]], None] | None:
        """What settles a question; None if nobody waits for its answer any more."""
        question = self._open.pop(request, None)
        return None if question is None else lambda content: _settle(question, content)

    def end_all(self) -> None:
        """No answer comes any more."""
        for question in self._open.values():
            _settle(question, {})
        self._open.clear()


def _settle(question: asyncio.Future[dict[str, Any]], content: dict[str, Any]) -> None:
    if not question.done():
        question.set_result(content)
