"""Where the time of a start goes: moments on the system's monotonic clock, and a line that tells what lies between them.

The clock is the same for all processes of a machine, so that the kernel's and the server's moments can be compared. What goes
on in the kernel and in the server at the same time stands in two groups. Neighbours: `__main__`, `backend`, `doctor`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping

KERNEL = (("spawned", "process and settings"), ("imported", "imports"))
SERVER = (("begun", "process"), ("imported", "imports"), ("jvm", "JVM"), ("server", "server"))
SESSION = (("connected", "connection"), ("opened", "runtime"), ("done", "first cell"))


class Timings:
    """The moments of one start. `begun` is when this process was started."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.kernel: dict[str, float] = {}
        self.server: Mapping[str, float] = {}
        self.start = ""

    @classmethod
    def of_process(cls) -> Timings:
        """From the start of this process, where the system tells that; else from now."""
        return cls(_process_begun())

    def mark(self, name: str, moment: float | None = None) -> None:
        """Note a moment; the first of its name counts."""
        self.kernel.setdefault(name, time.monotonic() if moment is None else moment)

    def line(self) -> str:
        """All of it, in seconds."""
        total = max(self.kernel.values(), default=self.begun) - self.begun
        spawned = self.kernel.get("spawned", self.begun)
        ready = max(self.server.get("server", spawned), self.kernel.get("imported", spawned))
        groups = [
            ", ".join(_steps(self.begun, KERNEL, self.kernel)),
            ", ".join(_steps(spawned, SERVER, self.server)),
            ", ".join(_steps(self.kernel.get("ready", ready), SESSION, self.kernel)),
        ]
        names = ("kernel: ", f"server{self.start}: ", "then: ")
        return f"start-up {total:.2f} s; " + "; ".join(name + text for name, text in zip(names, groups, strict=True) if text)


def _steps(begun: float, names: tuple[tuple[str, str], ...], moments: Mapping[str, float]) -> Iterator[str]:
    for name, text in names:
        if name in moments:
            yield f"{text} {max(moments[name] - begun, 0.0):.2f}"
            begun = max(moments[name], begun)


def _process_begun() -> float:
    now = time.monotonic()
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return now - age
    return now
