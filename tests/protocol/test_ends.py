"""However a kernel ends, nothing of it is left: no server, no program of a cell, no folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import LAUNCHED, Kernel, Place, descendants, is_gone, started, wait_until

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0
BUSY = (
    "import subprocess, time\nkids = [subprocess.Popen(['sleep', '1000']) for _ in range(2)]\n"
    "print(*(kid.pid for kid in kids))\nwhile True: time.sleep(0.1)"
)


@pytest.fixture
def kernel(place: Place, tmp_path: Path) -> Iterator[Kernel]:
    with started(place, LAUNCHED, {"TMPDIR": str(tmp_path), "DH_KERNEL_CLASS_ARCHIVE": "0"}) as made:
        made.ok("1", READY_TIMEOUT_S)
        yield made


def busy(kernel: Kernel) -> list[int]:
    """A cell runs, with programs that it has started; all processes of the kernel."""
    run = kernel.send(BUSY)
    kernel.wait(lambda: "\n" in run.text(), "the programs have started")
    found = [kernel.pid, *descendants(kernel.pid)]
    assert len(found) >= 5  # the kernel, the guardian, the server, two programs
    return found


def nothing_left(processes: list[int], folder: Path, timeout_s: float = 10.0) -> None:
    wait_until(lambda: all(map(is_gone, processes)), "all processes end", timeout_s)
    wait_until(lambda: not list(folder.glob("dh-kernel-*")), "the server's folder is removed", timeout_s)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_kernel_that_is_killed(kernel: Kernel, tmp_path: Path, number: signal.Signals) -> None:
    processes = busy(kernel)
    os.kill(kernel.pid, number)
    nothing_left(processes, tmp_path)


@pytest.mark.parametrize("stop", [False, True], ids=["running", "stopped"])
def test_a_shutdown_is_prompt(kernel: Kernel, tmp_path: Path, stop: bool) -> None:
    """Also where the server does not hear it; asked for twice at once it is one."""
    processes = busy(kernel)
    server = int(subprocess.run(["pgrep", "-P", str(kernel.pid), "-f", "launcher.py"], capture_output=True, check=True).stdout)
    if stop:
        os.killpg(server, signal.SIGSTOP)
    asked = time.monotonic()
    for _ in range(2):
        kernel.client.control_channel.send(kernel.client.session.msg("shutdown_request", {"restart": False}))
    nothing_left(processes, tmp_path)
    assert time.monotonic() - asked < 5.0


_PARENT = """
import sys, time
from jupyter_client.manager import KernelManager
from harness import LAUNCHED, Place, started
class Here(Place):
    def __init__(self, folder, environ): self.folder, self.environ = folder, environ
import os, pathlib
place = Here(pathlib.Path({folder!r}), dict(os.environ))
with started(place, LAUNCHED, {environ!r}) as kernel:
    kernel.ok("1", 120.0)
    print(kernel.pid, flush=True)
    time.sleep(1000)
"""


def test_a_kernel_whose_parent_dies(place: Place, tmp_path: Path) -> None:
    """A Jupyter server that is killed: the kernel notices, and takes its server along."""
    environ = {"TMPDIR": str(tmp_path), "DH_KERNEL_CLASS_ARCHIVE": "0"}
    code = _PARENT.format(folder=str(place.folder), environ=environ)
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={**place.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    processes = [pid, *descendants(pid)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    nothing_left(processes, tmp_path, 20.0)
