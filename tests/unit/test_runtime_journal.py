"""The journal: what a process has put out and not sent is found by another after its death, once and in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dh_kernel.runtime.channel import Channel
from dh_kernel.runtime.journal import Journal, JournalReader
from dh_kernel.runtime.streams import TextBuffer, text_frame
from dh_kernel.session.last_words import last_frames

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no memfd_create")


@pytest.fixture
def made() -> Iterator[tuple[Journal, JournalReader]]:
    journal = Journal.make()
    assert journal is not None
    reader = JournalReader(journal.path)
    yield journal, reader
    reader.close()
    journal.close()


def seqs(reader: JournalReader) -> list[int]:
    return [header["seq"] for header, _ in reader.frames()]


def written(reader: JournalReader) -> str:
    return "".join(header["text"] for header, _ in last_frames(reader))


def test_frames_stay_until_they_are_acknowledged(made: tuple[Journal, JournalReader]) -> None:
    journal, reader = made
    for seq in range(1, 4):
        journal.frame(seq, {"kind": "display", "cell": "c1", "data": {"n": seq}}, [b"\0" * seq])
    assert [(header["data"]["n"], buffers) for header, buffers in reader.frames()] == [(n, [b"\0" * n]) for n in (1, 2, 3)]
    journal.acknowledged(2)
    assert seqs(reader) == [3]
    journal.acknowledged(3)
    assert seqs(reader) == []


def test_a_full_ring_takes_the_rest_when_there_is_room(
    made: tuple[Journal, JournalReader],
) -> None:
    """More than it holds, several times round; what is not acknowledged is there, as far as it fits, without a gap."""
    journal, reader = made
    text = "x" * 1_000_000
    for seq in range(1, 61):
        journal.frame(seq, {"kind": "stream", "cell": "c1", "name": "stdout", "text": text, "log": False}, [])
        if seq > 20:
            journal.acknowledged(seq - 20)
            kept = seqs(reader)
            assert kept == list(range(seq - 19, seq - 19 + len(kept)))
            assert len(kept) >= 12
    journal.acknowledged(55)
    assert seqs(reader) == [56, 57, 58, 59, 60]
    assert all(header["text"] == text for header, _ in reader.frames())


def test_text_is_in_one_place_at_any_time(made: tuple[Journal, JournalReader]) -> None:
    """Looked at after each step of a flush: all of it, once."""
    journal, reader = made
    looks: list[str] = []

    class Looking:
        def __call__(self, cell: str, name: str, text: str) -> None:
            looks.append(written(reader))
            channel.queue(text_frame(cell, name, text)[0])
            looks.append(written(reader))

    channel = Channel("s", lambda header, buffers: None)
    channel.journal = journal
    buffer = TextBuffer(Looking(), lambda: None)
    buffer.journal, buffer.together = journal, channel.together
    buffer.write("c1", "stdout", "é1\n")
    buffer.write("c1", "stderr", "2\n")
    buffer.flush()
    buffer.write("c1", "stdout", "3\n")
    assert looks == ["é1\n2\n"] * 4
    assert written(reader) == "é1\n2\n3\n"
    buffer.flush()
    buffer.flush()
    assert written(reader) == "é1\n2\n3\n"
    journal.acknowledged(2)
    assert written(reader) == "3\n"
    channel.close()


def test_what_was_read_from_the_process_is_kept_until_it_is_text(made: tuple[Journal, JournalReader]) -> None:
    journal, reader = made
    read_end, write_end = os.pipe()
    os.write(write_end, b"from a child\n")
    assert journal.read(read_end, "stderr") == b"from a child\n"
    assert reader.raw() == ("stderr", b"from a child\n")
    journal.dealt_with(13)
    assert reader.raw() == ("", b"")
    os.close(read_end)
    os.close(write_end)


_KILLED = """
import os, sys
from dh_kernel.runtime.channel import Channel
from dh_kernel.runtime.journal import Journal
from dh_kernel.runtime.streams import TextBuffer, text_frame
journal = Journal.make()
channel = Channel("s", lambda header, buffers: None)
channel.journal = journal
buffer = TextBuffer(lambda *text: channel.queue(text_frame(*text)[0]), channel.poke)
buffer.journal, buffer.together = journal, channel.together
channel.flush_source = buffer.flush_if_due
print(journal.path, flush=True)
sys.stdin.readline()
number = 0
while True:
    buffer.write("c1", "stdout", f"{number}\\n")
    number += 1
    if number % 100 == 0:
        os.write(1, b"%d\\n" % number)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_each_line_once() -> None:
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        reader = JournalReader(process.stdout.readline().decode().strip())
        process.stdin.write(b"\n")
        process.stdin.flush()
        told = 0
        while told < 20_000:
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = process.stdout.read().split(b"\n")[:-1]
        lines_written = written(reader).splitlines()
        assert lines_written == [str(number) for number in range(len(lines_written))]
        assert len(lines_written) >= (int(lines[-1]) if lines else told)
        reader.close()
        process.stdin.close()
        process.stdout.close()
