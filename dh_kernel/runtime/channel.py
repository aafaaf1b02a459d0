"""The server's end of the stream: numbered frames out by one writer thread, frames in from the server's gRPC threads.

Neighbours: `wire` (frames), `session` (what the messages mean). Refuses to know what a cell or a table is.

Rules that shaped it:
- Nobody but the writer thread sends: a pending Java interrupt on a cell's thread would break the send.
- `on_data` runs on one of the server's few gRPC threads and never blocks.
- Frames wait for acknowledgements within `WINDOW_BYTES`; beyond that the writer pauses, and whoever produces output waits for
  room before it queues more: so a flood of output grows neither process.
- What cells' threads run here is short and takes plain locks by `with`: an interrupt must not leave one locked.
- A broken stream leaves the frames here; the next stream of the same session carries them again.
- While nobody is expected (`detached`) nobody waits for room: what is too much is left out, and how much that was is told.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .journal import Journal
from .threads import ServiceThread
from .wire import Inbox, Outbox, WireError, pack, unpack

SERVER = uuid.uuid4().hex
"""Tells this process from one that comes after it at the same address."""
WINDOW_BYTES = 4 << 20
PENDING_BYTES = 4 << 20
_CAN_BE_LEFT_OUT = frozenset({"stream", "display", "table", "clear", "live", "comm"})
_WAIT_S = 0.05  # how long a wait may last before Python gets a chance to deliver an interrupt


class Channel:
    """One session's stream, over any number of connections. The object that the kernel fetches from the server."""

    __dh_kernel_channel__ = True

    def __init__(self, session_id: str, on_message: Callable[[dict[str, Any], list[bytes]], None]) -> None:
        self.session_id = session_id
        self.on_connected: Callable[[], None] = lambda: None
        self.on_disconnected: Callable[[], None] = lambda: None
        self.greeting: Callable[[], dict[str, Any]] = dict
        self.flush_source: Callable[[], float | None] = lambda: None
        self.journal: Journal | None = None
        self._on_message = on_message
        self._mutex = threading.RLock()  # reentrant: a collection of garbage may run a `__del__` that prints
        self._changed = threading.Condition(self._mutex)
        self._outbox, self._inbox = Outbox(), Inbox()
        self._pending: deque[tuple[dict[str, Any], Sequence[bytes], Sequence[Any], int]] = deque()
        self._pending_bytes = 0
        self._resend: deque[tuple[bytes, Sequence[Any]]] = deque()
        self._connection: Any = None
        self._streams = self._generation = self._broken_generation = 0
        self._resumed = False
        self._ack_due = False
        self._poked = False
        self._closed = False
        self._owner: str | None = None
        self._ends: deque[tuple[int, str]] = deque()
        self._detached = False
        self._left_out: dict[str, int] = {}
        self._writer = ServiceThread(target=self._write, name=f"dh-kernel-writer-{session_id}", daemon=True)
        self._writer.start()

    # The object type calls this, on a gRPC thread, when the kernel opens a stream on the object.

    def connect(self, connection: Any) -> _Receiver:
        """Take a new stream. The kernel's first frame says from where to resume; a former stream is given up then."""
        with self._mutex:
            self._streams += 1
            receiver = _Receiver(self, connection, self._streams)
        # The client's fetch waits for one message; it also tells the kernel which protocol speaks here.
        connection.on_data(
            pack(
                {
                    "kind": "hello",
                    "session": self.session_id,
                    "fresh": not self._resumed,
                    "server": SERVER,
                    "seq": 0,
                    "ack": self._inbox.last_seq,
                    "acked": self._outbox.last_ack,
                    **self.greeting(),
                }
            ),
            [],
        )
        return receiver

    def queue(
        self, header: dict[str, Any], buffers: Sequence[bytes] = (), references: Sequence[Any] = (), size: int = 256
    ) -> None:
        """Queue one frame. Never waits: producers of much call `wait_for_room` before."""
        size += sum(len(buffer) for buffer in buffers)
        with self._mutex:
            if self._detached and self._pending_bytes > PENDING_BYTES and header["kind"] in _CAN_BE_LEFT_OUT:
                self._left_out[header["cell"]] = self._left_out.get(header["cell"], 0) + size
                return
            if self.journal is not None:
                self.journal.frame(self._outbox.last_seq + len(self._pending) + 1, header, buffers)
            self._pending.append((header, buffers, references, size))
            self._pending_bytes += size
            self._changed.notify_all()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is queued meanwhile is text that the journal has already, and replaces it there."""
        with self._mutex, self.journal.together() if self.journal is not None else contextlib.nullcontext():
            yield

    def wait_for_room(self) -> None:
        """Wait while too much is queued. The wait ends early for an interrupt, and when the session is closed."""
        while self._pending_bytes > PENDING_BYTES and not self._closed and not self._detached:
            with self._mutex:
                self._changed.wait(_WAIT_S)

    def poke(self) -> None:
        """Ask the writer to look at `flush_source` again."""
        with self._mutex:
            if not self._poked:
                self._poked = True
                self._changed.notify_all()

    def detach(self) -> None:
        """Nobody is expected to come back soon: keep no more than there is room for, and make nobody wait."""
        with self._mutex:
            self._detached = True
            self._changed.notify_all()

    @property
    def is_connected(self) -> bool:
        """Whether there is a stream, as far as is known."""
        return self._connection is not None

    def undelivered_ends(self) -> list[str]:
        """The cells whose end nobody has acknowledged."""
        with self._mutex:
            self._forget_ends()
            pending = [str(header["cell"]) for header, *_ in self._pending if header["kind"] == "done"]
            return [cell for _, cell in self._ends] + pending

    def _forget_ends(self) -> None:
        while self._ends and self._ends[0][0] <= self._outbox.last_ack:
            self._ends.popleft()

    def close(self) -> None:
        """End the writer once all that is queued has been sent, if a stream is open."""
        with self._mutex:
            self._closed = True
            self._changed.notify_all()

    # --- receiving

    def receive(self, generation: int, payload: bytes, connection: Any) -> None:
        try:
            header, buffers = unpack(payload)
        except WireError:
            return
        if header["kind"] == "resume":
            self._resume(generation, header, connection)
            return
        fresh = False
        with self._mutex:
            if generation != self._generation:
                return
            self._acknowledge(header)
            if header["seq"]:
                fresh = self._inbox.accept(header["seq"])
                self._ack_due |= self._inbox.consumed(len(payload))
            self._changed.notify_all()
        if fresh:
            self._on_message(header, buffers)

    def _resume(self, generation: int, header: dict[str, Any], connection: Any) -> None:
        """A kernel goes on by a new stream; by right, or by taking the session over."""
        with self._mutex:
            if generation <= self._generation:
                return
            takes_over = bool(header.get("take_over")) and header["owner"] != self._owner
            refused = not takes_over and self._owner not in (None, header.get("owner"))
            former = self._connection
            if not refused:
                if takes_over:
                    self._inbox = Inbox()
                self._owner = header.get("owner")
                self._generation, self._connection = generation, connection
                self._resumed, self._detached = True, False
                self._acknowledge(header)
                self._resend = deque(self._outbox.unacknowledged())
            self._changed.notify_all()
        if refused:
            self._tell_taken(connection)
            return
        if takes_over and former is not None:
            self._tell_taken(former)
        for cell, size in self._take_left_out().items():
            text = f"[{size:,} bytes of output were left out while nobody was connected]\n"
            self.queue({"kind": "stream", "cell": cell, "name": "stderr", "text": text, "log": False})
        self.on_connected()

    def _acknowledge(self, header: dict[str, Any]) -> None:
        self._outbox.acknowledge(header.get("ack", 0), header.get("held", ()))
        if self.journal is not None:
            self.journal.acknowledged(header.get("ack", 0))

    def _take_left_out(self) -> dict[str, int]:
        with self._mutex:
            left_out, self._left_out = self._left_out, {}
            return left_out

    def _tell_taken(self, connection: Any) -> None:
        with contextlib.suppress(Exception):  # it may be broken
            connection.on_data(pack({"kind": "taken", "session": self.session_id, "seq": 0, "ack": 0}), [])

    def disconnected(self, generation: int) -> None:
        with self._mutex:
            if generation != self._generation or generation == self._broken_generation:
                return  # told already, or replaced, or not taken yet
            self._broken_generation = generation
            self._connection = None
            self._changed.notify_all()
        self.on_disconnected()

    # --- the writer thread

    def _write(self) -> None:
        while True:
            self.flush_source_due()
            with self._mutex:
                item = self._next()
                if item is None:
                    if self._closed and (self._connection is None or not self._pending):
                        return
                    if not self._poked:
                        self._changed.wait(self._wait_s)
                    self._poked = False
                    continue
                connection, generation = self._connection, self._generation
            try:
                connection.on_data(item[0], list(item[1]))
            except Exception:
                # The stream is broken; the frame stays in the outbox for the next one.
                self.disconnected(generation)

    _wait_s: float | None = None

    def flush_source_due(self) -> None:
        """Let the source of output hand over what is due; it answers in how many seconds it wants to be asked again.

        Not while too much is queued: then the text stays at its source, which makes those wait who write it.
        """
        self._wait_s = self.flush_source() if self._pending_bytes <= PENDING_BYTES or self._detached else None

    def _next(self) -> tuple[bytes, Sequence[Any]] | None:
        if self._connection is None:
            return None
        if self._resend:
            return self._resend.popleft()
        if self._pending and self._outbox.unacked_bytes < WINDOW_BYTES:
            header, buffers, references, size = self._pending.popleft()
            self._pending_bytes -= size
            self._ack_due = False
            self._changed.notify_all()
            header["session"] = self.session_id
            made = self._outbox.frame(header, buffers, references, self._inbox.last_seq)
            if header["kind"] == "done":
                self._forget_ends()
                self._ends.append((self._outbox.last_seq, header["cell"]))
            return made
        if self._ack_due:
            self._ack_due = False
            return pack({"kind": "ack", "session": self.session_id, "seq": 0, "ack": self._inbox.last_seq}), []
        return None

    def drained(self, timeout_s: float) -> bool:
        """Wait until everything queued has been acknowledged."""
        deadline = time.monotonic() + timeout_s
        with self._mutex:
            while self._pending or self._outbox.unacked_bytes:
                if time.monotonic() > deadline:
                    return False
                self._changed.wait(_WAIT_S)
        return True


class _Receiver:
    """What the server calls for one stream: `deephaven.plugin.object_type.MessageStream`."""

    def __init__(self, channel: Channel, connection: Any, generation: int) -> None:
        self._channel, self._connection, self._generation = channel, connection, generation

    def on_data(self, payload: bytes, references: list[Any]) -> None:
        self._channel.receive(self._generation, bytes(payload), self._connection)

    def on_close(self) -> None:
        self._channel.disconnected(self._generation)
