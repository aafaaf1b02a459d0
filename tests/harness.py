"""What tests of the whole kernel share: a place with kernelspecs, a vanilla server, and kernels with all their messages.

Fixtures around these are in `conftest.py`. Neighbours: `dh_kernel.install` writes the kernelspecs, `dh_kernel.server` finds a
Java; all else runs as a separate process and is spoken to over Jupyter's protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from dh_kernel.install import install
from dh_kernel.server import find_java

PYTHON = sys.executable
SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT_S = 60.0
LAUNCHED, ATTACHED = "deephaven", "deephaven-attached"
HEAP = "1g"
# What decides how a kernel starts and where Jupyter looks: a developer's own must not reach a test.
_OWN_PREFIXES = ("DH_KERNEL_", "JUPYTER", "IPYTHON", "PAPERMILL")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """For what no event tells, such as the end of a process that is not ours."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


class Place:
    """A folder that Jupyter lives in during the tests: kernelspecs, connection files, settings, history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIXES)}
        for variable, name in (
            ("JUPYTER_CONFIG_DIR", "config"),
            ("JUPYTER_DATA_DIR", "data"),
            ("JUPYTER_RUNTIME_DIR", "runtime"),
            ("IPYTHONDIR", "ipython"),
        ):
            self.environ[variable] = str(folder / name)
            (folder / name).mkdir(mode=0o700)
        self.environ["JUPYTER_PATH"] = str(folder / "share/jupyter")
        self.environ["JUPYTER_PLATFORM_DIRS"] = "1"

    def install(self, name: str, **variables: str) -> None:
        """Write a kernelspec for the running interpreter, by the package's own installer."""
        install(
            name=name, display_name="Deephaven" if name == LAUNCHED else name, environment=variables, prefix=str(self.folder)
        )

    def specs(self) -> KernelSpecManager:
        """A manager that sees this place's kernelspecs and no others."""
        return KernelSpecManager(kernel_dirs=[str(self.folder / "share/jupyter/kernels")], ensure_native_kernel=False)

    def manager(self, name: str) -> KernelManager:
        """A manager of one kernel, not started."""
        file = self.folder / "runtime" / f"kernel-{secrets.token_hex(8)}.json"
        return KernelManager(kernel_name=name, kernel_spec_manager=self.specs(), connection_file=str(file))

    def run(
        self, program: str, *arguments: str, cwd: Path | None = None, timeout_s: float = 120.0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment, by its full path."""
        return subprocess.run(
            [str(SCRIPTS / program), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=cwd or self.folder,
            env={**self.environ, **environ},
        )


@dataclass
class Run:
    """One execute request: what iopub said about it, in order and without its status, and the content of its reply."""

    id: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    idle: bool = False

    def contents(self, kind: str) -> list[dict[str, Any]]:
        """The contents of all messages of a type."""
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def text(self, name: str = "stdout") -> str:
        """All that was printed to a stream."""
        return "".join(content["text"] for content in self.contents("stream") if content["name"] == name)

    @property
    def kinds(self) -> list[str]:
        """The types of the messages in order, a run of stream messages of one name as one."""
        found: list[str] = []
        for message in self.messages:
            kind = message["msg_type"]
            if kind == "stream":
                kind = message["content"]["name"]
            if not found or kind != found[-1] or kind not in ("stdout", "stderr"):
                found.append(kind)
        return found

    @property
    def bundles(self) -> list[dict[str, Any]]:
        """The data of what was displayed, not of the result."""
        return [content["data"] for content in self.contents("display_data")]

    @property
    def result(self) -> dict[str, Any] | None:
        """The data of the one `execute_result`, None if there was none."""
        results = self.contents("execute_result")
        assert len(results) <= 1, results
        return results[0]["data"] if results else None

    @property
    def error(self) -> dict[str, Any]:
        """The content of the one error."""
        errors = self.contents("error")
        assert len(errors) == 1, (self.messages, self.reply)
        return errors[0]


class Kernel:
    """A kernel process and one client of it. Sorts iopub's messages by their parents."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client
        self._runs: dict[str, Run] = {}
        self._replies: dict[str, dict[str, Any]] = {}

    @property
    def pid(self) -> int:
        """The kernel process."""
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def send(self, code: str, **options: Any) -> Run:
        """Send a cell and return at once."""
        options.setdefault("allow_stdin", False)
        run = Run(self.client.execute(code, **options))
        self._runs[run.id] = run
        return run

    def run(self, code: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Run:
        """Run a cell to its end."""
        return self.finish(self.send(code, **options), timeout_s)

    def ok(self, code: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Run:
        """Run a cell that must not fail."""
        run = self.run(code, timeout_s, **options)
        assert run.reply["status"] == "ok", run.reply
        return run

    def finish(self, run: Run, timeout_s: float = TIMEOUT_S) -> Run:
        """Wait for the reply and for the idle state of a cell."""
        self.wait(lambda: run.idle, "the cell's idle state", timeout_s)
        run.reply = self.answer(run.id, timeout_s)["content"]
        return run

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Take iopub's messages until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            try:
                self._file(self.client.get_iopub_msg(timeout=max(left, 0.001)))
            except queue.Empty:
                raise AssertionError(f"not within {timeout_s} s: {what}") from None

    def _file(self, message: dict[str, Any]) -> None:
        if message["parent_header"].get("msg_type") == "interrupt_request":
            return  # jupyter_client's manager numbers its requests as the client does: they may have the id of a cell
        run = self._runs.get(message["parent_header"].get("msg_id", ""))
        if run is None:
            return
        if message["msg_type"] == "status":
            run.states.append(message["content"]["execution_state"])
            run.idle = run.states[-1] == "idle"
        else:
            run.messages.append(message)

    def answer(self, msg_id: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The reply to a request on the shell channel."""
        deadline = time.monotonic() + timeout_s
        while msg_id not in self._replies:
            try:
                reply = self.client.get_shell_msg(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"no reply within {timeout_s} s") from None
            self._replies[reply["parent_header"]["msg_id"]] = reply
        return self._replies.pop(msg_id)

    def send_message(
        self, kind: str, content: dict[str, Any], *, subshell: str | None = None, buffers: Any = None, metadata: Any = None
    ) -> Run:
        """Send a message of any type on the shell channel and return at once."""
        message = self.client.session.msg(kind, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        run = self._runs[message["header"]["msg_id"]] = Run(message["header"]["msg_id"])
        self.client.session.send(self.client.shell_channel.socket, message, buffers=buffers)
        return run

    def request(self, kind: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request on the shell channel; the content of its reply."""
        reply: dict[str, Any] = self.answer(self.send_message(kind, content or {}).id)["content"]
        return reply

    def control(self, kind: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request on the control channel; the content of its reply."""
        message = self.client.session.msg(kind, content or {})
        self.client.control_channel.send(message)
        reply: dict[str, Any] = self.client.get_control_msg(timeout=TIMEOUT_S)["content"]
        return reply

    def restart(self) -> None:
        """As the restart button does."""
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=TIMEOUT_S)

    def interrupt(self) -> None:
        """As the stop button does."""
        self.manager.interrupt_kernel()


@contextlib.contextmanager
def started(
    place: Place, name: str, environ: Mapping[str, str] | None = None, *, wait: bool = True, cwd: Path | None = None
) -> Iterator[Kernel]:
    """A running kernel; ended for certain.

    Args:
        environ: more variables for the kernel process.
        wait: until the kernel has answered kernel_info, as front ends do.
        cwd: the folder of its notebook; the place's own by default.
    """
    manager = place.manager(name)
    manager.start_kernel(env={**place.environ, **(environ or {})}, cwd=str(cwd or place.folder))
    client = manager.client()
    try:
        client.start_channels()
        if wait:
            client.wait_for_ready(timeout=TIMEOUT_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()


_SERVER = """
import importlib.util, json, os, sys, threading
def main():
    orders = json.loads(sys.stdin.readline())
    found = [name for name in ("dh_kernel", "IPython") if importlib.util.find_spec(name)]
    if found:
        sys.exit(f"not a vanilla environment: it has {found}")
    def watch():
        sys.stdin.read()
        os._exit(0)
    threading.Thread(target=watch, daemon=True).start()
    from deephaven_server import Server
    from deephaven_server.start_jvm import start_jvm
    options = [f"-Xmx{orders['heap']}", f"-Dauthentication.psk={orders['key']}", "-XX:+IgnoreUnrecognizedVMOptions"]
    start_jvm(jvm_args=[*options, *orders["options"]], java_home=orders["java_home"])
    server = Server(host="127.0.0.1", port=orders["port"])
    server.start()
    os.write(orders["fd"], f"{server.port}\\n".encode())
    threading.Event().wait()
main()
"""


@dataclass(frozen=True)
class Vanilla:
    """A Deephaven server that knows nothing of us. `key_file` holds its pre-shared key."""

    host: str
    port: int
    key: str = field(repr=False)
    key_file: Path
    pid: int = 0

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def vanilla_server(
    python: str, folder: Path, options: Sequence[str] = (), *, port: int = 0, key: str | None = None
) -> Iterator[Vanilla]:
    """Start a server with the interpreter of another environment; it ends with this block, or with this process.

    Its stdin is its lifeline: where the tests are killed, it ends by itself.

    Args:
        options: more for its Java: Deephaven's properties.
        key: of a server before it at the same port; None: a new one.
    """
    key = key or secrets.token_urlsafe(24)
    key_file = write_key(folder / "key", key)
    read_end, write_end = os.pipe()
    with (folder / "server.log").open("wb") as log, os.fdopen(read_end, "rb", buffering=0) as report:
        process = subprocess.Popen(
            [python, "-I", "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(write_end,),
            start_new_session=True,
            cwd=folder,
        )
        try:
            os.close(write_end)
            assert process.stdin is not None
            orders = {"key": key, "heap": HEAP, "fd": write_end, "java_home": find_java().home}
            orders |= {"options": list(options), "port": port}
            process.stdin.write(json.dumps(orders).encode() + b"\n")
            process.stdin.flush()
            readable, _, _ = select.select([report], [], [], 120.0)
            line = report.readline() if readable else b""
            if not line:
                raise AssertionError(f"{python} started no server:\n{(folder / 'server.log').read_text('utf-8')[-3000:]}")
            yield Vanilla("127.0.0.1", int(line), key, key_file, process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30.0)
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()


def write_key(file: Path, key: str) -> Path:
    """A key file that only its owner can read."""
    file.write_text(key, "utf-8")
    file.chmod(0o600)
    return file


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more; one that is dead and not yet reaped is gone."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] in ("", "Z")


def descendants(pid: int) -> list[int]:
    """All processes below one, as they are now."""
    done = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    children: dict[int, list[int]] = {}
    for line in done.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found
