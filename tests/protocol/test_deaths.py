"""What a kernel does when its launched server dies, or answers nobody: what the running cell shows, and the next one.

`tests/faults` has every fault, many times; here is what settings change, and what needs a front end that answers.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import LAUNCHED, Kernel, Place, Vanilla, started
from pydeephaven import Session

from dh_kernel.model import PSK_AUTH_TYPE

READY_TIMEOUT_S = 120.0
DIE = "import os; print('before', end=''); os._exit(3)"
GONE = "the variables of this one are gone"


@pytest.mark.long
def test_a_fresh_server_by_itself(place: Place) -> None:
    """The default: what was printed is there, the cell tells of the end, the next one that variables are gone."""
    with started(place, LAUNCHED) as kernel:
        kernel.ok("x = 1", READY_TIMEOUT_S)
        died = kernel.run(DIE)
        assert died.text() == "before"
        assert died.error["ename"] == "ServerDiedError"
        assert "exit code 3" in died.error["evalue"]
        assert GONE in died.error["evalue"]
        after = kernel.run("x", READY_TIMEOUT_S)
        assert after.error["ename"] == "NameError"
        assert "the variables of the former one are gone" in after.text("stderr")
        assert kernel.ok("1").text("stderr") == ""


@pytest.mark.long
def test_never_a_fresh_server_by_itself(place: Place) -> None:
    with started(place, LAUNCHED, {"DH_KERNEL_RESTART": "never"}) as kernel:
        kernel.ok("pass", READY_TIMEOUT_S)
        for code in (DIE, "1", "2"):
            error = kernel.run(code, allow_stdin=False).error
            assert error["ename"] == "ServerDiedError"
            assert "exit code 3" in error["evalue"]
            assert "Run %dh restart" in error["evalue"]
        assert kernel.request("complete_request", {"code": "pri", "cursor_pos": 3})["matches"] == []
        kernel.ok("%dh restart", READY_TIMEOUT_S)
        assert kernel.ok("1").text("stderr") == ""


def ask(kernel: Kernel, answer: str) -> tuple[str, str]:
    """Run a cell that is asked; the question, and the name of the error or the value."""
    run = kernel.send("1", allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=60)["content"]["prompt"]
    kernel.client.input(answer)
    kernel.finish(run, READY_TIMEOUT_S)
    return question, run.reply.get("ename") or (run.result or {})["text/plain"]


@pytest.mark.long
def test_asked_first(place: Place) -> None:
    with started(place, LAUNCHED, {"DH_KERNEL_RESTART": "ask"}) as kernel:
        kernel.ok("pass", READY_TIMEOUT_S)
        assert "Run %dh restart" in kernel.run(DIE).error["evalue"]
        assert kernel.run("1", allow_stdin=False).error["ename"] == "ServerDiedError"
        question, outcome = ask(kernel, "n")
        assert "exit code 3" in question
        assert outcome == "ServerDiedError"
        run = kernel.send("1", allow_stdin=True)
        kernel.client.get_stdin_msg(timeout=60)
        kernel.interrupt()
        assert kernel.finish(run).error["ename"] == "KeyboardInterrupt"
        assert ask(kernel, "y")[1] == "1"


CONSOLE_9 = "theirs_9 = 'theirs'\nretaken_9 = 'theirs'\nalias_9 = ticking_9"
LEFT_9 = "sorted(name for name in globals() if name.endswith('_9'))"


def test_a_restart_on_an_attached_server_takes_away_what_the_kernel_assigned(
    attached_kernel: Kernel, vanilla: Vanilla
) -> None:
    """By `%dh restart`, and by Jupyter's restart; not what others have assigned, or assigned anew."""
    session = Session(vanilla.host, vanilla.port, auth_type=PSK_AUTH_TYPE, auth_token=vanilla.key)
    code = (
        "import math as math_9\nfrom deephaven import time_table, empty_table\nticking_9 = time_table('PT0.1s')\n"
        "gone_9 = time_table('PT0.1s')\nstill_9 = empty_table(1)\nretaken_9 = none_9 = None\ndef f_9():\n    global by_f_9\n"
        "    by_f_9 = 1\nclass C_9: pass\nexec('by_exec_9 = [2]')\nglobals()['by_name_9'] = 'x'"
    )
    for restart in (lambda: attached_kernel.ok("%dh restart"), attached_kernel.restart):
        attached_kernel.ok(code, READY_TIMEOUT_S)
        attached_kernel.ok("f_9()")
        session.run_script(CONSOLE_9)
        attached_kernel.ok("1")
        restart()
        left = attached_kernel.ok(LEFT_9, READY_TIMEOUT_S).result
        assert left == {"text/plain": "['alias_9', 'retaken_9', 'theirs_9']"}
        ticks = "import time\nsize_10 = alias_9.size\ntime.sleep(1)\nprint(alias_9.size > size_10, theirs_9, retaken_9)"
        assert attached_kernel.ok(ticks).text() == "True theirs theirs\n"
        session.run_script("del alias_9, retaken_9, theirs_9")
    session.close()


@pytest.mark.long
def test_a_server_that_is_stopped_for_more_than_a_minute(place: Place) -> None:
    """No connection gives up on it: when it goes on, so does the cell, and nothing is lost."""
    with started(place, LAUNCHED) as kernel:
        server = int(kernel.ok("import os\nprint(os.getpid())", READY_TIMEOUT_S).text())
        run = kernel.send("import time\nfor n in range(100):\n    print(n)\n    time.sleep(0.02)")
        kernel.wait(lambda: "20\n" in run.text(), "output")
        os.killpg(server, signal.SIGSTOP)
        time.sleep(75.0)
        os.killpg(server, signal.SIGCONT)
        kernel.finish(run)
        assert run.text() == "".join(f"{n}\n" for n in range(100))
        assert "has not answered" in run.text("stderr")
        assert "answers again" in run.text("stderr")
