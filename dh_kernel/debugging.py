"""The debugger's end in the kernel process: requests of the debug adapter protocol, to debugpy in the server or answered here.

Neighbours: `kernel` (hands over `debug_request`, publishes events), `runtime.debugger` (whom `ask` reaches). Refuses to know
Jupyter's messages and the session. Everything runs on one event loop, that of the control channel.

As in ipykernel: what the protocol lacks (`debugInfo`, `dumpCell`, `inspectVariables`, `richInspectVariables`, `copyToGlobals`)
is added; `attach` also ends the configuration; names that IPython adds are left out. Unlike there a request that has no answer
yet holds up no other one, and a client that only knows thread 1 is shown the thread that has stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from dh_kernel.errors import DhKernelError

START_TIMEOUT_S = 60.0
QUESTION_TIMEOUT_S = 10.0
_HIDDEN = re.compile(
    r"__(?:name|doc|package|loader|spec|annotations|builtins|builtin|display)__|get_ipython|debugpy|exit|quit|In|Out|_oh|_dh"
    r"|_{1,3}|_\d+|_i\w*"
)
_GROUPS = {"special variables", "function variables", "class variables", "protected variables"}

Message = dict[str, Any]


class Server(Protocol):
    """What the debugger wants of the server's side."""

    async def ask(self, command: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Put a question to the runtime; the answer's content, with a table in it shown as `data`.

        Raises:
            DhKernelError: there is no server, or it does not answer.
        """


class DebugError(DhKernelError):
    """A request that cannot be answered; the text is for the user."""


class Debugger:
    """Answers requests, one coroutine each.

    Args:
        publish: sends an event to all clients.
    """

    def __init__(self, server: Server, publish: Callable[[Message], None]) -> None:
        self._server, self._publish = server, publish
        self._client: DebugpyClient | None = None
        self._take = ""
        self._internal: list[str] = []
        self._breakpoints: dict[str, list[Message]] = {}
        self._stopped: set[int] = set()
        self._latest: int | None = None
        self._known: set[int] = set()
        self._starting = asyncio.Lock()

    async def handle(self, request: Message) -> Message:
        """The response to a request, also where it fails."""
        command = str(request.get("command", ""))
        handler = _HANDLERS.get(command, Debugger._forward)
        try:
            response = await handler(self, command, request.get("arguments") or {})
        except DhKernelError as error:
            response = {"success": False, "message": str(error), "body": {}}
        except Exception as error:  # a request that is malformed
            response = {"success": False, "message": f"{command}: {type(error).__name__}: {error}", "body": {}}
        return {"type": "response", "success": True, **response, "command": command, "request_seq": request.get("seq", 0)}

    # --- the beginning and the end

    async def _initialize(self, command: str, arguments: Message) -> Message:
        async with self._starting:
            if self._client is None:
                await self._start()
        return await self._forward(command, arguments)

    async def _start(self) -> None:
        started = await self._server.ask("start", START_TIMEOUT_S)
        self._take, self._internal = started["take"], started["internal"]
        client = await DebugpyClient.connect(started["host"], started["port"], self._on_event, self._on_end)
        self._client = client
        # An unknown command to debuggers at large; without it debugpy answers nothing.
        await client.request("pydevdAuthorize", {"debugServerAccessToken": started["token"]})

    async def _attach(self, command: str, arguments: Message) -> Message:
        client = self._connected()
        rules = [{"path": path, "include": False} for path in self._internal]
        arguments = {**arguments, "debugOptions": ["DebugStdLib"], "justMyCode": False, "subProcess": False, "rules": rules}
        response = await client.request(command, arguments)
        await client.request("configurationDone", {})
        return response

    async def _configuration_done(self, command: str, arguments: Message) -> Message:
        self._connected()
        return {}

    async def _disconnect(self, command: str, arguments: Message) -> Message:
        """The end of debugging, whatever it is called: the server and its cells go on."""
        client = self._client
        if client is not None:
            await client.request("disconnect", {"terminateDebuggee": False, "restart": False})
            client.close()
            await self._server.ask("stop", QUESTION_TIMEOUT_S)
        return {}

    def _on_end(self, client: DebugpyClient) -> None:
        """The connection has ended, because somebody asked for it or because the server has ended."""
        if client is self._client:
            self._client = None
            self._go_on(None)
            self._breakpoints.clear()
            self._known.clear()
            self._publish({"type": "event", "seq": 0, "event": "terminated", "body": {}})

    def _connected(self) -> DebugpyClient:
        if self._client is None:
            raise DebugError("the debugger has not been started: `initialize` comes first")
        return self._client

    # --- events

    def _on_event(self, event: Message) -> None:
        name, body = event.get("event"), event.get("body") or {}
        thread: Any = body.get("threadId")
        if name == "stopped":
            self._latest = thread
            self._stopped.add(thread)
        elif name == "continued":
            self._go_on(None if body.get("allThreadsContinued", True) else thread)
        if thread is not None:
            self._known.add(thread)
        self._publish(event)

    def _go_on(self, thread: int | None) -> None:
        self._stopped = self._stopped - {thread} if thread is not None else set()
        if self._latest not in self._stopped:
            self._latest = None

    # --- requests that debugpy answers

    async def _forward(self, command: str, arguments: Message) -> Message:
        client = self._connected()
        thread = arguments.get("threadId")
        if self._latest is not None and thread is not None and thread not in self._known:
            arguments = {**arguments, "threadId": self._latest}
        return await client.request(command, arguments)

    async def _set_breakpoints(self, command: str, arguments: Message) -> Message:
        response = await self._forward(command, arguments)
        if response.get("success"):
            placed = [{"line": point["line"]} for point in response["body"]["breakpoints"] if "line" in point]
            self._breakpoints[arguments["source"]["path"]] = placed
        return response

    async def _threads(self, command: str, arguments: Message) -> Message:
        """Their ids, too, which tell whether a client means a thread that there is."""
        response = await self._forward(command, arguments)
        if response.get("success"):
            self._known |= {thread["id"] for thread in response["body"]["threads"]}
        return response

    async def _stack_trace(self, command: str, arguments: Message) -> Message:
        """Without the frame at its bottom that has no file: the one that started the server's process."""
        response = await self._forward(command, arguments)
        body = response.get("body") or {}
        frames = body.get("stackFrames", [])
        if len(frames) > 1 and (frames[-1]["name"], frames[-1].get("source", {}).get("path")) == ("<module>", "<string>"):
            body["stackFrames"] = frames[:-1]
            body["totalFrames"] = body.get("totalFrames", len(frames)) - 1
        return response

    async def _variables(self, command: str, arguments: Message) -> Message:
        if self._stopped:
            response = await self._forward(command, arguments)
            found = response.get("body", {}).get("variables", [])
            return {**response, "body": {"variables": shown(found)}} if response.get("success") else response
        answer = await self._server.ask("variables", QUESTION_TIMEOUT_S, reference=arguments.get("variablesReference"))
        return {"body": {"variables": shown(answer["variables"])}}

    async def _copy_to_globals(self, command: str, arguments: Message) -> Message:
        target, source = arguments["dstVariableName"], arguments["srcVariableName"]
        if not (str(target).isidentifier() and str(source).isidentifier()):
            raise DebugError("the variables' names must be identifiers")
        place = {"expression": f"globals()[{target!r}]", "value": source, "frameId": arguments["srcFrameId"]}
        return await self._forward("setExpression", place)

    # --- requests that the runtime answers

    async def _info(self, command: str, arguments: Message) -> Message:
        answer = await self._server.ask("info", START_TIMEOUT_S)
        state = {
            "isStarted": self._client is not None,
            "breakpoints": [{"source": source, "breakpoints": points} for source, points in self._breakpoints.items()],
            "stoppedThreads": sorted(self._stopped),
            "richRendering": True,
            "exceptionPaths": ["Python Exceptions"],
            "copyToGlobals": True,
        }
        return {"body": {**state, **answer["names"]}}

    async def _dump_cell(self, command: str, arguments: Message) -> Message:
        answer = await self._server.ask("dump", QUESTION_TIMEOUT_S, code=arguments["code"])
        return {"body": {"sourcePath": answer["path"]}}

    async def _source(self, command: str, arguments: Message) -> Message:
        answer = await self._server.ask("source", QUESTION_TIMEOUT_S, path=arguments["source"]["path"])
        return {"body": {"content": answer["text"]}}

    async def _modules(self, command: str, arguments: Message) -> Message:
        answer = await self._server.ask("modules", QUESTION_TIMEOUT_S)
        first = int(arguments.get("startModule", 0))
        last = first + int(arguments["moduleCount"]) if arguments.get("moduleCount") else None
        return {"body": {"modules": answer["modules"][first:last], "totalModules": answer["total"]}}

    async def _inspect_variables(self, command: str, arguments: Message) -> Message:
        answer = await self._server.ask("variables", QUESTION_TIMEOUT_S)
        return {"body": {"variables": shown(answer["variables"])}}

    async def _rich_inspect_variables(self, command: str, arguments: Message) -> Message:
        name = str(arguments["variableName"])
        if not name.isidentifier():
            return {"success": name in _GROUPS, "body": {"data": {}, "metadata": {}}}
        frame = arguments.get("frameId")
        handed_over = bool(self._stopped and frame is not None)
        if handed_over:
            expression = {"expression": f"{self._take}({name})", "frameId": frame, "context": "watch"}
            response = await self._forward("evaluate", expression)
            if not response.get("success"):
                return {"success": False, "message": response.get("message", ""), "body": {"data": {}, "metadata": {}}}
        answer = await self._server.ask("rich", QUESTION_TIMEOUT_S, name=name, handed_over=handed_over)
        metadata = answer.get("metadata", {})
        return {
            "body": {"data": answer["data"], "metadata": {kind: metadata[kind] for kind in metadata if kind in answer["data"]}}
        }


_HANDLERS: dict[str, Callable[[Debugger, str, Message], Awaitable[Message]]] = {
    "initialize": Debugger._initialize,
    "attach": Debugger._attach,
    "configurationDone": Debugger._configuration_done,
    "disconnect": Debugger._disconnect,
    "terminate": Debugger._disconnect,
    "setBreakpoints": Debugger._set_breakpoints,
    "threads": Debugger._threads,
    "stackTrace": Debugger._stack_trace,
    "variables": Debugger._variables,
    "copyToGlobals": Debugger._copy_to_globals,
    "debugInfo": Debugger._info,
    "dumpCell": Debugger._dump_cell,
    "source": Debugger._source,
    "modules": Debugger._modules,
    "inspectVariables": Debugger._inspect_variables,
    "richInspectVariables": Debugger._rich_inspect_variables,
}


def shown(variables: list[Message]) -> list[Message]:
    """The variables but for those of Python's and IPython's own."""
    return [variable for variable in variables if not _HIDDEN.fullmatch(variable["name"])]


class DebugpyClient:
    """One connection to debugpy: requests with their responses, and events. Made by `connect`."""

    @classmethod
    async def connect(
        cls, host: str, port: int, on_event: Callable[[Message], None], on_end: Callable[[DebugpyClient], None]
    ) -> DebugpyClient:
        """Connect.

        Args:
            on_end: called once, when the connection has ended, however that came.
        Raises:
            DebugError: nobody listens.
        """
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise DebugError(f"debugpy does not answer at {host}:{port}: {error.strerror}") from error
        return cls(reader, writer, on_event, on_end)

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: Callable[[Message], None],
        on_end: Callable[[DebugpyClient], None],
    ) -> None:
        self._reader, self._writer, self._on_event, self._on_end = reader, writer, on_event, on_end
        self._numbers = itertools.count(1)
        self._responses: dict[int, asyncio.Future[Message]] = {}
        self._reading = asyncio.ensure_future(self._read())

    async def request(self, command: str, arguments: Message) -> Message:
        """Send a request; its response, which may be one that tells a failure.

        Raises:
            DebugError: the connection ended before it came.
        """
        number = next(self._numbers)
        future = self._responses[number] = asyncio.get_running_loop().create_future()
        message = {"type": "request", "seq": number, "command": command, "arguments": arguments}
        data = json.dumps(message).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        if self._reading.done():
            self._end()
        return dict(await future)

    def close(self) -> None:
        """End the connection."""
        self._writer.close()
        self._reading.cancel()

    async def _read(self) -> None:
        try:
            while True:
                header = await self._reader.readuntil(b"\r\n\r\n")
                length = int(re.findall(rb"(?i)content-length: *(\d+)", header)[0])
                self._take(json.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            self._writer.close()
        finally:
            self._end()
            self._on_end(self)

    def _take(self, message: Message) -> None:
        if message["type"] == "event":
            self._on_event(message)
        elif message["type"] == "response":
            future = self._responses.pop(message["request_seq"], None)
            if future is not None and not future.done():
                future.set_result(message)

    def _end(self) -> None:
        for future in self._responses.values():
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_exception(DebugError("the debugger has been disconnected, or the server has ended"))
        self._responses.clear()
