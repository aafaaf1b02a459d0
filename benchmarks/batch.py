"""Rows about `dh-kernel run`: whole commands, from their start to their end, against what users would write instead.

    ours        `dh-kernel run`, with a server of its own
    ipykernel   `jupyter run --kernel python3`, no Deephaven
    embedded    a Python program with a `deephaven_server.Server` in it and a pydeephaven session to that

Neighbours: `rows.py` lists them, `turns.py` takes the peers in turn, `report.py` holds the results.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
from clients import BenchmarkError
from machine import MB
from peers import EMBEDDED, IPYKERNEL, OURS, OURS_STANDBY, ROOT, Bench
from report import Row
from starts import await_spare, keeper
from turns import rounds_of_names

LINES = 2_000_000
POUR = f"for i in range({LINES}): print(f'{{i:099d}}')"
BIG_TABLE = 'from deephaven import empty_table\nbig = empty_table(20_000_000).update("X = ii")'
_LIMIT_S = 300.0
_LOOK_S = 0.05
_RUN = "from dh_kernel.cli import main; raise SystemExit(main())"
# The console's output goes to the server's own stdout, which here is the program's.
_EMBEDDED = """\
import os, sys
from deephaven_server import Server
server = Server(host="127.0.0.1", port=0, jvm_args=["-Xmx{heap}", "-Dauthentication.psk={key}"])
server.start()
from pydeephaven import Session
handler = "io.deephaven.authentication.psk.PskAuthenticationHandler"
session = Session("127.0.0.1", server.port, auth_type=handler, auth_token="{key}")
session.run_script({code!r})
{then}
sys.stdout.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class _Ended:
    seconds: float
    digest: str
    size: int
    tail: bytes
    peak_mb: float


def run_hello(bench: Bench, row: Row) -> None:
    """`run -c "print('hello')"`, from the command's start to its end, everything launched anew; and from a spare server."""

    def measure(name: str, discard: bool) -> None:
        await_spare(bench)  # none is made while somebody is measured
        ended = _command(bench, name, "print('hello')")
        if b"hello" not in ended.tail:
            raise BenchmarkError(f"{name}: it did not print hello but {ended.tail!r}")
        if not discard:
            metric = "print('hello')"
            if name != OURS_STANDBY:
                row.add(metric, "s", name, ended.seconds)
            if name != OURS:
                row.add(f"{metric}, from standby", "s", OURS if name == OURS_STANDBY else name, ended.seconds)

    with keeper(bench):
        rounds_of_names(bench, row, (OURS, OURS_STANDBY, IPYKERNEL, EMBEDDED), measure)


def run_pour(bench: Bench, row: Row) -> None:
    """200 MB of lines to a pipe by `run -c`: the whole command, and the most memory that its processes had together."""
    wanted = hashlib.sha256()
    for number in range(LINES):
        wanted.update(f"{number:099d}\n".encode())

    def measure(name: str, discard: bool) -> None:
        ended = _command(bench, name, POUR)
        if ended.digest != wanted.hexdigest():
            row.problem(f"{name}: {ended.size} bytes arrived, and they are not those that were printed")
        if not discard:
            row.add("200 MB", "s", name, ended.seconds)
            row.add("200 MB, peak of all processes", "MB", name, ended.peak_mb)

    rounds_of_names(bench, row, (OURS, IPYKERNEL), measure)


def run_big_table(bench: Bench, row: Row) -> None:
    """`run -c` that assigns a table of 20 million rows, shown as a preview; the peer downloads it."""

    def measure(name: str, discard: bool) -> None:
        ended = _command(bench, name, BIG_TABLE, then='print(session.open_table("big").to_arrow().slice(0, 10).to_pandas())')
        if b"9" not in ended.tail:
            raise BenchmarkError(f"{name}: no table was shown but {ended.tail!r}")
        if not discard:
            row.add("20 million rows", "s", name, ended.seconds)
            row.add("20 million rows, peak of all processes", "MB", name, ended.peak_mb)

    rounds_of_names(bench, row, (OURS, EMBEDDED), measure)


def _command(bench: Bench, name: str, code: str, then: str = "") -> _Ended:
    """Run one of the commands to its end."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "DH_KERNEL_HEAP": bench.heap}
    environment["IPYTHONDIR"] = str(bench.scratch / "ipython")
    if name == OURS_STANDBY:
        environment |= {**bench.environment(), "DH_KERNEL_STANDBY": "1"}
    else:
        environment |= bench.no_spares()
    if name in (OURS, OURS_STANDBY):
        command = [sys.executable, "-c", _RUN, "run", "-c", code]
    elif name == IPYKERNEL:
        script = bench.scratch / "script.py"
        script.write_text(code, "utf-8")
        environment["JUPYTER_PATH"] = str(bench.scratch)
        command = [sys.executable, "-m", "jupyter_client.runapp", "--kernel", IPYKERNEL, str(script)]
    else:
        filled = _EMBEDDED.format(heap=bench.heap, key=secrets.token_hex(16), code=code, then=then)
        command = [sys.executable, "-c", filled]
    return _run(name, command, environment)


def _run(name: str, command: list[str], environment: dict[str, str]) -> _Ended:
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdout is not None
    killer = threading.Timer(_LIMIT_S, process.kill)
    killer.start()
    memory = _Memory(process.pid)
    digest, size, tail = hashlib.sha256(), 0, b""
    try:
        while data := process.stdout.read(1 << 20):
            digest.update(data)
            size += len(data)
            tail = (tail + data)[-4000:]
        code = process.wait()
        seconds = time.perf_counter() - begun
    finally:
        killer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
        peak = memory.stop()
    if code != 0:
        raise BenchmarkError(f"{name}: ended with {code}")
    return _Ended(seconds, digest.hexdigest(), size, tail, peak)


class _Memory:
    """The most resident memory that a process and all below it have together, looked at 20 times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._end = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bench-memory", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(_LOOK_S):
            try:
                top = psutil.Process(self._pid)
                together = sum(_resident(one) for one in (top, *top.children(recursive=True)))
            except psutil.Error:
                continue
            self._peak = max(self._peak, together / MB)

    def stop(self) -> float:
        """End; the peak in MB."""
        self._end.set()
        self._thread.join()
        return self._peak


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
