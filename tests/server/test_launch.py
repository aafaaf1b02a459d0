"""A launched server, for real: it starts, keeps its secret, ends with its kernel, and leaves nothing behind.

These tests launch servers of their own, whatever `--dh-server` says: launching is what they are about.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydeephaven import DHError, Session

import dh_kernel
import dh_kernel.server
from dh_kernel.errors import ServerStartError, ServerStartTimeout
from dh_kernel.model import Death, Endpoint
from dh_kernel.server import LaunchOptions, ServerProcess, describe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the guardian, signals and /proc are of POSIX")
HEAP = "512m"
TIMEOUT_S = 60.0
NEEDS_PROC = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")


_WRITE_ANSWER = """
with open({file!r}, "w") as _file:
    __import__("json").dump(answer, _file)
del answer, _file
"""


class Launched:
    """A ready server, what it put out, and a way to run code in it."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.output: list[tuple[str, str]] = []
        self._news = threading.Condition()
        self.process = ServerProcess.start(LaunchOptions(heap=HEAP, **options))  # type: ignore[arg-type]
        self.process.on_output(self._note)
        self.endpoint = self.process.wait_ready()

    def _note(self, stream: str, text: str) -> None:
        with self._news:
            self.output.append((stream, text))
            self._news.notify_all()

    def text(self, stream: str) -> str:
        return "".join(text for name, text in self.output if name == stream)

    def wait_for_output(self, stream: str, wanted: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: wanted in self.text(stream), TIMEOUT_S), self.output

    def run(self, code: str) -> object:
        """Run code in the console; what it assigns to `answer` comes back, by way of JSON."""
        file = self.folder / "answer.json"
        session = connect(self.endpoint)
        try:
            session.run_script(f"answer = None\n{code}\n{_WRITE_ANSWER.format(file=str(file))}")
        finally:
            session.close()
        return json.loads(file.read_text())


def connect(endpoint: Endpoint, key: str | None = None) -> Session:
    token = endpoint.auth_token if key is None else key
    return Session(endpoint.host, endpoint.port, auth_type=endpoint.auth_type, auth_token=token)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """For what no event tells, such as the end of a process that is not ours."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.02)


def state(pid: int) -> str:
    """One letter, as `ps` shows it; empty if there is no such process."""
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()[
        :1
    ]


def is_gone(pid: int) -> bool:
    return state(pid) in ("", "Z")


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    made = Launched(tmp_path_factory.mktemp("launched"))
    yield made
    made.process.stop()


def test_the_endpoint_answers_to_its_key_only(launched: Launched) -> None:
    session = connect(launched.endpoint)
    assert session.is_alive
    session.close()
    with pytest.raises(DHError) as caught:
        connect(launched.endpoint, "wrong")
    assert "UNAUTHENTICATED" in repr(caught.value.__cause__)


def test_the_version_is_known(launched: Launched) -> None:
    assert launched.process.version == launched.run("answer = __import__('deephaven_server').__version__")


@NEEDS_PROC
def test_the_key_shows_nowhere(launched: Launched) -> None:
    key = launched.endpoint.auth_token
    for file in ("cmdline", "environ"):
        assert key.encode() not in Path(f"/proc/{launched.process.pid}/{file}").read_bytes()
    assert key not in "\n".join(launched.process.log_tail(1000))
    assert key not in repr(launched.endpoint)
    factory = "__import__('jpy').get_type('java.lang.management.ManagementFactory')"
    arguments = launched.run(f"answer = str({factory}.getRuntimeMXBean().getInputArguments())")
    assert "-Xmx" in str(arguments)
    assert key not in str(arguments)


@NEEDS_PROC
def test_it_listens_on_loopback_only(launched: Launched) -> None:
    listening = "0A"
    port = f"{launched.endpoint.port:04X}"
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    addresses = [row[1].split(":")[0] for row in rows if row[1].endswith(f":{port}") and row[3] == listening]
    assert addresses in (["0100007F"], ["0000000000000000FFFF00000100007F"])


def test_the_users_namespace_is_clean(launched: Launched) -> None:
    names = launched.run("answer = [name for name in dir() if name != 'answer']")
    assert isinstance(names, list)
    assert [name for name in names if not (name.startswith("__") and name.endswith("__"))] == []
    assert "__warningregistry__" not in names
    assert launched.run("import sys\nanswer = [sys.argv, sys.path[0]]\ndel sys") == [[""], ""]


_GIVE = """
import importlib.util, jpy
from deephaven import empty_table
spec = importlib.util.spec_from_file_location("headstart", {file!r})
ahead = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ahead)
loader = jpy.get_type("java.lang.ClassLoader").getSystemClassLoader()
compiler = jpy.get_type("java.lang.Class").forName("io.deephaven.engine.context.QueryCompilerImpl", True, loader)
kept = jpy.get_type("org.apache.commons.lang3.reflect.FieldUtils").readStaticField(compiler, "fileManagerCache", True)
kept = jpy.cast(kept, jpy.get_type("java.util.concurrent.atomic.AtomicReference"))
kept.set(None)
files = ahead.CompilerFiles()
files.give()
ours = kept.get()
answer = ["Synchronized" in str(ours), empty_table(2).update("HeadStart = 7 * ii").size]
del spec, ahead, loader, compiler, kept, files, ours, importlib, jpy, empty_table
"""


def test_deephaven_compiles_with_the_files_that_were_opened_ahead(launched: Launched) -> None:
    file = Path(dh_kernel.server.__file__).parent / "headstart.py"
    assert launched.run(_GIVE.format(file=str(file))) == [True, 2]


_DESCRIBED = """
from deephaven import perfmon
answer = perfmon.process_info_log().where("Type.startsWith(`system-info`)").size
del perfmon
"""


def test_the_machine_is_not_described(launched: Launched) -> None:
    """In the process information, which takes time."""
    assert launched.run(_DESCRIBED) == 0


@pytest.mark.long
def test_the_machine_is_described_if_the_user_says_so(tmp_path: Path) -> None:
    server = Launched(tmp_path, jvm_args=("-Dprocess.info.system-info.enabled=true",))
    try:
        assert server.run(_DESCRIBED) != 0
    finally:
        server.process.stop()


def test_children_inherit_none_of_our_pipes(launched: Launched) -> None:
    pipes = launched.run(
        """
def _pipes():
    import os, stat
    fds = [int(name) for name in os.listdir("/dev/fd")]
    for fd in filter(lambda fd: fd > 2, fds):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                yield os.get_inheritable(fd)
        except OSError:
            continue
answer = list(_pipes())
del _pipes
"""
    )
    lifeline, stdout, stderr = 1, 1, 1
    assert pipes == [False] * (lifeline + stdout + stderr)


def test_output_of_subprocesses_arrives_and_start_up_chatter_does_not(launched: Launched) -> None:
    launched.run("import os\nos.system('echo out; echo err >&2; printf \"\\\\377.\"')\ndel os")
    launched.wait_for_output("stdout", "out\n\ufffd.")
    launched.wait_for_output("stderr", "err\n")
    assert "Server started" not in launched.text("stdout")
    assert any("Server started" in line for line in launched.process.log_tail(1000))


def test_the_server_reads_its_own_output_while_it_has_it(launched: Launched) -> None:
    launched.process.hand_over_output()
    seen = launched.run(
        "import os, sys\nos.write(1, b'handed over')\n"
        "answer = os.read(sys.modules['_dh_kernel_launcher'].output_fds[0], 100).decode()\ndel os, sys"
    )
    launched.process.take_back_output()
    launched.run("import os\nos.write(1, b'taken back')\ndel os")
    launched.wait_for_output("stdout", "taken back")
    assert seen == "handed over"
    assert "handed over" not in launched.text("stdout")


def test_the_main_thread_survives_whatever_its_tasks_raise(launched: Launched) -> None:
    answer = launched.run(
        """
def _try():
    import os, queue, signal, sys, threading
    main = sys.modules["_dh_kernel_launcher"].main_thread
    results = queue.Queue()

    def raises(error):
        raise error

    def interrupted():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    for error in (SystemExit(3), KeyboardInterrupt(), ValueError("task")):
        main.loop.call_soon_threadsafe(lambda error=error: raises(error))
    main.loop.call_soon_threadsafe(interrupted)
    signal.pthread_kill(main.ident, signal.SIGINT)
    main.loop.call_soon_threadsafe(lambda: results.put(threading.current_thread() is threading.main_thread()))
    first = results.get(timeout=30)
    signal.pthread_kill(main.ident, signal.SIGINT)
    main.loop.call_soon_threadsafe(lambda: results.put(threading.get_ident() == main.ident))
    return [first, results.get(timeout=30)]
answer = _try()
del _try
"""
    )
    assert answer == [True, True]
    launched.wait_for_output("stderr", "ValueError: task")


def test_a_tool_that_asks_for_a_thread_dump_does_no_harm(launched: Launched) -> None:
    """`jstack` and `jcmd` send SIGQUIT, to which a JVM under -Xrs leaves the default action."""
    os.kill(launched.process.pid, signal.SIGQUIT)
    assert launched.run("answer = 'alive'") == "alive"


@pytest.mark.long
def test_a_crash_is_told_once_with_its_signal_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = Launched(tmp_path).process
    deaths: list[Death] = []
    told = threading.Event()
    server.on_exit(lambda death: (deaths.append(death), told.set()))  # type: ignore[func-returns-value]
    os.kill(server.pid, signal.SIGKILL)
    assert told.wait(TIMEOUT_S)
    late: list[Death] = []
    server.on_exit(late.append)
    assert deaths == late == [server.death]
    assert deaths[0].signal == signal.SIGKILL
    assert not server.stopping
    assert "SIGKILL" in describe(deaths[0], server.options)
    server.stop()
    assert list(tmp_path.glob("dh-kernel-*")) == []


def test_a_full_heap_is_told_as_such(tmp_path: Path) -> None:
    server = Launched(tmp_path)
    told = threading.Event()
    server.process.on_exit(lambda _: told.set())
    with pytest.raises(DHError):
        server.run("from deephaven import empty_table\nbig = empty_table(200_000_000).update('X = ii')")
    assert told.wait(TIMEOUT_S)
    death = server.process.death
    assert death is not None
    assert death.out_of_memory
    text = describe(death, server.process.options)
    assert f"heap of {HEAP} was full: set DH_KERNEL_HEAP" in text
    assert "java.lang.OutOfMemoryError: Java heap space" in text
    assert "\tat " not in text


@pytest.mark.long
def test_stop_ends_a_busy_server_in_good_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell that runs is interrupted, its `finally` runs, and a file that was left open is written out."""
    before = threading.enumerate()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = Launched(tmp_path)
    server.run(
        f"""
import signal, sys, time
f = open({str(tmp_path / "open.txt")!r}, "w")
f.write("left open")
def cell():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("busy", flush=True)
    try:
        time.sleep(1000)
    finally:
        f.write(", interrupted")
sys.modules["_dh_kernel_launcher"].main_thread.loop.call_soon_threadsafe(cell)
"""
    )
    server.wait_for_output("stdout", "busy")
    server.process.stop(TIMEOUT_S)
    death = server.process.death
    assert server.process.stopping
    assert death is not None
    assert death.exit_code == 0
    assert (tmp_path / "open.txt").read_text() == "left open, interrupted"
    assert list(tmp_path.glob("dh-kernel-*")) == []
    server.process.stop()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("dh-server") and thread not in before] == []


_PARENT = """
import sys, time
from dh_kernel.server import LaunchOptions, ServerProcess
server = ServerProcess.start(LaunchOptions(heap="512m"))
print(server.pid, flush=True)
if {until_ready}:
    from pydeephaven import Session
    at = server.wait_ready()
    session = Session(at.host, at.port, auth_type=at.auth_type, auth_token=at.auth_token)
    session.run_script({code!r})
    print("ready", flush=True)
time.sleep(1000)
"""
_HOLD_THE_GIL = """
import ctypes, subprocess, threading
child = subprocess.Popen(["sleep", "1000"])
open({file!r}, "w").write(str(child.pid))
threading.Timer(1.0, lambda: ctypes.PyDLL(None).sleep(1000)).start()
"""


def start_parent(folder: Path, *, until_ready: bool, code: str = "") -> tuple[subprocess.Popen[str], int]:
    """A process that launches a server, and the server's pid."""
    source = str(Path(dh_kernel.__file__).parent.parent)
    environ = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": source}
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(until_ready=until_ready, code=code)],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if until_ready:
        assert parent.stdout.readline() == "ready\n"
    return parent, pid


def kill_parent(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    parent.kill()
    parent.wait()
    parent.stdout.close()


def no_folder(folder: Path) -> bool:
    return list(folder.glob("dh-kernel-*")) == []


def test_server_dies_with_its_kernel_while_it_starts(tmp_path: Path) -> None:
    parent, pid = start_parent(tmp_path, until_ready=False)
    wait_until(lambda: any(tmp_path.glob("dh-kernel-*/*")), "the JVM starts")
    kill_parent(parent)
    wait_until(lambda: is_gone(pid), "the server is gone")
    wait_until(lambda: no_folder(tmp_path), "its folder is gone")


@pytest.mark.long
def test_stopped_or_stuck_server_dies_with_its_kernel(tmp_path: Path) -> None:
    """Neither a stopped process nor a held GIL lets the launcher's own thread run; the guardian ends the whole group."""
    file = tmp_path / "child"
    parent, pid = start_parent(tmp_path, until_ready=True, code=_HOLD_THE_GIL.format(file=str(file)))
    child = int(file.read_text())
    assert not is_gone(child)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", "the server is stopped")
    kill_parent(parent)
    wait_until(lambda: is_gone(pid), "the server is gone")
    wait_until(lambda: is_gone(child), "its child is gone")
    wait_until(lambda: no_folder(tmp_path), "its folder is gone")


@pytest.mark.long
def test_port_in_use_names_port_and_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = ServerProcess.start(LaunchOptions(heap=HEAP, port=port))
        with pytest.raises(ServerStartError, match=rf"Port {port} is in use.*DH_KERNEL_PORT"):
            server.wait_ready()
    server.stop()


def test_interpreter_without_deephaven_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    server = ServerProcess.start(LaunchOptions(python=str(bare), heap=HEAP))
    with pytest.raises(ServerStartError, match=rf"{bare} has no deephaven-server.*DH_KERNEL_PYTHON"):
        server.wait_ready()
    server.stop()


def test_interpreter_or_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match=r"nothing cannot be started: No such file.*DH_KERNEL_PYTHON"):
        ServerProcess.start(LaunchOptions(python=str(tmp_path / "nothing"), heap=HEAP))
    with pytest.raises(ServerStartError, match="there is no such folder"):
        ServerProcess.start(LaunchOptions(cwd=str(tmp_path / "nothing"), heap=HEAP))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (LaunchOptions(heap="much"), r"refuses a heap of much \(DH_KERNEL_HEAP\)"),
        (LaunchOptions(heap=HEAP, jvm_args=("-XX:MaxGCPauseMillis=none",)), r"refuses its options .*\(DH_KERNEL_JVM_ARGS\)"),
    ],
)
def test_refused_option_is_named(options: LaunchOptions, names: str) -> None:
    server = ServerProcess.start(options)
    with pytest.raises(ServerStartError, match=names):
        server.wait_ready()
    server.stop()


def test_timeout_kills_the_server() -> None:
    server = ServerProcess.start(LaunchOptions(heap=HEAP, start_timeout_s=0.05))
    with pytest.raises(ServerStartTimeout, match="DH_KERNEL_START_TIMEOUT"):
        server.wait_ready()
    server.stop()
    assert is_gone(server.pid)
