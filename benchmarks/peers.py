"""Ours and its peers: how each is started, what it calls things, which processes it has, how it ends.

    ours          the kernel of this repository, on the server that it launches itself
    ipykernel     ipykernel alone, no Deephaven
    embedded      ipykernel with a `deephaven_server.Server` in the same process, started by its first cell
    pydeephaven   `pydeephaven.Session` against a server in a process of its own

Neighbours: `clients.py` runs kernels, `rows.py` measures. Measures nothing itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clients import BenchmarkError, Kernel, write_kernelspec
from ipykernel.kernelspec import get_kernel_dict
from machine import java_server

ROOT = Path(__file__).resolve().parent.parent
OURS, IPYKERNEL, EMBEDDED, PYDEEPHAVEN = "ours", "ipykernel", "embedded", "pydeephaven"
PYDEEPHAVEN_WHOLE = "pydeephaven, whole"
IPYKERNEL_SUBSHELL = "ipykernel, subshell"
OURS_STATIC = "ours, static"
OURS_STANDBY = "ours, standby"

TELL_JAVA = """\
import jpy as _jpy
print(_jpy.get_type("java.lang.System").getProperty("java.version"),
      _jpy.get_type("java.lang.Runtime").getRuntime().maxMemory() // 2**20)
del _jpy
"""


class Bench:
    """What is common to a run: options, the heap, a scratch directory, and everything that runs now."""

    def __init__(self, *, repeat: int, quick: bool, heap: str) -> None:
        self.repeat = repeat
        self.quick = quick
        self.heap = heap
        self.java: dict[str, str] = {}
        self._exit = contextlib.ExitStack()
        self.scratch = Path(tempfile.mkdtemp(prefix="deephaven-bench-"))
        self._exit.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self._specs = self.scratch / "kernels"
        write_kernelspec(self._specs, OURS, our_kernelspec())
        write_kernelspec(self._specs, IPYKERNEL, get_kernel_dict())

    @property
    def has_ours(self) -> bool:
        """False in a checkout without the kernel: the peers can still be measured."""
        return (ROOT / "dh_kernel" / "__main__.py").exists()

    def kernel(self, name: str, environment: dict[str, str] | None = None) -> Kernel:
        """Start a bare kernel, `ours` or `ipykernel`, with additions to its environment; the caller stops it."""
        env = {**self.environment(), **(environment or {})}
        return Kernel(name, specs=self._specs, scratch=self.scratch, env=env)

    def start(self, name: str) -> Peer:
        """Start a peer and wait until it can run a cell with a table."""
        if name == PYDEEPHAVEN:
            return PydeephavenPeer(self)
        return KernelPeer(self, name)

    def start_cell(self, *more: str) -> str:
        """The code with which users start a Deephaven server in their own kernel; `more` are options for Java."""
        key = secrets.token_hex(16)
        options = [f"-Xmx{self.heap}", f"-Dauthentication.psk={key}", *more]
        return (
            "from deephaven_server import Server\n"
            f'server = Server(host="127.0.0.1", port=0, jvm_args={options!r})\n'
            "server.start()\n"
            "from deephaven import empty_table\n"
            "from deephaven.pandas import to_pandas\n"
        )

    def close(self) -> None:
        """Remove the scratch directory. Peers are stopped by whoever started them."""
        self._exit.close()

    def environment(self) -> dict[str, str]:
        """What kernels and commands are started with."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ,
            "PYTHONPATH": path,
            "DH_KERNEL_HEAP": self.heap,
            "IPYTHONDIR": str(self.scratch / "ipython"),
        }

    def no_spares(self) -> dict[str, str]:
        """Besides that, for what must launch its server: a place where no keeper of spare servers is."""
        (self.scratch / "no-spares/dh-kernel").mkdir(mode=0o700, parents=True, exist_ok=True)
        return {"XDG_RUNTIME_DIR": str(self.scratch / "no-spares")}


def our_kernelspec() -> dict[str, Any]:
    """The kernel of this checkout, run by this interpreter, installed or not."""
    return {
        "argv": [sys.executable, "-m", "dh_kernel", "-f", "{connection_file}"],
        "display_name": "Deephaven (benchmark)",
        "language": "python",
        "interrupt_mode": "message",
    }


class Peer:
    """Something that runs Python and may have tables. `processes` gives pids by their part: `kernel`, `server`."""

    name: str

    def processes(self) -> dict[str, int]:
        """Whose memory counts."""
        raise NotImplementedError

    def execute(self, code: str) -> None:
        """Run code where the tables are; not measured."""
        raise NotImplementedError

    def trivial(self, code: str, times: int) -> list[float]:
        """Seconds of each of `times` runs of a small piece of code."""
        raise NotImplementedError

    def stop(self) -> list[str]:
        """End all processes; returns what was left behind."""
        raise NotImplementedError


class KernelPeer(Peer):
    """A peer that is a Jupyter kernel."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.name = name
        self.kernel = bench.kernel(OURS if name == OURS else IPYKERNEL)
        try:
            self.kernel.kernel_info()
            if name == EMBEDDED:
                self.kernel.run(bench.start_cell())
            if name == OURS:
                self.kernel.run("from deephaven import empty_table")
            if name != IPYKERNEL:
                bench.java[name] = self.kernel.run(TELL_JAVA).text.strip()
        except BaseException:
            self.kernel.stop()
            raise

    def processes(self) -> dict[str, int]:
        pids = {"kernel": self.kernel.process.pid}
        if self.name == OURS:
            server = java_server(self.kernel.process)
            if server is None:
                raise BenchmarkError("ours: no process with a JVM among the kernel's children")
            pids["server"] = server.pid
        return pids

    def execute(self, code: str) -> None:
        self.kernel.run(code)

    def trivial(self, code: str, times: int) -> list[float]:
        return [self.kernel.run(code).done_s for _ in range(times)]

    def show(self, table: str) -> str:
        """The last line of a cell with which users of this peer see a table's first ten rows."""
        return table if self.name == OURS else f"to_pandas({table}.head(10))"

    def stop(self) -> list[str]:
        return self.kernel.stop()


class PydeephavenPeer(Peer):
    """A server and a client of it, each in a process of its own. The client counts as its `kernel`."""

    name = PYDEEPHAVEN

    def __init__(self, bench: Bench) -> None:
        key = secrets.token_hex(16)
        self._server = _Helper("pydeephaven_server.py", bench.scratch)
        self._client: _Helper | None = None
        try:
            said = self._server.ask({"key": key, "heap": bench.heap})
            bench.java[self.name] = f"{said['java']} {said['heap_mb']}"
            self._client = _Helper("pydeephaven_client.py", bench.scratch)
            self._client.ask({"port": said["port"], "key": key})
            self.execute("from deephaven import empty_table")
        except BaseException:
            self.stop()
            raise

    def processes(self) -> dict[str, int]:
        return {"kernel": self._open_client().pid, "server": self._server.pid}

    def execute(self, code: str) -> None:
        self.trivial(code, 1)

    def trivial(self, code: str, times: int) -> list[float]:
        return self._seconds({"do": "run_script", "code": code, "times": times})

    def head(self, table: str) -> float:
        """Seconds to read ten rows of a table."""
        return self._seconds({"do": "head", "table": table})[0]

    def download(self, table: str) -> float:
        """Seconds to read a whole table."""
        return self._seconds({"do": "download", "table": table})[0]

    def stop(self) -> list[str]:
        left = self._client.stop() if self._client else []
        return left + self._server.stop()

    def _seconds(self, command: dict[str, Any]) -> list[float]:
        answer: list[float] = self._open_client().ask(command)["seconds"]
        return answer

    def _open_client(self) -> _Helper:
        if self._client is None:
            raise BenchmarkError("pydeephaven: the client is not there")
        return self._client


class _Helper:
    """A script of this directory as a process that answers JSON lines and ends with its standard input."""

    def __init__(self, script: str, scratch: Path) -> None:
        self._script = script
        self._log = scratch / f"{script}.log"
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name(script))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # a buffer would hide from `select` the lines it already holds
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends this one itself
            )
        self.pid = process.pid
        if process.stdin is None or process.stdout is None:
            raise BenchmarkError(f"{script}: no pipes")  # cannot happen: both were asked for
        self._stdin, self._stdout = process.stdin, process.stdout

    def ask(self, question: dict[str, Any], *, timeout_s: float = 120) -> dict[str, Any]:
        """Send a line, and return the answer to it."""
        self._stdin.write(json.dumps(question).encode() + b"\n")
        self._stdin.flush()
        for line in self._lines(timeout_s):
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                if "error" in answer:
                    raise BenchmarkError(f"{self._script}: {answer['error']}")
                return answer
        raise BenchmarkError(f"{self._script}: no answer; its last words: {self._log.read_text(errors='replace')[-2000:]}")

    def _lines(self, timeout_s: float) -> Iterator[bytes]:
        """Lines until the end or until nothing comes for `timeout_s`. Sound because one question has one answer."""
        while select.select([self._stdout], [], [], timeout_s)[0]:
            line = self._stdout.readline()
            if not line:
                return
            yield line

    def stop(self) -> list[str]:
        """Close its input, and kill it if that is not enough."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        left = []
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            left.append(f"{self._script}: had to be killed")
            self._process.kill()
            self._process.wait(15)
        self._stdout.close()
        return left


def missing_packages() -> list[str]:
    """What the peers need and this environment does not have."""
    needed = ("deephaven_server", "pydeephaven", "ipykernel", "jupyter_client", "psutil", "pandas", "comm")
    return [name for name in needed if importlib.util.find_spec(name) is None]
