"""The kernel's side of the debugger on a debugpy that is played here, and the names of cells' files."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ipykernel.compiler import murmur2_x86

from dh_kernel.debugging import DebugError, Debugger, DebugpyClient, shown
from dh_kernel.runtime.cell_files import SEED, CellFiles, murmur2
from dh_kernel.runtime.interrupts import drop_async_exception
from dh_kernel.runtime.threads import ServiceThread
from dh_kernel.runtime.tracebacks import without_own_frames

Message = dict[str, Any]


@pytest.mark.parametrize("length", range(13))
def test_the_hash_is_that_of_ipykernel(length: int) -> None:
    """Front ends compute it for ipykernel."""
    for text in ("abcdefghijklm"[:length], "äöü€ß¶µ²³¼½¬"[:length]):
        assert murmur2(text.encode(), SEED) == murmur2_x86(text, SEED)


def test_cells_are_written_into_a_folder_that_is_made_then(tmp_path: Path) -> None:
    files = CellFiles(str(tmp_path))
    assert not Path(files.prefix).exists()
    path = files.write("é = '\\n'\r\n\udcff")
    assert path == files.name("é = '\\n'\r\n\udcff")
    assert Path(path).read_bytes() == b"\xc3\xa9 = '\\n'\r\n\xed\xb3\xbf"
    assert Path(files.prefix).stat().st_mode & 0o777 == 0o700


def test_names_of_ipython_are_left_out() -> None:
    names = [
        "x",
        "_",
        "___",
        "_12",
        "_i",
        "_i3",
        "_ih",
        "In",
        "__name__",
        "_private",
        "__dunder__",
        "inner",
        "special variables",
    ]
    assert [found["name"] for found in shown([{"name": name} for name in names])] == [
        "x",
        "_private",
        "__dunder__",
        "inner",
        "special variables",
    ]


def test_an_interrupt_that_is_taken_back_leaves_nothing_to_look_for() -> None:
    """Python up to 3.12 hangs in traced code of any thread while it looks for an exception that is not there."""
    drop_async_exception()
    traced = threading.Event()

    def run() -> None:
        sys.settrace(lambda frame, event, argument: None)
        inner()
        sys.settrace(None)
        traced.set()

    def inner() -> None:
        sys._getframe().f_trace = None

    threading.Thread(target=run, daemon=True).start()
    assert traced.wait(30.0)


def test_a_debugger_leaves_the_runtime_s_threads_alone() -> None:
    """By the two attributes that pydevd looks for."""
    thread = ServiceThread(target=lambda: None)
    assert (thread.pydev_do_not_trace, thread.is_pydev_daemon_thread) == (True, True)


def test_a_traceback_ends_where_the_debugger_s_frames_begin() -> None:
    debugger: Message = {"__name__": "pydevd"}
    exec("def wait():\n    raise KeyboardInterrupt", debugger)

    def cell() -> None:
        debugger["wait"]()

    with pytest.raises(KeyboardInterrupt) as caught:
        cell()
    tb = without_own_frames(caught.tb, ())
    names = []
    while tb is not None:
        names.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert names[-1] == "cell"


class Debugpy:
    """Speaks as debugpy would, by `answers`: a command to the response's body, or to a function of the request."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.answers: dict[str, Any] = {}
        self.writer: asyncio.StreamWriter | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while True:
                header = await reader.readuntil(b"\r\n\r\n")
                request = json.loads(await reader.readexactly(int(header.split(b":")[1])))
                self.requests.append(request)
                self.respond(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def respond(self, request: Message) -> None:
        answer = self.answers.get(request["command"], {})
        if answer is not None:
            response = {"type": "response", "request_seq": request["seq"], "command": request["command"]}
            self.say({**response, "success": True, "body": answer})

    def say(self, message: Message) -> None:
        assert self.writer is not None
        data = json.dumps(message, ensure_ascii=False).encode()
        self.writer.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)

    def tell(self, event: str, **body: Any) -> None:
        self.say({"type": "event", "event": event, "body": body})

    @property
    def commands(self) -> list[str]:
        return [request["command"] for request in self.requests]


class Server:
    """Answers the debugger's questions to the runtime."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.answers: Message = {
            "start": {"host": "127.0.0.1", "port": port, "token": "secret", "internal": ["/lib/x.py"], "take": "take"},
            "info": {"names": {"tmpFilePrefix": "/tmp/cells/", "hashSeed": 1}},
            "rich": {"data": {"text/plain": "1"}, "metadata": {"text/plain": {}, "other": {}}},
            "variables": {"variables": [{"name": "x"}, {"name": "_i1"}]},
        }

    async def ask(self, command: str, timeout_s: float, **fields: Any) -> Message:
        self.asked.append((command, fields))
        if command not in self.answers:
            raise DebugError(f"no {command}")
        return dict(self.answers[command])


@pytest.fixture
async def debugpy() -> AsyncIterator[Debugpy]:
    played = Debugpy()
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
    played.port = server.sockets[0].getsockname()[1]
    yield played
    server.close()
    if played.writer is not None:
        played.writer.close()


class Pair:
    """A debugger between a played debugpy and a played runtime."""

    def __init__(self, debugpy: Debugpy) -> None:
        self.server = Server(debugpy.port)
        self.events: asyncio.Queue[Message] = asyncio.Queue()
        self.debugger = Debugger(self.server, self.events.put_nowait)

    async def ask(self, command: str, **arguments: Any) -> Message:
        return await self.debugger.handle({"type": "request", "seq": 7, "command": command, "arguments": arguments})


@pytest.fixture
async def pair(debugpy: Debugpy) -> AsyncIterator[Pair]:
    pair = Pair(debugpy)
    yield pair
    await pair.ask("disconnect")


async def test_it_shows_its_token_before_anything_else(pair: Pair, debugpy: Debugpy) -> None:
    response = await pair.ask("initialize", adapterID="x")
    assert (response["success"], response["request_seq"], response["command"]) == (True, 7, "initialize")
    assert debugpy.commands == ["pydevdAuthorize", "initialize"]
    assert debugpy.requests[0]["arguments"] == {"debugServerAccessToken": "secret"}


async def test_two_that_begin_at_once_start_one(pair: Pair, debugpy: Debugpy) -> None:
    await asyncio.gather(pair.ask("initialize", adapterID="x"), pair.ask("initialize", adapterID="y"))
    assert debugpy.commands == ["pydevdAuthorize", "initialize", "initialize"]
    assert [command for command, _ in pair.server.asked] == ["start"]


async def test_attaching_ends_the_configuration(pair: Pair, debugpy: Debugpy) -> None:
    """ipykernel's front ends send `configurationDone` only when their breakpoints are set."""
    await pair.ask("initialize", adapterID="x")
    await pair.ask("attach")
    await pair.ask("configurationDone")
    assert debugpy.commands[2:] == ["attach", "configurationDone"]
    arguments = debugpy.requests[2]["arguments"]
    assert arguments["rules"] == [{"path": "/lib/x.py", "include": False}]
    assert arguments["subProcess"] is False


async def test_what_needs_a_start_is_refused_before(pair: Pair) -> None:
    for command in ("attach", "stackTrace", "setBreakpoints", "continue", "configurationDone", "unheardOf"):
        response = await pair.ask(command)
        assert response["success"] is False
        assert "initialize" in response["message"]


async def test_a_malformed_request_has_a_response(pair: Pair) -> None:
    response = await pair.ask("dumpCell")
    assert (response["success"], response["command"]) == (False, "dumpCell")


async def test_what_the_server_refuses_is_told(pair: Pair) -> None:
    response = await pair.ask("modules")
    assert (response["success"], response["message"]) == (False, "no modules")


async def test_stops_are_remembered_until_the_thread_goes_on(pair: Pair, debugpy: Debugpy) -> None:
    await pair.ask("initialize", adapterID="x")
    debugpy.tell("stopped", threadId=5, allThreadsStopped=True)
    assert (await pair.events.get())["event"] == "stopped"
    assert (await pair.ask("debugInfo"))["body"]["stoppedThreads"] == [5]
    await pair.ask("stackTrace", threadId=1)
    await pair.ask("stackTrace", threadId=5)
    assert [request["arguments"]["threadId"] for request in debugpy.requests[-2:]] == [5, 5]
    debugpy.tell("continued", threadId=5, allThreadsContinued=True)
    assert (await pair.events.get())["event"] == "continued"
    assert (await pair.ask("debugInfo"))["body"]["stoppedThreads"] == []


async def test_a_request_without_an_answer_holds_up_no_other(pair: Pair, debugpy: Debugpy) -> None:
    debugpy.answers.update(evaluate=None, threads={"threads": []})
    await pair.ask("initialize", adapterID="x")
    waiting = asyncio.ensure_future(pair.ask("evaluate", expression="forever()"))
    assert (await pair.ask("threads"))["success"]
    assert not waiting.done()
    await pair.ask("disconnect")
    assert (await waiting)["success"] is False


async def test_the_end_of_the_connection_is_the_end_of_debugging(pair: Pair, debugpy: Debugpy) -> None:
    debugpy.answers["evaluate"] = None
    await pair.ask("initialize", adapterID="x")
    waiting = asyncio.ensure_future(pair.ask("evaluate", expression="x"))
    await asyncio.sleep(0)
    debugpy.tell("stopped", threadId=5)
    await pair.events.get()
    assert debugpy.writer is not None
    debugpy.writer.close()
    assert (await pair.events.get())["event"] == "terminated"
    assert (await waiting)["success"] is False
    body = (await pair.ask("debugInfo"))["body"]
    assert (body["isStarted"], body["stoppedThreads"], body["breakpoints"]) == (False, [], [])


async def test_variables_are_the_runtime_s_while_nothing_is_stopped(pair: Pair, debugpy: Debugpy) -> None:
    debugpy.answers["variables"] = {"variables": [{"name": "local"}, {"name": "In"}]}
    await pair.ask("initialize", adapterID="x")
    assert (await pair.ask("variables", variablesReference=3))["body"]["variables"] == [{"name": "x"}]
    debugpy.tell("stopped", threadId=1)
    await pair.events.get()
    assert (await pair.ask("variables", variablesReference=3))["body"]["variables"] == [{"name": "local"}]


async def test_the_frame_that_started_the_process_is_left_out(pair: Pair, debugpy: Debugpy) -> None:
    cell, start = ({"name": "<module>", "line": 1, "source": {"path": path}} for path in ("/tmp/1.py", "<string>"))
    debugpy.answers["stackTrace"] = {"stackFrames": [cell, start], "totalFrames": 2}
    await pair.ask("initialize", adapterID="x")
    assert (await pair.ask("stackTrace", threadId=1))["body"] == {"stackFrames": [cell], "totalFrames": 1}


async def test_a_rich_view_keeps_the_metadata_of_what_it_has(pair: Pair) -> None:
    body = (await pair.ask("richInspectVariables", variableName="x"))["body"]
    assert body == {"data": {"text/plain": "1"}, "metadata": {"text/plain": {}}}
    assert (await pair.ask("richInspectVariables", variableName="special variables"))["success"]
    assert not (await pair.ask("richInspectVariables", variableName="f()"))["success"]
    assert [fields["name"] for command, fields in pair.server.asked if command == "rich"] == ["x"]


async def test_terminating_never_reaches_the_server_s_process(pair: Pair, debugpy: Debugpy) -> None:
    await pair.ask("initialize", adapterID="x")
    await pair.ask("terminate", restart=False)
    assert debugpy.commands[-1] == "disconnect"
    assert debugpy.requests[-1]["arguments"]["terminateDebuggee"] is False


async def test_nobody_listens(debugpy: Debugpy) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(DebugError, match=str(port)):
        await DebugpyClient.connect("127.0.0.1", port, lambda event: None, lambda client: None)
