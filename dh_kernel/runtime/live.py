"""Live outputs: a refreshing table's output follows the table, pushed by the engine, never polled.

Neighbours: `outputs` (begins them), `watches` (tells of changes), `livereading` (reads tables), `session` (hands on what the
kernel and new cells say). Refuses to render, and to know how frames travel.

One thread of the session owns all state; everybody else puts a message into its inbox, a `SimpleQueue`, which is safe from the
engine's threads and from a collection of garbage. An output's life: its watch waits for a change; where the update graph's
cycles are shorter than the interval it is then paused, so that Python is called once per update and not in every cycle.
When the interval is over, and the kernel has acknowledged the former update, the watch resumes and then the table is read, so
that no change is missed.

The output of a table that a cell assigned holds it only by its watch, which goes when the variable's object goes; what was
displayed is held until the output ends, which is also when the variable that had it gets another value. Each end is told by a
last update, with the reason.
"""

from __future__ import annotations

import contextlib
import copy
import queue
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from .cells import Cell
from .engine import Engine
from .livereading import LiveOutput, LiveReader
from .preferences import Extent, Preferences
from .tables import Tables, in_short
from .threads import ServiceThread
from .watches import Watch

FLUSH_WITHIN_S = 2.0
_LOOK_S = 0.05  # how long a cell's wait may last before Python gets a chance to deliver an interrupt
_FRAME_BYTES = 512 << 10
_YOUNG_S, _YIELD_S = 0.05, 0.002  # most cells end soon: an update can wait that long for one, looking that often,
_MOST_YIELDED_S = 0.25  # and all the updates of one turn together this long

_FAILED_UNHEARD = "the table has failed; the reason is in the server's log"
ENDS = {
    "again": "the cell ran again",
    "replaced": "another output took its place",
    "released": "the variable no longer holds the table",
    "time": "its time was over",
    "many": "later outputs took its turn",
    "asked": "stopped by %dh live stop",
    "failed": "the table has failed",
}

Send = Callable[[dict[str, Any], list[bytes]], None]


class LiveOutputs:
    """One session's live outputs.

    Args:
        send: `send(header, buffers)` queues a frame. Waits while too much is queued.
        is_young: whether a cell runs that came less than so many seconds ago.
    """

    def __init__(
        self,
        session_id: str,
        engine: Engine,
        tables: Tables,
        preferences: Preferences,
        send: Send,
        is_young: Callable[[float], bool] = lambda age_s: False,
    ) -> None:
        self._session_id, self._engine, self._tables = session_id, engine, tables
        self._preferences, self._send, self._is_young = preferences, send, is_young
        self._reader = LiveReader(engine, tables)
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._outputs: dict[str, LiveOutput] = {}
        self._flushes: list[_Flush] = []
        self._numbers = iter(range(1, 1 << 62))
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._closed = False

    # --- from cells' threads

    def begin(
        self,
        cell: Cell,
        value: object,
        table: Any,
        name: str | None,
        extent: Extent,
        *,
        hold: bool,
        display_id: str | None = None,
    ) -> str | None:
        """Let an output follow a table, before it is described for the first time; the output's name.

        None where it cannot: then the output is as that of a static table. Takes a fraction of a millisecond.

        Args:
            value: the variable's object: once no variable has it any more, the output ends; where `name` is None it has none.
            hold: keep the table alive till then. A loop that displays one after the other may be the only one to have them.
        """
        if self._closed or not self._preferences.live_outputs or not self._preferences.live_time_s:
            return None
        output_id = display_id or f"dh-live-{self._session_id}-{next(self._numbers)}"
        output = LiveOutput(output_id, cell, table, name, extent, time.monotonic())
        output.earliest = output.begun + self._preferences.live_interval_s
        if name is not None:
            with contextlib.suppress(TypeError):  # Java's objects cannot be referred to weakly
                output.user_table = weakref.ref(value, lambda _: self._inbox.put(lambda: self._end(output, "released")))
                if not hold:
                    output.table = copy.copy(table)
        try:
            output.watch = self._watch(output)
        except Exception:  # it has failed already, or is of another update graph
            return None
        self._start()
        self._inbox.put(lambda: self._add(output))
        return output.id

    def _watch(self, output: LiveOutput) -> Watch:
        inbox, changed, failed = self._inbox, self._changed, self._failed

        def on_change() -> None:
            if not output.told:
                output.told = True
                inbox.put(lambda: changed(output))

        def on_failure(trace: str) -> None:
            inbox.put(lambda: failed(output, in_short(trace)))

        return Watch(
            self._engine, self._tables.sources(output.table), on_change, on_failure, self._tables.referents(output.table)
        )

    def cell_begins(self, cell: Cell) -> None:
        """Outputs of the same cell's former run end."""
        if cell.place is not None and self._thread is not None:
            self._inbox.put(lambda: self._end_all(lambda output: output.cell.place == cell.place, "again"))

    def cleared(self, cell: Cell) -> None:
        """The outputs of a cell are gone."""
        if self._thread is not None:
            self._inbox.put(lambda: self._end_all(lambda output: output.cell is cell, None))

    def released(self, values: Iterable[object]) -> None:
        """No variable holds these tables any more. Their objects may live on for long: Java's view of the console has them."""
        gone = [weakref.ref(value) for value in values] if self._thread is not None else []
        if gone:
            self._inbox.put(lambda: self._end_all(lambda output: any(output.shows(each()) for each in gone), "released"))

    def replaced(self, display_id: str) -> None:
        """Something else is shown in the place of an output."""
        if self._thread is not None:
            self._inbox.put(lambda: self._end_all(lambda output: output.id == display_id, None))

    def stop(self, wanted: Iterable[str] = ()) -> list[str]:
        """End the outputs of these names, or all; what they were."""
        names = set(wanted)
        stopped: list[str] = []

        def stop_them() -> None:
            stopped.extend(output.label for output in self._outputs.values() if not names or output.name in names)
            self._end_all(lambda output: not names or output.name in names, "asked")

        self._ask(stop_them)
        return stopped

    def listed(self) -> list[tuple[str, str, str, str]]:
        """Of each output: variable, cell, for how long, how many updates."""
        rows: list[tuple[str, str, str, str]] = []

        def list_them() -> None:
            now = time.monotonic()
            for output in self._outputs.values():
                age = f"{now - output.begun:,.0f} s"
                rows.append((output.label, f"[{output.cell.count}]", age, f"{output.updates:,}"))

        self._ask(list_them)
        return rows

    def flush(self, cell: Cell) -> None:
        """Queue the latest state of all outputs that have changed, in the name of a cell that is about to end."""
        if self._thread is None:
            return
        flush = _Flush(cell.id)
        self._inbox.put(lambda: self._begin_flush(flush))
        flush.wait()

    # --- from the kernel, on a gRPC thread

    def shown(self, names: list[str]) -> None:
        """The kernel has published updates."""
        self._inbox.put(lambda: self._acknowledged(names))

    def close(self) -> None:
        """The session ends: take the listeners off. What shows the last state is the kernel's work."""
        self._closed = True
        self._inbox.put(None)

    # --- the thread

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = ServiceThread(target=self._run, name=f"dh-kernel-live-{self._session_id}", daemon=True)
                self._thread.start()

    def _ask(self, work: Callable[[], None]) -> None:
        """Do something on the thread, and wait for it."""
        if self._thread is None or self._closed:
            return
        done = threading.Event()

        def work_and_tell() -> None:
            try:
                work()
            finally:
                done.set()

        self._inbox.put(work_and_tell)
        deadline = time.monotonic() + FLUSH_WITHIN_S
        while not done.wait(_LOOK_S) and time.monotonic() < deadline:
            pass

    def _run(self) -> None:
        while True:
            try:
                if not self._take_messages():
                    break
                self._step()
            except Exception:  # a thread's edge
                traceback.print_exc()
        for output in list(self._outputs.values()):
            self._drop(output)
        for flush in self._flushes:
            flush.done.set()

    def _take_messages(self) -> bool:
        """Wait for a message or for what is due, and take all messages that are there. False: that was the last one."""
        with contextlib.suppress(queue.Empty):
            message = self._inbox.get(timeout=self._until_next())
            while message is not None:
                message()
                message = self._inbox.get_nowait()
            return False
        return True

    def _until_next(self) -> float | None:
        """Seconds until something is due; None where only a message can make it so."""
        now = time.monotonic()
        times = [output.begun + self._preferences.live_time_s for output in self._outputs.values()]
        times += [output.earliest for output in self._outputs.values() if output.dirty and not output.under_way]
        times += [flush.deadline for flush in self._flushes]
        return max(0.0, min(times) - now) if times else None

    def _step(self) -> None:
        now = time.monotonic()
        for output in list(self._outputs.values()):
            if now >= output.begun + self._preferences.live_time_s:
                self._end(output, "time")
        flushing = self._flushes[0].cell if self._flushes else None
        ready = [output for output in self._outputs.values() if output.dirty and not output.under_way]
        due = [output for output in ready if output.earliest <= now or self._is_late(output)]
        if due:
            self._update(due, flushing)
        for flush in list(self._flushes):
            if now >= flush.deadline or not any(flush.wants(output) for output in self._outputs.values()):
                self._flushes.remove(flush)
                flush.done.set()

    def _begin_flush(self, flush: _Flush) -> None:
        self._flushes.append(flush)
        self._engine.wait_for_cycle(FLUSH_WITHIN_S / 2)  # what the cell has seen of a table has then been told to its listener

    def _is_late(self, output: LiveOutput) -> bool:
        return any(flush.wants(output) for flush in self._flushes)

    # --- what changes an output's state; on the thread

    def _add(self, output: LiveOutput) -> None:
        former = self._outputs.get(output.id)
        if former is not None:
            self._drop(former)
        self._outputs[output.id] = output
        if output.failure is not None:
            self._end(output, "failed")
        while len(self._outputs) > self._preferences.live_outputs:
            self._end(next(iter(self._outputs.values())), "many")

    def _changed(self, output: LiveOutput) -> None:
        quick = self._engine.cycle_s() < 0.9 * self._preferences.live_interval_s
        if quick and output.watch is not None:
            output.watch.pause()
        output.dirty = True

    def _failed(self, output: LiveOutput, text: str) -> None:
        self._tables.note_failure(output.table if output.user_table is None else output.user_table(), text)
        output.failure = text
        self._end(output, "failed")

    def _acknowledged(self, names: list[str]) -> None:
        for name in names:
            if name in self._outputs:
                self._outputs[name].under_way = False

    def _end_all(self, which: Callable[[LiveOutput], bool], reason: str | None) -> None:
        for output in [output for output in self._outputs.values() if which(output)]:
            self._end(output, reason)

    def _end(self, output: LiveOutput, reason: str | None) -> None:
        """Show the last state, unless nobody sees it, and forget the output."""
        if self._outputs.get(output.id) is not output:
            return
        if reason is not None and not self._closed:
            self._update([output], None, ended=reason)
        self._drop(output)

    def _drop(self, output: LiveOutput) -> None:
        if self._outputs.get(output.id) is output:
            del self._outputs[output.id]
        watch, output.watch = output.watch, None
        if watch is not None:
            watch.close()
        output.table = output.user_table = None

    # --- reading and sending

    def _update(self, outputs: list[LiveOutput], flushing: str | None, ended: str | None = None) -> None:
        """Read tables and send them, as many to a frame as are small."""
        entries: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        waits, until = bool(self._flushes), time.monotonic() + _MOST_YIELDED_S  # a cell that waits is not yielded to
        for number, output in enumerate(outputs, 1):
            while not waits and time.monotonic() < until and self._is_young(_YOUNG_S):
                time.sleep(_YIELD_S)
            entry, parts = self._entry(output, ended)
            entries.append(entry)
            buffers += parts
            if number == len(outputs) or sum(map(len, buffers)) > _FRAME_BYTES:
                cell = flushing or output.cell.id
                self._send({"kind": "live", "cell": cell, "flush": flushing is not None, "updates": entries}, buffers)
                entries, buffers = [], []

    def _entry(self, output: LiveOutput, ended: str | None) -> tuple[dict[str, Any], list[bytes]]:
        if ended is None:
            self._resume(output)
        output.dirty, output.under_way = False, True
        output.updates += 1
        entry, buffers = self._reader.entry(output, None if ended is None else ENDS[ended])
        output.earliest = time.monotonic() + max(self._preferences.live_interval_s, output.least_pause_s)
        return entry, buffers

    def _resume(self, output: LiveOutput) -> None:
        """Be told of changes again, before the table is read."""
        output.told = False
        try:
            if output.watch is not None:
                output.watch.follow(self._tables.sources(output.table))
                output.watch.resume()
        except Exception:  # a table has failed; the watch's own message, with the reason, comes in this cycle
            self._engine.wait_for_cycle(FLUSH_WITHIN_S / 2)
            self._inbox.put(lambda: self._failed(output, _FAILED_UNHEARD))


class _Flush:
    """A cell that waits for the latest state."""

    def __init__(self, cell: str) -> None:
        self.cell, self.begun = cell, time.monotonic()
        self.deadline = self.begun + FLUSH_WITHIN_S
        self.done = threading.Event()

    def wants(self, output: LiveOutput) -> bool:
        """Whether an output has changed and has not been read since; one that changes all the time is read once."""
        return output.dirty and output.read_at < self.begun

    def wait(self) -> None:
        """Wait for it, on the cell's thread; an interrupt ends the wait."""
        while not self.done.wait(_LOOK_S) and time.monotonic() < self.deadline + 1.0:
            pass
