"""Servers started ahead: where they wait, which of them suits a kernel, and how a kernel gets one. POSIX only.

A keeper (`keeper.py`, one process for all kernels of a user) launches a spare server and listens on a socket in a folder that
only the user may enter. A kernel that claims the spare gets its pipes over that socket, with `SCM_RIGHTS`, and is from then on
its owner as if it had launched it. What is left to the keeper is that of a parent: to hold the pid until the owner is done
with it, and to tell how the process ended. Messages are JSON, a line each way.

    kernel                                          keeper
    {"op": "claim", "key": …}                       a spare with that key is taken out: no two kernels get the same
                                                    {"spare": {…}} with three pipes; or {"spare": null}
    makes a guardian of its own, {"op": "taken"}    lets its own guardian go, closes its ends
                                                    {"op": "yours"}; from here on the keeper's death changes nothing
    adopts, uses, ends the server                   {"ended": code} when the process has ended
    closes the connection                           reaps it

If either ends on the way the server ends too, and the kernel launches one. Neighbours: `process` (claims), `keeper`. Imports
only what is cheap, since a kernel claims before it does anything else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dh_kernel import __version__

from . import workdir
from .java import Java
from .options import LaunchOptions

POSSIBLE = os.name == "posix" and hasattr(socket, "send_fds")
LONGEST_ORDER = 60_000  # bytes: fits into a pipe at once, so that a stopped server cannot hold up a kernel
_EXCHANGE_S = 5.0
_KEEPER_STARTS_WITHIN_S = 20.0
_LONGEST_PATH = 100  # of a socket, by the system
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # Python sets LC_CTYPE so where no locale is, unless it is isolated (PEP 538)
# What is read when a Python, a JVM or a numeric library starts. All other variables are set when a server is claimed.
_READ_AT_START = (
    "PYTHON",
    "LD_",
    "DYLD_",
    "JAVA",
    "_JAVA",
    "JDK_",
    "DEEPHAVEN",
    "LC_",
    "LANG",
    "TZ",
    "MALLOC_",
    "OMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "NUM",
    "ARROW_",
    "GRPC_",
    "CUDA_",
    "XDG_",
    "HOME",
    "USER",
    "LOGNAME",
    "TMP",
    "TEMP",
    "VIRTUAL_ENV",
    "CONDA",
    "IPYTHON_",  # IPYTHONDIR is read by each session
    "MPL",
    "MATPLOTLIB",
)
_OF_ONE_LOGIN = ("XDG_SESSION", "XDG_ACTIVATION", "XDG_VTNR", "XDG_SEAT")


@dataclass(frozen=True)
class Spare:
    """A claimed server: what its owner needs. `fds`: lifeline, stdout, stderr, reports."""

    pid: int
    key: str
    port: int
    version: str
    workdir: str
    archive: str | None
    archive_used: bool
    log: tuple[str, ...]
    fds: tuple[int, ...]
    child: Foster


class Foster:
    """A process whose parent is the keeper, with the few methods of `Popen` that its owner uses."""

    def __init__(self, pid: int, connection: socket.socket, lifeline: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection, self._lifeline = connection, lifeline
        # Taken while the keeper lives and holds the pid, so that it means this process for good.
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(pid)

    def wait_unreaped(self) -> None:
        """Wait for the end. The pid stays taken until `wait`, unless the keeper is gone too."""
        with contextlib.suppress(OSError, ValueError):
            self._connection.settimeout(None)
            answer = receive(self._connection)
            if answer is not None:
                self.returncode = int(answer["ended"])
                return
        self._watch_by_itself()

    def _watch_by_itself(self) -> None:
        """The keeper was killed. How the process ends nobody will know, but that it ends shows."""
        poll = select.poll()
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        else:
            poll.register(self._lifeline, 0)  # an error, once nobody holds the other end
        poll.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """Let go of the pid. Only after `wait_unreaped`."""
        self._connection.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        return self.returncode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)


def claim(options: LaunchOptions, java: Java) -> Spare | None:
    """A spare server that suits, whose owner this process is from now on; None where there is none. Takes milliseconds."""
    folder = find_folder(make=False)
    if not POSSIBLE or folder is None or options.port:
        return None
    connection = connect(socket_path(folder))
    if connection is None:
        return None
    try:
        spare = _claim(connection, key_of(options, java))
    except (OSError, ValueError, KeyError, IndexError):
        spare = None
    if spare is None:
        connection.close()
    return spare


def _claim(connection: socket.socket, key: str) -> Spare | None:
    connection.settimeout(_EXCHANGE_S)
    send(connection, {"op": "claim", "key": key})
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
    try:
        for fd in fds:
            os.set_inheritable(fd, False)
        answer = receive(connection, data) if data else None
        offered = answer["spare"] if answer is not None else None
        if offered is None or len(fds) != 4:
            raise ValueError("no spare")
        child = Foster(offered["pid"], connection, fds[0])
        return Spare(**{**offered, "log": tuple(offered["log"])}, fds=tuple(fds), child=child)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def take(spare: Spare) -> bool:
    """Tell the keeper that the server has its new owner, with a guardian; whether it has let go."""
    try:
        send(spare.child._connection, {"op": "taken"})
        return receive(spare.child._connection) == {"op": "yours"}
    except (OSError, ValueError):
        return False


def adopt_order(options: LaunchOptions) -> bytes | None:
    """What the launcher of a spare is told; None where it is too much to tell."""
    umask = os.umask(0o077)
    os.umask(umask)
    order = {"cwd": options.cwd or os.getcwd(), "environment": {**os.environ, **options.environment}, "umask": umask}
    line = b"adopt " + json.dumps(order).encode() + b"\n"
    return line if len(line) <= LONGEST_ORDER else None


# --- which server suits


def key_of(options: LaunchOptions, java: Java) -> str:
    """A name for all that cannot be changed once a server has started."""
    environment = {**os.environ, **options.environment}
    parts = [
        options.python,
        _stamp(os.path.realpath(options.python)),
        java.home,
        _stamp(os.path.join(java.home, "release")),
        options.heap,
        options.jvm_args,
        options.archives,
        options.cwd or os.getcwd() if _has_relative_paths(environment) else None,
        sorted((name, value) for name, value in environment.items() if _is_read_at_start(name, value)),
    ]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _has_relative_paths(environment: Mapping[str, str]) -> bool:
    """Whether the folder of the start decides where modules come from."""
    search = environment.get("PYTHONPATH")
    return bool(search) and not all(map(os.path.isabs, str(search).split(os.pathsep)))


def _is_read_at_start(name: str, value: str) -> bool:
    if name == "LC_CTYPE" and value in _COERCED:
        return False
    return name.startswith(_READ_AT_START) and not name.startswith(_OF_ONE_LOGIN)


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def _surroundings() -> str:
    """What a process has from the one that starts it: machine, limits, control group, this version of the code."""
    import resource

    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    parts: list[object] = [workdir.machine(), __version__, sys.executable]
    parts += [_stamp(os.path.join(os.path.dirname(os.path.abspath(__file__)), name)) for name in ("launcher.py", "keeper.py")]
    parts += [resource.getrlimit(getattr(resource, name)) for name in names]
    parts.append(os.getpriority(os.PRIO_PROCESS, 0))
    if hasattr(os, "sched_getaffinity"):
        parts.append(sorted(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
        parts.append(file.read())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


# --- where they wait


def find_folder(*, make: bool) -> str | None:
    """The folder with the sockets of this user's keepers; None where there is none that only the user may enter."""
    for name in _candidates():
        if make:
            with contextlib.suppress(OSError):
                os.mkdir(name, 0o700)
        if _is_private(name):
            return name
    return None


def _candidates() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    names = [os.path.join(runtime, "dh-kernel")] if runtime and os.path.isdir(runtime) else []
    names += [os.path.join(parent, f"dh-kernel-standby-{os.getuid()}") for parent in (workdir.temporary_folder(), "/tmp")]
    return [name for name in dict.fromkeys(names) if len(os.fsencode(name)) <= _LONGEST_PATH - 20]


def _is_private(folder: str) -> bool:
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def socket_path(folder: str) -> str:
    """The socket of the keeper that suits this process."""
    return os.path.join(folder, _surroundings())


def sockets() -> list[str]:
    """The sockets of all of this user's keepers here, also of those that are gone."""
    folders = [name for name in _candidates() if _is_private(name)]
    return sorted(entry.path for folder in folders for entry in os.scandir(folder) if "." not in entry.name)


def lock(path: str) -> bool:
    """Be the one that may listen there, until this process ends; False where another is."""
    import fcntl

    while True:
        file = os.open(path + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        with contextlib.suppress(OSError):  # a keeper that ended has removed the file between the two calls
            if os.path.samestat(os.fstat(file), os.stat(path + ".lock")):
                return True
        os.close(file)


def tidy(path: str) -> None:
    """Remove what a keeper has left that was killed."""
    if connect_fails(path) and lock(path):
        for file in (path, path + ".lock"):
            with contextlib.suppress(OSError):
                os.remove(file)


def connect_fails(path: str) -> bool:
    connection = connect(path)
    if connection is not None:
        connection.close()
    return connection is None


# --- talking


def connect(path: str) -> socket.socket | None:
    """A connection with a keeper; None where none listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_EXCHANGE_S)
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def send(connection: socket.socket, message: Mapping[str, Any], fds: tuple[int, ...] = ()) -> None:
    """One message, with file descriptors."""
    data = json.dumps(message).encode() + b"\n"
    if fds:
        sent = socket.send_fds(connection, [data], list(fds))
        data = data[sent:]
    connection.sendall(data)


def receive(connection: socket.socket, data: bytes = b"") -> dict[str, Any] | None:
    """One message, of which the beginning may be there; None at the end. No second one comes before it has been answered."""
    while not data.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part:
            return None
        data += part
    message: dict[str, Any] = json.loads(data)
    return message


def ask(path: str, message: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any] | None:
    """A keeper's answer; None where none listens."""
    connection = connect(path)
    if connection is None:
        return None
    with connection:
        connection.settimeout(timeout_s)
        try:
            send(connection, message)
            return receive(connection)
        except (OSError, ValueError):
            return None


def keep(options: LaunchOptions, java: Java) -> bool:
    """Have spares for such launches kept, by a keeper that is started where there is none. Blocks; whether there is one."""
    folder = find_folder(make=True)
    if not POSSIBLE or folder is None or options.port:
        return False
    path = socket_path(folder)
    environment = {**os.environ, **options.environment}
    cwd = options.cwd or os.getcwd() if _has_relative_paths(environment) else None
    order = {
        "op": "keep",
        "key": key_of(options, java),
        "options": asdict(replace(options, cwd=cwd, environment={}, standby=0)),
        "count": options.standby,
        "idle_s": options.standby_idle_s,
        "environment": environment,
    }
    for _ in range(2):
        if ask(path, order) is not None:
            return True
        _start_keeper(path)
    return False


# The folder of the notebook must not be what the keeper imports from, and the package need not be installed.
_BOOTSTRAP = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); sys.path.append(sys.argv.pop(1)); "
    "from dh_kernel.server.keeper import main; main()"
)


def _start_keeper(path: str) -> None:
    """Start one and wait until it listens, or has found that another does."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOTSTRAP, package, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        ready, _, _ = select.select([pipe], [], [], _KEEPER_STARTS_WITHIN_S)
        if ready:
            pipe.read(1)
    process.returncode = 0  # it is not waited for: it outlives this process
