"""ipykernel's own tests with this kernel in the place of `python3`, and what their left out ones say that applies here.

`README.md` beside this has the list of those that cannot apply. The tests are downloaded: they need a package index.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness import PYTHON, TIMEOUT_S, Kernel, Run

SUITE = Path(__file__).resolve().parents[2] / "scripts/ipykernel_suite"
SUITE_TIMEOUT_S = 900.0  # about 220 s on two processors: some thirty of the tests start a kernel of their own
# Of ipykernel 7.0, the oldest that can be installed; with ten or so in the table and for other systems, 60 are left.
LEAST_TESTS = 60


def test_ipykernels_own_tests() -> None:
    """All that can apply pass, none is skipped but by ipykernel itself, and the list of the others is up to date."""
    done = subprocess.run(
        [PYTHON, str(SUITE), "--", "-q", "--tb=short"],
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    passed = re.search(r"^(\d+) passed", done.stdout.splitlines()[-1])
    assert passed is not None, done.stdout[-2000:]
    assert int(passed[1]) >= LEAST_TESTS


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
