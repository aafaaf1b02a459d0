"""What ipykernel's own tests that are left out say that applies here, and the list of those.

The tests themselves, with this kernel in the place of `python3`, are run by `scripts/ipykernel_suite`: they take too long to
be run with every change. `README.md` beside this has the list of those that cannot apply.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import PYTHON, TIMEOUT_S, Kernel, Run

SUITE = Path(__file__).resolve().parents[2] / "scripts/ipykernel_suite"


def test_an_entry_that_names_no_test_fails_the_run(tmp_path: Path) -> None:
    """The list cannot outlive the tests that it leaves out."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "__init__.py").touch()
    for name in ("test_message_spec.py", "test_kernel.py", "test_subshells.py"):
        (tests / name).write_text("def test_nothing():\n    pass\n", "utf-8")
    done = subprocess.run([PYTHON, str(SUITE), str(tmp_path)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 4, done.stdout
    assert "no test of ipykernel" in done.stderr
    assert "test_kernel.py::test_parent_header_and_ident" in done.stderr


@pytest.mark.long
def test_questions_after_a_cell_that_fails_are_answered(launched_kernel: Kernel) -> None:
    """As ipykernel's `test_non_execute_stop_on_error` wants it, also where the questions pass the cell."""
    failing = launched_kernel.send("import time\ntime.sleep(0.5)\nraise ValueError")
    client = launched_kernel.client
    questions = [client.kernel_info(), client.comm_info(), client.inspect(code="print")]
    assert launched_kernel.finish(failing).reply["status"] == "error"
    assert [launched_kernel.answer(question)["content"]["status"] for question in questions] == ["ok", "ok", "ok"]


def test_a_thread_goes_on_printing_to_the_cell_that_started_it(launched_kernel: Kernel) -> None:
    """In the place of `test_print_to_correct_cell_from_thread[none]`: also while other cells run, and after them."""
    begun = launched_kernel.ok(
        "from threading import Event, Thread\n"
        "steps = [Event(), Event()]\n"
        "def work():\n"
        "    print('before', flush=True)\n    display(1)\n    steps[0].wait(10)\n"
        "    print('during', flush=True)\n    display(2)\n    steps[1].set()\n"
        "thread = Thread(target=work)\nthread.start()"
    )
    others = [launched_kernel.ok("steps[0].set()\nsteps[1].wait(10);"), launched_kernel.ok("thread.join()")]
    launched_kernel.wait(lambda: len(begun.bundles) == 2, "the thread's last display")
    assert begun.text() == "before\nduring\n"
    assert [bundle["text/plain"] for bundle in begun.bundles] == ["1", "2"]
    assert [output_of(run) for run in others] == [[], []]


def output_of(run: Run) -> list[str]:
    """The kinds of what a cell showed."""
    return [kind for kind in run.kinds if kind != "execute_input"]


def test_a_thread_that_chooses_its_parent_and_takes_it_back(kernel: Kernel) -> None:
    """`get_parent`, `set_thread_parent`, `reset_thread_parent`; on a server without IPython too."""
    first = kernel.ok("from IPython import get_ipython\nfirst = get_ipython().get_parent()")
    second = kernel.ok(
        "from threading import Event, Thread\n"
        "reset, done = Event(), Event()\n"
        "shell = get_ipython()\n"
        "def work():\n"
        "    token = shell.set_thread_parent(first)\n"
        "    print('to the first', flush=True)\n"
        "    shell.reset_thread_parent(token)\n"
        "    reset.wait(10)\n"
        "    print('to the latest', flush=True)\n"
        "    done.set()\n"
        "Thread(target=work).start()"
    )
    latest = kernel.ok("reset.set()\ndone.wait(10);")
    kernel.wait(lambda: "first" in first.text() and "latest" in latest.text(), "what the thread prints")
    assert [run.text() for run in (first, second, latest)] == ["to the first\n", "", "to the latest\n"]


def test_an_object_that_cannot_be_shown_fails_its_cell(launched_kernel: Kernel) -> None:
    """As the result; what is only displayed on the way shows the error, and the cell goes on."""
    odd = "class Odd:\n    def __repr__(self):\n        1 / 0\n"
    assert launched_kernel.run(f"{odd}Odd()").error["ename"] == "ZeroDivisionError"
    shown = launched_kernel.ok(f"{odd}display(Odd())\n6 * 7")
    assert shown.error["ename"] == "ZeroDivisionError"
    assert shown.result == {"text/plain": "42"}
