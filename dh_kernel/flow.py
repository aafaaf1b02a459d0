"""How much output a front end has not dealt with yet: one that asks for it is never sent more than it can take.

Neighbours: `runs` (each has one), `kernel` (waits for room before it publishes). Lives on the event loop.

IOPub drops messages for a subscriber that is behind by more than a thousand, and a front end that writes to a pipe can be as
slow as whoever reads the pipe. So its request may have a window in its metadata, `{"dh_kernel": {"window": bytes}}`. Then each
message of the run tells in its own metadata, as `sent`, how much has been published. The front end tells, on the control
channel, what it has dealt with: `dh_kernel_taken`, with the request's id as `run` and the last number as `taken`; it may wait
until that is a quarter of the window. Beyond the window the kernel publishes nothing: in the end the code waits that prints.
"""

from __future__ import annotations

import asyncio
from typing import Any

TAKEN = "dh_kernel_taken"
_LEAST_BYTES = 16 << 10  # of a message, so that a window is also a number of messages


class Flow:
    """The bookkeeping of one run."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.sent = 0
        self._taken = 0
        self._changed = asyncio.Event()

    async def room(self, size: int) -> None:
        """Count a message; wait until the front end can take it. A large one counts as half a window."""
        size = min(max(size, _LEAST_BYTES), self.window // 2)
        while self.sent + size - self._taken > self.window:
            self._changed.clear()
            await self._changed.wait()
        self.sent += size

    def taken(self, sent: int) -> None:
        """The front end has dealt with all up to here."""
        self._taken = max(self._taken, sent)
        self._changed.set()

    def marked(self, metadata: Any) -> Any:
        """A message's metadata with what has been sent."""
        return {**(metadata or {}), "dh_kernel": {"sent": self.sent}} if self.window else metadata
