"""The stop button through the whole kernel: how soon the reply comes, and what becomes of what cannot be stopped."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from pathlib import Path

import pytest
from harness import Kernel, Run

MEDIAN_S, WORST_S = 1.0, 2.0
INTO_THE_CALL_S = 0.3  # nothing tells when a call blocks

WORK = {
    "loop": "while True: pass",
    "comprehension": "[n for n in iter(int, 1)]",
    "sleep": "import time\ntime.sleep(600)",
    "event": "import threading\nthreading.Event().wait()",
    "lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire(timeout=20)",
    "queue": "import queue\nqueue.Queue().get()",
    "join": "import threading, time\nth = threading.Thread(target=time.sleep, args=(20,))\nth.start()\nth.join()",
    "program": "import subprocess\nsubprocess.run(['sleep', '20'])",
    "output of a program": "import subprocess\nsubprocess.check_output(['sleep', '20'])",
    "socket": "import socket\none, two = socket.socketpair()\none.settimeout(20)\none.recv(1)",
    "url": "import socket, urllib.request\ns = socket.create_server(('127.0.0.1', 0))\n"
    "urllib.request.urlopen(f'http://127.0.0.1:{s.getsockname()[1]}/', timeout=20).read()",
    "java": "import jpy\njpy.get_type('java.lang.Thread').sleep(600_000)",
    "await": "import asyncio\nawait asyncio.sleep(600)",
    "update": "from deephaven import time_table\nticking = time_table('PT1000S').drop_columns('Timestamp')\n"
    "while True: ticking.await_update()",
    "flood": "while True: print('x' * 100)",
}


def interrupted(kernel: Kernel, run: Run) -> float:
    """Press the stop button; the seconds until the reply and the idle state have come."""
    begun = time.monotonic()
    kernel.interrupt()
    kernel.finish(run, 20)
    return time.monotonic() - begun


def begin(kernel: Kernel, code: str) -> Run:
    """Send a cell, and wait until it is at work."""
    run = kernel.send(f"print('begun')\n{code}")
    kernel.wait(lambda: "begun" in run.text(), "the cell's first word")
    time.sleep(INTO_THE_CALL_S)
    return run


@pytest.mark.parametrize("kernel", ["launched", pytest.param("attached", marks=pytest.mark.long)], indirect=True)
def test_the_reply_comes_within_the_budget(kernel: Kernel) -> None:
    """Whatever the cell waits for, on the main thread of a launched server and on the thread of an attached one."""
    seconds: dict[str, float] = {}
    for name, code in WORK.items():
        run = begin(kernel, code)
        seconds[name] = interrupted(kernel, run)
        assert run.error["ename"] == "KeyboardInterrupt", (name, run.error)
        assert kernel.ok("6 * 7").result == {"text/plain": "42"}, name
    assert statistics.median(seconds.values()) < MEDIAN_S, seconds
    assert max(seconds.values()) < WORST_S, seconds


@pytest.mark.long
def test_code_that_lets_no_other_python_run_is_ended(kernel: Kernel) -> None:
    """It holds Python's lock: the runtime cannot answer. A launched server gets a signal, and the kernel may give up."""
    run = kernel.send("import re, time\nprint('begun')\ntime.sleep(0.5)\nre.match(r'(a+)+b', 'a' * 27)")
    kernel.wait(lambda: "begun" in run.text(), "the cell's first word")
    time.sleep(1.0)
    assert interrupted(kernel, run) < WORST_S
    assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}


def test_what_cannot_be_stopped_is_left_and_a_second_interrupt_tells_the_way_out(
    attached_kernel: Kernel, tmp_path: Path
) -> None:
    """A lock on a thread that is not the main one. Its late output is dropped, and its end is told."""
    kernel = attached_kernel
    kernel.ok("import threading, time\nheld = threading.Lock()\nheld.acquire()")
    run = begin(kernel, "held.acquire()\nprint('late')")
    assert interrupted(kernel, run) < WORST_S
    assert "still running in the server" in run.error["evalue"]

    other = begin(kernel, "while True: pass")
    assert interrupted(kernel, other) < MEDIAN_S
    assert f"cell [{run.reply['execution_count']}] is still running in the server" in other.text("stderr")

    kernel.interrupt()  # while nothing runs: shown where the abandoned cell stands
    kernel.wait(lambda: "ends with the server" in run.text("stderr"), "the way out")
    kernel.ok("held.release()")
    kernel.wait(lambda: "has come to its end" in run.text("stderr"), "the end of what was left")
    assert "late" not in run.text()
    quiet = begin(kernel, "while True: pass")
    interrupted(kernel, quiet)
    assert f"[{run.reply['execution_count']}]" not in quiet.text("stderr")


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
def test_sigint_to_the_kernels_process_interrupts_too(kernel: Kernel) -> None:
    run = begin(kernel, "while True: pass")
    os.kill(kernel.pid, signal.SIGINT)
    assert kernel.finish(run, 20).error["ename"] == "KeyboardInterrupt"


def test_interrupts_at_random_moments_hit_their_own_cell_only(kernel: Kernel) -> None:
    """Cells of every kind; each ends with its own result or its own KeyboardInterrupt, and afterwards all is as before."""
    chance = random.Random(3)
    kinds = (
        "{0}",
        "import asyncio\nawait asyncio.sleep(0.005)\n{0}",
        "print({0})\n{0}",
        "import time\ntime.sleep(0.005)\n{0}",
    )
    for number in range(100):
        run = kernel.send(kinds[number % len(kinds)].format(number))
        time.sleep(chance.random() * 0.02)
        kernel.interrupt()
        if number % 3 == 0:  # as an impatient person does
            time.sleep(chance.random() * 0.01)
            kernel.interrupt()
        kernel.finish(run, 20)
        if run.reply["status"] == "ok":
            assert run.result == {"text/plain": str(number)}
        else:
            assert run.error["ename"] == "KeyboardInterrupt", run.error
    run = kernel.send("import sys\nprint(input('? '))\nprint('e', file=sys.stderr)\n1 / 0", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=20)
    kernel.client.input("answer")
    kernel.finish(run)
    assert (run.text(), run.text("stderr"), run.error["ename"]) == ("answer\n", "e\n", "ZeroDivisionError")
    completed = kernel.answer(kernel.client.complete("sys.stdo"))["content"]
    assert any("stdout" in match for match in completed["matches"])
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}


def test_a_task_that_holds_up_the_loop_can_be_interrupted(kernel: Kernel) -> None:
    """An earlier cell's task: the cell that waits for its turn is interrupted, and the task with it."""
    kernel.ok("import asyncio\nasync def hog():\n    while True: pass\ntask = asyncio.get_running_loop().create_task(hog())")
    run = kernel.send("'never'")
    time.sleep(INTO_THE_CALL_S)
    assert interrupted(kernel, run) < WORST_S
    assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("task.done()").result == {"text/plain": "True"}
    awaiting = kernel.send("task = asyncio.get_running_loop().create_task(hog())\nprint('begun')\nawait asyncio.sleep(600)")
    kernel.wait(lambda: "begun" in awaiting.text(), "the cell's first word")
    time.sleep(INTO_THE_CALL_S)
    assert interrupted(kernel, awaiting) < WORST_S
    assert awaiting.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("task.done()").result == {"text/plain": "True"}
