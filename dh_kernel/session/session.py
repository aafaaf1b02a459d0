"""A session: the kernel's end of the object stream, resumed over as many connections as it takes.

Neighbours: `connect`, `shipping`, `previews`, `events`; above it `backend`. Refuses to know Jupyter and event loops.

Threads: `open` blocks its caller; one reader thread per session takes frames in, hands events to `on_event`, and reconnects.
`send` may be called from any thread and does not wait.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
from pydeephaven import DHError
from pydeephaven import Session as DeephavenSession
from pydeephaven.experimental.plugin_client import PluginClient
from pydeephaven.ticket import ScopeTicket, ServerObject

from dh_kernel.errors import ServerTooOldError, SessionError, SessionLostError
from dh_kernel.model import Endpoint, TablePreview
from dh_kernel.runtime.engine import CHANNEL_TYPE
from dh_kernel.runtime.wire import Inbox, Outbox, WireError, pack, unpack

from .connect import connect, translated
from .events import Event, ServerInfo, TableShown, parse
from .previews import HeadReader
from .shipping import closing_script, opening_script

RECONNECT_S = 60.0
REFRESH_EVERY_S = 30.0
_RETRY_S = 0.5
_GOODBYE_S = 2.0


@dataclass(frozen=True)
class SessionOptions:
    """`launched`: the server belongs to this kernel. `linger_s`: how long the server keeps a session whose stream broke.

    `interrupt_grace_s`: when a cell that no interrupt reaches is abandoned. `tables`: how they show, as in `Preferences`.
    `private`: variables of the session's own, which end with it, instead of the server's global ones.
    """

    launched: bool = False
    linger_s: float = RECONNECT_S
    interrupt_grace_s: float = 1.0
    tables: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False


class Session:
    """One kernel's session with a server. Made by `open`."""

    @classmethod
    def open(
        cls,
        endpoint: Endpoint,
        options: SessionOptions,
        on_event: Callable[[Event, int], None],
        on_lost: Callable[[SessionLostError], None],
        on_made: Callable[[Session], None] = lambda session: None,
    ) -> Session:
        """Connect, ship the runtime and open the stream. Blocks.

        Args:
            on_event: called on the reader's thread with each event, in order, and its frame's size in bytes; what has been
                dealt with is told to `consumed`.
            on_lost: called once on the reader's thread, when the session cannot be resumed.
            on_made: called with the session before the first event.
        Raises:
            SessionError: with the next step.
        """
        session = cls(endpoint, options, on_event, on_lost)
        session._connect()
        on_made(session)
        session._reader.start()
        session._refresher.start()
        return session

    def __init__(
        self,
        endpoint: Endpoint,
        options: SessionOptions,
        on_event: Callable[[Event, int], None],
        on_lost: Callable[[SessionLostError], None],
    ) -> None:
        self.endpoint, self.id = endpoint, uuid.uuid4().hex[:12]
        self.info: ServerInfo | None = None
        self.connected_at = 0.0
        self._options, self._on_event, self._on_lost = options, on_event, on_lost
        self._lock = threading.Lock()
        self._outbox, self._inbox = Outbox(), Inbox()
        self._client: DeephavenSession | None = None
        self._heads: HeadReader | None = None
        self._stream: PluginClient | None = None
        self._sample: Any = None
        self._closed = False
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="dh-kernel-reader", daemon=True)
        self._refresher = threading.Thread(target=self._refresh, name="dh-kernel-refresh", daemon=True)

    # --- sending

    def send(self, kind: str, buffers: Sequence[bytes] = (), **fields: Any) -> None:
        """Send a message to the runtime. While the stream is broken it waits for the next one."""
        with self._lock:
            frame, _ = self._outbox.frame({"kind": kind, "session": self.id, **fields}, buffers, (), self._inbox.last_seq)
            self._write(frame)

    def consumed(self, size: int, *, at_once: bool = False) -> None:
        """Tell that an event's frame has been dealt with; keeps the server sending.

        Args:
            at_once: tell the server now, since it holds a table until then.
        """
        with self._lock:
            if self._inbox.consumed(size) or at_once:
                self._write(pack({"kind": "ack", "session": self.id, "seq": 0, "ack": self._inbox.last_seq}))

    def _write(self, frame: bytes) -> None:
        if self._stream is not None:
            self._stream.req_stream.write(frame, [])

    # --- tables

    def preview(self, table: TableShown) -> TablePreview:
        """Read the rows of a table's head. Blocks; any thread. `release` it afterwards.

        Returns:
            A preview without rows, and with the reason, where they cannot be read.
        """
        parts = tuple(self.preview(part) for part in table.parts)
        if table.head is None or self._heads is None:
            problem = table.problem or "the session with the server is closed"
            return TablePreview(table.info, None, problem, table.excerpt, parts=parts)
        try:
            data = self._heads.read(table.head)
        except Exception as error:  # Flight has errors of its own, Arrow others; a preview must not fail a cell
            return TablePreview(table.info, None, _unread(error), table.excerpt, parts=parts)
        snapshot_ns = time.time_ns() if table.info.refreshing else None
        return TablePreview(table.info, data, None, table.excerpt, snapshot_ns, parts)

    def release(self, table: TableShown) -> None:
        """Let the server forget a table's head. Blocks for one call; any thread."""
        for shown in (table, *table.parts):
            _release(shown.head)

    def warm_up(self) -> None:
        """Read a tiny table, so that the first real preview need not open a connection. Blocks; any thread."""
        sample, self._sample = self._sample, None
        if sample is not None and self._heads is not None:
            with contextlib.suppress(Exception):  # the first real preview meets the fault, and tells it
                self._heads.read(sample)
            _release(sample)

    # --- connecting

    def _connect(self) -> None:
        client = connect(self.endpoint)
        self.connected_at = time.monotonic()
        try:
            stream = self._open_stream(client)
            frames = stream.resp_stream
            hello, _ = unpack(next(frames)[0])
        except SessionError:
            _close_quietly(client)
            raise
        except (DHError, grpc.RpcError, WireError, StopIteration) as error:
            _close_quietly(client)
            raise translated(error, self.endpoint) from None
        if hello["fresh"] and self._client is not None:
            stream.req_stream.close()
            _close_quietly(client)
            raise SessionLostError(
                f"the server at {self.endpoint.address} no longer knows the session: it was restarted, or the connection was "
                "broken for too long"
            )
        with self._lock:
            former_client, former_heads = self._client, self._heads
            self._client, self._stream = client, stream
            self._heads = HeadReader(self.endpoint, client)
            self._outbox.acknowledge(hello["ack"])
            self._write(pack({"kind": "resume", "session": self.id, "seq": 0, "ack": self._inbox.last_seq}))
            for frame, _ in self._outbox.unacknowledged():
                self._write(frame)
        if former_heads is not None:
            former_heads.close()
        if former_client is not None:
            _close_quietly(former_client)

    def _open_stream(self, client: DeephavenSession) -> PluginClient:
        variable = f"_dh_kernel_{self.id}"
        options = {**asdict(self._options), "address": self.endpoint.address}
        try:
            client.run_script(opening_script(variable, self.id, options))
        except DHError as error:
            raise self._refused(error) from None
        stream = client.plugin_client(ServerObject(CHANNEL_TYPE, ScopeTicket.scope_ticket(variable)))
        client.run_script(closing_script(variable))
        return stream

    def _refused(self, error: DHError) -> SessionError:
        text = str(error)
        if "EngineError" in text:
            reason = next((line for line in text.splitlines() if "EngineError" in line), text)
            return ServerTooOldError(f"{self.endpoint.address}: {reason.partition('EngineError: ')[2] or reason}")
        if isinstance(error.__cause__, grpc.RpcError) or "failed to" in text:
            return translated(error, self.endpoint)
        lines = [line for line in text.splitlines() if line.strip()]
        return ServerTooOldError(
            f"the server at {self.endpoint.address} could not load the kernel's runtime: {lines[0] if lines else text}"
            f"{' … ' + lines[-1] if len(lines) > 1 else ''}. It is tested with Python 3.11 and Deephaven 42."
        )

    # --- the reader thread

    def _read(self) -> None:
        while not self._closed:
            try:
                self._read_stream()
            except (grpc.RpcError, StopIteration, RuntimeError, WireError, ValueError) as error:
                if self._closed:
                    return
                if not self._reconnect(error):
                    return

    def _read_stream(self) -> None:
        stream = self._stream
        assert stream is not None
        for payload, references in stream.resp_stream:
            header, buffers = unpack(payload)
            with self._lock:
                self._outbox.acknowledge(header["ack"])
                if not header["seq"] or not self._inbox.accept(header["seq"]):
                    continue
            event = parse(header, references, buffers)
            if isinstance(event, ServerInfo):
                self.info = event
                self._sample = references[0] if references else None
            if event is None:
                self.consumed(len(payload))
            else:
                self._on_event(event, len(payload))
        raise StopIteration

    def _refresh(self) -> None:
        """Keep the server's session from expiring. pydeephaven would by itself, with a thread that outlives a broken one."""
        while not self._ended.wait(REFRESH_EVERY_S):
            client = self._client
            if client is not None:
                with contextlib.suppress(DHError, grpc.RpcError, ValueError):
                    client.is_alive  # noqa: B018 - the property asks the server, which renews the token

    def _reconnect(self, cause: BaseException) -> bool:
        with self._lock:
            self._stream = None
        deadline = time.monotonic() + self._options.linger_s
        failure: BaseException = cause
        while not self._closed and time.monotonic() < deadline and not self._hopeless():
            try:
                self._connect()
                return True
            except SessionLostError as error:
                failure = error
                break
            except SessionError as error:
                failure = error
                time.sleep(_RETRY_S)
        if not self._closed:
            lost = SessionLostError(f"the connection to {self.endpoint.address} is lost: {_first_lines(failure)}")
            self._on_lost(failure if isinstance(failure, SessionLostError) else lost)
        return False

    _give_up: Callable[[], bool] | None = None

    def give_up_when(self, hopeless: Callable[[], bool]) -> None:
        """Stop trying to reconnect when this says so: the server's process has ended."""
        self._give_up = hopeless

    def _hopeless(self) -> bool:
        return self._give_up is not None and self._give_up()

    # --- the end

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until all that the server sent before it ended has been handed to `on_event`."""
        self._reader.join(timeout_s)

    def close(self, *, say_goodbye: bool = True) -> None:
        """Close the session; the runtime ends what still runs. Variables stay on the server. Does not wait long."""
        if self._closed:
            return
        if say_goodbye and self._stream is not None:
            self.send("close")
        self._closed = True
        self._ended.set()
        with self._lock:
            stream, self._stream = self._stream, None
            client, heads = self._client, self._heads
        if stream is not None:
            stream.req_stream.close()
            if say_goodbye and threading.current_thread() is not self._reader:
                self._reader.join(_GOODBYE_S)  # the server ends the stream when it has taken in what was sent
        if heads is not None:
            heads.close()
        if client is not None:
            _close_quietly(client, tell=say_goodbye)


def _release(reference: Any) -> None:
    if reference is not None:
        with contextlib.suppress(DHError, grpc.RpcError):
            reference.close()


def _close_quietly(client: DeephavenSession, *, tell: bool = True) -> None:
    with contextlib.suppress(DHError, grpc.RpcError, ValueError):
        if tell:
            client.close()
    if client.grpc_channel is not None:  # pydeephaven leaves it open where the server cannot be told
        client.grpc_channel.close()
    client.is_connected = False


_LOGGED = re.compile(r"Details Logged w/ID '([^']+)'")


def _unread(error: BaseException) -> str:
    """Why rows could not be read. Of what fails while it computes them the server tells only where it wrote it down."""
    logged = _LOGGED.search(str(error))
    if logged is None:
        return _first_lines(error)
    return f"the server could not compute them, as when a formula fails; its log says why, under the ID {logged[1]}"


def _first_lines(error: BaseException, most: int = 5) -> str:
    lines: Sequence[str] = [line for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:most]) or type(error).__name__
