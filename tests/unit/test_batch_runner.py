"""The runner and a kernel that is played: what is begun, what is reported, and the exit code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import nbformat
import pytest
from batching import notebook

from dh_kernel.batch import runner, writing
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
        self.cells = cells
        self.info: dict[str, Any] = {"deephaven": SERVER}
        self.dead, self.interrupted = asyncio.Event(), asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = 0
        self.stop: Callable[[], None] = lambda: None

    # --- as `kernels.Kernel`

    async def start(self) -> Any:
        return await self.client()

    async def client(self) -> Any:
        """With what `Conversation` uses, and with what nbclient does."""
        queues: dict[str, Any] = {name: asyncio.Queue() for name in ("shell", "iopub", "stdin")}
        channels = {f"{name}_channel": SimpleNamespace(get_msg=_getter(queue)) for name, queue in queues.items()}
        client = SimpleNamespace(session=SimpleNamespace(msg=self._message), **channels)
        client.shell_channel.send = lambda message: self._take(message, queues)
        client.control_channel = SimpleNamespace(send=lambda message: None)

        def execute(code: str, **options: Any) -> str:
            message = self._message("execute_request", {"code": code})
            self._take(message, queues)
            return str(message["header"]["msg_id"])

        async def is_alive() -> bool:
            return not self.dead.is_set()

        client.execute, client.is_alive = execute, is_alive
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

    def _take(self, message: dict[str, Any], queues: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._answer(message, queues))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, message: dict[str, Any], queues: dict[str, Any]) -> None:
        code, parent = message["content"].get("code"), message["header"]

        def say(kind: str, content: dict[str, Any]) -> None:
            queues["iopub"].put_nowait({"msg_type": kind, "parent_header": parent, "content": content, "metadata": {}})

        self.say = say
        if parent["msg_type"] == "kernel_info_request":
            reply: dict[str, Any] = self.info
        else:
            reply = await self.cells[code](self, message) if code in self.cells else OK
        queues["shell"].put_nowait({"msg_type": "reply", "parent_header": parent, "content": reply})
        say("status", {"execution_state": "idle"})


def _getter(queue: Any) -> Any:
    async def get_msg(timeout: float | None = None) -> Any:
        return await queue.get()

    return get_msg


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
    monkeypatch.setattr(runner, "_BEYOND_GRACE_S", 60.0)  # no matter how busy this machine is

    async def run(order: Order, cells: dict[str, Play], during: Any = None) -> Ran:
        loop = asyncio.get_running_loop()
        runners: list[Runner] = []

        def broken() -> None:
            with contextlib.suppress(RuntimeError):  # of a former test's loop
                loop.call_soon_threadsafe(runners[0].broken_pipe)

        writer = Writer(broken)
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
    monkeypatch.setattr(runner, "_BEYOND_GRACE_S", 1.0)
    let = threading.Event()

    def stuck(descriptor: int, data: memoryview) -> int:
        let.wait(30)
        return len(data)

    def stop_later(running: Runner, kernel: Played) -> None:
        async def stop() -> None:
            await kernel.dead.wait()
            running.stop(Status.INTERRUPTED, 143)

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
    def stop_later(running: Runner, kernel: Played) -> None:
        async def shutdown(within_s: float) -> None:
            running.stop(Status.INTERRUPTED, 143)

        kernel.shutdown = shutdown  # type: ignore[method-assign]

    assert (await play(codes("a"), {"a": ends}, stop_later)).code == 0


@pytest.mark.parametrize(("status", "code"), [(Status.TIMEOUT, 3), (Status.INTERRUPTED, 143), (Status.INTERRUPTED, 141)])
async def test_nothing_begins_after_a_stop_though_the_code_catches_the_interrupt(play: Any, status: Status, code: int) -> None:
    async def stopped(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        kernel.stop()
        return await catches_the_interrupt(kernel, message)

    def during(running: Runner, kernel: Played) -> None:
        kernel.stop = lambda: running.stop(status, code)

    ran = await play(codes("a", "b"), {"a": stopped, "b": ends}, during)
    assert ran.code == code
    assert [name for name, *_ in ran.items()] == ["a", "a"]


async def test_what_a_limit_interrupts_ends_with_its_outcome(play: Any) -> None:
    ran = await play(codes("a", cell_timeout_s=0.05), {"a": is_interrupted})
    assert (ran.code, ran.items()[-1]) == (3, ("a", "timeout", 3))


async def test_what_is_killed_has_one_error_and_its_end(play: Any) -> None:
    ran = await play(codes("a", cell_timeout_s=0.05, grace_s=0.05), {"a": hangs})
    assert ran.code == 3
    assert ran.items() == [("a", "running", None), ("a", "timeout", 3)]
    assert ran.errors() == ["TimeoutError"]


async def test_a_death_ends_what_was_under_way(play: Any) -> None:
    async def dies(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        kernel.dead.set()
        return await hangs(kernel, message)

    ran = await play(codes("a", "b"), {"a": dies, "b": ends})
    assert (ran.code, ran.items()[1:], ran.errors()) == (4, [("a", "died", 4)], ["KernelDied"])


async def test_a_message_that_cannot_be_taken_is_told_and_ends_the_run(play: Any) -> None:
    async def says_nonsense(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        kernel.say("stream", {"name": "stdout"})
        return await hangs(kernel, message)

    ran = await play(codes("a"), {"a": says_nonsense})
    assert (ran.code, ran.items()[1:], ran.errors()) == (1, [("a", "error", 1)], ["KeyError"])


async def test_nothing_comes_behind_the_last_line(play: Any) -> None:
    def during(running: Runner, kernel: Played) -> None:
        async def shutdown(within_s: float) -> None:
            kernel.say("stream", {"name": "stderr", "text": "goodbye"})
            await asyncio.sleep(0.1)

        kernel.shutdown = shutdown  # type: ignore[method-assign]

    ran = await play(codes("a"), {"a": ends}, during)
    assert (ran.code, ran.events[-1]["event"], ran.events[-1]["exit_code"]) == (0, "status", 0)


async def test_numbers_that_json_has_not_are_text(play: Any) -> None:
    async def shows(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        kernel.say("display_data", {"data": {"application/json": {"x": float("nan")}}, "metadata": {}})
        return OK

    ran = await play(codes("a"), {"a": shows})
    assert [event["data"] for event in ran.events if event["event"] == "display"] == [{"application/json": {"x": "NaN"}}]


async def test_a_fault_of_ours_is_told_and_ends_the_run(play: Any) -> None:
    async def nonsense(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        return {"status": "error"}

    ran = await play(codes("a", "b"), {"a": nonsense, "b": ends})
    assert (ran.code, ran.items()[1:], ran.errors()) == (1, [("a", "error", 1)], ["KeyError"])
    assert ran.events[-1]["error"]["traceback"][0].startswith("Traceback")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """The writing end of what is the standard input."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", 0) as reads, os.fdopen(write_end, "wb", 0) as writes:
        monkeypatch.setattr("sys.stdin", reads)
        yield writes


async def test_a_script_on_the_standard_input_is_waited_for_within_the_limit(play: Any, pipe: IO[bytes]) -> None:
    order = Order((Item("stdin", "-", arguments=("-",)),), timeout_s=0.3, grace_s=0.0)
    ran = await play(order, {})
    assert (ran.code, ran.items(), ran.errors()) == (3, [], ["TimeoutError"])


@pytest.mark.parametrize(("script", "code", "items"), [(b"a\r\n", 0, 2), (b"\xff", 64, 0)])
async def test_a_script_on_the_standard_input_is_read_by_pythons_rules(
    play: Any, pipe: IO[bytes], script: bytes, code: int, items: int
) -> None:
    pipe.write(script)
    pipe.close()
    order = Order((Item("stdin", "-", arguments=("-",)),))
    ran = await play(order, {"a\n": ends})
    assert (ran.code, len(ran.items())) == (code, items)


async def test_serving_ends_with_the_server_and_tells_the_cause(play: Any) -> None:
    async def cause(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        if kernel.info["deephaven"] is not None:
            return OK
        return {"status": "error", "ename": "ServerDiedError", "evalue": "of this", "traceback": [], "dh_kernel": True}

    async def makes(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.1, kernel.info.update, {"deephaven": None})
        return OK

    ran = await play(codes("a", serves=True), {"a": makes, "": cause})
    assert (ran.code, ran.errors()) == (4, ["ServerDiedError"])
    assert ran.events[-1]["error"]["value"] == "of this"


async def test_serving_ends_with_the_kernel(play: Any) -> None:
    async def makes(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.1, kernel.dead.set)
        return OK

    ran = await play(codes("a", serves=True), {"a": makes})
    assert (ran.code, ran.errors()) == (4, ["KernelDied"])


async def test_serving_ends_well_when_it_is_asked_for(play: Any) -> None:
    def stop_later(running: Runner, kernel: Played) -> None:
        kernel.stop = lambda: running.stop(Status.INTERRUPTED, 143)

    async def makes(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.7, kernel.stop)
        return OK

    assert (await play(codes("a", serves=True), {"a": makes}, stop_later)).code == 0


# Notebooks


def book(path: Path, *cells: str, output: str | None = None, **more: Any) -> Order:
    notebook(path, cells)
    return Order((Item("notebook", path.name, str(path)),), output=output, **more)


def statuses(path: Path) -> list[str]:
    return [cell["metadata"]["papermill"]["status"] for cell in json.loads(path.read_text())["cells"]]


async def test_no_cell_begins_after_a_stop_though_the_code_catches_the_interrupt(play: Any, tmp_path: Path) -> None:
    order = book(tmp_path / "nb.ipynb", "a", "b", cell_timeout_s=0.05)
    ran = await play(order, {"a": catches_the_interrupt, "b": ends})
    assert ran.code == 3
    assert [name for name, *_ in ran.items()] == ["nb.ipynb", "cell-0", "cell-0", "nb.ipynb"]
    assert statuses(tmp_path / "nb.out.ipynb") == ["completed", "pending"]


@pytest.mark.parametrize("cell", [hangs, is_interrupted])
async def test_a_cell_that_is_cut_off_has_its_end_and_so_has_its_notebook(play: Any, tmp_path: Path, cell: Play) -> None:
    order = book(tmp_path / "nb.ipynb", "a", "b", cell_timeout_s=0.05, grace_s=0.1)
    ran = await play(order, {"a": cell, "b": ends})
    assert ran.code == 3
    assert ran.items()[2:] == [("cell-0", "timeout", 3), ("nb.ipynb", "timeout", 3)]
    assert ran.errors() == ["TimeoutError"]
    assert statuses(tmp_path / "nb.out.ipynb") == ["failed", "pending"]
    assert json.loads((tmp_path / "nb.out.ipynb").read_text())["cells"][0]["outputs"][-1]["ename"] in (
        "TimeoutError",
        "KeyboardInterrupt",
    )


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "1",
        "",
        '"x"',
        "\x00",
        '{"nbformat": 4, "cells": {}}',
        '{"nbformat": "a"}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}',
        '{"nbformat": 4, "nbformat_minor": 5, "cells": []}',
    ],
)
async def test_what_is_no_notebook_is_told(play: Any, tmp_path: Path, content: str) -> None:
    order = book(tmp_path / "nb.ipynb")
    (tmp_path / "nb.ipynb").write_text(content)
    ran = await play(order, {})
    assert (ran.code, ran.items()[1:], ran.errors()) == (1, [("nb.ipynb", "error", 1)], ["NotANotebook"])


@pytest.mark.parametrize("minor", [0, 2, 4, 5])
async def test_parameters_in_a_notebook_of_a_former_version_leave_it_valid(play: Any, tmp_path: Path, minor: int) -> None:
    order = book(tmp_path / "nb.ipynb", "a", parameters={"day": "2024-01-02", "limit": float("nan")})
    whole = json.loads((tmp_path / "nb.ipynb").read_text())
    whole["nbformat_minor"] = minor
    for cell in whole["cells"] if minor < 5 else ():
        del cell["id"]
    (tmp_path / "nb.ipynb").write_text(json.dumps(whole))
    assert (await play(order, {"a": ends})).code == 0
    text = (tmp_path / "nb.out.ipynb").read_text()
    made = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    nbformat.validate(made)
    assert "".join(made["cells"][0]["source"]) == "# Parameters\nday = '2024-01-02'\nlimit = float('nan')\n"


async def test_the_output_may_be_a_link_which_is_followed(play: Any, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "there.ipynb").write_text("former")
    for name, leads in (("link", "real/there.ipynb"), ("dangling", "real/new.ipynb")):
        (tmp_path / name).symlink_to(leads)
        assert (await play(book(tmp_path / "nb.ipynb", "a", output=str(tmp_path / name)), {})).code == 0
        assert (tmp_path / name).is_symlink()
        assert statuses(tmp_path / leads) == ["completed"]
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["new.ipynb", "there.ipynb"]


async def test_the_output_may_be_a_pipe_which_gets_the_whole_notebook_once(play: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = concurrent.futures.ThreadPoolExecutor(1)
    read = reader.submit(pipe.read_text)
    assert (await play(book(tmp_path / "nb.ipynb", "a", "b", output=str(pipe)), {})).code == 0
    whole = json.loads(read.result(30))
    assert [cell["metadata"]["papermill"]["status"] for cell in whole["cells"]] == ["completed"] * 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.shutdown()


async def test_a_pipe_that_nobody_reads_does_not_hold_up_a_limit(play: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ran = await play(book(tmp_path / "nb.ipynb", "a", output=str(pipe), timeout_s=0.5, grace_s=0.0), {})
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # for the thread
    assert (ran.code, ran.items()[-1]) == (3, ("nb.ipynb", "timeout", 3))


async def test_a_folder_is_no_output_and_nothing_runs(play: Any, tmp_path: Path) -> None:
    ran = await play(book(tmp_path / "nb.ipynb", "a", output=str(tmp_path)), {})
    assert (ran.code, ran.errors()) == (1, ["IsADirectoryError"])
    assert [name for name, *_ in ran.items()] == ["nb.ipynb"] * 2


def raises(name: str, value: str) -> Play:
    async def cell(kernel: Played, message: dict[str, Any]) -> dict[str, Any]:
        return {"status": "error", "ename": name, "evalue": value, "traceback": []}

    return cell


@pytest.mark.parametrize(("value", "code", "status"), [("0", 0, "completed"), ("", 0, "completed"), ("3", 3, "failed")])
@pytest.mark.parametrize("allow_errors", [False, True])
async def test_an_exit_ends_a_notebook(
    play: Any, tmp_path: Path, value: str, code: int, status: str, allow_errors: bool
) -> None:
    order = book(tmp_path / "nb.ipynb", "a", "b", allow_errors=allow_errors)
    ran = await play(order, {"a": raises("SystemExit", value), "b": ends})
    assert ran.code == code
    assert ran.items()[2:] == [("cell-0", "exit", code), ("nb.ipynb", "exit", code)]
    assert statuses(tmp_path / "nb.out.ipynb") == [status, "pending"]
    whole = json.loads((tmp_path / "nb.out.ipynb").read_text())
    assert whole["metadata"]["papermill"]["exception"] is (True if code else None)


@pytest.mark.parametrize("name", ["SystemExit", "ValueError"])
async def test_a_cell_that_is_tagged_may_raise_anything(play: Any, tmp_path: Path, name: str) -> None:
    order = book(tmp_path / "nb.ipynb", "a", "b")
    notebook(tmp_path / "nb.ipynb", ("a", "b"), {0: "raises-exception"})
    ran = await play(order, {"a": raises(name, "3"), "b": ends})
    assert (ran.code, statuses(tmp_path / "nb.out.ipynb")) == (0, ["completed"] * 2)
