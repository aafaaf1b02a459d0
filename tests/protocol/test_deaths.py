"""What a kernel does when its launched server dies, or answers nobody: what the running cell shows, and the next one.

`tests/faults` has every fault, many times; here is what settings change, and what needs a front end that answers.
"""

from __future__ import annotations

import pytest
from harness import LAUNCHED, Kernel, Place, started

READY_TIMEOUT_S = 120.0
DIE = "import os; print('before', end=''); os._exit(3)"
GONE = "the variables of this one are gone"


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
