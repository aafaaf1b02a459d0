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

from dh_kernel.errors import (
    AuthenticationError,
    ServerRestartedError,
    ServerTooOldError,
    SessionDetachedError,
    SessionEndedError,
    SessionError,
    SessionLostError,
    SessionTakenError,
)
from dh_kernel.model import Endpoint, TablePreview
from dh_kernel.runtime.engine import CHANNEL_TYPE
from dh_kernel.runtime.journal import JournalReader
from dh_kernel.runtime.wire import Inbox, Outbox, WireError, pack, unpack

from .connect import connect, translated
from .events import Answered, DetachedSession, Event, ServerInfo, TableShown, parse
from .last_words import last_frames
from .previews import HeadReader, is_connection_error
from .references import Reference, References
from .references import close as close_reference
from .sent import SentTable
from .shipping import closing_script, opening_script

RECONNECT_S = 75.0
REFRESH_EVERY_S = 30.0
_RETRY_S = 0.5
_GOODBYE_S = 2.0
_LOOK_S = 0.5
_CLOSED = "the session with the server is closed"


@dataclass(frozen=True)
class SessionOptions:
    """`launched`: the server belongs to this kernel. `linger_s`: how long the kernel tries to resume a stream that broke, and
    the server waits for it. `detached_s`: how long the server then goes on with what runs, for somebody who takes it over.
    `name`: what such a person knows the session by.

    `interrupt_grace_s`: when a cell that no interrupt reaches is abandoned. `tables`: how they show, as in `Preferences`.
    `private`: variables of the session's own, which end with it, instead of the server's global ones. `profile`: a launched
    server follows the IPython profile of the user. `kernel`: an id that all sessions of a kernel have.
    """

    launched: bool = False
    linger_s: float = RECONNECT_S
    interrupt_grace_s: float = 1.0
    tables: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False
    detached_s: float = 0.0
    name: str = ""
    profile: bool = True
    kernel: str = ""


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
        *,
        take_over: str | None = None,
    ) -> Session:
        """Connect, ship the runtime and open the stream. Blocks.

        Args:
            take_over: the id of a session on the server, which is another kernel's, or was. Its cells' output arrives from
                what nobody has acknowledged on.
            on_event: called on the reader's thread with each event, in order, and its frame's size in bytes; what has been
                dealt with is told to `consumed`.
            on_lost: called once on the reader's thread, when the session cannot be resumed.
            on_made: called with the session before the first event.
        Raises:
            SessionError: with the next step.
        """
        session = cls(endpoint, options, on_event, on_lost, take_over)
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
        take_over: str | None,
    ) -> None:
        self.endpoint, self.id = endpoint, take_over or uuid.uuid4().hex[:12]
        self.info: ServerInfo | None = None
        self.left_behind: tuple[DetachedSession, ...] = ()
        """Other sessions of its name that nobody was connected to when this one was."""
        self.cells: tuple[str, ...] = ()
        """The cells that ran when the stream was opened, or whose end nobody had acknowledged."""
        self.server = ""  # names the server's process
        self.connected_at = 0.0
        self._options, self._on_event, self._on_lost = options, on_event, on_lost
        self._lock = threading.Lock()
        self._outbox, self._inbox = Outbox(), Inbox()
        self._takes_over, self._taken_over_at = take_over is not None, 0
        self._owner = uuid.uuid4().hex
        self._references = References()
        self._client: DeephavenSession | None = None
        self._heads: HeadReader | None = None
        self._stream: PluginClient | None = None
        self._sample: Any = None
        self._journal: JournalReader | None = None
        self._closed = False
        self._hurry = threading.Event()
        self._ended = threading.Event()
        self._reader = self._new_reader()
        self._refresher = threading.Thread(target=self._refresh, name="dh-kernel-refresh", daemon=True)

    # --- sending

    def send(self, kind: str, buffers: Sequence[bytes] = (), **fields: Any) -> None:
        """Send a message to the runtime. While the stream is broken it waits for the next one."""
        with self._lock:
            frame, _ = self._outbox.frame(self._header(kind, fields), buffers, (), self._inbox.last_seq)
            self._write(frame)

    def consumed(self, size: int, *, at_once: bool = False) -> None:
        """Tell that an event's frame has been dealt with; keeps the server sending.

        Args:
            at_once: tell the server now.
        """
        with self._lock:
            if self._inbox.consumed(size) or at_once:
                self._write_control("ack")

    def _write_control(self, kind: str, **fields: Any) -> None:
        self._write(pack({**self._header(kind, fields), "seq": 0, "ack": self._inbox.last_seq}))

    def _header(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        held = self._references.held
        return {"kind": kind, "session": self.id, **fields, **({"held": sorted(held)} if held else {})}

    def _write(self, frame: bytes) -> None:
        if self._stream is not None:
            self._stream.req_stream.write(frame, [])

    # --- tables

    def preview(self, table: TableShown) -> TablePreview:
        """Read the rows of a table's head. Blocks, also while a broken stream is being resumed; any thread.

        `release` it afterwards.

        Returns:
            A preview without rows, and with the reason, where they cannot be read.
        """
        parts = tuple(self.preview(part) for part in table.parts)
        if table.head is None or self._heads is None:
            problem = table.problem or _CLOSED
            return TablePreview(table.info, None, problem, table.excerpt, parts=parts)
        try:
            data = self._read_head(table.head)
        except Exception as error:  # Flight has errors of its own, Arrow others; a preview must not fail a cell
            return TablePreview(table.info, None, _unread(error), table.excerpt, parts=parts)
        snapshot_ns = time.time_ns() if table.info.refreshing else None
        return TablePreview(table.info, data, None, table.excerpt, snapshot_ns, parts)

    def _read_head(self, head: Any) -> Any:
        if isinstance(head, SentTable):
            return head.read()
        deadline = time.monotonic() + self._options.linger_s
        while True:
            heads, current = self._heads, head.current
            if heads is None:
                raise SessionLostError(_CLOSED)
            try:
                return heads.read(current)
            except Exception as error:
                worth_it = self._references.is_stale(head) or is_connection_error(error)
                if not worth_it or self._closed or self._hopeless() or time.monotonic() > deadline:
                    raise
            self._references.wait(_LOOK_S)

    def release(self, table: TableShown) -> None:
        """Let the server forget a table's head. Blocks for one call; any thread."""
        heads = [shown.head for shown in (table, *table.parts) if isinstance(shown.head, Reference)]
        were_last = [self._references.release(head) for head in heads]
        if any(were_last):
            with self._lock:
                self._write_control("ack")

    def warm_up(self) -> None:
        """Read a tiny table, so that the first real preview need not open a connection. Blocks; any thread."""
        (sample, self._sample), heads = (self._sample, None), self._heads
        if sample is not None and heads is not None:
            with contextlib.suppress(Exception):  # the first real preview meets the fault, and tells it
                heads.read(sample)
            close_reference(sample)

    # --- connecting

    def _connect(self) -> None:
        client = connect(self.endpoint, keep_alive=not self._options.launched)
        self.connected_at = time.monotonic()
        stream: PluginClient | None = None
        try:
            stream = self._open_stream(client)
            hello, _ = unpack(next(stream.resp_stream)[0])
            if hello["fresh"] and (self._client is not None or self._takes_over):
                raise _unknown_there(self.endpoint, self.server, hello.get("server", ""))
        except SessionError:
            _close_quietly(client, stream)
            raise
        except (DHError, grpc.RpcError, WireError, StopIteration) as error:
            _close_quietly(client, stream)
            raise translated(error, self.endpoint) from None
        self.server = hello.get("server", "")
        self.left_behind = tuple(map(DetachedSession.of, hello["left_behind"]))
        self.cells = tuple(hello["cells"])
        with self._lock:
            former_client, former_heads = self._client, self._heads
            self._client, self._stream = client, stream
            self._heads = HeadReader(self.endpoint, client)
            self._references.connected()
            if self._takes_over and former_client is None:
                self._inbox.last_seq = self._taken_over_at = hello["acked"]
                self._write_control("resume", owner=self._owner, take_over=True)
            else:
                self._outbox.acknowledge(hello["ack"])
                self._write_control("resume", owner=self._owner)
            for frame, _ in self._outbox.unacknowledged():
                self._write(frame)
        if former_heads is not None:
            former_heads.close()
        if former_client is not None:
            _close_quietly(former_client)

    def _open_stream(self, client: DeephavenSession) -> PluginClient:
        variable = f"_dh_kernel_{self.id}"
        options = {**asdict(self._options), "address": self.endpoint.url, "take_over": self._takes_over}
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

    def _new_reader(self) -> threading.Thread:
        return threading.Thread(target=self._read, name="dh-kernel-reader", daemon=True)

    def _read(self) -> None:
        while not self._closed:
            try:
                self._read_stream()
            except SessionTakenError as error:
                if not self._closed:
                    self._on_lost(error)
                return
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
            if header["kind"] == "taken":
                raise SessionTakenError(f"another kernel has taken over the session at {self.endpoint.address}")
            if not self._is_new(header, references):
                continue
            event = self._parsed(header, references, buffers)
            if event is None:
                self.consumed(len(payload))
            else:
                self._on_event(event, len(payload))
        raise StopIteration

    def _is_new(self, header: dict[str, Any], references: Sequence[Any]) -> bool:
        seq = header["seq"]
        with self._lock:
            self._outbox.acknowledge(header["ack"])
            if not seq:
                return False
            if self._inbox.accept(seq):
                return True
        # Again, since its tables have not been read: by this kernel, or by the one before.
        return not self._references.renew(seq, references) and bool(references) and seq <= self._taken_over_at

    def _parsed(self, header: dict[str, Any], references: Sequence[Any], buffers: Sequence[bytes]) -> Event | None:
        if header["kind"] == "ready":
            self.info = info = parse(header, references)  # type: ignore[assignment]
            self._sample = references[0] if references else None
            self._open_journal(header.get("journal"))
            return info
        kept = self._references.add(header["seq"], references)
        event = parse(header, kept, buffers)
        shown = event.table if isinstance(event, Answered) else event
        wanted = [table.head for table in (shown, *shown.parts)] if isinstance(shown, TableShown) else []
        for reference in kept:
            if reference not in wanted:
                self._references.release(reference)
        return event

    def _open_journal(self, path: str | None) -> None:
        if path is not None and self._journal is None:
            with contextlib.suppress(OSError, ValueError):  # what it holds is lost with the server then
                self._journal = JournalReader(path)

    def _refresh(self) -> None:
        """Keep the server's session from expiring. pydeephaven would by itself, with a thread that outlives a broken one."""
        while not self._ended.wait(refresh_every_s(self._client)):
            client = self._client
            if client is not None:
                with contextlib.suppress(DHError, grpc.RpcError, ValueError):
                    client.is_alive  # noqa: B018 - the property asks the server, which renews the token

    def _reconnect(self, cause: BaseException) -> bool:
        with self._lock:
            broken, self._stream = self._stream, None
        if broken is not None:
            broken.req_stream.close()  # else gRPC's thread waits for more to send for good
        since = time.localtime()
        deadline = time.monotonic() + self._options.linger_s
        failure: BaseException = cause
        while not self._closed and time.monotonic() < deadline and not self._hopeless():
            try:
                self._connect()
                return True
            except (SessionLostError, AuthenticationError) as error:
                failure = error
                break
            except SessionError as error:
                failure = error
                self._hurry.wait(_RETRY_S)
        if not self._closed:
            goes_on = self._options.detached_s and not self._options.launched and not isinstance(failure, AuthenticationError)
            kind = SessionDetachedError if goes_on else SessionLostError
            text = (
                f"no connection to {self.endpoint.address} since {time.strftime('%H:%M:%S', since)}: {_first_lines(failure)}"
            )
            self._on_lost(failure if isinstance(failure, SessionLostError) else kind(text))
        return False

    def reattach(self) -> None:
        """Resume a session that was reported as detached. Blocks.

        Raises:
            SessionLostError: the server does not know it any more.
            SessionError: the server cannot be reached; may be tried again.
        """
        self._connect()
        self._reader = self._new_reader()
        self._reader.start()

    _give_up: Callable[[], bool] | None = None

    def give_up_when(self, hopeless: Callable[[], bool]) -> None:
        """Stop trying to reconnect when this says so: the server's process has ended."""
        self._give_up = hopeless

    def _hopeless(self) -> bool:
        return self._give_up is not None and self._give_up()

    # --- the end

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until all that a dead server had put out has been handed to `on_event`, also what it could not send."""
        self._hurry.set()
        self._reader.join(timeout_s)
        journal, self._journal = self._journal, None
        if journal is None:
            return
        for header, buffers in last_frames(journal):
            with self._lock:
                if header["seq"] and header["seq"] <= self._inbox.last_seq:
                    continue
                self._inbox.last_seq = max(header["seq"], self._inbox.last_seq)
            event = parse(header, (), buffers)
            if event is not None:
                self._on_event(event, 0)
        journal.close()

    def close(self, *, say_goodbye: bool = True) -> None:
        """Close the session; the runtime ends what still runs. Variables stay on the server. Does not wait long."""
        if self._closed:
            return
        if say_goodbye and self._stream is not None:
            self.send("close")
        self._closed = True
        self._ended.set()
        self._references.wake()
        with self._lock:
            stream, self._stream = self._stream, None
            client, heads = self._client, self._heads
            self._client = self._heads = None  # a kernel remembers its sessions, and each client has threads
        if stream is not None:
            stream.req_stream.close()
            if say_goodbye and threading.current_thread() is not self._reader:
                self._reader.join(_GOODBYE_S)  # the server ends the stream when it has taken in what was sent
        if heads is not None:
            heads.close()
        if self._journal is not None:
            self._journal.close()
        if client is not None:
            _close_quietly(client, tell=say_goodbye)


def refresh_every_s(client: DeephavenSession | None) -> float:
    """How often to ask: a server may let a session expire sooner than the usual five minutes (`http.session.durationMs`)."""
    return min(REFRESH_EVERY_S, getattr(client, "_timeout_seconds", 3 * REFRESH_EVERY_S) / 3)


def _unknown_there(endpoint: Endpoint, before: str, now: str) -> SessionLostError:
    if before and now and before != now:
        return ServerRestartedError(f"the server at {endpoint.address} was restarted")
    if before and before == now:
        return SessionEndedError(
            f"the server at {endpoint.address} has ended the session: the connection was broken for too long"
        )
    return SessionLostError(f"the server at {endpoint.address} no longer knows the session")


def _close_quietly(client: DeephavenSession, stream: PluginClient | None = None, *, tell: bool = True) -> None:
    if stream is not None:
        stream.req_stream.close()
    with contextlib.suppress(DHError, grpc.RpcError, ValueError):
        if tell:
            client.close()
    if client.grpc_channel is not None:  # pydeephaven leaves it open where the server cannot be told
        client.grpc_channel.close()
    client.is_connected = False
    flight = getattr(client, "_flight_client", None)
    if flight is not None:
        flight.close()
        client._flight_client = None  # they hold each other through C++, where no garbage collector looks, and it has a thread


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
