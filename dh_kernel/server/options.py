"""How to launch a server: plain data, and the one default that depends on the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1 << 20
GIB = 1 << 30
SMALLEST_HEAP = GIB
INITIAL_HEAP = 512 * MIB
COMFORTABLE_HEAP = 4 * GIB
LARGEST_HEAP = 31 * GIB  # from 32 GiB on a JVM loses compressed pointers: more heap holds fewer objects
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class LaunchOptions:
    """How to launch a server. `environment` is added to the environment of this process, for the server only.

    `java_home` None means: look for one. `heap` is what `-Xmx` takes. `port` 0 means: any free one. `archives` is the folder
    of Java's archives of classes, None: do without. With `make_archive` the server writes one there when it is stopped.
    `standby` is how many spare servers a keeper holds ready for such launches, `standby_idle_s` for how long without one.
    `spare`: this is to be one of them. `takes_spare`: if one waits it will do.
    """

    python: str = sys.executable
    java_home: str | None = None
    heap: str = field(default_factory=lambda: default_heap())
    jvm_args: tuple[str, ...] = ()
    port: int = 0
    cwd: str | None = None
    start_timeout_s: float = 120.0
    environment: Mapping[str, str] = field(default_factory=dict)
    archives: str | None = None
    make_archive: bool = False
    standby: int = 0
    standby_idle_s: float = 3600.0
    spare: bool = False
    takes_spare: bool = True


def default_heap() -> str:
    """The heap of a server whose user configured nothing, as `-Xmx` takes it."""
    return f"{heap_for(memory_bytes()) // MIB}m"


def heap_for(memory: int | None) -> int:
    """Bytes of heap that suit a machine with so many bytes of memory; None where that is unknown.

    A quarter of the memory, as a JVM takes by itself, leaves room for Python's own data and a second notebook. On machines
    under 16 GiB that is little for real tables: there up to half is taken, until 4 GiB, Deephaven's own default, is reached.
    """
    if memory is None:
        return COMFORTABLE_HEAP
    wanted = max(min(memory // 2, COMFORTABLE_HEAP), memory // 4)
    return min(max(wanted, SMALLEST_HEAP), LARGEST_HEAP)


def initial_heap(heap: str) -> list[str]:
    """The option for a heap that begins with 512 MB, or with all of a smaller one; none for a size that is not understood."""
    unit = {"k": 1 << 10, "m": MIB, "g": GIB, "t": 1 << 40}.get(heap[-1:].lower())
    number = heap[:-1] if unit else heap
    if not number.isdecimal():
        return []
    return [f"-Xms{min(int(number) * (unit or 1), INITIAL_HEAP)}"]


def memory_bytes() -> int | None:
    """The memory this process may use: the machine's, or the container's where that is less. None where unknown."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _windows_memory_bytes()
    limits = [machine, *filter(None, map(_read_limit, _CGROUP_LIMITS))]
    return min(limits)


def _read_limit(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # not in a container; or "max"
        return None


def _windows_memory_bytes() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    if not ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes)):
        return None
    return kilobytes.value * 1024
