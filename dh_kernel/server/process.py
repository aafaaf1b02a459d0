"""One launched server, seen from the kernel process: spawn, wait until ready, watch, stop, and leave nothing behind.

Neighbours: `launcher.py` is the other side, `output.py` reads what the server writes. Knows nothing of what the server is used
for; who may use it learns from `endpoint`.

Whatever ends the kernel ends the server. Two things see to it, both over pipes whose other end only the kernel process holds,
so that the system itself closes them, also after `kill -9`. The launcher's thread ends the server when its stdin closes. And
on POSIX a guardian then kills the server's process group and removes its folder: this works also where the server is stopped,
or its interpreter is stuck. (The parent-death signal of Linux is no way: it fires when the thread that spawned ends.) The
guardian is retired while the server's pid is still unreaped, so it can never hit another process.

    thread dh-server-watch    from the start to the death of the process; runs `on_exit` callbacks
    thread dh-server-output   reads stdout, stderr and the launcher's reports (two threads on Windows)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dh_kernel.errors import ServerStartError, ServerStartTimeout
from dh_kernel.model import PSK_AUTH_TYPE, Death, Endpoint

from . import archives, standby, workdir
from .death import cause, telling, without_report
from .guardian import Guardian
from .java import OLDEST, Java, find_java
from .options import LaunchOptions, initial_heap
from .output import LogTail, OutputCallback, PosixReader, WindowsReader

POSIX = os.name == "posix"
LAST_LINES = 20
_LINES_SEARCHED = 200  # a trace of Java, and what others log meanwhile
_NEW_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows only
_END_TIMEOUT_S = 5.0
_ADOPTED_WITHIN_S = 10.0
_LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")
# Run as a module of its own, so that the server's __main__ has no name but those every Python has. The working directory comes
# back to the path when the server has started: a json.py there must not be what it imports.
_BOOTSTRAP = (
    "__import__('sys').path[:1] == [''] and __import__('sys').path.pop(0); "
    "exec(__import__('_frozen_importlib_external').SourceFileLoader('_dh_kernel_launcher', __import__('sys').argv[1])"
    ".get_code('_dh_kernel_launcher'), vars(__import__('sys').modules.setdefault("
    "'_dh_kernel_launcher', type(__import__('sys'))('_dh_kernel_launcher'))))"
)


@dataclass(frozen=True)
class _Failure:
    """Why the launcher says that it could not start; the kinds are its own."""

    kind: str
    message: str
    trace: str


class ServerProcess:
    """A launched server. Made by `start`; any thread may call it."""

    @classmethod
    def start(cls, options: LaunchOptions) -> ServerProcess:
        """Spawn the server and return at once.

        Raises:
            NoJavaError: no JDK to run it with.
            ServerStartError: the interpreter or the working directory cannot be used. (An interpreter without deephaven_server
                is noticed by `wait_ready`.)
        """
        java = find_java(options.java_home, environ={**os.environ, **options.environment})
        if options.cwd is not None and not os.path.isdir(options.cwd):
            raise ServerStartError(f"The server cannot be started in {options.cwd}: there is no such folder")
        try:
            return (cls._claimed(options, java) if options.takes_spare and not options.spare else None) or cls(options, java)
        except OSError as error:  # no folder to start in, no memory, no file descriptors, no room on a disk
            where = "" if error.filename is None else f" ({error.filename})"
            raise ServerStartError(
                f"The server cannot be started: {error.strerror or error}{where}. Next step: dh-kernel doctor tells what this "
                "machine is short of."
            ) from error

    @classmethod
    def _claimed(cls, options: LaunchOptions, java: Java) -> ServerProcess | None:
        """A server that was started ahead; None where there is none that works."""
        order = standby.adopt_order(options) if standby.POSSIBLE else None
        spare = standby.claim(options, java) if order is not None else None
        if spare is None or order is None:
            return None
        process = cls(options, java, (spare, order))
        process._settled.wait(_ADOPTED_WITHIN_S)
        if process.endpoint is not None:
            return process
        process.kill()
        return None

    def __init__(self, options: LaunchOptions, java: Java, spare: tuple[standby.Spare, bytes] | None = None) -> None:
        self.options = options
        self.java = java
        self.version: str | None = None
        self.endpoint: Endpoint | None = None
        self.death: Death | None = None
        self.stopping = False
        self.archive: str | None = None  # of Java's classes
        self.archive_used = False
        self.archive_made: str | None = None
        self._tail = LogTail()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Death], None]] = []
        self._settled = threading.Event()  # ready, failed or dead
        self._dead = threading.Event()
        self._failure: _Failure | None = None
        self.from_standby = spare is not None
        self.times: dict[str, float] = {}  # of the start, by the launcher
        self.stamps: list[tuple[str, int]] = []  # of a spare: what it has imported from
        self._given: Callable[[int], None] | None = None
        self._key = os.urandom(32).hex() if spare is None else spare[0].key
        self._tail.hide(self._key)
        self._deadline = time.monotonic() + options.start_timeout_s
        self._workdir = workdir.new_path() if spare is None else spare[0].workdir
        self._guardian = Guardian(self._workdir) if POSIX else None
        try:
            if spare is None:
                self._spawn()
            else:
                self._take_over(*spare)
        except BaseException:
            self._clean_up()
            raise
        self.pid = self._process.pid
        self._watcher = threading.Thread(target=self._watch, name="dh-server-watch", daemon=True)
        self._watcher.start()

    def wait_ready(self) -> Endpoint:
        """Block until the server answers.

        Raises:
            ServerStartError: it ended, or said what is wrong.
            ServerStartTimeout: not ready within `start_timeout_s` of its start; it is killed.
        """
        settled = self._settled.wait(max(0.0, self._deadline - time.monotonic()))
        if self.endpoint is not None:
            return self.endpoint
        if not settled:
            self.kill()
            raise ServerStartTimeout(
                f"The Deephaven server was not ready after {self.options.start_timeout_s:g} s"
                " (DH_KERNEL_START_TIMEOUT allows more). " + self._log_text()
            )
        self._dead.wait(_END_TIMEOUT_S)  # its last words
        failure = self._failure or _Failure("", "", "")
        known = self._known_cause(failure)
        if known is None and self.archive_used and self.archive is not None and not self._was_ended_from_outside():
            archives.discard(self.archive)  # which may be why
        raise ServerStartError(known or self._why_not_started(failure))

    def on_exit(self, callback: Callable[[Death], None]) -> None:
        """Call this once the process has ended, from the watching thread; at once if it has ended already."""
        with self._lock:
            if self.death is None:
                self._callbacks.append(callback)
                return
        callback(self.death)

    @property
    def temporary_folder(self) -> str:
        """Where the server's own folder is."""
        return os.path.dirname(self._workdir)

    def on_output(self, callback: OutputCallback | None) -> None:
        """Call this, from the reading thread, with ("stdout" or "stderr", text) for what arrives from now on, once ready."""
        self._reader.on_output(callback)

    def hand_over_output(self) -> None:
        """Stop reading the server's output, since the server will do so itself. No read is under way on return."""
        self._reader.hand_over()

    def take_back_output(self) -> None:
        """Read the server's output here again."""
        self._reader.take_back()

    def note_log(self, text: str) -> None:
        """Add what came another way to the tail of the log."""
        self._tail.add(text, "noted")

    def last_output(self) -> list[tuple[str, str]]:
        """Stream and text of what it wrote and had no time to read itself. Only after `death`."""
        parts = [(stream, without_report(text)) for stream, text in self._reader.leftover]
        return [(stream, text) for stream, text in parts if text]

    def last_words(self) -> Death:
        """How it ended, with what has been noted since. Only after `death` is set."""
        assert self.death is not None
        return self._report_death(self._process.returncode)

    def log_tail(self, lines: int = LAST_LINES) -> tuple[str, ...]:
        return self._tail.last(lines)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the server: ask, then kill. On return the process, its group and its folder are gone.

        One that is stopped, as by SIGSTOP, hears nothing and is killed at once, as with no time at all.
        """
        self.stopping = True
        below = workdir.descendants(self.pid) if self.death is None else []
        if self.endpoint is not None and timeout_s > 0 and not self.is_stopped and self._ask_to_stop():
            self._dead.wait(timeout_s)
        self.kill()
        _kill_each(below)  # those that have made a session of their own
        if self._watcher is not threading.current_thread():
            self._watcher.join(_END_TIMEOUT_S)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped the process, as by SIGSTOP."""
        return workdir.state(self.pid) in ("T", "t")

    def wait_death(self, timeout_s: float) -> bool:
        """Whether the process has ended, or does so within this time."""
        return self._dead.wait(timeout_s)

    def interrupt(self) -> None:
        """Send the process SIGINT, as Ctrl-C would; between cells it does nothing."""
        with self._lock:
            if not self._process_is_reaped and os.name == "posix":
                os.kill(self.pid, signal.SIGINT)

    def signal_group(self, number: int) -> None:
        """Send a signal to the server's process group."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._process_is_reaped and sys.platform != "win32":
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill the server's whole process group at once."""
        with self._lock:  # the pid is ours as long as the watching thread has not reaped it, which takes this lock
            if not self._process_is_reaped:
                _kill_group(self._process)

    def _ask_to_stop(self) -> bool:
        with self._lock:  # the watching thread closes it
            if self._process_is_reaped:
                return False
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, b"stop\n")
        return True

    def _spawn(self) -> None:
        stdin, self._lifeline = os.pipe()
        stdout = os.pipe()
        stderr = os.pipe()
        report = os.pipe() if POSIX else None
        ours = [self._lifeline, stdout[0], stderr[0], *(report[:1] if report else ())]
        theirs = [stdin, stdout[1], stderr[1], *(report[1:] if report else ())]
        shared = (stdout[0], stderr[0], report[1]) if report else ()
        marker = "" if report else os.urandom(16).hex()
        try:
            self._process: subprocess.Popen[bytes] | standby.Foster = _popen(self.options, stdin, stdout[1], stderr[1], shared)
        except OSError as error:
            _close_all(ours)
            raise ServerStartError(
                f"The server's Python interpreter {self.options.python} cannot be started: {error.strerror} (DH_KERNEL_PYTHON)"
            ) from error
        finally:
            _close_all(theirs)
        self._process_is_reaped = False
        if self._guardian is not None:
            self._guardian.guard(self._process.pid)
        else:
            os.mkdir(self._workdir)
        fds = (stdout[0], stderr[0])
        self._reader: PosixReader | WindowsReader
        if report:
            self._reader = PosixReader(self._tail, fds, report[0], self._on_report)
        else:
            self._reader = WindowsReader(self._tail, fds, marker, self._on_report)
        self._send_orders(report[1] if report else None, fds if report else None, marker)

    def _take_over(self, spare: standby.Spare, order: bytes) -> None:
        """Become the owner of a server that the keeper has launched; one that it does not let go of is about to end."""
        self._process = spare.child
        self._process_is_reaped = False
        self._lifeline, stdout, stderr, report = spare.fds
        self.archive, self.archive_used, self.version = spare.archive, spare.archive_used, spare.version
        self._tail.add("".join(f"{line}\n" for line in spare.log))
        assert self._guardian is not None
        self._guardian.guard(spare.pid)
        workdir.take_over(self._workdir)
        self._reader = PosixReader(self._tail, (stdout, stderr), report, self._on_report)
        if standby.take(spare):
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, order)
        else:
            self._settled.set()

    def lend(self) -> tuple[dict[str, object], tuple[int, ...]]:
        """What another process needs to be the owner: facts, and file descriptors. Reading the output ends here."""
        assert self.endpoint is not None
        assert isinstance(self._reader, PosixReader)
        fds = (self._lifeline, *self._reader.leave(_END_TIMEOUT_S))
        facts: dict[str, object] = {
            "pid": self.pid,
            "key": self._key,
            "port": self.endpoint.port,
            "version": self.version,
            "workdir": self._workdir,
            "archive": self.archive,
            "archive_used": self.archive_used,
            "log": self.log_tail(),
        }
        return facts, fds

    def give(self, when_ended: Callable[[int], None]) -> bool:
        """The other process has it: let go of all but the pid; False if it has ended before.

        Args:
            when_ended: called with the exit code, or the signal as a negative number, while the pid is still taken.
        """
        with self._lock:
            if self._process_is_reaped or self._dead.is_set():
                return False
            self._given = when_ended
            os.close(self._lifeline)
        assert self._guardian is not None
        self._guardian.leave(_END_TIMEOUT_S)
        self._reader.finish(_END_TIMEOUT_S)
        return True

    def _send_orders(self, report_fd: int | None, output_fds: tuple[int, int] | None, marker: str) -> None:
        orders = {
            "key": self._key,
            "port": self.options.port,
            "java_home": self.java.home,
            "jvm_args": _jvm_args(self.options, self.java, self._workdir),
            "java_version": self.java.version,
            "archives": self.options.archives,
            "make_archive": self.options.make_archive,
            "standby": self.options.spare,
            "workdir": self._workdir,
            "report_fd": report_fd,
            "output_fds": output_fds,
            "marker": marker,
        }
        with contextlib.suppress(BrokenPipeError):  # dead already: the watching thread tells
            os.write(self._lifeline, json.dumps(orders).encode() + b"\n")

    def _on_report(self, line: str) -> None:
        """One line from the launcher. Runs on the reading thread."""
        report = json.loads(line)
        self.version = report.get("version", self.version)
        self.archive = report.get("archive", self.archive)
        self.archive_used = report.get("archive_used", self.archive_used)
        self.archive_made = report.get("archive_made", self.archive_made)
        self.times = report.get("times", self.times)
        self.stamps = report.get("stamps", self.stamps)
        if "port" in report:
            self.endpoint = Endpoint("127.0.0.1", report["port"], PSK_AUTH_TYPE, self._key)
            self._settled.set()
        if "error" in report:
            self._failure = _Failure(report["error"], report["message"], report["trace"])
            self._settled.set()

    def _known_cause(self, failure: _Failure) -> str | None:
        """What is wrong outside of the server, with the next step."""
        options = self.options
        clues = "\n".join((failure.message, *self.log_tail()))
        if failure.kind == "no-deephaven":
            return f"{options.python} has no deephaven-server: install it there, or set DH_KERNEL_PYTHON to one that has it"
        if "Address already in use" in clues or "Failed to bind" in clues:
            return f"Port {options.port} is in use. Set DH_KERNEL_PORT to another, or to 0 for any free one"
        if "No Java compiler" in clues:
            return f"{self.java.home} has no Java compiler: set DH_KERNEL_JAVA_HOME to the folder of a JDK {OLDEST} or newer"
        if "No space left on device" in clues:
            return (
                f"The Deephaven server did not start: no space is left on the disk of {self.temporary_folder}, where its "
                f"temporary files are. Make room there, or set TMPDIR to another folder. {self._log_text()}"
            )
        if "heap" in clues and (failure.kind == "no-jvm" or "initialization of VM" in clues):
            return f"Java refuses a heap of {options.heap} (DH_KERNEL_HEAP). {self._log_text()}"
        return None

    def _why_not_started(self, failure: _Failure) -> str:
        if failure.kind == "no-jvm":
            return f"Java refuses its options {' '.join(self.options.jvm_args)} (DH_KERNEL_JVM_ARGS). {self._log_text()}"
        first_line = failure.message.partition("\n")[0] or self._ending()
        return "\n".join(
            filter(None, (f"The Deephaven server did not start: {first_line}. {self._log_text()}", failure.trace))
        )

    def _was_ended_from_outside(self) -> bool:
        return POSIX and self.death is not None and self.death.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)

    def _ending(self) -> str:
        return "it hangs" if self.death is None else cause(self.death)

    def _log_text(self) -> str:
        lines = self.log_tail()
        return "The last lines of its log:\n" + "\n".join(f"  {line}" for line in lines) if lines else "It logged nothing."

    def _watch(self) -> None:
        """From the start to the death of the process, in an order in which a kill -9 of this process leaves nothing behind."""
        workdir.sweep()
        _wait_unreaped(self._process)
        with self._lock:
            given = self._given
        if given is not None:
            self._see_off(given)
            return
        _kill_group(self._process)  # what it started
        self._reader.finish(_END_TIMEOUT_S)
        self._clean_up()
        with self._lock:
            code = self._process.wait()
            self._process_is_reaped = True
            os.close(self._lifeline)
            self.death = self._report_death(code)
            callbacks = self._callbacks
        self._settled.set()
        self._dead.set()
        for callback in callbacks:
            callback(self.death)

    def _see_off(self, when_ended: Callable[[int], None]) -> None:
        """The end of a server that belongs to another process, which cleans up."""
        when_ended(_how_ended(self._process))
        with self._lock:
            code = self._process.wait()
            self._process_is_reaped = True
            self.death = self._report_death(code)
        self._settled.set()
        self._dead.set()

    def _clean_up(self) -> None:
        if self._guardian is not None:
            self._guardian.retire(_END_TIMEOUT_S)
        workdir.remove(self._workdir)

    def _report_death(self, code: int | None) -> Death:
        killed = POSIX and code is not None and code < 0
        return Death(
            exit_code=None if killed else code,
            signal=-code if killed and code is not None else None,
            last_lines=telling(self.log_tail(_LINES_SEARCHED))[-LAST_LINES:],
            out_of_memory=any("OutOfMemoryError" in line for line in self.log_tail(_LINES_SEARCHED)),
        )


def _popen(options: LaunchOptions, stdin: int, stdout: int, stderr: int, shared: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """The server's process, in a session of its own: a Ctrl-C in a terminal is for the kernel to handle."""
    return subprocess.Popen(
        [options.python, "-c", _BOOTSTRAP, _LAUNCHER],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=options.cwd,
        env={**os.environ, **options.environment},
        pass_fds=shared,
        start_new_session=POSIX,
        creationflags=_NEW_GROUP,
    )


def _jvm_args(options: LaunchOptions, java: Java, folder: str) -> list[str]:
    """The JVM's options; the user's come last and win."""
    args = [
        f"-Xmx{options.heap}",
        "-XX:+DisableAttachMechanism",  # with -Xrs, which Deephaven sets, it leaves a socket in /tmp
        # What throws it is seldom all that fails: jpy's calls hang, the update graph stops. A server that limps on
        # with a full heap answers nobody, and its variables are lost all the same.
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:+ExplicitGCInvokesConcurrent",  # the runtime asks for collections; they must not stop the tables
        # A start is short of processors, not of speed. The optimizing compiler, which by default is busy at a start with code
        # that hardly runs again, waits until code has run so often that it will. And the heap begins large enough (below) for
        # few collections.
        "-XX:Tier4InvocationThreshold=400000",
        "-XX:Tier4MinInvocationThreshold=160000",
        "-XX:Tier4CompileThreshold=1600000",
        "-XX:Tier4BackEdgeThreshold=1200000",
        # The quick compiler's code is replaced where it counts, so it need not be large.
        "-XX:C1MaxInlineLevel=2",
        "-XX:C1MaxInlineSize=15",
        "-Dprocess.info.system-info.enabled=false",  # rows of the process_info_log that a start would wait for
        "-XX:-UsePerfData",  # else a file in /tmp, whatever java.io.tmpdir says
        f"-XX:ErrorFile={os.path.join(folder, 'hs_err.log')}",
        f"-Djava.io.tmpdir={folder}",
        f"-Djna.tmpdir={folder}",
        f"-Ddeephaven.cacheDir={os.path.join(folder, 'cache')}",
        "-Dshutdown.timeoutMs=1000",  # after an OutOfMemoryError it waits so long for its clients, 10 s by default
        f"-DAuthHandlers={PSK_AUTH_TYPE}",  # a user's configuration file may say Anonymous: any web page could run code then
    ]
    if java.version > OLDEST:
        args.append("-XX:+IgnoreUnrecognizedVMOptions")  # Deephaven's own options are for Java 17, newer ones lack some
    if java.version >= 24:  # silence, on the server's stderr, what users cannot change
        args += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    if not any(argument.startswith(("-Xm", "-XX:MaxHeapSize", "-XX:InitialHeapSize")) for argument in options.jvm_args):
        args += initial_heap(options.heap)
    return [*args, *options.jvm_args]


def _wait_unreaped(process: subprocess.Popen[bytes] | standby.Foster) -> None:
    """Wait for the end, and leave the pid taken where the system lets us (macOS: from Python 3.13 on)."""
    if isinstance(process, standby.Foster):
        process.wait_unreaped()
        return
    if hasattr(os, "waitid"):
        with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored in this process: nothing to wait for
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    process.wait()


def _how_ended(process: subprocess.Popen[bytes] | standby.Foster) -> int:
    """The exit code, or the signal as a negative number, of a process that has ended and may not be reaped yet."""
    if hasattr(os, "waitid"):
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    return process.wait() or 0


def _kill_group(process: subprocess.Popen[bytes] | standby.Foster) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _kill_each(processes: list[tuple[int, str | None]]) -> None:
    for pid, started in processes:
        if started is not None and workdir.start_time(pid) == started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
