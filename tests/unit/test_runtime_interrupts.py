"""An interrupt ends the cell it was meant for, and never reaches the runtime's own short sections or the next cell."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dh_kernel.runtime
from dh_kernel.runtime.interrupts import StrikeZone

TIMEOUT_S = 20.0


class JavaThread:
    """Java's view of a thread."""

    def __init__(self) -> None:
        self.interrupted = 0
        self.struck = threading.Event()

    def interrupt(self) -> None:
        self.interrupted += 1
        self.struck.set()


class FakeEngine:
    """An engine whose threads are in Java when told so."""

    def __init__(self) -> None:
        self.java = JavaThread()
        self.in_java = False
        self.waiting = False
        self.cleared = 0

    def java_thread(self) -> JavaThread:
        return self.java

    def clear_interrupted(self) -> None:
        self.cleared += 1

    def runs_java(self, java_thread: Any) -> bool:
        return self.in_java

    def waits_in_java(self, java_thread: Any) -> bool:
        return self.in_java and self.waiting


class Worker:
    """A thread that runs one cell after the other, each in a zone of its own."""

    def __init__(self, engine: FakeEngine, cells: list[Callable[[StrikeZone], object]]) -> None:
        self.engine = engine
        self.outcomes: list[object] = []
        self.zones: list[StrikeZone] = []
        self.error: BaseException | None = None
        self.began = [threading.Event() for _ in cells]
        self._cells = cells
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            for number, cell in enumerate(self._cells):
                zone = StrikeZone(self.engine, main_thread=False)  # type: ignore[arg-type]
                self.zones.append(zone)

                def work(zone: StrikeZone = zone, number: int = number, cell: Any = cell) -> object:
                    self.began[number].set()
                    try:
                        return cell(zone)
                    except KeyboardInterrupt:
                        return "interrupted inside"

                self.outcomes.append(zone.run(work, lambda: "interrupted outside"))
        except BaseException as error:  # what must not happen
            self.error = error

    def finish(self) -> list[object]:
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()
        assert self.error is None
        return self.outcomes


def forever(zone: StrikeZone) -> object:
    while True:
        pass


INTERRUPTED = ("interrupted inside", "interrupted outside")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def test_a_busy_cell_is_struck(engine: FakeEngine) -> None:
    worker = Worker(engine, [forever, lambda zone: "next"])
    assert worker.began[0].wait(TIMEOUT_S)
    assert worker.zones[0].strike()
    first, second = worker.finish()
    assert first in INTERRUPTED
    assert second == "next"
    assert engine.java.interrupted == 0, "Java is left alone where the thread is not in it"


def test_a_cell_that_waits_in_java_is_struck_there(engine: FakeEngine) -> None:
    """The exception that is pending in Python lands when the wait is over."""
    engine.in_java = engine.waiting = True
    worker = Worker(engine, [lambda zone: engine.java.struck.wait(TIMEOUT_S)])
    assert worker.began[0].wait(TIMEOUT_S)
    assert worker.zones[0].strike()
    assert worker.finish()[0] in INTERRUPTED
    assert engine.java.interrupted == 1


def test_a_cell_that_runs_in_java_is_not_struck_there(engine: FakeEngine) -> None:
    """It may be reading a file, which Java would close."""
    engine.in_java = True
    worker = Worker(engine, [forever])
    assert worker.began[0].wait(TIMEOUT_S)
    assert worker.zones[0].strike()
    assert worker.finish()[0] in INTERRUPTED
    assert engine.java.interrupted == 0


def test_a_cell_that_is_over_is_not_struck(engine: FakeEngine) -> None:
    worker = Worker(engine, [lambda zone: "done"])
    assert worker.finish() == ["done"]
    assert not worker.zones[0].strike()
    assert engine.java.interrupted == 0


def test_a_strike_at_any_moment_never_hits_the_next_cell(engine: FakeEngine) -> None:
    """Short cells, struck as they end: each gives its own result or its own interrupt, and the thread survives."""
    count = 300

    def short(number: int) -> Callable[[StrikeZone], object]:
        def cell(zone: StrikeZone) -> object:
            total = 0
            for i in range(2000):
                total += i
            return number

        return cell

    worker = Worker(engine, [short(number) for number in range(count)])
    struck: set[int] = set()
    for number in range(count):
        assert worker.began[number].wait(TIMEOUT_S)
        if worker.zones[number].strike():
            struck.add(number)
    outcomes = worker.finish()
    assert len(outcomes) == count
    for number, outcome in enumerate(outcomes):
        assert outcome == number or (number in struck and outcome in INTERRUPTED), (number, outcome)


def test_a_shielded_section_is_never_cut(engine: FakeEngine) -> None:
    entered, leave = threading.Event(), threading.Event()
    whole: list[int] = []

    def section() -> None:
        entered.set()
        for number in range(20_000):
            whole.append(number)
        leave.wait(TIMEOUT_S)
        whole.append(-1)

    worker = Worker(engine, [lambda zone: zone.shielded(section) or forever(zone)])
    assert entered.wait(TIMEOUT_S)
    striker = threading.Thread(target=worker.zones[0].strike)
    striker.start()
    leave.set()
    assert worker.finish()[0] in INTERRUPTED
    striker.join(TIMEOUT_S)
    assert whole == [*range(20_000), -1]


def test_a_cell_that_swallows_one_interrupt_can_be_struck_again(engine: FakeEngine) -> None:
    swallowed = threading.Event()

    def stubborn(zone: StrikeZone) -> object:
        try:
            forever(zone)
        except KeyboardInterrupt:
            swallowed.set()
        return forever(zone)

    worker = Worker(engine, [stubborn])
    assert worker.began[0].wait(TIMEOUT_S)
    worker.zones[0].strike()
    assert swallowed.wait(TIMEOUT_S)
    worker.zones[0].strike()
    assert worker.finish()[0] in INTERRUPTED


def test_a_call_that_cannot_be_struck_is_stuck(engine: FakeEngine) -> None:
    """A lock that nobody gives back: Python cannot interrupt it on a thread that is not the main one."""
    lock = threading.Lock()
    lock.acquire()
    worker = Worker(engine, [lambda zone: lock.acquire() and "got it"])
    assert worker.began[0].wait(TIMEOUT_S)
    zone = worker.zones[0]
    while not _is_in(worker.thread, "<lambda>"):
        pass
    assert zone.strike()
    assert zone.stuck()
    lock.release()
    assert worker.finish()[0] in INTERRUPTED
    assert not zone.stuck()


def _is_in(thread: threading.Thread, name: str) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == name


def test_a_running_cell_that_is_not_struck_is_not_stuck(engine: FakeEngine) -> None:
    go = threading.Event()
    worker = Worker(engine, [lambda zone: go.wait(TIMEOUT_S)])
    assert worker.began[0].wait(TIMEOUT_S)
    assert not worker.zones[0].stuck()
    go.set()
    assert worker.finish() == [True]


def test_errors_of_the_work_come_through(engine: FakeEngine) -> None:
    zone = StrikeZone(engine, main_thread=False)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        zone.run(lambda: 1 / 0, lambda: 0.0)
    assert not zone.strike()
    assert zone.run(lambda: 5, lambda: 0) == 5


MAIN = """
import signal, sys, threading, time
sys.path.insert(0, {root!r})
from dh_kernel.runtime.interrupts import StrikeZone
class Java:
    def interrupt(self): pass
class Engine:
    java = Java()
    def java_thread(self): return self.java
    def clear_interrupted(self): pass
    def runs_java(self, thread): return False
    def waits_in_java(self, thread): return False
signal.signal(signal.SIGINT, before := lambda number, frame: print("handler of the process"))
def striking(work, waits_itself=False):
    zone = StrikeZone(Engine(), main_thread=True)
    began = threading.Event()
    def cell():
        if not waits_itself:
            began.set()
        try:
            return work(zone, began) if waits_itself else work(zone)
        except KeyboardInterrupt:
            return "interrupted"
    def strike():
        began.wait()
        zone.strike()
    striker = threading.Thread(target=strike)
    striker.start()
    outcome = zone.run(cell, lambda: "interrupted")
    striker.join()
    assert not zone.strike()
    return outcome
"""


def on_main_thread(source: str) -> str:
    """Run a program that has `striking(work)`: runs work as a cell on the main thread and strikes it once it has begun."""
    root = str(Path(str(dh_kernel.runtime.__file__)).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", MAIN.format(root=root) + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals between threads are of POSIX")
class TestMainThread:
    """In a launched server cells run on the main thread, and the interrupt is a signal."""

    def test_what_blocks_is_struck_and_the_handler_put_back(self) -> None:
        out = on_main_thread("""
            import subprocess
            def busy(zone):
                while True: pass
            print(striking(lambda zone: time.sleep(3600)))
            print(striking(busy))
            print(striking(lambda zone: threading.Event().wait()))
            def program(zone, began):
                with subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                    try:
                        began.set()
                        child.wait()
                    finally:
                        child.kill()
            print(striking(program, waits_itself=True))
            print(signal.getsignal(signal.SIGINT) is before)
            signal.raise_signal(signal.SIGINT)
        """)
        assert out == "interrupted\n" * 4 + "True\nhandler of the process\n"

    def test_many_strikes_at_the_ends_of_short_cells(self) -> None:
        out = on_main_thread("""
            outcomes = [striking(lambda zone: sum(range(500))) for _ in range(300)]
            assert set(outcomes) <= {124750, "interrupted"}, set(outcomes)
            print(len(outcomes))
        """)
        assert out.replace("handler of the process\n", "") == "300\n"

    def test_a_strike_on_the_threshold_of_a_blocking_call_lands(self) -> None:
        """A signal that comes between the last bytecode and the system call does not end the call: it has to come again."""
        out = on_main_thread("""
            import faulthandler
            faulthandler.dump_traceback_later(20, exit=True)
            for _ in range(100):
                def cell(zone):
                    zone.shielded(lambda: time.sleep(0.002))
                    time.sleep(3600)
                assert striking(cell) == "interrupted"
            print("all landed")
        """)
        assert out == "all landed\n"

    def test_a_shielded_section_is_whole(self) -> None:
        out = on_main_thread("""
            whole = []
            def section():
                for number in range(50_000): whole.append(number)
                deadline = time.monotonic() + 0.2
                while time.monotonic() < deadline: pass
                whole.append(-1)
            def cell(zone):
                zone.shielded(section)
                while True: pass
            print(striking(cell), len(whole), whole[-1])
        """)
        assert out == "interrupted 50001 -1\n"
