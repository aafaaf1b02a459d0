"""Cells that ask the person at the front end, and cells that read standard input, on both kinds of server."""

from __future__ import annotations

import contextlib
import queue
import time

import pytest
from harness import TIMEOUT_S, Kernel, Run


def asked(kernel: Kernel) -> dict[str, object]:
    """The next question."""
    request = kernel.client.get_stdin_msg(timeout=TIMEOUT_S)
    assert request["msg_type"] == "input_request"
    content: dict[str, object] = request["content"]
    return content


def nothing_asked(kernel: Kernel) -> bool:
    """Whether no question waits."""
    with pytest.raises(queue.Empty):
        kernel.client.get_stdin_msg(timeout=0.2)
    return True


def talk(kernel: Kernel, code: str, *answers: str) -> tuple[Run, list[object]]:
    """Run a cell and answer its questions; the cell and the prompts."""
    run = kernel.send(code, allow_stdin=True)
    prompts: list[object] = []
    for answer in answers:
        prompts.append(asked(kernel)["prompt"])
        kernel.client.input(answer)
    return kernel.finish(run), prompts


@pytest.mark.parametrize(
    "code",
    [
        "def deep(n):\n    return deep(n - 1) if n else input('? ')\nprint(deep(50))",
        "import threading\nth = threading.Thread(target=lambda: print(input('? ')))\nth.start()\nth.join()",
        "import asyncio\nawait asyncio.sleep(0)\nprint(input('? '))",
        "async def ask():\n    return input('? ')\nprint(await ask())",
        "import concurrent.futures\nwith concurrent.futures.ThreadPoolExecutor(1) as pool:\n"
        "    print(pool.submit(input, '? ').result())",
        "print(eval(\"input('? ')\"))",
    ],
    ids=["deep", "thread", "after await", "coroutine", "pool", "eval"],
)
def test_a_question_from_anywhere_is_answered(kernel: Kernel, code: str) -> None:
    run, prompts = talk(kernel, code, "Ada")
    assert prompts == ["? "]
    assert run.text() == "Ada\n"


def test_two_threads_of_a_cell_ask_one_after_the_other(kernel: Kernel) -> None:
    code = (
        "import threading\nsaid = {}\ndef ask(n): said[n] = input(n)\n"
        "both = [threading.Thread(target=ask, args=(n,)) for n in 'ab']\nfor th in both: th.start()\n"
        "for th in both: th.join()\n"
        "said == {'a': 'A', 'b': 'B'}"
    )
    run = kernel.send(code, allow_stdin=True)
    for _ in range(2):
        kernel.client.input(str(asked(kernel)["prompt"]).upper())
    assert kernel.finish(run).result == {"text/plain": "True"}


@pytest.mark.parametrize("prompt", ["<b>&amp; \u2603 \U0001f600", "line\nline", "", "tab\tnul\0", "x" * 10_000, "a\ud800b"])
def test_any_prompt(kernel: Kernel, prompt: str) -> None:
    run, prompts = talk(kernel, f"input({prompt!a})", "\u00e9 \u2603")
    assert run.result == {"text/plain": "'\u00e9 \u2603'"}
    assert prompts == [prompt.encode("utf-8", "backslashreplace").decode()]


def test_getpass_does_not_show_what_is_typed(kernel: Kernel) -> None:
    run = kernel.send("import getpass\nlen(getpass.getpass())", allow_stdin=True)
    assert asked(kernel)["password"] is True
    kernel.client.input("secret")
    assert kernel.finish(run).result == {"text/plain": "6"}


def test_the_end_of_input_is_an_eof_error(kernel: Kernel) -> None:
    run, _ = talk(kernel, "input()", "\x04")
    assert run.error["ename"] == "EOFError"


def test_a_question_can_be_interrupted_and_another_asked(kernel: Kernel) -> None:
    run = kernel.send("input('first')", allow_stdin=True)
    asked(kernel)
    kernel.interrupt()
    assert kernel.finish(run).error["ename"] == "KeyboardInterrupt"
    kernel.client.input("too late")
    run, prompts = talk(kernel, "input('second')", "in time")
    assert (prompts, run.result) == (["second"], {"text/plain": "'in time'"})


def test_a_cell_that_handles_its_interrupt_may_ask_again(kernel: Kernel) -> None:
    code = "try:\n    input('first')\nexcept KeyboardInterrupt:\n    print(input('again'))"
    run = kernel.send(code, allow_stdin=True)
    asked(kernel)
    kernel.interrupt()
    assert asked(kernel)["prompt"] == "again"
    kernel.client.input("well")
    assert kernel.finish(run).text() == "well\n"


def test_an_answer_that_nobody_asked_for_is_forgotten(kernel: Kernel) -> None:
    kernel.client.input("unasked")
    run, _ = talk(kernel, "input()", "asked")
    assert run.result == {"text/plain": "'asked'"}


@pytest.mark.parametrize(
    "code",
    [
        "input('? ')",
        "import getpass\ngetpass.getpass()",
        "import pdb\npdb.set_trace()\nx = 1",
        "breakpoint()\nx = 1",
        "import pdb\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    pdb.post_mortem()",
    ],
    ids=["input", "getpass", "set_trace", "breakpoint", "post_mortem"],
)
def test_without_a_person_to_ask_it_fails_at_once(kernel: Kernel, code: str) -> None:
    run = kernel.run(code, 20, allow_stdin=False)
    assert run.error["ename"] == "StdinNotImplementedError"
    assert "does not support input requests" in run.error["evalue"]
    assert nothing_asked(kernel)
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}


@pytest.mark.parametrize("call", ["import pdb; pdb.set_trace()", "breakpoint()"])
def test_pdb_asks_at_the_notebook(kernel: Kernel, call: str) -> None:
    run, prompts = talk(kernel, f"def f(n):\n    {call}\n    return n + 1\nprint(f(41))", "p n", "c")
    assert all(str(prompt) in ("(Pdb) ", "ipdb> ") for prompt in prompts)
    assert "41\n" in run.text()
    assert run.text().endswith("42\n")


def test_pdb_looks_at_what_failed(kernel: Kernel) -> None:
    kernel.run("def g(n):\n    return 1 / n\ng(0)")
    run, _ = talk(kernel, "import pdb\ntry:\n    g(0)\nexcept ZeroDivisionError:\n    pdb.post_mortem()", "p n + 5", "q")
    assert "5\n" in run.text()


def test_debug_magic_looks_at_what_failed(launched_kernel: Kernel) -> None:
    launched_kernel.run("def g(n):\n    return 1 / n\ng(0)")
    run, prompts = talk(launched_kernel, "%debug", "p n + 5", "q")
    assert prompts == ["ipdb> "] * 2
    assert "5\n" in run.text()


@pytest.mark.parametrize("code", ["import pdb\npdb.set_trace()\nx = 1", "import pdb\nfor i in range(3):\n    pdb.set_trace()"])
def test_an_interrupt_ends_pdb(kernel: Kernel, code: str) -> None:
    """IPython's debugger ends and the cell goes on, as in ipykernel; Python's ends the cell."""
    run = kernel.send(code, allow_stdin=True)
    deadline = time.monotonic() + TIMEOUT_S
    while not run.idle and time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            kernel.client.get_stdin_msg(timeout=0.2)
            kernel.interrupt()
        with contextlib.suppress(AssertionError):
            kernel.wait(lambda: run.idle, "the end", 0.3)
    assert run.idle
    assert "KeyboardInterrupt" in run.text() + str(run.contents("error"))
    kernel.finish(run)
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("import sys\nsys.stdin.readline()", "''"),
        ("import sys\nsys.stdin.read()", "''"),
        ("import sys\nlist(sys.stdin)", "[]"),
        ("import subprocess\nsubprocess.run(['cat']).returncode", "0"),
        ("import subprocess\nsubprocess.run(['cat'], capture_output=True).stdout", "b''"),
    ],
)
def test_standard_input_is_at_its_end(kernel: Kernel, code: str, result: str) -> None:
    assert kernel.ok(code, 20).result == {"text/plain": result}


def test_the_descriptor_is_at_its_end_in_a_launched_server(launched_kernel: Kernel) -> None:
    assert launched_kernel.ok("import os\nos.read(0, 1)", 20).result == {"text/plain": "b''"}


def test_a_thread_that_asks_when_its_cell_is_over_gets_the_end_of_input(kernel: Kernel) -> None:
    code = (
        "import threading\ngo, told = threading.Event(), threading.Event()\ndef late():\n    go.wait()\n    try:\n"
        "        input('late')\n    except EOFError:\n        told.set()\nthreading.Thread(target=late).start()"
    )
    kernel.ok(code, allow_stdin=True)
    assert kernel.ok("go.set()\ntold.wait(20)").result == {"text/plain": "True"}
    assert nothing_asked(kernel)
