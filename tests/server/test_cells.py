"""Cells on real servers of each kind: their output, their errors, their interrupts."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import psutil
import pytest
from sessions import Client, Console, Kind, until

from dh_kernel.session.events import StreamText

MIB = 1 << 20


def test_output_arrives_in_order_with_the_streams_apart(client: Client) -> None:
    run = client.ok("import sys\nfor i in range(20):\n    print('o', i)\n    print('e', i, file=sys.stderr)\n'end'")
    texts = [(event.name, event.text) for event in run.events if isinstance(event, StreamText)]
    assert "".join(text for _, text in texts) == "".join(f"o {i}\ne {i}\n" for i in range(20))
    assert run.text() == "".join(f"o {i}\n" for i in range(20))
    assert run.result == "'end'"


def test_text_without_newline_arrives_while_the_cell_goes_on(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "go"
    run = client.send(
        f"import os, time\nprint('half', end='')\nwhile not os.path.exists({str(file)!r}): time.sleep(0.01)\nprint(' done')"
    )
    client.wait_for_text(run, "half")
    assert run.done is None
    file.touch()
    assert client.finish(run).text() == "half done\n"


def test_the_wrapper_is_that_of_the_server(kind: Kind, client: Client) -> None:
    """IPython's where it is importable, whoever started the server."""
    wanted = "PlainShell" if kind.name == "vanilla" else "ZMQInteractiveShell"
    assert client.value("type(get_ipython()).__name__") == f"'{wanted}'"


@pytest.mark.parametrize(
    "code",
    ["1/0", "x = = 1", "'\0'", "raise SystemExit", "'\ud800'", "+".join(["1"] * 50_000), "def f(): f()\nf()"],
    ids=["error", "syntax", "nul", "exit", "surrogate", "deep", "recursion"],
)
def test_a_failing_cell_ends_and_the_next_one_runs(client: Client, code: str) -> None:
    run = client.run(code, timeout_s=20)
    assert run.done is not None
    assert client.value("1 + 1") == "2"


@pytest.mark.parametrize(("end", "code"), [("", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1)])
def test_a_forked_child_ends_where_its_cell_ends(client: Client, end: str, code: int) -> None:
    """It must not go on in the loop that is its parent's."""
    cell = f"import os\npid = os.fork()\nif pid == 0:\n    print('child')\n    {end}\n"
    client.ok(f"{cell}else:\n    code = os.waitpid(pid, 0)[1] >> 8\npid")
    assert client.value("code") == str(code)


def test_five_megabytes_of_source(client: Client) -> None:
    assert client.value("len('" + "x" * 5_000_000 + "')") == "5000000"


def test_a_result_of_many_megabytes(client: Client) -> None:
    result = client.ok("'x' * 20_000_000", show_tables=False).result
    assert result is not None
    assert len(result) in (20_000_002, 20_000_000 + 2)


def test_a_hundred_megabytes_arrive_exactly(client: Client) -> None:
    size = 100_000_000
    run = client.ok(f"print('x' * {size - 1}, end='')\nprint('y', end='')")
    text = run.text()
    assert len(text) == size
    assert text == "x" * (size - 1) + "y"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("for i in range(1500): print('x' * 65536)", id="lumps"),
        pytest.param("for i in range(5_000_000): print('line', i)", id="lines", marks=pytest.mark.long),
    ],
)
def test_a_slow_reader_stalls_the_cell_and_neither_process_grows(
    client: Client, console: Console, code: str, fresh: str
) -> None:
    """The kernel takes nothing: what is under way is bounded, the cell waits, and goes on when the kernel does."""
    assert client.session.info is not None
    counter = f"i_{fresh}"
    counted = code.replace("for i in", f"for {counter} in").replace(", i)", f", {counter})")
    server = psutil.Process(client.session.info.pid)
    client.hold()
    run = client.send(counted)
    client.wait(lambda: client.received_bytes > MIB, "the first output")
    client.settled_bytes()
    before = server.memory_info().rss
    reached = [console.value(counter)]
    pause = threading.Event()
    for _ in range(200):  # a busy machine takes long to print what fits
        pause.wait(0.25)
        reached.append(console.value(counter))
        if reached[-1] == reached[-2]:
            break
    stalled_at, grown, received = reached[-1], server.memory_info().rss - before, client.received_bytes
    client.release()
    if reached[-1] == reached[-2]:
        until(lambda: console.value(counter) > stalled_at, "the cell goes on")
    client.interrupt(run)
    client.finish(run)
    assert reached[-1] == reached[-2], f"the cell goes on printing though nobody takes it: {reached}"
    assert received < 16 * MIB
    assert grown < 64 * MIB
    assert run.error["ename"] == "KeyboardInterrupt"
    assert client.value("1 + 1") == "2"


INTERRUPTS = {
    "python": "while True: pass",
    "sleep": "import time\ntime.sleep(600)",
    "java": "import jpy\njpy.get_type('java.lang.Thread').sleep(600_000)",
    "event": "import threading\nthreading.Event().wait()",
    # A loop of operations that fit the heap: one that does not ends the server.
    "table": "from deephaven import empty_table\n"
    "while True: empty_table(1_000_000).update('Y = Math.sin(ii)').sort_descending('Y')",
    "printing": "while True: print('x' * 100)",
    "await": "import asyncio\nawait asyncio.sleep(600)",
}


@pytest.mark.parametrize("code", INTERRUPTS.values(), ids=list(INTERRUPTS))
def test_an_interrupt_ends_the_cell(client: Client, code: str) -> None:
    run = client.send(f"print('begun')\n{code}")
    client.wait_for_text(run, "begun")
    threading.Event().wait(0.3)  # into the call itself: nothing tells when it blocks
    client.interrupt(run)
    client.finish(run, 10)
    assert run.error["ename"] == "KeyboardInterrupt"
    assert client.value("1 + 1") == "2"


@pytest.mark.long
def test_an_interrupt_of_a_compilation_leaves_the_compiler_whole(client: Client, fresh: str) -> None:
    """Java's interrupt closes the file that is being read, and the compiler keeps its open jars for the server's life."""
    client.ok("from deephaven import empty_table")
    salt = int(fresh, 16)
    for number in range(8):
        formula = f"Y{number} = Math.sin(ii * {salt + number}) + Math.cos(ii)"
        run = client.send(f"print('begun')\nempty_table(10).update({formula!r})", show_tables=False)
        client.wait_for_text(run, "begun")
        threading.Event().wait(0.05 * (number + 1))
        client.interrupt(run)
        client.finish(run)
        assert client.value(f"empty_table(3).update('Z{number} = ii * {salt + number}').size") == "3"


@pytest.mark.skipif(os.name != "posix", reason="the program is a POSIX one")
def test_an_interrupt_ends_a_program_in_a_launched_server(launched_kind: Kind) -> None:
    client = launched_kind.open()
    run = client.send("import subprocess\nprint('begun')\nsubprocess.run(['sleep', '600'])")
    client.wait_for_text(run, "begun")
    assert client.session.info is not None
    server = psutil.Process(client.session.info.pid)

    def running() -> bool:
        return any(child.name() == "sleep" and child.status() != psutil.STATUS_ZOMBIE for child in server.children())

    until(running, "the program")
    client.interrupt(run)
    assert client.finish(run, 10).error["ename"] == "KeyboardInterrupt"
    until(lambda: not running(), "the program's end")
    client.close()


def test_a_programs_output_stands_in_its_place_in_a_launched_server(launched_kind: Kind) -> None:
    client = launched_kind.open()
    run = client.ok(
        "import os, subprocess\nprint('a')\nsubprocess.run(['echo', 'b'])\nprint('c')\nos.write(2, b'err\\xff\\n')\nNone"
    )
    assert run.text() == "a\nb\nc\n"
    assert run.text("stderr") == "err\ufffd\n"
    client.close()


def test_interrupts_at_random_moments_hit_their_own_cell_only(client: Client) -> None:
    """200 short cells: each ends with its own result, or with its own KeyboardInterrupt, and the session goes on."""
    chance = random.Random(2)
    for number in range(200):
        run = client.send(f"print({number})\nfor i in range(2000): pass\n{number}", show_tables=False)
        threading.Event().wait(chance.random() * 0.004)
        client.interrupt(run)
        client.finish(run, 20)
        assert run.done is not None
        if run.done.error is None:
            assert (run.result, run.text()) == (str(number), f"{number}\n")
        else:
            assert run.error["ename"] == "KeyboardInterrupt", run.error
            assert run.text() in ("", f"{number}\n", str(number))
    assert client.ok("print('still here')\n6 * 7").result == "42"


def test_two_sessions_never_mix_and_share_variables(kind: Kind, fresh: str) -> None:
    one, two = kind.open(), kind.open()
    code = "for i in range(2000): print({0!r}, i)\n"
    runs = [(one.send(code.format("one")), one, "one"), (two.send(code.format("two")), two, "two")]
    for run, client, name in runs:
        client.finish(run)
        assert run.text() == "".join(f"{name} {i}\n" for i in range(2000))
    one.ok(f"shared_{fresh} = 'by one'")
    assert two.value(f"shared_{fresh}") == "'by one'"
    two.ok(f"shared_{fresh} = 'by two'")
    assert one.value(f"shared_{fresh}") == "'by two'"
    one.close()
    assert two.value("1") == "1"
    two.close()


@pytest.mark.long
def test_names_that_other_threads_make_do_not_disturb_a_cells_end(client: Client, fresh: str) -> None:
    """The namespace is shared, and compared at each cell's end: it may change meanwhile."""
    client.ok(
        f"import threading\nstop_{fresh} = threading.Event()\n"
        f"globals().update({{f'n{{i}}_{fresh}': i for i in range(50_000)}})\n"
        f"def churn_{fresh}():\n    names = globals()\n    while not stop_{fresh}.is_set():\n"
        f"        names['churn_name'] = 1\n        del names['churn_name']\n"
        f"thread_{fresh} = threading.Thread(target=churn_{fresh})\nthread_{fresh}.start()"
    )
    try:
        for _ in range(40):
            client.ok(f"y_{fresh} = 1")
    finally:
        client.run(
            f"stop_{fresh}.set()\nthread_{fresh}.join()\n"
            f"for name in [n for n in globals() if n.endswith('_{fresh}')]: del globals()[name]"
        )


def test_threads_print_to_the_cell_that_started_them_also_afterwards(client: Client, fresh: str) -> None:
    first = client.ok(
        f"import threading\ngo_{fresh} = threading.Event()\n"
        f"def late():\n    print('early')\n    go_{fresh}.wait()\n    print('late')\n"
        f"thread_{fresh} = threading.Thread(target=late)\nthread_{fresh}.start()"
    )
    client.wait_for_text(first, "early")
    second = client.ok(f"go_{fresh}.set()\nthread_{fresh}.join()\nprint('second')")
    client.wait_for_text(first, "late")
    assert first.text() == "early\nlate\n"
    assert second.text() == "second\n"


def test_completion_is_answered_while_a_cell_runs(client: Client, fresh: str) -> None:
    client.ok(f"go_{fresh} = __import__('threading').Event()")
    run = client.send(f"print('begun')\nwhile not go_{fresh}.wait(0.02): pass")
    client.wait_for_text(run, "begun")
    answer = client.ask("complete", code=f"go_{fresh[:4]}", cursor=7)
    assert f"go_{fresh}" in answer["matches"]
    client.interrupt(run)
    client.finish(run)


def test_display_works_in_every_cell(client: Client) -> None:
    run = client.ok(
        "from dh_kernel.display import display\ndisplay('shown', display_id='d1')\ndisplay({'text/plain': 'raw'}, raw=True)"
    )
    assert [show.data["text/plain"] for show in run.displays] == ["'shown'", "raw"]


def test_silent_cells_are_silent(client: Client) -> None:
    run = client.ok("41 + 1", silent=True)
    assert run.result is None


def test_the_namespace_holds_nothing_of_ours(kind: Kind, console: Console) -> None:
    opened = kind.open()
    opened.ok("None", store_history=False)
    opened.close()
    assert console.value("[n for n in globals() if 'dh_kernel' in n or 'channel' in n.lower() or 'runtime' in n]") == []


def test_this_process_stays_small_after_much_output(client: Client) -> None:
    """The client here keeps all text, so this measures what the session itself keeps: its window, and no copy."""
    assert client.session._outbox.unacked_bytes < MIB
    client.ok("for i in range(200): print('x' * 50_000)")
    assert client.session._outbox.unacked_bytes < MIB
