"""`dh-kernel run` as a person sees it: notes, a progress bar, and questions at a terminal."""

from __future__ import annotations

import signal
import termios

import pexpect  # type: ignore[import-untyped]
import pytest
from batching import TIMEOUT_S, Runs, notebook


def at_a_terminal(runs: Runs, *arguments: str) -> pexpect.spawn:
    program, *rest = runs.command(*arguments)
    return pexpect.spawn(
        program, rest, cwd=str(runs.folder), env=dict(runs.environ), encoding="utf-8", timeout=TIMEOUT_S, dimensions=(50, 120)
    )


def test_questions_and_notes_at_a_terminal(attached: Runs) -> None:
    child = at_a_terminal(attached, "-c", "name = input('name? ')\nprint('hello', name)")
    try:
        child.expect(r"dh-kernel run: Deephaven 4\S+ at 127\.0\.0\.1:\d+")
        child.expect(r"name\? ")
        child.sendline("Ada")
        child.expect("hello Ada")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)


@pytest.mark.long
def test_a_progress_bar_over_the_cells(attached: Runs) -> None:
    notebook(attached.folder / "nb.ipynb", ["1", "2"])
    child = at_a_terminal(attached, "nb.ipynb")
    try:
        child.expect(r"\[#{15}\.{15}\] cell 1 of 2")
        child.expect(r"\[#{30}\] cell 2 of 2")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


@pytest.mark.long
@pytest.mark.parametrize("code", ["input('name? ')", "import getpass\ngetpass.getpass('name? ')"])
def test_an_interrupt_while_a_question_waits_is_exit_code_130(attached: Runs, code: str) -> None:
    """The thread that reads the answer still waits then. The terminal shows what is typed again."""
    child = at_a_terminal(attached, "-c", code)
    try:
        child.expect(r"name\? ")
        child.kill(signal.SIGINT)
        child.expect(pexpect.EOF)
        child.wait()
        assert (child.exitstatus, child.signalstatus) == (130, None)
        assert termios.tcgetattr(child.child_fd)[3] & termios.ECHO
    finally:
        child.close(force=True)
