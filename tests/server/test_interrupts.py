"""Interrupts on real servers: they hit their own cell, they end what can be ended, and what cannot is left behind in order."""

from __future__ import annotations

import random
import statistics
import threading
import time

import pytest
from sessions import Client, Kind, Run, until

pytestmark = pytest.mark.long
MEDIAN_S, WORST_S = 1.0, 2.0
CELLS = 1000
SHORT = (
    "for i in range(1000): pass\n{0}",
    "print({0})\n{0}",
    "import asyncio\nawait asyncio.sleep(0)\n{0}",
    "import asyncio\nawait asyncio.sleep(0.002)\n{0}",
    "import asyncio\nawait asyncio.gather(*[asyncio.sleep(0.001 * n) for n in range(3)])\n{0}",
    "import time\ntime.sleep(0.002)\n{0}",
    "import threading\nth = threading.Thread(target=sum, args=([],))\nth.start()\nth.join()\n{0}",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass\n{0}",
    "import jpy\njpy.get_type('java.lang.Thread').sleep(2)\n{0}",
)


def pause(seconds: float) -> None:
    """Into a call: nothing tells when it blocks."""
    threading.Event().wait(seconds)


def begin(client: Client, code: str) -> Run:
    """Send a cell, and wait until it is at work."""
    run = client.send(f"print('begun')\n{code}", show_tables=False)
    client.wait_for_text(run, "begun")
    pause(0.3)
    return run


def interrupted(client: Client, run: Run) -> float:
    """Interrupt a cell; the seconds to its end."""
    begun = time.monotonic()
    client.interrupt(run)
    client.finish(run, 20)
    assert run.error["ename"] == "KeyboardInterrupt"
    return time.monotonic() - begun


def test_a_thousand_interrupts_at_random_moments_hit_their_own_cells_only(client: Client) -> None:
    """Around a thousand short cells. Each ends with its own result or its own interrupt, and nothing else breaks."""
    chance = random.Random(5)
    hit = 0
    for number in range(CELLS):
        run = client.send(SHORT[number % len(SHORT)].format(number), show_tables=False)
        pause(chance.random() * 0.006)
        client.interrupt(run)
        client.finish(run, 20)
        assert run.done is not None
        if run.done.error is None:
            assert run.result == str(number)
        else:
            assert run.error["ename"] == "KeyboardInterrupt", run.error
            hit += 1
    assert CELLS // 50 < hit < CELLS - CELLS // 50, f"{hit} of {CELLS} cells were hit: this shows nothing"
    _works(client)


def _works(client: Client) -> None:
    """Streams, errors, results, display, questions, tasks, completion and the state of the interpreter."""
    run = client.ok("import asyncio, sys\nprint('out')\nprint('err', file=sys.stderr)\nawait asyncio.sleep(0.01)\n41 + 1")
    assert (run.text(), run.text("stderr"), run.result) == ("out\n", "err\n", "42")
    assert client.value("_ + 1") == "43"
    assert client.run("1 / 0").error["ename"] == "ZeroDivisionError"
    assert client.run("input()").error["ename"] == "StdinNotImplementedError"
    asking = client.send("input('? ')", allow_stdin=True)
    client.wait(lambda: asking.events, "the question")
    client.session.send("input_reply", cell=asking.id, value="yes")
    assert client.finish(asking).result == "'yes'"
    client.ok("task = asyncio.get_running_loop().create_task(asyncio.sleep(0.01, 'woken'))")
    assert client.value("await task") == "'woken'"
    assert "stdout" in str(client.ask("complete", code="sys.stdo", cursor=8)["matches"])
    assert client.value("asyncio.run(asyncio.sleep(0, 'run'))") == "'run'"
    shown = client.ok("from deephaven import empty_table\nlast = empty_table(3)")
    assert "last" in shown.table_names


def test_an_interrupt_ends_a_python_formula_on_the_engines_threads(client: Client, fresh: str) -> None:
    """It does not go on behind the cell's back for the hours that its rows would take, and the next formula is whole."""
    client.ok(
        f"import time\nfrom deephaven import empty_table\ncalls_{fresh} = [0]\ndef slow_{fresh}(n) -> int:\n"
        f"    calls_{fresh}[0] += 1\n    time.sleep(0.002)\n    return 1"
    )
    small = f"empty_table(20).update('X = slow_{fresh}(ii)').size"
    assert client.value(small) == "20"  # compiled now
    run = begin(client, f"t = empty_table(10_000_000).update('X = slow_{fresh}(ii)')")
    pause(0.5)
    assert interrupted(client, run) < WORST_S
    assert "still running" not in run.error["evalue"]
    pause(0.3)
    before = client.value(f"calls_{fresh}[0]")
    pause(0.3)
    assert client.value(f"calls_{fresh}[0]") == before
    assert client.value(small) == "20"


# What fits a heap of 1 GB, also if some of it is left behind: a server whose heap is full ends.
ENGINE = {
    "python formula": "def plus(n) -> int:\n    return n + 1\nt = empty_table(5_000_000).update('X = plus(ii)')",
    "slow python formula": "import time\ndef slow(n) -> int:\n    time.sleep(0.001)\n    return 1\n"
    "t = empty_table(20_000).update('X = slow(ii)')",
    "python filter": "import time\ndef keep(n) -> bool:\n    time.sleep(0.001)\n    return True\n"
    "t = empty_table(20_000).where('keep(ii)')",
    "aggregation": "from deephaven import agg\n"
    "t = empty_table(50_000_000).update_view(['K = ii % 1000', 'V = Math.sin(ii)'])\n"
    "while True: t.agg_by(agg.std('V'), 'K')",
    "sort": "while True: empty_table(3_000_000).update_view('V = Math.sin(ii)').sort('V')",
    "filter": "while True: empty_table(50_000_000).where('Math.sin(ii) * Math.cos(ii) * Math.tan(ii) > 7')",
    "compilation": "import random\nwhile True: empty_table(1).update([f'X{n} = ii * {random.random()}' for n in range(3)])",
}


def test_work_of_the_engine_ends_within_the_budget(client: Client) -> None:
    """What the engine does not give up is left behind; the next cell runs meanwhile."""
    client.ok("from deephaven import empty_table\nempty_table(1).update('X = ii')", show_tables=False)
    seconds = {}
    for name, code in ENGINE.items():
        seconds[name] = interrupted(client, begin(client, code))
        assert client.value("6 * 7") == "42"
    assert statistics.median(seconds.values()) < MEDIAN_S + 0.5, seconds
    assert max(seconds.values()) < WORST_S, seconds


def test_the_main_thread_is_taken_back_when_it_is_free(launched_kind: Kind) -> None:
    """Java that runs is not interrupted: the cell is left, others run on a thread that stands in, also one that awaits."""
    client = launched_kind.open()
    where = "import threading\nthreading.current_thread() is threading.main_thread()"
    assert client.value(where) == "True"
    run = begin(client, "import jpy\njpy.get_type('java.util.stream.LongStream').range(0, 8_000_000_000).sum()\nprint('late')")
    assert interrupted(client, run) < WORST_S
    assert "still running in the server" in run.error["evalue"]
    assert client.value(where) == "False"
    waiting = client.send("import asyncio\nprint('waits')\nawait asyncio.sleep(600)")
    client.wait_for_text(waiting, "waits")
    client.wait(lambda: "has come to its end" in run.text("stderr"), "the end of what was left")
    assert interrupted(client, waiting) < MEDIAN_S
    assert client.value(where) == "True"
    assert "late" not in run.text()
    client.close()


def test_a_cell_that_waits_for_its_turn_is_withdrawn_and_the_running_one_goes_on(client: Client) -> None:
    client.ok("import threading\ngo = threading.Event()")
    first = client.send("while not go.wait(0.02): pass\n'first'")
    second = client.send("'second'")
    third = client.send("'third'")
    client.interrupt(second)
    assert client.finish(second).error["ename"] == "KeyboardInterrupt"
    assert first.done is None
    client.ok("go.set()", lane="another")
    assert client.finish(first).result == "'first'"
    assert client.finish(third).result == "'third'"


def test_a_cell_that_suppresses_its_cancellation_is_left_alone_and_can_be_interrupted_again(client: Client) -> None:
    run = client.send(
        "import asyncio\ntry:\n    print('begun')\n    await asyncio.sleep(600)\nexcept asyncio.CancelledError:\n"
        "    print('suppressed')\nawait asyncio.sleep(600)"
    )
    client.wait_for_text(run, "begun")
    client.interrupt(run)
    client.wait_for_text(run, "suppressed")
    pause(1.3)
    assert run.done is None
    assert interrupted(client, run) < MEDIAN_S


@pytest.mark.parametrize("hog", ["while True: pass", "import time\n    time.sleep(600)"], ids=["loop", "sleep"])
def test_a_task_that_keeps_the_loop_busy_is_interrupted(client: Client, hog: str) -> None:
    """While a cell awaits something, and while one waits for its turn."""
    client.ok(
        f"import asyncio\nasync def hog():\n    {hog}\ndef start():\n    return asyncio.get_running_loop().create_task(hog())"
    )
    awaiting = begin(client, "task = start()\nawait asyncio.sleep(600)")
    assert interrupted(client, awaiting) < WORST_S
    assert client.value("task.done()") == "True"
    client.ok("task = start()")
    behind = client.send("'never'")
    pause(0.2)
    assert interrupted(client, behind) < WORST_S
    until(lambda: client.value("task.done()") == "True", "the task's end")
    _works(client)
