"""Starting a kernel and running cells in it, as a front end does: the plumbing over `jupyter_client`.

Neighbours: `peers.py` says which kernels there are and what code they are given; `rows.py` reads the times taken here.
Knows nothing of Deephaven, and does not judge what a cell should have shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil  # type: ignore[import-untyped]
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

POLL_S = 1.0
STOP_S = 15.0


class BenchmarkError(Exception):
    """What was to be measured did not happen: a cell failed, a process died, an answer did not come in time."""


@dataclass(frozen=True)
class CellRun:
    """One cell as the client saw it. Times are readings of `time.perf_counter()`.

    `first_table_at` is when the first `text/html` with a `<table` arrived, None if none did; `tables` counts them.
    `done_at` is when both the reply and the idle status had arrived.
    """

    sent_at: float
    first_table_at: float | None
    done_at: float
    tables: int
    stdout_bytes: int
    stdout_sha256: str
    text: str

    @property
    def done_s(self) -> float:
        """From sending to reply and idle."""
        return self.done_at - self.sent_at


class _Collector:
    """Folds the IOPub messages of one cell into a `CellRun`."""

    def __init__(self, sent_at: float) -> None:
        self._sent_at = sent_at
        self._first_table_at: float | None = None
        self._tables = 0
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._text = ""

    def take(self, message: dict[str, Any]) -> bool:
        """Add one message; True when it is the cell's idle status."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout":
            data = content["text"].encode()
            self._bytes += len(data)
            self._digest.update(data)
            if len(self._text) < 10_000:
                self._text += content["text"][:10_000]
        elif kind in ("display_data", "execute_result") and "<table" in content["data"].get("text/html", ""):
            self._tables += 1
            if self._first_table_at is None:
                self._first_table_at = time.perf_counter()
        return bool(kind == "status" and content["execution_state"] == "idle")

    def finish(self, done_at: float) -> CellRun:
        """What was collected."""
        return CellRun(
            sent_at=self._sent_at,
            first_table_at=self._first_table_at,
            done_at=done_at,
            tables=self._tables,
            stdout_bytes=self._bytes,
            stdout_sha256=self._digest.hexdigest(),
            text=self._text,
        )


def write_kernelspec(directory: Path, name: str, spec: dict[str, Any]) -> None:
    """Make `directory` a place where `Kernel` finds a kernel called `name`."""
    (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / name / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


class Kernel:
    """One kernel process with a blocking client, started by the constructor and ended by `stop`.

    Args:
        name: the kernelspec, in `specs`.
        specs: the only directory where kernelspecs are looked for.
        scratch: for the connection file and the kernel's own output; removed by the caller.
        env: the whole environment of the kernel.
    """

    def __init__(self, name: str, *, specs: Path, scratch: Path, env: dict[str, str]) -> None:
        self.name = name
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=f"{name}-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self._manager = KernelManager(
                kernel_name=name,
                kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(specs)], ensure_native_kernel=False),
                connection_file=str(self.log.with_suffix(".json")),
                shutdown_wait_time=STOP_S,
            )
            self.spawned_at = time.perf_counter()
            self._manager.start_kernel(env=env, stdout=log, stderr=log)
        self.client: BlockingKernelClient = self._manager.blocking_client()
        # A client that connects before the kernel listens tries again every 100 ms by default, which would hide differences.
        self.client.context = zmq.Context()
        self.client.context.reconnect_ivl = 5
        self.client.start_channels(hb=False, stdin=False)

    @property
    def process(self) -> psutil.Process:
        """The kernel's process, not what it started."""
        pid = self._manager.provisioner.pid if self._manager.provisioner else None  # type: ignore[attr-defined]
        if pid is None:
            raise BenchmarkError(f"{self.name}: the kernel has no process")
        return psutil.Process(pid)

    def kernel_info(self, *, timeout_s: float = 60) -> float:
        """Ask once, and return the seconds from spawn to the reply."""
        self._reply_to(self.client.kernel_info(), deadline=time.perf_counter() + timeout_s)
        return time.perf_counter() - self.spawned_at

    def run(self, code: str, *, timeout_s: float = 120, cell_id: str | None = None) -> CellRun:
        """Run one cell to its end.

        Args:
            cell_id: send it as JupyterLab does, where a person looks on, and not as a program that runs a notebook.
        Raises:
            BenchmarkError: the cell failed, or did not end in time.
        """
        collector = _Collector(time.perf_counter())
        deadline = time.perf_counter() + timeout_s
        request = self.client.execute(code, allow_stdin=False) if cell_id is None else self._execute_as_lab(code, cell_id)
        # IOPub first: it drops messages when nobody reads, the reply waits.
        while not collector.take(self._message("iopub", request, deadline)):
            pass
        reply = self._reply_to(request, deadline=deadline)
        done_at = time.perf_counter()
        if reply["content"]["status"] != "ok":
            content = reply["content"]
            raise BenchmarkError(f"{self.name}: cell {code[:60]!r}: {content.get('ename')}: {content.get('evalue')}")
        return collector.finish(done_at)

    def _execute_as_lab(self, code: str, cell_id: str) -> str:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": True, "stop_on_error": True}
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def begin(self, code: str, *, timeout_s: float = 60) -> str:
        """Send a cell that prints before it goes to work, and return the request once it has printed."""
        request = self.client.execute(code, allow_stdin=False)
        deadline = time.perf_counter() + timeout_s
        while self._message("iopub", request, deadline)["msg_type"] != "stream":
            pass
        return request

    def interrupt(self, request: str, *, timeout_s: float = 60) -> float:
        """Press the stop button, and return the seconds until both the cell's reply and its idle status have arrived.

        Raises:
            BenchmarkError: the cell did not end by the interrupt.
        """
        start = time.perf_counter()
        self._manager.interrupt_kernel()
        collector = _Collector(start)
        while not collector.take(self._message("iopub", request, start + timeout_s)):
            pass
        content = self._reply_to(request, deadline=start + timeout_s)["content"]
        seconds = time.perf_counter() - start
        if content.get("ename") != "KeyboardInterrupt":
            raise BenchmarkError(f"{self.name}: no KeyboardInterrupt: {content.get('status')} {content.get('evalue')}")
        return seconds

    def finish(self, request: str, *, timeout_s: float = 120) -> None:
        """Wait for a cell's end, whatever it is."""
        deadline = time.perf_counter() + timeout_s
        collector = _Collector(0.0)
        while not collector.take(self._message("iopub", request, deadline)):
            pass
        self._reply_to(request, deadline=deadline)

    def ask(
        self, kind: str, *, subshell: str | None = None, timeout_s: float = 30, **content: Any
    ) -> tuple[float, dict[str, Any]]:
        """Put a question on the shell channel: the seconds to its reply, and what it says."""
        message = self.client.session.msg(kind, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        start = time.perf_counter()
        self.client.shell_channel.send(message)
        reply = self._reply_to(message["header"]["msg_id"], deadline=start + timeout_s)
        return time.perf_counter() - start, reply["content"]

    def make_subshell(self, *, timeout_s: float = 30) -> str:
        """A new subshell's id."""
        message = self.client.session.msg("create_subshell_request")
        self.client.control_channel.send(message)
        deadline = time.perf_counter() + timeout_s
        reply = self._message("control", message["header"]["msg_id"], deadline)
        return str(reply["content"]["subshell_id"])

    def comm_round_trip(self, comm_id: str, data: dict[str, Any], *, timeout_s: float = 30) -> tuple[float, dict[str, Any]]:
        """Send a message to a comm: the seconds until one comes back with it as its parent, and the data of that."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        start = time.perf_counter()
        self.client.shell_channel.send(message)
        while True:
            answer = self._message("iopub", message["header"]["msg_id"], start + timeout_s)
            if answer["msg_type"] == "comm_msg":
                break
        seconds, answered = time.perf_counter() - start, dict(answer["content"]["data"])
        while answer["msg_type"] != "status" or answer["content"]["execution_state"] != "idle":
            answer = self._message("iopub", message["header"]["msg_id"], start + timeout_s)
        return seconds, answered

    def open_comm(self, target: str, *, timeout_s: float = 30) -> str:
        """Open a comm to a target that the kernel has registered; its id."""
        message = self.client.session.msg("comm_open", {"comm_id": secrets.token_hex(16), "target_name": target, "data": {}})
        self.client.shell_channel.send(message)
        deadline = time.perf_counter() + timeout_s
        while True:
            answer = self._message("iopub", message["header"]["msg_id"], deadline)
            if answer["msg_type"] == "comm_close":
                raise BenchmarkError(f"{self.name}: nobody listens for comms of {target!r}")
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                return str(message["content"]["comm_id"])

    def restart(self) -> None:
        """What a front end's restart button does; the client stays."""
        with self.log.open("ab") as log:
            self._manager.restart_kernel(now=False, stdout=log, stderr=log)

    def stop(self) -> list[str]:
        """End the kernel and all it started; returns what only a kill ended, which should be nothing."""
        with contextlib.suppress(psutil.NoSuchProcess, BenchmarkError):
            family = [self.process, *self.process.children(recursive=True)]
            self._shut_down()
            return self._kill_leftovers(family)
        self._shut_down()
        return []

    def saw_table(self) -> bool:
        """True when, among the IOPub messages that have come and nobody has read yet, one shows a table. Does not wait."""
        collector = _Collector(0.0)
        with contextlib.suppress(queue.Empty):
            while True:
                collector.take(self.client.get_iopub_msg(timeout=0))
        return collector.finish(0.0).tables > 0

    def kill(self) -> None:
        """End the kernel's process, and only that, with SIGKILL; what it started must look after itself."""
        process = self.process
        process.kill()
        self._close_client()
        # Not `shutdown_kernel(now=True)`: it would signal the kernel's process group too.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.wait(STOP_S)
        self._manager.cleanup_resources()

    def _close_client(self) -> None:
        self.client.stop_channels()
        self.client.context.destroy(linger=0)

    def _shut_down(self) -> None:
        self._close_client()
        try:
            self._manager.shutdown_kernel(now=False)
        finally:
            self._manager.cleanup_resources()

    def _kill_leftovers(self, family: list[psutil.Process]) -> list[str]:
        _, alive = psutil.wait_procs(family, timeout=STOP_S)
        left = []
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.append(f"{self.name}: process {process.pid} ({process.name()}) was left behind")
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_S)
        return left

    def _reply_to(self, request: str, *, deadline: float) -> dict[str, Any]:
        return self._message("shell", request, deadline)

    def _message(self, channel: str, request: str, deadline: float) -> dict[str, Any]:
        """The next message on `channel` that answers `request`."""
        get = getattr(self.client, f"get_{channel}_msg")
        while True:
            try:
                message: dict[str, Any] = get(timeout=POLL_S)
            except queue.Empty:
                self._check_alive(channel, deadline)
                continue
            if message["parent_header"].get("msg_id") == request:
                return message

    def _check_alive(self, channel: str, deadline: float) -> None:
        if not self._manager.is_alive():
            raise BenchmarkError(f"{self.name}: the kernel died; its last words: {self.last_words()}")
        if time.perf_counter() > deadline:
            raise BenchmarkError(f"{self.name}: nothing came on {channel} in time; its last words: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what the kernel itself wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip() or "(none)"

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
