"""What is known of the machine and of processes' memory: `/proc` read on Linux, nothing elsewhere.

Neighbours: `rows.py` reads memory, `report.py` writes the facts. Starts no process but `java -version` and `git`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

MB = 1_000_000
PACKAGES = (
    "dh-kernel",
    "deephaven-server",
    "pydeephaven",
    "ipykernel",
    "ipython",
    "jupyter_client",
    "pyzmq",
    "pyarrow",
    "pandas",
    "numpy",
    "psutil",
)


def rss_mb(pid: int) -> float:
    """Resident memory now."""
    return int(psutil.Process(pid).memory_info().rss) / MB


def reset_peak(pid: int) -> None:
    """Let the kernel's high-water mark of resident memory start again from the present value (Linux)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mb(pid: int) -> float:
    """The most resident memory since `reset_peak` (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MB
    raise OSError(f"/proc/{pid}/status has no VmHWM")


def has_jvm(process: psutil.Process) -> bool:
    """True for a process that has a Java virtual machine in it."""
    try:
        return "libjvm" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def java_server(kernel: psutil.Process) -> psutil.Process | None:
    """The process with a JVM among what a kernel started."""
    return next((child for child in kernel.children(recursive=True) if has_jvm(child)), None)


def facts() -> dict[str, Any]:
    """The machine, the versions, the time and the load, as JSON can hold them."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": os.getloadavg(),
        "python": sys.version.split()[0],
        "java": _first_line(["java", "-version"]),
        "commit": _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str | None:
    """What a command says first, on either stream; None where it cannot be run."""
    if command[0] == "java" and "JAVA_HOME" in os.environ:
        command = [str(Path(os.environ["JAVA_HOME"], "bin", "java")), *command[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter((done.stdout + done.stderr).splitlines()), None)
