"""The keeper of spare servers: a process of its own that outlives kernels, started by the first that wants a standby.

It keeps as many spares as the latest request says, for the launches that this request describes, hands them over (`standby.py`
has the exchange), and ends when nobody has asked for the idle time. Of a server that it has handed over it remains the
parent, until that ends. One keeper at a time holds the lock beside its socket. Killed, it takes its spares with it, by their
guardians.

A spare is made when a kernel has settled, at a low priority that can be taken back: nice cannot be, so that a spare made with
it would stay slow. Linux has a nice value for a session's group; besides, the spare is stopped for a third of the time, and
all of the time for a while after a kernel had to start a server of its own.

    thread dh-keeper-maker      launches spares, warms them, ends them
    thread dh-keeper-client     one for each connection
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dh_kernel.errors import DhKernelError

from . import standby
from .options import LaunchOptions
from .process import ServerProcess

QUIET_S = 12.0
TICK_S = 0.1
# Long, since a spare gets what others leave of a busy machine.
READY_WITHIN_S = 900.0
WARM_WITHIN_S = 600.0
RETRY_S = 60.0
ASKED_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.25
_LET_GO_S = 15.0
_LOW = 10
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_WARM = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); sys.path.append(sys.argv.pop(1)); "
    "from dh_kernel.trial import main; sys.exit(main())"
)


@dataclass(frozen=True)
class _Wish:
    """What the latest request wants kept."""

    key: str
    options: LaunchOptions
    count: int
    idle_s: float
    environment: Mapping[str, str]


class Keeper:
    """All of it; `serve` runs until there is nothing to keep."""

    def __init__(self, listener: socket.socket, warm: Callable[[ServerProcess], None]) -> None:
        self._listener, self._warm = listener, warm
        self._news = threading.Condition()
        self._wish: _Wish | None = None
        self._spares: list[tuple[str, ServerProcess]] = []
        self._making: ServerProcess | None = None
        self._given = 0
        self._used = time.monotonic()
        self._quiet_until = 0.0
        self._retry_at = 0.0
        self._problem = ""
        self._stopping = self._over = False

    def serve(self) -> None:
        """Answer until nothing is kept and no server is given away."""
        maker = threading.Thread(target=self._make_and_end, name="dh-keeper-maker", daemon=True)
        maker.start()
        self._listener.settimeout(_LOOK_EVERY_S)
        while not self._is_over():
            if not os.path.exists(self._listener.getsockname()):
                self.stop()  # nobody can ask any more: at a logout the folder goes
            with contextlib.suppress(TimeoutError, socket.timeout):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), name="dh-keeper-client", daemon=True).start()
        self._over = True
        self.stop()
        maker.join(_LET_GO_S)

    def stop(self) -> None:
        """Want no spares any more; they end."""
        with self._news:
            self._stopping, self._wish = True, None
            self._news.notify_all()

    def _is_over(self) -> bool:
        with self._news:
            if self._wish is not None and time.monotonic() - self._used > self._wish.idle_s:
                self._wish = None
                self._news.notify_all()
            fresh = time.monotonic() - self._used < ASKED_WITHIN_S and not self._stopping
            return not (self._wish or self._spares or self._making or self._given or fresh)

    # --- requests

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            connection.settimeout(_LET_GO_S)
            request = standby.receive(connection)
            if request is None:
                return
            if request["op"] == "claim":
                self._hand_over(connection, request["key"])
            elif request["op"] == "keep":
                self._keep(request)
                standby.send(connection, {"ok": True})
            elif request["op"] == "stop":
                self.stop()
                standby.send(connection, self._wait_until_ended())
            elif request["op"] == "status":
                standby.send(connection, self._status())

    def _keep(self, request: Mapping[str, Any]) -> None:
        wanted = dict(request["options"], spare=True, jvm_args=tuple(request["options"]["jvm_args"]))
        wanted["start_timeout_s"] = max(wanted["start_timeout_s"], READY_WITHIN_S)
        wish = _Wish(
            request["key"], LaunchOptions(**wanted), int(request["count"]), float(request["idle_s"]), request["environment"]
        )
        with self._news:
            self._used, self._wish, self._stopping = time.monotonic(), wish, False
            self._retry_at, self._problem = 0.0, ""  # what was wrong may have been mended
            self._news.notify_all()

    def _status(self) -> dict[str, Any]:
        with self._news:
            return {
                "pid": os.getpid(),
                "waiting": [
                    {"pid": process.pid, "version": process.version} for key, process in filter(self._is_wanted, self._spares)
                ],
                "making": self._making is not None,
                "wanted": self._wish.count if self._wish else 0,
                "claimed": self._given,
                "idle_s": round(time.monotonic() - self._used, 1),
                "idle_limit_s": self._wish.idle_s if self._wish else None,
                "problem": self._problem,
            }

    def _wait_until_ended(self) -> dict[str, Any]:
        with self._news:
            self._news.wait_for(lambda: not self._spares and not self._making, _LET_GO_S)
            return {"ok": not self._spares and not self._making, "claimed": self._given}

    def _hand_over(self, connection: socket.socket, key: str) -> None:
        process = self._take(key)
        if process is None:
            standby.send(connection, {"spare": None})
            return
        given = False
        try:
            facts, fds = process.lend()
            standby.send(connection, {"spare": facts}, fds)
            if standby.receive(connection) == {"op": "taken"}:
                ended = threading.Event()
                given = process.give(lambda code: self._tell_end(connection, code, ended))
                if given:
                    with self._news:
                        self._given += 1
                    with contextlib.suppress(OSError):
                        standby.send(connection, {"op": "yours"})
                    ended.wait()
        finally:
            with self._news:
                if given:
                    self._given -= 1
                self._news.notify_all()
            if not given:
                process.stop(0.0)  # whoever claimed it may have got some of it

    def _take(self, key: str) -> ServerProcess | None:
        """The spare that suits, out of the pool: whoever has it has it alone."""
        with self._news:
            self._used = time.monotonic()
            self._news.notify_all()
            for entry in self._spares:
                if entry[0] == key and _is_usable(entry[1]):
                    self._spares.remove(entry)
                    # Until the kernel says that it has settled; should it never, the next one is made all the same.
                    self._quiet_until = time.monotonic() + QUIET_S
                    return entry[1]
            self._quiet_until = time.monotonic() + QUIET_S
            return None

    def _tell_end(self, connection: socket.socket, code: int, ended: threading.Event) -> None:
        """Tell the owner, and wait until it is done with the pid."""
        try:
            with contextlib.suppress(OSError, ValueError):
                connection.settimeout(_LET_GO_S)
                standby.send(connection, {"ended": code})
                standby.receive(connection)
        finally:
            ended.set()

    # --- the maker's thread

    def _make_and_end(self) -> None:
        while not self._over:
            with self._news:
                surplus = [entry for entry in self._spares if not self._is_wanted(entry)]
                self._spares = [entry for entry in self._spares if entry not in surplus]
            for _, process in surplus:
                process.stop(1.0)
            with self._news:
                self._news.notify_all()
                wish = self._wish
                due = time.monotonic() >= max(self._quiet_until, self._retry_at)
                if wish is None or len(self._spares) >= wish.count or not due:
                    self._news.wait(1.0)
                    continue
            self._make(wish)

    def _is_wanted(self, entry: tuple[str, ServerProcess]) -> bool:
        key, process = entry
        wish = self._wish
        if wish is None or wish.key != key or not _is_usable(process):
            return False
        return self._spares.index(entry) < wish.count

    def _make(self, wish: _Wish) -> None:
        problem = ""
        process: ServerProcess | None = None
        try:
            os.environ.clear()
            os.environ.update(wish.environment)
            process = ServerProcess.start(wish.options)
            with self._news:
                self._making = process
            throttle = threading.Event()
            gentle = threading.Thread(target=self._hold_back, args=(process, throttle), name="dh-keeper-throttle", daemon=True)
            gentle.start()
            try:
                process.wait_ready()
                self._warm(process)
            finally:
                throttle.set()
                gentle.join()
            with self._news:
                self._spares.append((wish.key, process))
        except (DhKernelError, OSError, subprocess.SubprocessError) as error:
            problem = f"{type(error).__name__}: {error}"
            if process is not None:
                process.stop(0.0)
        with self._news:
            self._making = None
            if wish is self._wish:  # else somebody has asked meanwhile, and is told of the next attempt
                self._problem = problem
                self._retry_at = time.monotonic() + RETRY_S if problem else 0.0
            self._news.notify_all()

    def _hold_back(self, process: ServerProcess, done: threading.Event) -> None:
        """Let the start be slow, so that what people do is not."""
        _set_group_nice(process.pid, _LOW)
        ticks = 0
        while not done.wait(TICK_S) and process.death is None:
            with self._news:
                unwanted = self._wish is None
                quiet = time.monotonic() < self._quiet_until
            if unwanted:
                process.kill()
                break
            ticks += 1
            process.signal_group(signal.SIGSTOP if quiet or ticks % 3 == 0 else signal.SIGCONT)
        process.signal_group(signal.SIGCONT)
        _set_group_nice(process.pid, 0)


def _is_usable(process: ServerProcess) -> bool:
    """Whether a kernel would get an answer from it, and what it would get from a new one."""
    return process.death is None and not process.is_stopped and _is_current(process)


def _is_current(process: ServerProcess) -> bool:
    """Whether nothing has been installed since the server imported its packages."""
    with contextlib.suppress(OSError):
        return all(os.stat(folder).st_mtime_ns == changed for folder, changed in process.stamps)
    return False


def _set_group_nice(pid: int, value: int) -> None:
    """Where the system schedules sessions as groups; unlike a process's own, this value can be lowered again."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
        file.write(str(value))


def warm_by_cell(process: ServerProcess) -> None:
    """Run a cell there, as the first one of a kernel, from a process that ends afterwards."""
    assert process.endpoint is not None
    subprocess.run(
        [sys.executable, "-c", _WARM, _PACKAGE],
        input=json.dumps({"port": process.endpoint.port, "key": process.endpoint.auth_token}).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=WARM_WITHIN_S,
        check=True,
    )


def main() -> None:
    """Listen at the path that the command line names, unless another keeper does."""
    path = sys.argv[1]
    if not standby.lock(path):
        return
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.chdir("/")
    os.umask(0o077)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        keeper = Keeper(listener, warm_by_cell)
        signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
        signal.signal(signal.SIGHUP, lambda *_: None)  # a handler: servers would inherit that it is ignored
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)  # tells whoever started this that it listens
        os.close(null)
        try:
            keeper.serve()
        finally:
            with contextlib.suppress(OSError):
                os.remove(path)
                os.remove(path + ".lock")
    os._exit(0)
