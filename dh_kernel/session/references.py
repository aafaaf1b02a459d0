"""Tables on the server, by references that are good for one connection: renewed when a broken stream is resumed.

Neighbours: `session` (makes and renews them), `previews` (reads through them). Refuses to know frames and rows.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Sequence
from typing import Any

import grpc
from pydeephaven import DHError


class Reference:
    """One table of the frame `seq`. `current` is its reference by the connection number `connection`."""

    def __init__(self, seq: int, current: Any, connection: int) -> None:
        self.seq, self.current, self.connection = seq, current, connection
        self.released = False


class References:
    """The references of a session's frames, from their arrival until they are released. Any thread."""

    def __init__(self) -> None:
        self.connection = 0
        self._changed = threading.Condition()
        self._frames: dict[int, list[Reference]] = {}

    @property
    def held(self) -> Collection[int]:
        """The numbers of the frames that have unreleased references, for `held` in what acknowledges them."""
        with self._changed:
            return list(self._frames)

    def connected(self) -> None:
        """There is a new connection: what came by former ones cannot be read any more."""
        with self._changed:
            self.connection += 1
            self._changed.notify_all()

    def add(self, seq: int, references: Sequence[Any]) -> list[Reference]:
        """Keep those of a new frame."""
        with self._changed:
            made = [Reference(seq, reference, self.connection) for reference in references]
            if made:
                self._frames[seq] = made
            return made

    def renew(self, seq: int, references: Sequence[Any]) -> bool:
        """Take those of a frame that came again; False if nobody wants them."""
        with self._changed:
            known = self._frames.get(seq)
            if known is None:
                return False
            for reference, current in zip(known, references, strict=False):
                reference.current, reference.connection = current, self.connection
            self._changed.notify_all()
            return True

    def is_stale(self, reference: Reference) -> bool:
        """Whether it came by a former connection."""
        return reference.connection != self.connection

    def wait(self, timeout_s: float) -> None:
        """Wait for a renewal, or a new connection."""
        with self._changed:
            self._changed.wait(timeout_s)

    def release(self, reference: Reference) -> bool:
        """Let the server forget the table. Blocks for one call. Whether it was its frame's last one."""
        with self._changed:
            if reference.released:
                return False
            reference.released = True
            last = all(each.released for each in self._frames.get(reference.seq, ()))
            if last:
                self._frames.pop(reference.seq, None)
            stale = self.is_stale(reference)
        if not stale:
            close(reference.current)
        return last

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()


def close(reference: Any) -> None:
    """Let the server forget what a reference of pydeephaven stands for."""
    with contextlib.suppress(DHError, grpc.RpcError, ValueError):
        reference.close()
