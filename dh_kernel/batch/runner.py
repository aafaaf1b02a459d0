"""One run: the kernel's start, the items in turn, limits and signals, and the end, in which nothing is left behind.

Neighbours: `kernels`, `conversation`, `notebooks`, `reports`; `app` builds them. Refuses to know command lines and formats.

Whatever asks for the end while something runs (a limit, SIGTERM, SIGHUP, a stdout that nobody reads) is one thing here, a
`_Stop`: the code is interrupted, has the grace period, and then kernel and server are killed. SIGINT interrupts, and leaves it
to the code; a second one kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from . import outcome as ends
from .command import Item, Order, decoded
from .conversation import Conversation, KernelGone
from .options import UsageError
from .outcome import Outcome, Status, of_reply
from .parameters import as_code
from .reports import Report
from .stdin import StandardInput
from .writing import Notes, Writer

_LOOK_S = 0.5  # how often one looks whether the server that is served is there
_END_S = 10.0  # for the orderly end of a run that nobody has stopped
_TERMINATED_END_S = 3.0
_KEY = "__import__('jpy').get_type('java.lang.System').getProperty('authentication.psk')"
_BEYOND_GRACE_S = 1.0  # until the exit at the latest, of which the last part is for what comes behind all this
_MARGIN_S = 0.5


@dataclass(frozen=True)
class _Stop:
    outcome: Outcome
    at: float


class Runner:
    """Runs an order. Made on the event loop, for one `run`.

    Args:
        begun: when the command began, by `time.monotonic`; the time limit counts from there.
        notes: tell a person what goes on.
    """

    def __init__(self, order: Order, kernel: Any, report: Report, writer: Writer, notes: Notes, begun: float) -> None:
        self._order, self._kernel, self._report, self._writer = order, kernel, report, writer
        self._notes, self._note, self._begun = notes, notes.note, begun
        self._notebook_report = report.for_notebooks()
        self._loop = asyncio.get_running_loop()
        self._stdin = StandardInput()
        self._conversation: Conversation | None = None
        self._stop: asyncio.Future[_Stop] = self._loop.create_future()
        self._kill = asyncio.Event()
        self._interrupts = 0
        self._killed_at = math.inf
        self._ready = self._serving = False
        self._tasks: set[asyncio.Future[Any]] = set()
        self.server: dict[str, Any] = {}

    async def run(self) -> int:
        """Run all; the exit code."""
        self._follow_signals()
        if self._order.timeout_s is not None:
            left = self._begun + self._order.timeout_s - time.monotonic()
            self._loop.call_later(max(left, 0), self._time_is_over, "--timeout", self._order.timeout_s)
        try:
            outcome = await self._outcome()
            self._report.finish(outcome, time.monotonic() - self._begun)
            written = await self._end()
            cut_off = self._stop.done() and not (written and self._writer.is_whole)
            return self._stop.result().outcome.exit_code if cut_off else outcome.exit_code
        except BaseException:  # a fault of ours: it shows, and leaves no kernel behind
            await self._quietly(self._kernel.kill())
            raise
        finally:
            self._stdin.close()

    # --- the end that is asked for

    def stop(self, status: Status, exit_code: int, error: dict[str, Any] | None = None) -> None:
        """Interrupt what runs, and end it after the grace period."""
        if self._serving and status is Status.INTERRUPTED:
            status, exit_code = Status.OK, ends.SUCCESS
        if not self._stop.done():
            self._stop.set_result(_Stop(Outcome(status, exit_code, error), time.monotonic()))

    def broken_pipe(self) -> None:
        """Nobody reads stdout any more."""
        self.stop(Status.INTERRUPTED, ends.BROKEN_PIPE)

    def _time_is_over(self, option: str, limit_s: float) -> None:
        value = f"the limit of {limit_s:g} s ({option}) was reached"
        self.stop(Status.TIMEOUT, ends.TIMEOUT, {"name": "TimeoutError", "value": value, "traceback": []})

    def _follow_signals(self) -> None:
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGINT: self._on_interrupt,
            signal.SIGTERM: lambda: self.stop(Status.INTERRUPTED, ends.TERMINATED),
            signal.SIGHUP: lambda: self.stop(Status.INTERRUPTED, ends.HUNG_UP),
        }
        for number, handler in handlers.items():
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a background job of a script
                self._loop.add_signal_handler(number, handler)

    def _on_interrupt(self) -> None:
        self._interrupts += 1
        if self._serving and self._interrupts == 1:
            self.stop(Status.INTERRUPTED, ends.INTERRUPTED)
        elif self._interrupts > 1 or not self._ready:
            self.stop(Status.INTERRUPTED, ends.INTERRUPTED)
            self._killed_at = time.monotonic()
            self._kill.set()
        else:
            self._note("interrupting; once more kills")
            self._spawn(self._kernel.interrupt())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- the run

    async def _outcome(self) -> Outcome:
        work = self._spawn(self._work())
        await asyncio.wait((work, self._stop), return_when=asyncio.FIRST_COMPLETED)
        if work.done() and not self._stop.done():
            outcome: Outcome = work.result()
            return outcome
        stop = self._stop.result()
        if stop.outcome.error is not None:
            self._report.error(stop.outcome.error)
        if self._ready and not self._kill.is_set() and not work.done():
            await self._quietly(self._kernel.interrupt())
            kill = self._spawn(self._kill.wait())
            left = stop.at + self._order.grace_s - time.monotonic()
            await asyncio.wait((work, kill), timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await self._quietly(self._kernel.kill())
            work.cancel()
            left = stop.at + self._order.grace_s + _BEYOND_GRACE_S - 1.5 * _MARGIN_S - time.monotonic()
            await asyncio.wait((work,), timeout=max(left, 0))
        return stop.outcome

    async def _work(self) -> Outcome:
        try:
            items = [await self._with_code(item) for item in self._order.items]
            failure = await self._start()
            if failure is not None:
                return failure
            outcome = Outcome()
            for item in items:
                outcome = await self._run_item(item)
                if not outcome.goes_on or self._stop.done():
                    return outcome
            if self._order.serves:
                return await self._serve()
            return outcome
        except UsageError as error:
            told = {"name": "UsageError", "value": str(error), "traceback": []}
            self._report.error(told)
            return Outcome(Status.ERROR, ends.USAGE, told)
        except Exception as error:  # also a fault of ours: whoever reads the outcome learns of it
            outcome = self._cut_off_by(error)
            if outcome.error is not None and not self._stop.done():
                self._report.error(outcome.error)
            return outcome

    async def _with_code(self, item: Item) -> Item:
        if item.kind != "stdin":
            return item
        return replace(item, code=decoded(await self._stdin.everything(), "the standard input"))

    def _cut_off_by(self, error: BaseException) -> Outcome:
        """How the run ends, and what was under way, when this has come up."""
        if self._stop.done():
            return self._stop.result().outcome
        if isinstance(error, (KernelGone, asyncio.CancelledError)):
            value = f"the kernel has died. {self._kernel.log_tail()}"
            return Outcome(Status.DIED, ends.DIED, {"name": "KernelDied", "value": value, "traceback": []})
        return ends.of_fault(error)

    def _ended(self, outcome: Outcome) -> Outcome:
        """The outcome of what has ended by itself: who was interrupted by a stop was ended by that."""
        interrupted = outcome.status is Status.INTERRUPTED
        return self._stop.result().outcome if interrupted and self._stop.done() else outcome

    async def _start(self) -> Outcome | None:
        """Start the kernel and wait for its server; how that failed, if it did."""
        self._note("starting")
        try:
            client = await self._kernel.start()
        except RuntimeError as error:
            return self._no_server("KernelError", f"{error}. {self._kernel.log_tail()}")
        self._conversation = Conversation(client, self._report, self._writer, self._stdin, answers=self._answers)
        self._conversation.listen()
        self._spawn(self._watch())
        outcome = of_reply(await self._conversation.execute("", silent=True))
        if not outcome.goes_on:
            assert outcome.error is not None
            return self._no_server(outcome.error["name"], outcome.error["value"])
        info = (await self._conversation.kernel_info()).get("deephaven") or {}
        self.server = {name: info.get(name) for name in ("version", "java_home", "host", "port")}
        self._ready = True
        self._report.server(self.server, time.monotonic() - self._begun)
        self._note(f"Deephaven {self.server['version']} at {self.server['host']}:{self.server['port']}")
        for warning in () if self._order.quiet else info.get("warnings", ()):
            self._notes.say(warning)
        return None

    def _no_server(self, name: str, value: str) -> Outcome:
        if self._stop.done():  # it has ended the kernel
            return self._stop.result().outcome
        error = {"name": name, "value": value, "traceback": []}
        self._report.error(error)
        return Outcome(Status.ERROR, ends.SERVER, error)

    @property
    def _answers(self) -> bool:
        """Questions of the code are for this process's stdin, unless the code came from there."""
        return all(item.kind != "stdin" for item in self._order.items)

    async def _watch(self) -> None:
        await self._kernel.wait_for_death()
        if self._conversation is not None:
            self._conversation.end()

    async def _run_item(self, item: Item) -> Outcome:
        begun = time.monotonic()
        if item.kind == "notebook":
            return await self._run_notebook(item)
        self._report.item(item.kind, item.name, None, 0.0)
        limit = self._cell_limit()
        outcome = Outcome()
        try:
            outcome = self._ended(await self._run_program(item))
        except BaseException as error:
            outcome = self._cut_off_by(error)
            raise
        finally:
            limit.cancel()
            self._report.item(item.kind, item.name, outcome, time.monotonic() - begun)
        return outcome

    async def _run_program(self, item: Item) -> Outcome:
        assert self._conversation is not None
        if self._order.parameters:
            await self._conversation.execute(as_code(self._order.parameters), silent=True)
        file = item.file or ("<stdin>" if item.kind == "stdin" else "<string>")
        folder = os.path.dirname(os.path.realpath(item.file)) if item.file else ""
        program = {"file": file, "arguments": list(item.arguments), "folder": folder}
        return of_reply(await self._conversation.execute(item.code, program=program))

    async def _run_notebook(self, item: Item) -> Outcome:
        from .notebooks import NotebookRun, Surroundings  # with nbclient and nbformat, which scripts do not need

        around = Surroundings(
            self._order,
            self._kernel,
            self._notebook_report,
            self._notes.bar,
            self.server,
            self._cell_limit,
            self._stop.done,
            self._ended,
            self._cut_off_by,
        )
        return await NotebookRun(item, around).run()

    def _cell_limit(self) -> asyncio.Handle:
        """Begin to count the time of a cell, or of a script; to be cancelled at its end."""
        limit = self._order.cell_timeout_s
        if limit is None:
            return self._loop.call_soon(lambda: None)
        return self._loop.call_later(limit, self._time_is_over, "--cell-timeout", limit)

    async def _serve(self) -> Outcome:
        """Until somebody asks for the end, which is a success: it is how serving ends. Or until the server has died."""
        assert self._conversation is not None
        url = f"http://{self.server['host']}:{self.server['port']}/ide/"
        if self._order.show_key:
            url += f"?psk={await self._conversation.value(_KEY)}"
        else:
            self._note("the page asks for the server's key; --show-key prints it with the URL")
        self._report.serving(url)
        self._serving = True
        while not self._stop.done():
            await asyncio.wait((self._stop, self._conversation.gone), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            outcome = Outcome() if self._stop.done() else await self._health()
            if not outcome.goes_on:
                return outcome
        return Outcome()

    async def _health(self) -> Outcome:
        """How the server is.

        Raises:
            KernelGone: the kernel has ended.
        """
        assert self._conversation is not None
        if (await self._conversation.kernel_info()).get("deephaven") or not self.server["version"]:
            return Outcome()
        outcome = of_reply(await self._conversation.execute("", silent=True))  # which tells the cause
        if outcome.error is not None:
            self._report.error(outcome.error)
        return outcome

    # --- the end

    async def _end(self) -> bool:
        """End the kernel while what has been reported is written; what is stuck is left behind when the time is over.

        Returns:
            Whether there was time for all of it.
        """
        written = asyncio.Event()
        self._writer.after(lambda: self._soon(written.set))
        writing = self._spawn(written.wait())
        shutdown = self._spawn(self._shutdown())
        waits: list[asyncio.Future[Any]] = [writing, shutdown]
        kill = self._spawn(self._kill.wait())
        limit = self._last_moment()
        while any(not wait.done() for wait in waits):
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                break
            pending = [wait for wait in (*waits, kill, self._stop) if not wait.done()]
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            limit = self._last_moment()
        if not shutdown.done():
            await self._quietly(self._kernel.kill())
        if self._conversation is not None:
            await self._conversation.close()
        for task in list(self._tasks):
            task.cancel()
        self._kernel.close()
        return written.is_set()

    def _last_moment(self) -> float | None:
        """When the process has to end."""
        if not self._stop.done():
            return None
        last = self._stop.result().at + self._order.grace_s + _BEYOND_GRACE_S - _MARGIN_S
        return min(last, self._killed_at + _MARGIN_S)

    def _soon(self, action: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    async def _shutdown(self) -> None:
        within_s = _END_S
        limit = self._last_moment()
        if self._kill.is_set():
            within_s = 0.0
        elif limit is not None:
            within_s = min(_TERMINATED_END_S, max(limit - time.monotonic() - _MARGIN_S / 2, 0.0))
        await self._quietly(self._kernel.shutdown(within_s))

    @staticmethod
    async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
        with contextlib.suppress(Exception):  # what is being ended may be gone already
            await work
