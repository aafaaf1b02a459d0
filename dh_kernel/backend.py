"""The server behind one kernel: launched or attached, opened, watched, replaced when it has died.

Neighbours: `server` (processes) and `session` (connections), which know nothing of each other; above it `kernel`. Refuses to
know Jupyter. Lives on the kernel's event loop; what blocks runs on threads of a small pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from dh_kernel import losses
from dh_kernel.errors import (
    DhKernelError,
    ServerDiedError,
    ServerError,
    ServerStartError,
    SessionDetachedError,
    SessionLostError,
    SettingsError,
)
from dh_kernel.model import TablePreview
from dh_kernel.server import ServerProcess, describe, without_report
from dh_kernel.settings import Settings, withhold
from dh_kernel.timings import Timings

from .launching import keep_standby, launch, needs_environment
from .training import Training
from .versions import provide

if TYPE_CHECKING:
    from dh_kernel.session import Event, Session, TableShown

LOG = logging.getLogger(__name__)
PREVIEW_THREADS = 4
LAST_WORDS_S = 0.5
ANSWERS_WITHIN_S = 1.0
PATIENCE_S = 5.0  # for a server that answers, to end in good order
TRAIN_AFTER_S = 20.0
SETTLED_AFTER_S = 5.0
DEATH_SHOWS_WITHIN_S = 0.5  # of a connection that fails because the server dies


class Listener(Protocol):
    """Whoever is told what happens, on the event loop: the kernel."""

    def on_event(self, session: Session, event: Event, size: int) -> None:
        """An event has arrived."""

    def on_gone(self, session: Session | None, error: DhKernelError) -> bool:
        """The server or the session has ended by itself. Whether a cell was running."""


class Backend:
    """One kernel's server and session, and their next ones."""

    def __init__(
        self,
        settings: Settings,
        problem: SettingsError | None,
        first: ServerProcess | DhKernelError | None,
        listener: Listener,
        timings: Timings | None = None,
    ) -> None:
        self.settings = settings
        self._problem, self._first, self._listener = problem, first, listener
        self._kernel = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(PREVIEW_THREADS, thread_name_prefix="dh-kernel-pool")
        self._process: ServerProcess | None = None
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closing = False
        self.detached: list[Session] = []
        """Sessions of this kernel in which the server may still go on with a cell, the latest last."""
        self._resumable: Session | None = None  # one that was lost while it was idle
        self._training: Training | None = None
        self.lost: DhKernelError | None = None  # why there is no server any more, until there is one, or is to be one
        self._given_up = False  # the server was ended since it did not answer
        self.ask: Callable[..., Awaitable[dict[str, Any]]] = _nobody  # puts a question to the runtime
        self._installing: str | None = None
        self.timings = timings or Timings.of_process()
        self.start()

    def start(self) -> None:
        """Begin to open a session, if none is open or being opened."""
        if self._session is None and self._opening is None and not self._closing:
            self._opening = self._loop.create_task(self._open())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def session(self) -> Session:
        """The open session; waits for it. A start that failed is tried again by the next call.

        Raises:
            DhKernelError: the settings, the start or the connection; the text is for the user.
        """
        if self._session is not None:
            return self._session
        if self.lost is not None and self.settings.restart != "automatic":
            raise type(self.lost)(f"{self.lost}\n{self.next_step}")
        self.start()
        assert self._opening is not None
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except Exception as error:
            if self._opening is opening:
                self._opening = None
            if isinstance(error, DhKernelError):
                raise
            LOG.exception("a start failed in a way that is not foreseen")
            raise ServerStartError(f"the start failed: {type(error).__name__}: {error}") from error

    @property
    def next_step(self) -> str:
        """What becomes of the next cell after a loss, and of the variables."""
        return losses.when_gone(attached=self.settings.endpoint is not None, automatic=self.settings.restart == "automatic")

    def start_anew(self) -> None:
        """After a loss, whatever the settings say: the next call of `session` starts."""
        self.lost = None

    @property
    def what_starts(self) -> str:
        """For the note while one waits: `Starting Deephaven 42.7` or `Connecting to host:port`."""
        if self.settings.endpoint is not None:
            return f"Connecting to Deephaven at {self.settings.endpoint.address}"
        if self._installing is not None:
            return f"Installing Deephaven {self._installing}, which is done once and takes minutes"
        version = self._process.version if self._process is not None else None
        return f"Starting Deephaven {version}" if version else "Starting Deephaven"

    @property
    def is_stopped(self) -> bool:
        """Whether our server's process is stopped."""
        return self._process is not None and self._process.is_stopped

    @property
    def why_silent(self) -> str:
        """What may keep the server from answering."""
        if self.is_stopped:
            return "its process is stopped (SIGSTOP)"
        causes = "a call that lets nothing else run, a collection of garbage, or a machine short of memory may keep it"
        return causes if self._process is not None else f"{causes}, or the network between"

    @property
    def description(self) -> dict[str, Any] | None:
        """The server in use, for front ends: no key. None while there is none."""
        if self._session is None:
            return None
        info, endpoint = self._session.info, self._session.endpoint
        return {
            "version": info.deephaven if info is not None else None,
            "python": info.python if info is not None else None,
            "java_home": self._process.java.home if self._process is not None else None,
            "host": endpoint.host,
            "port": endpoint.port,
            "launched": self._process is not None,
        }

    @property
    def current(self) -> Session | None:
        """The open session, if there is one."""
        return self._session

    @property
    def is_open_or_opening(self) -> bool:
        """Whether there is a session, or soon will be."""
        return self._session is not None or (self._opening is not None and not self._opening.done())

    async def preview(self, session: Session, table: TableShown) -> TablePreview:
        """Read a table's rows on a thread of the pool, and release it."""
        preview = await self._loop.run_in_executor(self._pool, session.preview, table)
        if not self._closing:
            self._pool.submit(session.release, table)
        return preview

    def discard(self, session: Session, table: TableShown) -> None:
        """Let the server forget a table that nobody reads."""
        if not self._closing:
            self._pool.submit(session.release, table)

    def change_setting(self, name: str, value: object) -> None:
        """A cell has changed how tables show: remembered for the next session."""
        self.settings = replace(self.settings, **{name: value})  # type: ignore[arg-type]

    def withhold(self, taken: Mapping[str, str]) -> None:
        """Keep variables that held a secret from all that is started from now on."""
        self.settings = replace(self.settings, withheld={**self.settings.withheld, **taken})
        withhold(self.settings)

    def note_log(self, text: str) -> str:
        """Keep what the server's process wrote, to tell it should the process end; without what Java says of its own end."""
        if self._process is not None:
            self._process.note_log(text)
        return without_report(text)

    def signal_server(self) -> None:
        """Interrupt a launched server's main thread by a signal, past its Python."""
        if self._process is not None:
            self._process.interrupt()

    def give_up(self) -> None:
        """End a server that does not answer; one that is not ours is let go of. `on_gone` follows."""
        if self._process is not None:
            self._given_up = True
            self._loop.run_in_executor(None, self._process.kill)
        elif self._session is not None:
            self._gone(SessionLostError(f"The kernel has let go of {self._session.endpoint.address}, which does not answer."))

    def advice(self, error: str) -> str | None:
        """What to add to an error of a cell, where it is the machine that is short of something."""
        if self._process is None or "No space left on device" not in error:
            return None
        return (
            f"A disk is full; the server's temporary files are in {self._process.temporary_folder} (set TMPDIR for another"
            " place). A formula that could not be compiled for it fails until %dh restart, also when there is space again."
        )

    def warm_up(self, session: Session) -> None:
        """Let the session try its connections, beside everything else."""
        if not self._closing:
            self._pool.submit(session.warm_up)

    async def close(self, *, forget: bool = False) -> None:
        """End the session, and the server if it is ours. Takes a few seconds at most.

        Args:
            forget: of a server that is not ours, remove the variables that this session has assigned.
        """
        self._closing = True
        if self._training is not None:
            self._training.stop()
        await self._let_go(forget=forget)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- on request

    async def restart(self) -> Session:
        """A fresh server where it is ours; where it is not, a fresh session, and the variables of this one are removed.

        Raises:
            DhKernelError: as `session`. The former one is gone in any case.
        """
        with contextlib.suppress(DhKernelError):
            self._session = self._session or await self._resume_idle()  # what it has assigned is to be removed
        await self._let_go(forget=True)
        self.start_anew()
        return await self.session()

    async def change(self, settings: Settings) -> Session:
        """Use the server of other settings from now on. The one in use is let go when the other is there.

        Raises:
            DhKernelError: there is no other; the one in use stays.
        """
        await self._provide(settings)
        process = await self._launch(settings)
        session = await self._open_on(settings, process)
        await self._let_go()
        self.settings, self._problem, self._first = settings, None, None
        self._process, self._session, self.lost = process, session, None
        if process is not None and process.death is not None:
            raise self._died(process)
        return session

    async def reattach(self, session: Session) -> None:
        """Go on with a session of this kernel that was detached. The one in use is let go.

        Raises:
            SessionLostError: the server does not know it any more.
            DhKernelError: the server cannot be reached; it may be tried again.
        """
        try:
            await self._loop.run_in_executor(self._pool, session.reattach)
        except SessionLostError:
            self.detached.remove(session)
            session.close(say_goodbye=False)
            raise
        self.detached.remove(session)
        await self._use(session)

    async def take_over(self, session_id: str) -> Session:
        """Go on with a session on the server that is, or was, another kernel's. The one in use is let go.

        Raises:
            DhKernelError: there is no such session any more, or no server.
        """
        session = await self._loop.run_in_executor(self._pool, self._open_blocking, self.settings, None, session_id)
        await self._use(session)
        return session

    async def _use(self, session: Session) -> None:
        await self._let_go()
        self._session, self.lost = session, None
        self.settings = replace(self.settings, endpoint=session.endpoint)

    async def _resume_idle(self) -> Session | None:
        """The session that was lost while it was idle, if the server still has it.

        Raises:
            DhKernelError: the server cannot be reached; it may be tried again.
        """
        session = self._resumable
        if session is None:
            return None
        try:
            await self._loop.run_in_executor(self._pool, session.reattach)
        except SessionLostError:
            session.close(say_goodbye=False)
            session = None
        self._resumable = None
        return session

    async def _let_go(self, *, forget: bool = False) -> None:
        answers = self._session is None or bool(await self.ask("ping", timeout_s=ANSWERS_WITHIN_S))
        if answers and forget and self._process is None:
            await self.ask("forget", timeout_s=PATIENCE_S)
        opening, session, process = self._opening, self._session, self._process
        idle, self._resumable = self._resumable, None
        self._opening = self._session = self._process = None
        if idle is not None:
            self._loop.run_in_executor(None, _close, idle, None, False)
        if opening is not None and not opening.done():
            opening.cancel()
        await self._loop.run_in_executor(None, _close, session, process, answers)

    # --- opening

    async def _open(self) -> Session:
        if self._problem is not None:
            raise SettingsError(str(self._problem))
        resumed = await self._resume_idle()
        if resumed is not None:
            self._session, self._opening, self.lost = resumed, None, None
            return resumed
        await self._provide(self.settings)
        first, self._first = self._first, None
        if isinstance(first, DhKernelError):
            raise first
        process = self._process = first if first is not None else await self._launch(self.settings)
        session = await self._open_on(self.settings, process)
        self._session, self._opening, self.lost = session, None, None
        if process is not None and process.death is not None:
            raise self._died(process)
        if process is not None:
            learns = process.archive is not None and not process.archive_used and self._training is None
            if learns or self.settings.standby:
                self._loop.call_later(TRAIN_AFTER_S if learns else SETTLED_AFTER_S, self._help_the_next, learns)
        return session

    async def _provide(self, settings: Settings) -> None:
        """Install the version of Deephaven that is asked for, once."""
        environment = needs_environment(settings)
        if environment is None:
            return
        self._installing = environment.version
        try:
            await self._loop.run_in_executor(self._pool, provide, environment, LOG.info)
        finally:
            self._installing = None

    def _help_the_next(self, learns: bool) -> None:
        """Let the next servers start faster: from an archive, or ahead of time."""
        if self._closing:
            return
        training = self._training = Training(self.settings) if learns and self._training is None else self._training
        settings = self.settings

        def work() -> None:
            if learns and training is not None:
                training.run_quietly()
            if settings.standby and not self._closing:
                keep_standby(settings)

        threading.Thread(target=work, name="dh-kernel-training", daemon=True).start()

    async def _launch(self, settings: Settings) -> ServerProcess | None:
        """Spawn a server if one is to be launched. On a thread: Java is looked for, and a spare server asked for."""
        launching = self._loop.run_in_executor(None, launch, settings)
        try:
            process = await asyncio.shield(launching)
        except asyncio.CancelledError:
            launching.add_done_callback(self._stop_later)
            raise
        if isinstance(process, DhKernelError):
            raise process
        return process

    def _stop_later(self, launched: asyncio.Future[ServerProcess | DhKernelError | None]) -> None:
        process = None if launched.cancelled() or launched.exception() is not None else launched.result()
        if process is not None and not isinstance(process, DhKernelError):
            self._loop.run_in_executor(None, process.stop)

    async def _open_on(self, settings: Settings, process: ServerProcess | None) -> Session:
        """Open a session; a server in which that fails is ended, and if it died that is what is told."""
        try:
            return await self._open_session(settings, process)
        except BaseException as error:
            if process is None:
                raise
            known = isinstance(error, ServerError) or not isinstance(error, DhKernelError)
            died = not known and await self._loop.run_in_executor(None, process.wait_death, DEATH_SHOWS_WITHIN_S)
            if self._process is process:
                self._process = None
            self._loop.run_in_executor(None, process.stop)
            if died:
                raise self._died(process) from None
            raise

    async def _open_session(self, settings: Settings, process: ServerProcess | None) -> Session:
        opening = self._loop.run_in_executor(self._pool, self._open_blocking, settings, process)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:  # nobody waits any more: what comes of it is closed
            opening.add_done_callback(self._close_later)
            raise

    def _close_later(self, opened: asyncio.Future[Session]) -> None:
        if not opened.cancelled() and opened.exception() is None:
            self._loop.run_in_executor(None, _close, opened.result(), None)

    def _open_blocking(self, settings: Settings, process: ServerProcess | None, take_over: str | None = None) -> Session:
        # Heavy, with pydeephaven, numpy and pyarrow: imported while the server starts, and after the first requests.
        from dh_kernel.session import Session, SessionOptions
        from dh_kernel.session.shipping import runtime_sources

        runtime_sources()  # kept for the opening script
        endpoint = settings.endpoint if process is None else process.wait_ready()
        assert endpoint is not None
        self.timings.mark("ready")
        if process is not None:
            process.on_exit(lambda death: self._call(self._on_exit, process))
        opened: list[Session] = []
        session = Session.open(
            endpoint,
            SessionOptions(
                launched=process is not None,
                linger_s=settings.reconnect_time_s,
                interrupt_grace_s=settings.interrupt_grace_s,
                tables=settings.for_tables(),
                private=settings.private_names and process is None,
                detached_s=settings.detached_time_s,
                name=settings.session_name,
                kernel=self._kernel,
            ),
            lambda event, size: self._call(self._listener.on_event, session_of(opened), event, size),
            lambda error: self._call(self._on_lost, session_of(opened), error),
            opened.append,
            take_over=take_over,
        )
        self.timings.mark("connected", session.connected_at)
        self.timings.mark("opened")
        if process is not None:
            self.timings.server = {} if process.from_standby else process.times
            self.timings.start = _how_started(process)
            session.give_up_when(lambda: process.death is not None)
            process.hand_over_output()
        return session

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the kernel ends
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- ends that nobody asked for

    def _on_exit(self, process: ServerProcess) -> None:
        if process is self._process and not process.stopping:
            self._ending = self._loop.create_task(self._end_with(process))

    async def _end_with(self, process: ServerProcess) -> None:
        """Deal with a death once the last words that the stream still holds have arrived."""
        if self._session is not None:
            await self._loop.run_in_executor(None, self._session.wait_for_end, LAST_WORDS_S)
        if process is self._process:
            self._tell_last_output(process)
            self._gone(self._died(process))

    def _tell_last_output(self, process: ServerProcess) -> None:
        from dh_kernel.session import StreamText

        if self._session is not None:
            for stream, text in process.last_output():
                self._listener.on_event(self._session, StreamText("", stream, text, last=True), 0)

    def _on_lost(self, session: Session, error: SessionLostError) -> None:
        if session is self._session and (self._process is None or self._process.death is None):
            self._gone(error)

    def _gone(self, error: DhKernelError) -> None:
        session, self._session = self._session, None
        process, self._process = self._process, None
        if process is not None and process.death is None:  # its session was lost: there is no way back to what it holds
            self._loop.run_in_executor(None, process.stop)
        self.lost = None if isinstance(error, SessionDetachedError) else error
        hit = self._listener.on_gone(session, error)
        if session is not None and isinstance(error, SessionDetachedError):
            if hit:
                self.detached.append(session)
            else:
                self._resumable = session
        elif session is not None:
            session.close(say_goodbye=False)

    def _died(self, process: ServerProcess) -> ServerDiedError:
        if self._given_up:
            self._given_up = False
            return ServerDiedError("The Deephaven server was ended: it did not answer, and was interrupted again.")
        return ServerDiedError(describe(process.last_words(), process.options))


def _how_started(process: ServerProcess) -> str:
    if process.from_standby:
        return " (from standby)"
    return " (from an archive of classes)" if process.archive_used else ""


def session_of(opened: list[Session]) -> Session:
    """The session that `Session.open` has handed out before its first event."""
    return opened[0]


async def _nobody(kind: str, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
    return {}


def _close(session: Session | None, process: ServerProcess | None, answers: bool = True) -> None:
    if session is not None:
        session.close(say_goodbye=process is None and answers)
    if process is not None:
        process.stop(PATIENCE_S if answers else 0.0)
