"""Requests to the kernel, and what it says about them: each message of IOPub to the report, in order, without loss.

Neighbours: `reports`; `runner` decides what is sent. Refuses to know where the kernel runs, and what limits there are.

A request asks the kernel, by its metadata, to send no more than a window before it has been taken (`dh_kernel.flow`): so what
waits for a slow reader is bounded, at both ends. A kernel that does not know this sends all.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .reports import Report
from .stdin import Question, StandardInput
from .writing import Writer

WINDOW_BYTES = 8 << 20


class KernelGone(Exception):
    """The kernel process has ended, or the run is being ended."""


class _Request:
    def __init__(self, msg_id: str, heard: bool) -> None:
        self.id, self.heard = msg_id, heard
        loop = asyncio.get_running_loop()
        self.reply: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.idle: asyncio.Future[None] = loop.create_future()
        self.told = 0


class Conversation:
    """One client of one kernel. Made on the event loop.

    Args:
        client: an asynchronous client with its channels open.
        stdin: answers the questions of the code.
        answers: whether it may.
    """

    def __init__(self, client: Any, report: Report, writer: Writer, stdin: StandardInput, *, answers: bool) -> None:
        self._client, self._report, self._writer, self._answers = client, report, writer, answers
        self._stdin = stdin
        self._loop = asyncio.get_running_loop()
        self._requests: dict[str, _Request] = {}
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when there is nobody to speak with any more."""
        self._pumps: list[asyncio.Task[None]] = []

    def listen(self) -> None:
        """Begin to take what the kernel says."""
        pumps = (
            (self._client.iopub_channel, self._on_iopub),
            (self._client.shell_channel, self._on_shell),
            (self._client.stdin_channel, self._on_stdin),
        )
        self._pumps = [asyncio.ensure_future(self._pump(channel, take)) for channel, take in pumps]

    def end(self) -> None:
        """The kernel is gone: whoever waits gets `KernelGone`."""
        if not self.gone.done():
            self.gone.set_result(None)

    async def close(self) -> None:
        """Listen no more."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def execute(self, code: str, *, silent: bool = False, program: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run code to its end; the content of the reply. All that it put out has been reported by then.

        Raises:
            KernelGone: there is no reply to wait for any more.
        """
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": self._answers,
            "stop_on_error": True,
        }
        wishes: dict[str, Any] = {"quiet": True, "exact": True, "window": WINDOW_BYTES}
        if program is not None:
            wishes |= {"program": program, "stdin": _own_place()}
        return await self._ask("execute_request", content, {"dh_kernel": wishes}, heard=not silent)

    async def value(self, expression: str) -> Any:
        """The value of an expression that is plain data; None if it cannot be told."""
        content = {
            "code": "",
            "silent": True,
            "store_history": False,
            "user_expressions": {"value": expression},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        reply = await self._ask("execute_request", content, {"dh_kernel": {"quiet": True}}, heard=False)
        found = reply.get("user_expressions", {}).get("value", {})
        return ast.literal_eval(found["data"]["text/plain"]) if found.get("status") == "ok" else None

    async def kernel_info(self) -> dict[str, Any]:
        """The content of a `kernel_info_reply`."""
        return await self._ask("kernel_info_request", {}, {}, heard=False)

    async def _ask(self, kind: str, content: dict[str, Any], metadata: dict[str, Any], *, heard: bool) -> dict[str, Any]:
        session = self._client.session
        message = session.msg(kind, content, metadata=metadata)
        request = self._requests[message["header"]["msg_id"]] = _Request(message["header"]["msg_id"], heard)
        self._client.shell_channel.send(message)
        while pending := [future for future in (request.reply, request.idle) if not future.done()]:
            if self.gone.done():
                self.gone.result()  # a fault of ours, where there was one
                raise KernelGone
            await asyncio.wait((*pending, self.gone), return_when=asyncio.FIRST_COMPLETED)
        return request.reply.result()

    # --- what comes

    async def _pump(self, channel: Any, take: Callable[[dict[str, Any]], None]) -> None:
        try:
            while True:
                take(await channel.get_msg())
        except Exception as error:  # nobody listens any more, so whoever waits has to know
            if not self.gone.done():
                self.gone.set_exception(error)

    def _on_shell(self, message: dict[str, Any]) -> None:
        request = self._requests.get(message["parent_header"].get("msg_id", ""))
        if request is not None and not request.reply.done():
            request.reply.set_result(message["content"])

    def _on_iopub(self, message: dict[str, Any]) -> None:
        request = self._requests.get(message["parent_header"].get("msg_id", ""))
        if request is None:
            return
        if message["msg_type"] == "status":
            if message["content"]["execution_state"] == "idle" and not request.idle.done():
                request.idle.set_result(None)
            return
        if request.heard:
            tell(self._report, message)
            self._take(request, message)

    def _take(self, request: _Request, message: dict[str, Any]) -> None:
        """Tell the kernel what has been taken, in steps of an eighth of the window."""
        sent = (message["metadata"].get("dh_kernel") or {}).get("sent", 0)
        if sent - request.told >= WINDOW_BYTES // 8:
            request.told = sent
            self._report.after(lambda: self._call(self._tell_taken, request.id, sent))

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    def _tell_taken(self, request: str, sent: int) -> None:
        if not self.gone.done():
            message = self._client.session.msg("dh_kernel_taken", {"run": request, "taken": sent})
            self._client.control_channel.send(message)

    # --- questions of the code

    def _on_stdin(self, message: dict[str, Any]) -> None:
        if message["msg_type"] != "input_request":
            return
        content = message["content"]
        question = Question(
            content["prompt"], bool(content["password"]), int((content.get("dh_kernel") or {}).get("bytes", 0))
        )
        self._writer.put(self._report.reads_answers_on, b"" if question.password else question.prompt.encode())
        self._writer.after(lambda: self._stdin.ask(question, lambda text: self._call(self._answer, text)))

    def _answer(self, text: str) -> None:
        self._client.stdin_channel.send(self._client.session.msg("input_reply", {"value": text}))


def _own_place() -> dict[str, Any] | bool:
    """Where a server on the same machine finds this process's standard input; True where that cannot be told."""
    try:
        boot, names = Path("/proc/sys/kernel/random/boot_id").read_text("ascii"), os.readlink("/proc/self/ns/pid")
    except OSError:
        return True
    return {"process": os.getpid(), "machine": [boot, names]}


def tell(report: Report, message: dict[str, Any]) -> None:
    """One message of IOPub to the report."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        buffers = message.get("buffers") or ()
        raw = bytes(buffers[0]) if buffers else content["text"].encode("utf-8", "backslashreplace")
        report.stream(content["name"], raw)
    elif kind in ("display_data", "execute_result"):
        report.display(content["data"], result=kind == "execute_result")
    elif kind == "error":
        report.error({"name": content["ename"], "value": content["evalue"], "traceback": content["traceback"]})
