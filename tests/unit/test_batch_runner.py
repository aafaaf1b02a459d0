"""The runner and a kernel that is played: what is begun, what is reported, and the exit code."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dh_kernel.batch import writing
from dh_kernel.batch.command import Item, Order
from dh_kernel.batch.outcome import Status
from dh_kernel.batch.reports import REPORTS
from dh_kernel.batch.runner import Runner
from dh_kernel.batch.writing import OUT, Notes, Writer

Play = Callable[["Played", dict[str, Any]], Awaitable[dict[str, Any]]]
SERVER = {"version": "1.0", "java_home": None, "host": "here", "port": 1}
OK = {"status": "ok"}


class Played:
    """A kernel whose cells are coroutines of the test: code -> what it does, and its reply's content."""

    owned, manager = True, None

    def __init__(self, cells: dict[str, Play]) -> None:
        self.cells, self.begun, self.said = cells, [], []  # type: ignore[var-annotated]
        self.info: dict[str, Any] = {"deephaven": SERVER}
        self.dead, self.interrupted = asyncio.Event(), asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.queues = {name: asyncio.Queue() for name in ("shell", "iopub", "stdin")}  # type: ignore[var-annotated]
        self.count = 0

    # --- as `kernels.Kernel`

    async def start(self) -> Any:
        channels = {f"{name}_channel": SimpleNamespace(get_msg=queue.get) for name, queue in self.queues.items()}
        client = SimpleNamespace(session=SimpleNamespace(msg=self._message), **channels)
        client.shell_channel.send = self._take
        client.control_channel = SimpleNamespace(send=lambda message: None)
        return client

    async def wait_for_death(self) -> None:
        await self.dead.wait()

    async def interrupt(self) -> None:
        self.interrupted.set()

    async def shutdown(self, within_s: float) -> None:
        await self.kill()

    async def kill(self) -> None:
        self.dead.set()
        for task in self.tasks:
            task.cancel()

    def log_tail(self) -> str:
        return ""

    def close(self) -> None:
        pass

    # --- the other end

    def _message(self, kind: str, content: dict[str, Any], metadata: Any = None) -> dict[str, Any]:
        self.count += 1
        return {"header": {"msg_id": str(self.count), "msg_type": kind}, "content": content, "metadata": metadata}

    def _take(self, message: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._answer(message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, message: dict[str, Any]) -> None:
        code = message["content"].get("code")
        self.parent = message["header"]
        if message["header"]["msg_type"] == "kernel_info_request":
            reply: dict[str, Any] = self.info
        elif code in self.cells:
            self.begun.append(code)
            reply = await self.cells[code](self, message)
        else:
            reply = OK
        self.queues["shell"].put_nowait({"parent_header": message["header"], "content": reply})
        self.say("status", {"execution_state": "idle"}, message["header"])

    def say(self, kind: str, content: dict[str, Any], parent: Any = None) -> None:
        header = parent or self.parent
        self.queues["iopub"].put_nowait({"msg_type": kind, "parent_header": header, "content": content, "metadata": {}})


class Ran:
    """An order carried out: its exit code, and the events that were reported."""

    def __init__(self, code: int, text: bytes) -> None:
        self.code, self.text = code, text

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def items(self) -> list[tuple[str, str, int | None]]:
        return [(event["name"], event["status"], event.get("exit_code")) for event in self.events if event["event"] == "cell"]

    def errors(self) -> list[str]:
        return [event["error"]["name"] for event in self.events if event["event"] == "error"]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Ran]]:
    """`await play(order, cells, during)`; `during(runner, kernel)` is called when the run begins."""
    written: list[bytes] = []

    def write(descriptor: int, data: memoryview) -> int:
        written.append(bytes(data)) if descriptor == OUT else None
        return len(data)

    monkeypatch.setattr(writing.os, "write", write)

    async def run(order: Order, cells: dict[str, Play], during: Any = None) -> Ran:
        loop = asyncio.get_running_loop()
        runners: list[Runner] = []
        writer = Writer(lambda: loop.call_soon_threadsafe(runners[0].broken_pipe))
        kernel = Played(cells)
        notes = Notes(writer, "run", lines=False, bars=False)
        runners.append(Runner(order, kernel, REPORTS["json-lines"](writer), writer, notes, time.monotonic()))
        if during is not None:
            during(runners[0], kernel)
        code = await asyncio.wait_for(runners[0].run(), 30)
        return Ran(code, b"".join(written))

    return run


def codes(*texts: str, **more: Any) -> Order:
    return Order(tuple(Item("code", text, code=text) for text in texts), **more)


async def ends(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
    return OK


async def hangs(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def catches_the_interrupt(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
    await kernel.interrupted.wait()
    return OK


async def is_interrupted(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
    await kernel.interrupted.wait()
    return {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}


async def test_items_run_in_turn(play: Any) -> None:
    ran = await play(codes("a", "b"), {"a": ends, "b": ends})
    assert ran.code == 0
    assert ran.items() == [("a", "running", None), ("a", "ok", 0), ("b", "running", None), ("b", "ok", 0)]


async def test_output_that_is_cut_off_by_a_stop_is_no_success(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All has run; the reader is stuck, and then somebody asks for the end."""
    let = threading.Event()

    def stuck(descriptor: int, data: memoryview) -> int:
        let.wait(30)
        return len(data)

    def stop_later(runner: Runner, kernel: Played) -> None:
        async def stop() -> None:
            await kernel.dead.wait()
            runner.stop(Status.INTERRUPTED, 143)

        kernel.stopping = asyncio.ensure_future(stop())

    monkeypatch.setattr(writing.os, "write", stuck)
    try:
        assert (await play(codes("a", grace_s=0.0), {"a": ends}, stop_later)).code == 143
    finally:
        let.set()


async def test_a_last_word_that_nobody_reads_is_no_success(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(descriptor: int, data: memoryview) -> int:
        if b'"exit_code": 0, "error"' in bytes(data):
            raise BrokenPipeError
        return len(data)

    monkeypatch.setattr(writing.os, "write", nobody)
    assert (await play(codes("a"), {"a": ends})).code == 141


async def test_a_stop_when_all_has_been_written_changes_nothing(play: Any) -> None:
    def stop_later(runner: Runner, kernel: Played) -> None:
        async def shutdown(within_s: float) -> None:
            runner.stop(Status.INTERRUPTED, 143)

        kernel.shutdown = shutdown  # type: ignore[method-assign]

    assert (await play(codes("a"), {"a": ends}, stop_later)).code == 0
