"""The server's side of a launch. Runs in the server's interpreter, which need not have dh-kernel: the standard library and
deephaven_server are all it uses. `process.py` starts it as the module `_dh_kernel_launcher`, so that `__main__`, which is the
users' namespace, stays empty.

It reads its orders, one JSON line, from stdin; starts the server; reports over a pipe of its own; and then lends its main
thread to whoever finds this module:

    main_thread    its `loop` is an event loop on the main thread, where signals, matplotlib and asyncio work as in any Python
    output_fds     the read ends of this process's own stdout and stderr, for whom the kernel has handed them over to; they do
                   not block. None where there are none (Windows).
    workdir        the server's own folder, which is removed when it ends

Stdin stays open as a lifeline. The kernel process holds its only other end: when that closes, however the kernel ended, this
process and its group end at once. One line on it, `stop`, asks for an orderly end. A server that is started ahead, for a
kernel to come, keeps its pipe for reports, and becomes that kernel's by a line `adopt {…}`.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

LONGEST_MESSAGE = 20_000
INTERRUPT_EVERY_S = 0.5

_FILE = sys.argv[1]
_times = {"begun": time.monotonic()}  # of the start; on a clock that all processes share

output_fds: tuple[int, int] | None = None
workdir: str = ""


class _Thread(threading.Thread):
    """A thread that a debugger neither stops nor shows."""

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True


class MainThread:
    """Runs functions on the main thread, in an event loop. Whatever they raise, the loop goes on."""

    def __init__(self) -> None:
        self.ident = threading.main_thread().ident
        self.loop = asyncio.new_event_loop()
        self._exit_code: int | None = None

    def stop(self, exit_code: int = 0) -> None:
        """End the process once the running function has returned, without those still waiting."""
        self._exit_code = exit_code
        self.loop.call_soon_threadsafe(self.loop.stop)

    def run(self) -> int:
        """Run the loop until `stop`; returns the exit code. Called by the main thread only."""
        asyncio.set_event_loop(self.loop)
        process = os.getpid()
        while self._exit_code is None:
            try:
                self.loop.run_forever()
            except BaseException:  # the edge of what runs here: also SystemExit and KeyboardInterrupt end only that
                if os.getpid() != process:  # but a process that has been forked by a callback
                    _end_fork()
                continue
        return self._exit_code


def _end_fork() -> None:
    """End a forked process, whose loop is its parent's, as the exception that is being handled says."""
    error, code = sys.exc_info()[1], 1
    if isinstance(error, SystemExit):
        code = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
    try:
        if code and not (isinstance(error, SystemExit) and isinstance(error.code, int)):
            print(error.code if isinstance(error, SystemExit) else traceback.format_exc(), file=sys.stderr)
        _flush_files()
    finally:
        os._exit(code)


def _ignore_interrupts() -> None:
    """Between cells SIGINT does nothing. A handler, not SIG_IGN, which children would inherit."""
    signal.signal(signal.SIGINT, _do_nothing)


def _do_nothing(_signal: int, _frame: object) -> None:
    pass


main_thread = MainThread()


class Standby:
    """What a server that waits for a kernel does when one has come."""

    def __init__(self, orders: dict[str, Any], reports: Reports) -> None:
        self._reports, self._port, self._version = reports, orders["port"], orders["version"]
        adoption = _neighbour("adoption")
        self.stamps: list[tuple[str, int]] = adoption.stamps()
        self._adoption = adoption.Adoption()

    def adopt(self, order: dict[str, Any]) -> None:
        """On the lifeline's thread, with no cell and no session about."""
        try:
            self._adoption.become(order["cwd"], order["environment"], order["umask"])
            self._reports.send(port=self._port, version=self._version)
        except Exception as error:  # the kernel starts another server
            self._reports.send(error="failed", message=_message(error), trace=traceback.format_exc()[-LONGEST_MESSAGE:])
        self._reports.close()


standby: Standby | None = None


class Reports:
    """Tells the kernel how the start goes: one JSON line each, never mixed with anybody's output."""

    def __init__(self, fd: int | None, marker: str) -> None:
        self._fd = fd
        self._marker = marker

    def send(self, **report: object) -> None:
        line = json.dumps(report)
        if self._fd is not None:
            os.write(self._fd, f"{line}\n".encode())
        else:
            os.write(1, f"\n{self._marker}{line}\n".encode())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def main() -> None:
    global output_fds, standby, workdir
    orders = _read_orders()
    if orders["make_archive"] and hasattr(os, "nice"):
        os.nice(19)
    lifeline = _keep_lifeline()
    workdir = orders["workdir"]
    _Thread(target=_watch_lifeline, args=(lifeline, workdir), name="dh-lifeline", daemon=True).start()
    if hasattr(signal, "SIGQUIT"):
        signal.signal(signal.SIGQUIT, _do_nothing)  # jstack and jcmd ask with it; under -Xrs it would end the process
    _keep_private([orders["report_fd"], *(orders["output_fds"] or [])])
    _ignore_interrupts()
    reports = Reports(orders["report_fd"], orders["marker"])
    try:
        ahead = _start_server(orders, reports)
        if orders.get("standby"):
            ahead.wait()
            standby = Standby(orders, reports)
            reports.send(stamps=standby.stamps)
    except BaseException as error:  # the edge of the process
        reports.send(error=_kind(error), message=_message(error), trace=traceback.format_exc()[-LONGEST_MESSAGE:])
        os._exit(1)
    if not getattr(sys.flags, "safe_path", False):  # it was taken away, so that no file there is imported in place of a module
        sys.path.insert(0, "")
    sys.argv[:] = [""]
    output_fds = tuple(orders["output_fds"]) if orders["output_fds"] else None
    sys.stdout.flush()
    sys.stderr.flush()
    reports.send(port=orders["port"])
    if standby is None:
        reports.close()
    made, java_version, java_home = (orders[name] for name in ("archive_made", "java_version", "java_home"))
    orders.clear()
    exit_code = main_thread.run()
    ahead.end()
    if made is not None:
        _write_archive(made, java_version, java_home)
    _end(exit_code)


def _read_orders() -> dict[str, Any]:
    """The first line of stdin, byte by byte: what follows belongs to the lifeline."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(1)
        line += byte
    orders: dict[str, Any] = json.loads(line)
    return orders


def _keep_lifeline() -> int:
    """Move the lifeline away from fd 0, so that neither users nor their children read from it or keep it open."""
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return lifeline


def _keep_private(fds: list[int | None]) -> None:
    for fd in fds:
        if fd is not None:
            os.set_inheritable(fd, False)


def _watch_lifeline(lifeline: int, workdir: str) -> None:
    """End when the kernel has ended; end in good order when it asks."""
    pid = os.getpid()
    unfinished = b""
    while data := os.read(lifeline, 1 << 16):
        *lines, unfinished = (unfinished + data).split(b"\n")
        for line in lines:
            _obey(line)
    if os.name != "posix":
        import shutil

        shutil.rmtree(workdir, ignore_errors=True)  # on POSIX the guardian does it, once nobody can write there any more
        os._exit(1)
    if os.getpgrp() == pid:
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def _obey(line: bytes) -> None:
    """One line of the lifeline."""
    if line == b"stop":
        main_thread.stop(0)
        _Thread(target=_interrupt_until_stopped, name="dh-stop", daemon=True).start()
    elif line.startswith(b"adopt ") and standby is not None:
        standby.adopt(json.loads(line[len(b"adopt ") :]))


def _interrupt_until_stopped() -> None:
    """A function that still runs on the main thread would hold up the end: interrupt it, as Ctrl-C would."""
    never = threading.Event()
    while main_thread.ident is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread.ident, signal.SIGINT)
        never.wait(INTERRUPT_EVERY_S)


def _start_server(orders: dict[str, Any], reports: Reports) -> Any:
    """Start it, and return what is done ahead of its cells."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[union-attr]
    if os.name == "posix":
        os.makedirs(orders["workdir"], mode=0o700, exist_ok=True)
    import deephaven_server
    from deephaven_server.start_jvm import start_jvm

    _times["imported"] = time.monotonic()
    orders["version"] = deephaven_server.__version__
    reports.send(version=orders["version"])
    jvm_args = [*orders["jvm_args"], *_archive_options(orders, deephaven_server, reports)]
    head_start = _neighbour("headstart")
    head_start.import_libraries()
    start_jvm(jvm_args=jvm_args, java_home=orders["java_home"])
    _times["jvm"] = time.monotonic()
    import jpy

    # After the JVM's start: a `-D` option would be in its list of arguments, which crash reports and diagnostic tools show.
    jpy.get_type("java.lang.System").setProperty("authentication.psk", orders["key"])
    ahead = head_start.HeadStart(_kept_formulas(orders))
    server = deephaven_server.Server(host="127.0.0.1", port=orders["port"])
    ahead.server_made()
    server.start()
    ahead.server_started()
    orders["port"] = server.port
    _times["server"] = time.monotonic()
    reports.send(times=_times)
    return ahead


def _archive_options(orders: dict[str, Any], deephaven_server: Any, reports: Reports) -> list[str]:
    """Java's options for its archive of classes: to use it, or to write it when this process ends."""
    orders["archive_made"] = orders["jars"] = None
    if not orders["archives"]:
        return []
    archives = _neighbour("archives")
    jars = orders["jars"] = archives.stamps_of(os.path.join(os.path.dirname(deephaven_server.__file__), "jars"))
    path = archives.archive_path(orders["archives"], orders["java_home"], jars, orders["jvm_args"])
    if orders["make_archive"]:
        made = orders["archive_made"] = archives.begin(path) if path else None
        reports.send(archive=path, archive_made=made)
        return list(archives.options_to_make(made, orders["java_version"])) if made else []
    options: list[str] = archives.options_to_use(path, orders["java_version"]) if path else []
    reports.send(archive=path, archive_used=bool(options))
    return options


def _kept_formulas(orders: dict[str, Any]) -> Any:
    """The formulas that were compiled for former servers; None where none are to be used. After `_archive_options`."""
    if not orders["archives"] or orders["make_archive"]:
        return None
    kept = _neighbour("archives").formulas_folder(orders["archives"], orders["jars"])
    return _neighbour("formulas").KeptFormulas(kept, os.path.join(orders["workdir"], "cache")) if kept else None


def _neighbour(name: str) -> Any:
    """A module that stands beside this file."""
    import importlib.util

    file = os.path.join(os.path.dirname(_FILE), f"{name}.py")
    spec: Any = importlib.util.spec_from_file_location(f"_dh_kernel_{name}", file)
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _kind(error: BaseException) -> str:
    """`no-deephaven` if the interpreter has no server, `no-jvm` if Java refuses to start, `failed` for all else."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("deephaven"):
        return "no-deephaven"
    return "no-jvm" if "failed to create Java VM" in str(error) else "failed"


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]


def _write_archive(path: str, java_version: int, java_home: str) -> None:
    """Write the archive of classes; where Java does it, by ending in its good order."""
    import jpy

    archives, system = _neighbour("archives"), jpy.get_type("java.lang.System")
    if archives.writes_by_itself(java_version):
        system.exit(0)
    import ctypes

    ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)  # Java has not closed its list of classes
    arguments = jpy.get_type("java.lang.management.ManagementFactory").getRuntimeMXBean().getInputArguments().toArray()
    archives.write(path, java_home, [str(argument) for argument in arguments], system.getProperty("java.class.path"))


def _end(exit_code: int) -> None:
    """End like a Python program, but for the interpreter's own tear-down, which can hang with a JVM inside."""
    _ignore_interrupts()
    try:
        atexit._run_exitfuncs()
        _flush_files()
    finally:
        os._exit(exit_code)


def _flush_files() -> None:
    """Write out what users left in files that they did not close."""
    import gc
    import io

    for thing in gc.get_objects():
        if issubclass(type(thing), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            try:
                thing.flush()
            except Exception:
                continue


main()
