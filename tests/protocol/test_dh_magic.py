"""`%dh` in a real kernel: what it tells, and how it changes the server."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator

import pytest
from harness import LAUNCHED, Kernel, Place, Run, Vanilla, is_gone, started, wait_until

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0
PID = "import os\nprint(os.getpid())"


def pid_of(kernel: Kernel) -> int:
    """The server's process."""
    return int(kernel.ok(PID, READY_TIMEOUT_S).text())


def attach_line(vanilla: Vanilla) -> str:
    return f"%dh attach {vanilla.address} --key-file '{vanilla.key_file}'"


@pytest.fixture
def own_kernel(place: Place) -> Iterator[Kernel]:
    """A kernel whose server the test may change."""
    with started(place, LAUNCHED) as kernel:
        yield kernel


def test_it_tells_which_server_and_how_it_is(kernel: Kernel) -> None:
    run = kernel.ok("%dh")
    (bundle,) = run.bundles
    lines = dict(line.split("  ", 1) for line in bundle["text/plain"].splitlines())
    assert {"server", "Deephaven", "Python", "Java", "process", "heap", "update graph", "tables", "session"} == set(lines)
    assert lines["process"].strip().startswith(f"{pid_of(kernel)}, up ")
    assert "a cycle every 1,000 ms" in lines["update graph"]
    assert lines["server"].strip().startswith("127.0.0.1:")
    assert bundle["text/html"].count("<tr>") == len(lines)


def test_it_lists_tables(kernel: Kernel) -> None:
    kernel.ok(
        "from deephaven import empty_table, time_table\n"
        "still_1 = empty_table(1234).update(['A = i', 'B = i'])\nticking_1 = time_table('PT1s')\n"
        "parts_1 = still_1.partition_by('A')"
    )
    (bundle,) = kernel.ok("%dh tables").bundles
    rows = {line.split()[0]: line.split()[1:] for line in bundle["text/plain"].splitlines()}
    assert rows["still_1"] == ["Table", "1,234", "2", "no"]
    assert rows["ticking_1"][0] == "Table"
    assert rows["ticking_1"][-1] == "yes"
    assert rows["parts_1"] == ["PartitionedTable", "no"]
    assert "<td" in bundle["text/html"]


def told(run: Run) -> str:
    """What a failed cell says: IPython shows a wrong use of a magic as a line on stderr, without a traceback."""
    assert run.reply["status"] == "error"
    return run.text("stderr") + "".join(run.reply["traceback"])


def test_words_that_are_not_known(kernel: Kernel) -> None:
    assert "Did you mean %dh restart?" in kernel.run("%dh resart").error["evalue"]
    assert "Did you mean %dh tables?" in told(kernel.run("x = 1\n%dh tabels"))
    assert "%dh attach HOST:PORT" in kernel.ok("%dh help").text()
    assert "%dh attach HOST:PORT" in kernel.ok("x = 1\n%dh help").text()


def test_what_the_kernel_does_must_stand_alone(kernel: Kernel) -> None:
    run = kernel.run("print('before')\n%dh restart")
    assert run.text() == "before\n"
    assert "must be the only line of its cell" in told(run)


@pytest.mark.parametrize(
    ("code", "status"), [("%dh restart", "complete"), ("%dh attach h:1", "complete"), ("%%dh_console\nx = 1", "incomplete")]
)
def test_consoles_can_tell_that_a_line_is_complete(kernel: Kernel, code: str, status: str) -> None:
    answer = kernel.answer(kernel.client.is_complete(code))
    assert answer["content"]["status"] == status


def test_a_restart_gives_a_fresh_server(own_kernel: Kernel) -> None:
    former = pid_of(own_kernel)
    own_kernel.ok("mine_2 = 1")
    run = own_kernel.ok("%dh restart", READY_TIMEOUT_S)
    assert run.text().startswith("A fresh server at 127.0.0.1:")
    assert run.reply["execution_count"] == 3
    assert pid_of(own_kernel) != former
    assert own_kernel.run("mine_2").error["ename"] == "NameError"
    wait_until(lambda: is_gone(former), "the former server's end")
    history = own_kernel.answer(own_kernel.client.history(hist_access_type="tail", n=5))["content"]["history"]
    assert "%dh restart" in [entry[2] for entry in history]


def test_a_restart_where_the_server_has_died(own_kernel: Kernel) -> None:
    former = pid_of(own_kernel)
    os.kill(former, signal.SIGKILL)
    wait_until(lambda: is_gone(former), "the server's end")
    run = own_kernel.ok("%dh restart", READY_TIMEOUT_S)
    assert "A fresh server" in run.text()
    assert own_kernel.ok("1 + 1").text("stderr") == ""


def test_attach_and_detach(own_kernel: Kernel, vanilla: Vanilla) -> None:
    former = pid_of(own_kernel)
    run = own_kernel.ok(attach_line(vanilla), READY_TIMEOUT_S)
    assert f"Cells now run on the server at {vanilla.address}." in run.text()
    attached = pid_of(own_kernel)
    assert attached != former
    wait_until(lambda: is_gone(former), "the end of the kernel's own server")
    assert f"{vanilla.address}, attached" in own_kernel.ok("%dh").bundles[0]["text/plain"]
    run = own_kernel.ok("%dh restart")
    assert run.text().startswith(f"A fresh session on the server at {vanilla.address}.")
    run = own_kernel.ok("%dh detach", READY_TIMEOUT_S)
    assert "the kernel's own server" in run.text()
    assert pid_of(own_kernel) not in (former, attached)
    assert not is_gone(attached)
    assert "run on the kernel's own server already" in own_kernel.run("%dh detach").error["evalue"]


def test_an_address_that_does_not_answer_leaves_all_as_it_is(own_kernel: Kernel, vanilla: Vanilla) -> None:
    former = pid_of(own_kernel)
    own_kernel.ok("kept_4 = 7")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = own_kernel.run(f"%dh attach 127.0.0.1:{port} --anonymous", READY_TIMEOUT_S)
    assert f"127.0.0.1:{port}" in run.error["evalue"]
    assert "The server that was in use stays in use." in run.error["evalue"]
    run = own_kernel.run(f"%dh attach {vanilla.address} --anonymous", READY_TIMEOUT_S)
    assert "A key is named by --key-file FILE" in run.error["evalue"]
    assert own_kernel.ok("kept_4").result == {"text/plain": "7"}
    assert pid_of(own_kernel) == former


def test_an_attach_can_be_interrupted(own_kernel: Kernel) -> None:
    own_kernel.ok("kept_5 = 7", READY_TIMEOUT_S)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = own_kernel.send(f"%dh attach 127.0.0.1:{silent.getsockname()[1]} --anonymous")
        own_kernel.wait(lambda: "Connecting" in run.text("stderr"), "the note")
        own_kernel.interrupt()
        own_kernel.finish(run)
        assert run.error["ename"] == "KeyboardInterrupt"
    assert own_kernel.ok("kept_5").result == {"text/plain": "7"}


def test_attach_works_where_no_server_can_start(place: Place, vanilla: Vanilla) -> None:
    with started(place, LAUNCHED, {"DH_KERNEL_PYTHON": "/nowhere/python"}) as kernel:
        assert "DH_KERNEL_PYTHON" in kernel.run("1").error["evalue"]
        assert "%dh attach" in kernel.ok("%dh help").text()
        assert "DH_KERNEL_PYTHON" in kernel.run("%dh restart").error["evalue"]
        kernel.ok(attach_line(vanilla), READY_TIMEOUT_S)
        assert kernel.ok("1 + 1").result == {"text/plain": "2"}


def test_a_key_in_the_line_is_refused_and_goes_nowhere(own_kernel: Kernel) -> None:
    run = own_kernel.run("%dh attach localhost:10000 --key hunter2-no-key")
    assert "A key never stands in the line" in run.error["evalue"]
    history = own_kernel.answer(own_kernel.client.history(hist_access_type="tail", n=5))
    assert "hunter2" not in json.dumps([run.messages, run.reply, history], default=str)
    assert "%dh attach localhost:10000 '***' '***'" in json.dumps(history, default=str)


def test_the_console_magic_holds_the_update_graph(kernel: Kernel) -> None:
    """No table ticks while the cell runs; its output, its tables and its errors are those of any cell."""
    code = "import time\nfrom deephaven import time_table\nfast_6 = time_table('PT0.01s')"
    kernel.ok(code)
    code = (
        "from deephaven.update_graph import exclusive_lock\nfrom deephaven.execution_context import get_exec_ctx\n"
        "lock_6 = get_exec_ctx().update_graph.j_update_graph.exclusiveLock()\nprint(lock_6.isHeldByCurrentThread())"
    )
    assert kernel.ok(code).text() == "False\n"
    run = kernel.ok(
        f"%%dh_console\n{code}\ns_6 = fast_6.size\ntime.sleep(1.5)\nprint(fast_6.size - s_6)\nt_6 = fast_6.head(1)\n1 + 1"
    )
    assert run.text() == "True\n0\n"
    assert run.result == {"text/plain": "2"}
    assert any("Timestamp" in bundle["text/plain"] for bundle in run.bundles)
    assert kernel.ok("print(lock_6.isHeldByCurrentThread())").text() == "False\n"
    run = kernel.run("%%dh_console\n\n1/0")
    assert run.error["ename"] == "ZeroDivisionError"
    assert kernel.ok("print(lock_6.isHeldByCurrentThread())").text() == "False\n"


def test_the_console_magic_can_be_interrupted(kernel: Kernel) -> None:
    run = kernel.send("%%dh_console\nimport time\nprint('begun')\nfor _ in range(6000): time.sleep(0.1)")
    kernel.wait(lambda: run.text() == "begun\n", "the output")
    kernel.interrupt()
    kernel.finish(run)
    assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("1 + 1").result == {"text/plain": "2"}
