"""The log's tail is bounded, and the reader delivers what arrives after ready, in order, to the one who has the output."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Iterator

import pytest

from dh_kernel.server.output import LINE_LENGTH, LINES_KEPT, LogTail, PosixReader

TIMEOUT_S = 20.0


class Pipes:
    """A reader, with the other ends of its pipes."""

    def __init__(self) -> None:
        self.tail = LogTail()
        self.reports: queue.Queue[str] = queue.Queue()
        self.output: queue.Queue[tuple[str, str]] = queue.Queue()
        pairs = [os.pipe() for _ in range(3)]
        self.stdout_read = pairs[0][0]
        self.stdout, self.stderr, self.report = (pair[1] for pair in pairs)
        self.reader = PosixReader(self.tail, (pairs[0][0], pairs[1][0]), pairs[2][0], self.reports.put)
        self.reader.on_output(lambda stream, text: self.output.put((stream, text)))

    def become_ready(self) -> None:
        os.write(self.report, json.dumps({"port": 1}).encode() + b"\n")
        self.reports.get(timeout=TIMEOUT_S)

    def text(self, length: int) -> str:
        """So many characters of output."""
        text = ""
        while len(text) < length:
            text += self.output.get(timeout=TIMEOUT_S)[1]
        return text


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.reader.finish(TIMEOUT_S)
    for fd in (made.stdout, made.stderr, made.report):
        os.close(fd)


def test_tail_keeps_the_last_lines_only() -> None:
    tail = LogTail()
    for number in range(LINES_KEPT * 3):
        tail.add(f"line {number}\n")
    lines = tail.last(10 * LINES_KEPT)
    assert len(lines) == LINES_KEPT
    assert lines[-1] == f"line {LINES_KEPT * 3 - 1}"


def test_tail_bounds_a_line_without_end() -> None:
    tail = LogTail()
    for _ in range(100):
        tail.add("x" * LINE_LENGTH)
    tail.add("\n" + "y" * (3 * LINE_LENGTH) + "\n")
    assert [len(line) for line in tail.last(5)] == [LINE_LENGTH, LINE_LENGTH]


def test_tail_shows_the_unfinished_line_and_keeps_streams_apart() -> None:
    tail = LogTail()
    tail.add("out", "stdout")
    tail.add("err\n", "stderr")
    tail.add("put", "stdout")
    assert tail.last(5) == ("err", "output")


def test_tail_hides_the_key() -> None:
    tail = LogTail()
    tail.hide("s3cret")
    tail.add("key is s3cret\nagain s3c")
    tail.add("ret")
    assert tail.last(5) == ("key is <key>", "again <key>")


def test_output_before_ready_goes_to_the_tail_only(pipes: Pipes) -> None:
    os.write(pipes.stdout, b"chatter\n")
    os.write(pipes.stderr, b"a warning\n")
    pipes.become_ready()
    os.write(pipes.stdout, b"user\n")
    assert pipes.output.get(timeout=TIMEOUT_S) == ("stdout", "user\n")
    assert set(pipes.tail.last(5)) == {"chatter", "a warning", "user"}


def test_characters_cut_in_two_stay_whole_and_bad_bytes_are_replaced(pipes: Pipes) -> None:
    pipes.become_ready()
    os.write(pipes.stdout, "é".encode()[:1])
    os.write(pipes.stdout, "é".encode()[1:] + b"\xff|")
    assert pipes.text(3) == "é\ufffd|"


def test_nothing_is_read_while_handed_over(pipes: Pipes) -> None:
    pipes.become_ready()
    pipes.reader.hand_over()
    os.write(pipes.stdout, b"for the server")
    os.write(pipes.stderr, b"waits")
    assert os.read(pipes.stdout_read, 100) == b"for the server"
    pipes.reader.take_back()
    assert pipes.output.get(timeout=TIMEOUT_S) == ("stderr", "waits")


def test_last_words_reach_the_tail_also_while_handed_over(pipes: Pipes) -> None:
    pipes.become_ready()
    pipes.reader.hand_over()
    os.write(pipes.stderr, b"java.lang.OutOfMemoryError")
    pipes.reader.finish(TIMEOUT_S)
    assert pipes.tail.last(1) == ("java.lang.OutOfMemoryError",)
    assert pipes.output.empty()


def test_an_error_of_the_callback_does_not_stop_the_reading(pipes: Pipes) -> None:
    pipes.become_ready()
    texts: queue.Queue[str] = queue.Queue()

    def raises(_stream: str, text: str) -> None:
        texts.put(text)
        raise ValueError(text)

    pipes.reader.on_output(raises)
    os.write(pipes.stdout, b"1")
    assert texts.get(timeout=TIMEOUT_S) == "1"
    os.write(pipes.stdout, b"2")
    assert texts.get(timeout=TIMEOUT_S) == "2"


def test_a_closed_stream_does_not_disturb_the_other(pipes: Pipes) -> None:
    pipes.become_ready()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, pipes.stderr)
    os.close(null)
    os.write(pipes.stdout, b"still here")
    assert pipes.text(10) == "still here"
