"""The run's standard input: lines, pieces and passwords by threads that may still wait when the process ends."""

from __future__ import annotations

import base64
import os
import queue
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import IO

import pexpect  # type: ignore[import-untyped]
import pytest

from dh_kernel.batch.stdin import END_OF_FILE, Question, StandardInput

_WAITS = """\
import sys, time
from dh_kernel.batch.stdin import Question, StandardInput
stdin = StandardInput()
stdin.ask(Question(piece={piece}), print)
sys.stdout.write("waits\\n")
sys.stdout.flush()
time.sleep(0.3)
sys.exit(130)
"""
_PASSWORD = """\
import sys, time
from dh_kernel.batch.stdin import Question, StandardInput
stdin = StandardInput()
stdin.ask(Question("secret? ", password=True), lambda text: print("got", text, flush=True))
time.sleep({seconds})
stdin.close()
sys.exit(3)
"""


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """The writing end of what is the standard input."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", 0) as reads, os.fdopen(write_end, "wb", 0) as writes:
        monkeypatch.setattr(sys, "stdin", reads)
        yield writes


def asked(stdin: StandardInput, question: Question) -> queue.Queue[str]:
    answers: queue.Queue[str] = queue.Queue()
    stdin.ask(question, answers.put)
    return answers


def test_lines_and_pieces_follow_one_another(pipe: IO[bytes]) -> None:
    stdin = StandardInput()
    pipe.write(b"one\ntwo\nthree \xff")
    assert asked(stdin, Question()).get(timeout=10) == "one"
    assert base64.b64decode(asked(stdin, Question(piece=2)).get(timeout=10)) == b"tw"
    assert asked(stdin, Question()).get(timeout=10) == "o"
    pipe.close()
    assert asked(stdin, Question()).get(timeout=10) == "three \ufffd"
    assert asked(stdin, Question()).get(timeout=10) == END_OF_FILE
    assert asked(stdin, Question(piece=5)).get(timeout=10) == END_OF_FILE


def test_what_comes_for_a_question_that_was_given_up_is_for_the_next_one(pipe: IO[bytes]) -> None:
    stdin = StandardInput()
    first, second = asked(stdin, Question()), asked(stdin, Question(piece=100))
    pipe.write(b"late\n")
    assert base64.b64decode(second.get(timeout=10)) == b"late\n"
    assert first.empty()


def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert asked(StandardInput(), Question(password=True)).get(timeout=10) == END_OF_FILE


@pytest.mark.parametrize("piece", [0, 10])
def test_a_thread_that_waits_for_input_does_not_spoil_the_exit_code(piece: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITS.format(piece=piece)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"waits\n"
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()


def test_a_password_is_not_shown_and_the_terminal_is_as_it_was_even_if_nobody_answers() -> None:
    for seconds, says in ((600, "got hidden"), (0.5, None)):
        child = pexpect.spawn(sys.executable, ["-c", _PASSWORD.format(seconds=seconds)], encoding="utf-8", timeout=30)
        try:
            child.expect(r"secret\? ")
            assert not termios.tcgetattr(child.child_fd)[3] & termios.ECHO
            if says is not None:
                child.sendline("hidden")
                child.expect(says)
                assert "hidden" not in child.before
            else:
                child.expect(pexpect.EOF)
                child.wait()
                assert child.exitstatus == 3
            assert termios.tcgetattr(child.child_fd)[3] & termios.ECHO
        finally:
            child.close(force=True)
