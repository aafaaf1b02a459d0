"""Whole kernels that are attached through a network that fails, and kernels that are killed while a cell runs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Kernel, Place, Vanilla, started
from proxy import Proxy

from dh_kernel.model import PSK_AUTH_TYPE, Endpoint

LINES = "import time\nfor i in range({count}):\n    print('line', i)\n    time.sleep(0.02)\n"
Start = Callable[..., contextlib.AbstractContextManager[Kernel]]


@pytest.fixture
def proxy(vanilla: Vanilla) -> Iterator[Proxy]:
    made = Proxy(Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key))
    yield made
    made.close()


@pytest.fixture
def start(place: Place, vanilla: Vanilla, proxy: Proxy) -> Start:
    """Start a kernel that is attached through the proxy, under a name of its own."""

    def start(name: str, **variables: str) -> contextlib.AbstractContextManager[Kernel]:
        place.install(f"through-{name}", DH_KERNEL_SERVER=proxy.endpoint.address, DH_KERNEL_SESSION_NAME=name, **variables)
        return started(place, f"through-{name}", {"DH_KERNEL_KEY": vanilla.key})

    return start


def lines(count: int) -> str:
    return "".join(f"line {i}\n" for i in range(count))


def test_a_cell_runs_through_breaks(start: Start, proxy: Proxy) -> None:
    code = LINES.format(count=150) + "from deephaven import empty_table\nt = empty_table(7).update('X = i')\n6 * 7"
    with start("breaks") as kernel:
        run = kernel.send(code)
        for mark in ("line 20\n", "line 80\n", "line 140\n"):
            kernel.wait(lambda: mark in run.text(), mark)  # noqa: B023
            proxy.cut()
        kernel.finish(run)
        assert run.text() == lines(150)
        assert run.text("stderr") in ("", f"Connecting to Deephaven at {proxy.endpoint.address} …\n"), "cleared afterwards"
        assert run.result is not None
        assert run.result["text/plain"] == "42"
        assert "7 rows" in run.bundles[0]["text/plain"]


def test_a_cell_that_is_cut_off_is_reported_and_picked_up(start: Start, proxy: Proxy) -> None:
    with start("cut-off", DH_KERNEL_RECONNECT_TIME="2") as kernel:
        run = kernel.send(LINES.format(count=300) + "answer = 6 * 7\nanswer")
        kernel.wait(lambda: "line 20\n" in run.text(), "output")
        proxy.refuse()
        kernel.finish(run)
        assert run.error["ename"] == "SessionDetachedError"
        assert "%dh reattach" in run.error["evalue"]
        assert kernel.run("1 + 1").error["ename"] == "ConnectError"
        assert kernel.run("%dh reattach").error["ename"] == "ConnectError"
        proxy.accept_again()
        picked = kernel.ok("%dh reattach")
        assert run.text() + picked.text() == lines(300), "each line once"
        assert picked.result is not None
        assert picked.result["text/plain"] == "42"
        after = kernel.ok("answer + 1")
        assert after.text("stderr") == ""
        assert after.result is not None
        assert after.result["text/plain"] == "43"
        refused = kernel.run("%dh reattach").error["evalue"]
        assert "no session to pick up" in refused or "none that is called cut-off" in refused


@pytest.mark.long
def test_what_is_picked_up_can_be_interrupted(start: Start, proxy: Proxy) -> None:
    with start("interrupted", DH_KERNEL_RECONNECT_TIME="1") as kernel:
        run = kernel.send("print('begun')\nwhile True: sum(range(99))")
        kernel.wait(lambda: "begun" in run.text(), "output")
        proxy.refuse()
        kernel.finish(run)
        proxy.accept_again()
        picked = kernel.send("%dh reattach")
        kernel.wait(lambda: "Connected again" in picked.text("stderr"), "the connection")
        kernel.interrupt()
        kernel.finish(picked)
        assert picked.error["ename"] == "KeyboardInterrupt"
        assert kernel.ok("1 + 1").result is not None


@pytest.mark.long
def test_an_idle_session_comes_back_by_itself(start: Start, proxy: Proxy) -> None:
    with start("idle", DH_KERNEL_RECONNECT_TIME="1") as kernel:
        assert kernel.ok("x_idle = 5\nx_idle").result is not None
        proxy.refuse()
        time.sleep(3.0)  # longer than the kernel tries: a cell that is sent before is not idle
        assert kernel.run("1 + 1").error["ename"] == "ConnectError"
        proxy.accept_again()
        after = kernel.ok("_, x_idle")
        assert after.result is not None
        assert after.result["text/plain"] == "(5, 5)", "the session's own last result, too"
        assert after.text("stderr") == ""


def test_a_killed_kernel_leaves_its_cell_to_the_next_one(start: Start, place: Place) -> None:
    with start("killed") as kernel:
        run = kernel.send("import time\nprint('begun')\ntime.sleep(4)\nprint('ended')\n'the result'")
        kernel.wait(lambda: "begun" in run.text(), "output")
        os.kill(kernel.pid, signal.SIGKILL)
    with start("killed") as kernel:
        first = kernel.ok("1 + 1")
        assert "Left behind by a former kernel" in first.text("stderr")
        assert "cell [1] runs" in first.text("stderr")
        picked = kernel.ok("%dh reattach")
        assert "ended\n" in picked.text(), picked.messages
        assert picked.result is not None
        assert picked.result["text/plain"] == "'the result'"
        refused = kernel.run("%dh reattach").error["evalue"]
        assert "no session to pick up" in refused or "none that is called killed" in refused


@pytest.mark.long
def test_a_killed_kernel_takes_its_cell_with_it_where_that_is_wanted(start: Start) -> None:
    with start("ends", DH_KERNEL_DETACHED_TIME="0", DH_KERNEL_RECONNECT_TIME="1") as kernel:
        run = kernel.send("import time\nprint('begun')\ntry:\n    time.sleep(60)\nfinally:\n    ended_by_kill = True")
        kernel.wait(lambda: "begun" in run.text(), "output")
        os.kill(kernel.pid, signal.SIGKILL)
    with start("ends") as kernel:
        kernel.ok("import time\nwhile 'ended_by_kill' not in globals(): time.sleep(0.05)")
