"""Output that waits for whoever takes it: the kernel's window, the run's writer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from dh_kernel.batch import writing
from dh_kernel.batch.writing import ERR, OUT, Writer
from dh_kernel.flow import Flow

WINDOW = 1 << 20


async def test_without_a_window_nothing_waits_and_nothing_is_told() -> None:
    flow = Flow(0)
    await flow.room(10**9)
    assert flow.marked(None) is None
    assert flow.marked({"a": 1}) == {"a": 1}


async def test_beyond_the_window_it_waits_until_enough_has_been_taken() -> None:
    flow = Flow(WINDOW)
    await flow.room(WINDOW // 2)
    await flow.room(WINDOW // 2)
    waiting = asyncio.ensure_future(flow.room(WINDOW // 4))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert flow.marked({"a": 1}) == {"a": 1, "dh_kernel": {"sent": WINDOW}}
    flow.taken(WINDOW // 4 - 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    flow.taken(WINDOW // 4)
    await waiting


async def test_a_message_larger_than_the_window_passes_though_a_quarter_is_not_told() -> None:
    flow = Flow(WINDOW)
    await flow.room(WINDOW // 4)
    await asyncio.wait_for(flow.room(100 * WINDOW), 5)


async def test_small_messages_are_bounded_in_number() -> None:
    flow = Flow(WINDOW)
    for _ in range(WINDOW // (16 << 10)):
        await flow.room(1)
    waiting = asyncio.ensure_future(flow.room(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pipe that a writer takes for stdout."""
    read_end, write_end = os.pipe()
    write = os.write
    monkeypatch.setattr(writing.os, "write", lambda fd, data: write(write_end if fd == OUT else fd, data))
    yield read_end, write_end
    for end in (read_end, write_end):
        try:
            os.close(end)
        except OSError:
            continue


def test_the_writer_writes_all_in_order_and_tells(pipe: tuple[int, int]) -> None:
    told = threading.Event()
    writer = Writer(lambda: None)
    data = bytes(range(256)) * 4096
    writer.put(OUT, data)
    writer.put(OUT, b"end")
    writer.after(told.set)
    assert not told.wait(0.05)  # the pipe is full
    got = b""
    while len(got) < len(data) + 3:
        got += os.read(pipe[0], 1 << 16)
    assert got == data + b"end"
    assert told.wait(10)


def test_a_pipe_that_nobody_reads_is_told_once_and_the_rest_is_dropped(pipe: tuple[int, int]) -> None:
    broken: list[int] = []
    done = threading.Event()
    writer = Writer(lambda: broken.append(1))
    os.close(pipe[0])
    writer.put(OUT, b"x")
    writer.put(OUT, b"y")
    writer.put(ERR, b"never seen\n")
    writer.after(done.set)
    assert done.wait(10)
    assert broken == [1]
