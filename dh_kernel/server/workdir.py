"""A server's own folder: Java's temporary files, Deephaven's cache, and a crash's report, so that nothing stays elsewhere.

Its name tells who owns it, so that a later start can sweep what a kernel and its guardian, both killed, left behind:
`dh-kernel-<machine>-<owner's pid>-<owner's start time>-<random>`. `<machine>` stands for the host and the pid namespace: in a
temporary folder that containers share, a pid means nothing to the others. A server that was handed over has another owner,
whom a file in the folder names.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import zlib

_PREFIX = "dh-kernel-"
_OWNER = ".owner"


def new_path(parent: str | None = None) -> str:
    """A path for a new folder, which is not made yet."""
    owner = f"{machine()}-{_this_process()}"
    return os.path.join(parent or temporary_folder(), f"{_PREFIX}{owner}-{os.urandom(6).hex()}")


def take_over(path: str) -> None:
    """Become the owner of a folder that another process has made."""
    with open(os.path.join(path, _OWNER), "w", encoding="ascii") as file:
        file.write(_this_process())


def _this_process() -> str:
    return f"{os.getpid()}-{start_time(os.getpid()) or 0}"


def temporary_folder() -> str:
    """Where temporary files go. The module `tempfile` knows as well, but its import takes 20 ms."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = os.environ.get(name)
        if folder and os.path.isdir(folder):
            return os.path.abspath(folder)
    return "/tmp" if os.name == "posix" else os.path.abspath(".")


def remove(path: str) -> None:
    if not os.path.lexists(path):
        return
    import shutil  # here, since it takes longer to import than a server takes to spawn

    shutil.rmtree(path, ignore_errors=True)


def sweep(parent: str | None = None) -> list[str]:
    """Remove the folders whose owner is gone; returns them."""
    pattern = os.path.join(glob.escape(parent or temporary_folder()), f"{_PREFIX}{machine()}-*")
    stale = [path for path in glob.glob(pattern) if _is_mine(path) and _owner_is_gone(path)]
    for path in stale:
        remove(path)
    return stale


def _is_mine(path: str) -> bool:
    try:
        return os.name != "posix" or os.lstat(path).st_uid == os.getuid()
    except OSError:
        return False


def _owner_is_gone(path: str) -> bool:
    parts = os.path.basename(path)[len(_PREFIX) :].split("-")
    if len(parts) != 4 or not parts[1].isdigit():
        return False
    if not _has_ended(parts[1], parts[2]):
        return False
    try:
        with open(os.path.join(path, _OWNER), encoding="ascii") as file:
            pid, _, started = file.read().partition("-")
    except (OSError, ValueError):
        return True
    return not pid.isdigit() or _has_ended(pid, started)


def _has_ended(number: str, started: str) -> bool:
    pid = int(number)
    if not _is_running(pid):
        return True
    now = start_time(pid)
    return started != "0" and now is not None and now != started


def state(pid: int) -> str:
    """What a process does, as `ps` puts it in one letter: `T` is stopped. Empty where that is not known cheaply."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def descendants(pid: int) -> list[tuple[int, str | None]]:
    """The processes below one, each with its start time; none where that is not known cheaply."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return [(child, start_time(child)) for child in found]


def start_time(pid: int) -> str | None:
    """When a process started, in whatever unit the system has; None if that is not known cheaply."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_running_on_windows(pid: int) -> bool:
    """On Windows `os.kill(pid, 0)` would end the process."""
    if sys.platform != "win32":
        return True
    import ctypes

    synchronize, still_waiting = 0x00100000, 0x102
    handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return bool(ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == still_waiting)
    finally:
        ctypes.windll.kernel32.CloseHandle(handle)


def machine() -> str:
    """This host and pid namespace, as a short text."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    host = os.uname().nodename if sys.platform != "win32" else os.environ.get("COMPUTERNAME", "")
    return f"{zlib.crc32(f'{host} {namespace}'.encode()):08x}"
