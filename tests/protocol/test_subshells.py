"""Kernel subshells on both kinds of server: their life, cells in parallel, output, questions, interrupts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import TIMEOUT_S, Kernel, Run


def control(kernel: Kernel, kind: str, **content: Any) -> dict[str, Any]:
    """A request on the control channel, and the content of its reply."""
    message = kernel.client.session.msg(kind, content)
    kernel.client.control_channel.send(message)
    while True:
        reply = kernel.client.get_control_msg(timeout=TIMEOUT_S)
        if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
            found: dict[str, Any] = reply["content"]
            return found


@contextmanager
def subshells(kernel: Kernel, count: int = 1) -> Iterator[list[str]]:
    """Some subshells, deleted at the end."""
    made = [control(kernel, "create_subshell_request")["subshell_id"] for _ in range(count)]
    try:
        yield made
    finally:
        left = control(kernel, "list_subshell_request")["subshell_id"]
        for name in set(made) & set(left):
            control(kernel, "delete_subshell_request", subshell_id=name)


def send(kernel: Kernel, subshell: str | None, kind: str, **content: Any) -> str:
    """A request to a subshell; its id."""
    message = kernel.client.session.msg(kind, content)
    message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


def cell(kernel: Kernel, subshell: str | None, code: str, **options: Any) -> Run:
    """Send a cell to a subshell."""
    content = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    run = Run(send(kernel, subshell, "execute_request", code=code, **{**content, **options}))
    kernel._runs[run.id] = run
    return run


def test_they_are_made_listed_and_deleted(kernel: Kernel) -> None:
    assert "kernel subshells" in kernel.answer(kernel.client.kernel_info())["content"]["supported_features"]
    with subshells(kernel, 2) as names:
        assert sorted(control(kernel, "list_subshell_request")["subshell_id"]) == sorted(names)
        assert control(kernel, "delete_subshell_request", subshell_id=names[0])["status"] == "ok"
        assert control(kernel, "list_subshell_request")["subshell_id"] == names[1:]
        assert control(kernel, "delete_subshell_request", subshell_id=names[0])["status"] == "error"
    assert control(kernel, "list_subshell_request")["subshell_id"] == []


def test_cells_run_in_parallel_and_share_variables(kernel: Kernel) -> None:
    """Each waits for another: one after the other they would never end."""
    kernel.ok("import threading\nmeet = threading.Barrier(3)")
    with subshells(kernel, 2) as (one, two):
        runs = [cell(kernel, name, f"print({n}, meet.wait(30) >= 0)\nw{n} = {n}") for n, name in enumerate((None, one, two))]
        for number, run in enumerate(runs):
            assert kernel.finish(run).reply["status"] == "ok"
            assert run.text() == f"{number} True\n"
    assert kernel.ok("w0 + w1 + w2").result == {"text/plain": "3"}


def test_twenty_at_once_keep_their_output_apart(kernel: Kernel) -> None:
    code = "import time\nfor i in range(40):\n    print({n}, i)\n    time.sleep(0.005)\n{n}"
    with subshells(kernel, 20) as names:
        runs = [cell(kernel, name, code.format(n=n)) for n, name in enumerate(names)]
        for number, run in enumerate(runs):
            kernel.finish(run)
            assert run.text() == "".join(f"{number} {i}\n" for i in range(40))
            assert run.result == {"text/plain": str(number)}
    running = "[t.name for t in threading.enumerate() if re.search('dh-kernel-cells-.+-.+', t.name)]"
    deadline = time.monotonic() + TIMEOUT_S
    while (left := kernel.ok(f"import re, threading\n{running}").result) != {"text/plain": "[]"}:
        assert time.monotonic() < deadline, left


def test_questions_are_answered_there_while_the_main_shell_is_busy(kernel: Kernel) -> None:
    with subshells(kernel) as (name,):
        busy = kernel.send("xylophone = 1\nprint('begun')\nwhile True: pass")
        kernel.wait(lambda: "begun" in busy.text(), "the cell's first word")
        completed = kernel.answer(send(kernel, name, "complete_request", code="xyloph", cursor_pos=6))["content"]
        assert "xylophone" in completed["matches"]
        found = kernel.answer(send(kernel, name, "inspect_request", code="xylophone", cursor_pos=9, detail_level=0))["content"]
        assert found["found"]
        assert kernel.finish(cell(kernel, name, "xylophone + 1")).result == {"text/plain": "2"}
        kernel.interrupt()
        kernel.finish(busy)


def test_errors_and_tables_there(kernel: Kernel) -> None:
    with subshells(kernel) as (name,):
        failing = kernel.finish(cell(kernel, name, "1 / 0"))
        assert failing.error["ename"] == "ZeroDivisionError"
        shown = kernel.finish(cell(kernel, name, "from deephaven import empty_table\nthere = empty_table(3).update('X = ii')"))
        assert len(shown.bundles) == 1


def test_two_ask_at_once_and_get_their_own_answers(kernel: Kernel) -> None:
    with subshells(kernel, 2) as names:
        runs = [cell(kernel, name, f"input('{n}')", allow_stdin=True) for n, name in enumerate(names)]
        for _ in runs:
            prompt = kernel.client.get_stdin_msg(timeout=TIMEOUT_S)["content"]["prompt"]
            kernel.client.input(f"to {prompt}")
        for number, run in enumerate(runs):
            assert kernel.finish(run).result == {"text/plain": f"'to {number}'"}


def test_the_stop_button_means_the_main_shell_and_then_the_others(kernel: Kernel) -> None:
    with subshells(kernel) as (name,):
        there = cell(kernel, name, "print('begun')\nwhile True: pass")
        main = kernel.send("print('begun')\nwhile True: pass")
        kernel.wait(lambda: "begun" in there.text() and "begun" in main.text(), "the cells' first words")
        kernel.interrupt()
        assert kernel.finish(main, 10).error["ename"] == "KeyboardInterrupt"
        assert not there.idle
        kernel.interrupt()
        assert kernel.finish(there, 10).error["ename"] == "KeyboardInterrupt"
        assert kernel.finish(cell(kernel, name, "6 * 7")).result == {"text/plain": "42"}


def test_deleting_a_busy_one_interrupts_it(kernel: Kernel) -> None:
    with subshells(kernel) as (name,):
        run = cell(kernel, name, "print('begun')\nimport time\ntime.sleep(600)")
        kernel.wait(lambda: "begun" in run.text(), "the cell's first word")
        assert control(kernel, "delete_subshell_request", subshell_id=name)["status"] == "ok"
        kernel.wait(lambda: bool(run.contents("error")), "the cell's end")
        assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}


def test_ticking_tables_of_subshells_and_of_tasks_tick(kernel: Kernel) -> None:
    """Both have the engine's context and the session's scope, also between cells."""
    make = "from deephaven import time_table\n{name} = time_table('PT0.02S').update('N = ii')"
    with subshells(kernel) as (name,):
        assert kernel.finish(cell(kernel, name, make.format(name="ticking_there"))).reply["status"] == "ok"
    kernel.ok(
        "import asyncio\nasync def later():\n    await asyncio.sleep(0.05)\n    from deephaven import time_table\n"
        "    global ticking_later\n    ticking_later = time_table('PT0.02S').update('N = ii')\n"
        "making = asyncio.get_running_loop().create_task(later())"
    )
    kernel.ok("await making")
    for table in ("ticking_there", "ticking_later"):
        seen = kernel.ok(f"before = {table}.size\nwhile {table}.size < before + 3: {table}.await_update(1000)\nTrue").result
        assert seen == {"text/plain": "True"}
    kernel.ok("del ticking_there, ticking_later")


def test_a_flood_from_two_at_once_goes_on_and_can_be_interrupted(kernel: Kernel) -> None:
    """Both wait for the same 4 MiB of room."""
    with subshells(kernel, 2) as names:
        lines = 20_000
        runs = [cell(kernel, name, f"for i in range({lines}): print('{n}' * 300)") for n, name in enumerate(names)]
        for number, run in enumerate(runs):
            assert kernel.finish(run, 120).reply["status"] == "ok"
            assert run.text() == (str(number) * 300 + "\n") * lines
        endless = [cell(kernel, name, "while True: print('y' * 300)") for name in names]
        kernel.wait(lambda: all(len(run.text()) > 1_000_000 for run in endless), "the flood")
        kernel.interrupt()
        for run in endless:
            assert kernel.finish(run, 20).error["ename"] == "KeyboardInterrupt"
            assert re.fullmatch(r"(y{300}\n)*y*\n?", run.text())
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}
