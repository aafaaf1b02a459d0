"""What the fault suite does to a kernel's server, and what must be true afterwards.

Neighbours: `tests/faults` chooses the order and counts the rounds; `harness` has the kernel. A fault is a function of a
`Bench`: it harms the server, and asserts what the cell that ran shows. `Bench.check` asserts what is to be true afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Kernel, Run, descendants, is_gone, wait_until
from proxy import Proxy

READY_TIMEOUT_S = 180.0
HEAP = "640m"
GONE = "the variables of this one are gone"
FRESH = "the variables of the former one are gone"
_OURS = re.compile(r"dh-kernel-[0-9a-f]+-")


class Bench:
    """One kernel process, which lives through all faults, and what is known of its servers.

    Args:
        temporary: the kernel's and the server's TMPDIR, and nobody else's.
        small: whether `temporary` is on a small disk of its own, which a fault may fill.
    """

    def __init__(self, kernel: Kernel, temporary: Path, number: random.Random, *, small: bool) -> None:
        self.kernel, self.temporary, self.number, self.small = kernel, temporary, number, small
        self.proxy: Proxy | None = None  # to a server that the kernel can attach to, with the key in this file
        self.key_file: Path | None = None
        self.died = False
        self.delays_s: list[float] = []
        self._begun = time.time()
        self._resources: list[tuple[int, int]] = []
        self.server = self._find_server()

    # --- for faults

    def begin(self, code: str, until: str = "begun") -> Run:
        """Send a cell, and wait until it has printed a text."""
        run = self.kernel.send(code)
        self.kernel.wait(lambda: until in run.text() or run.idle, f"{until} is printed")
        assert until in run.text(), run.messages
        return run

    def kill(self, number: int) -> None:
        """Send the server's process a signal."""
        os.kill(self.server, number)

    def dies(self, run: Run, *said: str) -> Run:
        """The cell ends by the server's death, soon after it, with an error that says all of this."""
        seen: list[float] = []
        watcher = threading.Thread(target=lambda: seen.extend(_moment_of_death(self.server)))
        watcher.start()
        self.kernel.finish(run)
        ended = time.monotonic()
        watcher.join()
        assert seen, f"the server did not die; the cell: {run.reply}"
        self.delays_s.append(max(0.0, ended - seen[0]))
        error = run.error
        assert error["ename"] == "ServerDiedError", error
        for text in (*said, GONE):
            assert text in error["evalue"], (text, error["evalue"])
        assert error["evalue"] in "\n".join(error["traceback"])
        self.died = True
        return run

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The server's process group is stopped meanwhile; if there still is one afterwards, it goes on."""
        os.killpg(self.server, signal.SIGSTOP)
        wait_until(lambda: _state(self.server) == "T", "the server is stopped")
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server, signal.SIGCONT)

    # --- after each

    def check(self) -> None:
        """The kernel lives, completion answers, the next cell works, and nothing is left over."""
        kernel = self.kernel
        asked = time.monotonic()
        kernel.request("complete_request", {"code": "pri", "cursor_pos": 3})
        assert time.monotonic() - asked < 5.0
        run = kernel.ok("print('next')\n'kept' in globals()", READY_TIMEOUT_S)
        assert run.text() == "next\n"
        assert run.result == {"text/plain": "False" if self.died else "True"}
        note = run.text("stderr")
        assert (FRESH in note) == self.died, note
        if self.died:
            self.server_was_replaced(self.server)
        kernel.ok("kept = 1")
        assert kernel.ok("1 + 1").kinds == ["execute_input", "execute_result"]
        self.died = False
        assert self._find_server() == self.server
        assert len(self._folders()) == 1, self._folders()
        self._note_resources()

    def server_was_replaced(self, former: int) -> None:
        """Another one runs the cells; of the former one nothing is left."""
        self.server = self._find_server()
        assert former != self.server
        wait_until(lambda: is_gone(former), "the former server ends")
        wait_until(lambda: not _of_session(former), "what its cells started has ended")
        wait_until(lambda: len(self._folders()) == 1, "its folder is removed")
        left = [f"/tmp/.java_pid{former}", f"/tmp/.attach_pid{former}", f"hs_err_pid{former}.log", f"core.{former}"]
        assert [
            path for path in left if os.path.exists(path) and os.stat(path).st_mtime > self._begun
        ] == []  # pids come again
        assert list(Path("/tmp").glob(f"hsperfdata_*/{former}")) == []

    def _find_server(self) -> int:
        """The kernel's one server; beside it there is the guardian, a shell."""
        server = int(self.kernel.ok("import os\nprint(os.getpid())", READY_TIMEOUT_S).text())
        below = set(descendants(self.kernel.pid)) - {server, *descendants(server)}
        try:
            wait_until(lambda: sum(not is_gone(pid) for pid in below) <= 1, "nothing but a guardian beside the server", 10.0)
        except AssertionError:
            raise AssertionError(subprocess.run(["ps", "-ejH"], capture_output=True, text=True, check=False).stdout) from None
        return server

    def _folders(self) -> list[Path]:
        return [path for path in self.temporary.iterdir() if _OURS.match(path.name)]

    def _note_resources(self) -> None:
        folder = Path(f"/proc/{self.kernel.pid}")
        if folder.is_dir():
            self._resources.append((len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))))

    def check_bounded(self) -> None:
        """Descriptors and threads of the kernel have not grown with the faults."""
        if not self._resources:
            return
        early = [max(row[which] for row in self._resources[:5]) for which in (0, 1)]
        late = [min(row[which] for row in self._resources[-5:]) for which in (0, 1)]
        assert late[0] <= early[0] + 8, self._resources
        assert late[1] <= early[1] + 8, self._resources
        assert {path.name for path in self.temporary.iterdir() if not _OURS.match(path.name)} <= {"filler"}


def _state(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1]


def _moment_of_death(pid: int) -> list[float]:
    stat = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if stat.read_text("utf-8", "replace").rpartition(")")[2].split()[0] in "ZX":
                return [time.monotonic()]
        except OSError:
            return [time.monotonic()]
        time.sleep(0.002)
    return []


def _of_session(session: int) -> list[str]:
    done = subprocess.run(["ps", "-e", "-o", "sid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in done.stdout.splitlines()]
    return [row[2] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


# --- deaths


def exit_code(bench: Bench) -> None:
    """A cell ends the process; whatever it has printed shows."""
    code, lines = bench.number.randint(1, 200), bench.number.choice([0, 1, 50, 3000])
    end = bench.number.choice(["\\n", ""])
    source = f"import os, sys\nfor i in range({lines}): print(i)\nprint('é', end='{end}', file=sys.stderr)\nos._exit({code})"
    run = bench.dies(bench.kernel.send(source), f"exit code {code}")
    assert run.text() == "".join(f"{n}\n" for n in range(lines))
    assert run.text("stderr") == "é" + end.replace("\\n", "\n")


def killed_from_outside(bench: Bench) -> None:
    """SIGKILL while the cell prints: all that it had printed shows, once and in order."""
    file = bench.temporary / "filler"
    source = (
        f"import os\nf = os.open({str(file)!r}, os.O_RDWR | os.O_CREAT)\nprint('begun')\nn = 0\n"
        "while True:\n    print(n)\n    n += 1\n    os.pwrite(f, b'%012d' % n, 0)"
    )
    run = bench.begin(source)
    time.sleep(bench.number.uniform(0.0, 0.5))
    bench.kill(signal.SIGKILL)
    bench.dies(run, "SIGKILL", HEAP, "DH_KERNEL_HEAP")
    lines = run.text().splitlines()[1:]
    assert lines == [str(n) for n in range(len(lines))]
    assert len(lines) >= int(file.read_bytes() or b"0")
    file.unlink()


def killed_by_itself(bench: Bench) -> None:
    """The process's own output, that of a program, and text: all there, in their order."""
    name = bench.number.choice(["SIGKILL", "SIGTERM", "SIGHUP"])
    source = (
        "import os, signal, subprocess\nprint('a')\nsubprocess.run(['echo', 'b'])\nprint('c')\nos.write(1, b'd\\n')\n"
        f"os.kill(os.getpid(), signal.{name})\nimport time; time.sleep(60)"
    )
    assert bench.dies(bench.kernel.send(source), name).text() == "a\nb\nc\nd\n"


def crash(bench: Bench) -> None:
    """A segmentation fault in C."""
    run = bench.kernel.send("import ctypes\nprint('last', end='')\nctypes.string_at(0)")
    bench.dies(run, "SIGSEGV", "a crash in native code", "Problematic frame")
    assert run.text() == "last"


def abort(bench: Bench) -> None:
    """abort() of C, as failed assertions call it; what C wrote shows too."""
    source = "import os, sys\nos.write(2, b'assertion failed: x > 0\\n')\nprint('last')\nos.abort()"
    run = bench.dies(bench.kernel.send(source), "SIGABRT", "assertion failed: x > 0")
    assert run.text() == "last\n"
    assert run.text("stderr") == "assertion failed: x > 0\n"


def heap_full_in_a_cell(bench: Bench) -> None:
    """Java's heap is exhausted by what the cell makes."""
    source = bench.number.choice(
        [
            "import jpy\nprint('begun')\nhold = [jpy.array('byte', 50_000_000) for _ in range(100)]",
            "from deephaven import empty_table\nprint('begun')\nhold = empty_table(200_000_000).update('X = ii')",
        ]
    )
    run = bench.dies(bench.kernel.send(source), "out of memory", f"heap of {HEAP}", "DH_KERNEL_HEAP", "OutOfMemoryError")
    assert run.text() == "begun\n"


def heap_full_in_the_update_graph(bench: Bench) -> None:
    """Java's heap is exhausted by a ticking table, on the engine's thread."""
    source = (
        "from deephaven import time_table\nimport jpy, time\nhold = []\ndef grab(i):\n"
        "    hold.append(jpy.array('byte', 100_000_000))\n    return len(hold)\n"
        "ticking = time_table('PT0.1s').update('Y = (int)grab(1)');\nprint('begun')\nwhile True: time.sleep(0.1)"
    )
    run = bench.dies(bench.kernel.send(source), "out of memory", f"heap of {HEAP}", "DH_KERNEL_HEAP", "OutOfMemoryError")
    assert run.text() == "begun\n"


def killed_while_idle(bench: Bench) -> None:
    """No cell runs: the next one tells of it."""
    former = bench.server
    bench.kill(signal.SIGKILL)
    wait_until(lambda: is_gone(former), "the server's end")
    run = bench.kernel.run("2 + 2", READY_TIMEOUT_S)
    if run.reply["status"] == "error":  # it was sent before the kernel knew of the death, and ran on nothing
        assert run.error["ename"] == "ServerDiedError"
        assert "SIGKILL" in run.error["evalue"]
        bench.died = True
        return
    assert "SIGKILL" in run.text("stderr")
    assert FRESH in run.text("stderr")
    assert run.result == {"text/plain": "4"}
    bench.server_was_replaced(bench.server)
    bench.kernel.ok("kept = 1")


def killed_while_it_starts(bench: Bench) -> None:
    """The fresh server dies as well, before it is ready: that cell says so, and the one after it works."""
    known = set(descendants(bench.kernel.pid))
    bench.dies(bench.kernel.send("import os; os._exit(9)"), "exit code 9")
    run = bench.kernel.send("1")
    wait_until(lambda: bool(_launchers(bench, known)), "another server begins")
    time.sleep(bench.number.uniform(0.0, 1.0))
    for pid in _launchers(bench, known):
        os.kill(pid, signal.SIGKILL)
    bench.kernel.finish(run, READY_TIMEOUT_S)
    assert run.error["ename"] == "ServerStartError", run.error
    assert "SIGKILL" in run.error["evalue"]


def _launchers(bench: Bench, known: set[int]) -> list[int]:
    children = [pid for pid in descendants(bench.kernel.pid) if pid not in known and not is_gone(pid)]
    found = []
    for pid in children:
        with contextlib.suppress(OSError):
            if b"launcher.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def children_left(bench: Bench) -> None:
    """Programs that cells have started end with the server."""
    source = "import subprocess, os\nfor _ in range(3): subprocess.Popen(['sleep', '1000'])\nprint('begun')\nos._exit(4)"
    assert bench.dies(bench.kernel.send(source), "exit code 4").text() == "begun\n"


def output_of_every_kind(bench: Bench) -> None:
    """Displays, a result of an earlier cell and a table that was announced: what the cell showed is shown."""
    source = (
        "from IPython.display import display, HTML\nimport os, threading\nprint('one')\ndisplay(HTML('<b>two</b>'))\n"
        "t = threading.Thread(target=print, args=('three',)); t.start(); t.join()\ndisplay({'four': 4})\nos._exit(5)"
    )
    run = bench.dies(bench.kernel.send(source), "exit code 5")
    assert run.kinds == ["execute_input", "stdout", "display_data", "stdout", "display_data", "error"]
    assert run.bundles[0]["text/html"] == "<b>two</b>"
    assert run.bundles[1]["text/plain"] == "{'four': 4}"


def full_disk(bench: Bench) -> None:
    """No room for the JVM's temporary files: a formula fails and says why, and the server lives.

    A start meanwhile says the same, or finds room in what the former server has left.
    """
    filler = bench.temporary / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    number = bench.number.randrange(10**9)
    run = bench.kernel.run(f"from deephaven import empty_table\nt = empty_table(1).update('A = i + {number}')")
    assert "No space left on device" in run.error["evalue"]
    assert str(bench.temporary) in run.text("stderr")
    assert "TMPDIR" in run.text("stderr")
    assert "until %dh restart" in run.text("stderr")
    if bench.number.random() < 0.5:
        bench.dies(bench.kernel.send("import os; os._exit(6)"), "exit code 6")
        run = bench.kernel.run("print('here')", READY_TIMEOUT_S)
        if run.reply["status"] == "error":
            assert "no space is left on the disk of " + str(bench.temporary) in run.error["evalue"]
            assert "TMPDIR" in run.error["evalue"]
            filler.unlink()
            run = bench.kernel.ok("print('here')", READY_TIMEOUT_S)
        assert FRESH in run.text("stderr")
        bench.server_was_replaced(bench.server)
        bench.kernel.ok("kept = 1")
        bench.died = False
    filler.unlink(missing_ok=True)
    # Another formula: the engine remembers that it could not compile the first one, which the note says.
    bench.kernel.ok(f"from deephaven import empty_table\nt = empty_table(1).update('B = i - {number}');")


# --- a server that answers nobody


def stopped_and_continued(bench: Bench) -> None:
    """Nothing is lost; where it takes long a note says so, and another that it is over."""
    long = bench.number.random() < 0.3
    run = bench.begin("import time\nprint('begun')\nfor n in range(100):\n    print(n)\n    time.sleep(0.01)")
    with bench.stopped():
        if long:
            bench.kernel.wait(lambda: "has not answered" in run.text("stderr"), "the note", 30.0)
            assert "SIGSTOP" in run.text("stderr")
        else:
            time.sleep(bench.number.uniform(0.1, 1.5))
    bench.kernel.finish(run)
    assert run.reply["status"] == "ok"
    assert run.text() == "begun\n" + "".join(f"{n}\n" for n in range(100))
    assert ("answers again" in run.text("stderr")) == long
    assert long or not run.text("stderr")


def stopped_and_interrupted(bench: Bench) -> None:
    """The cell ends; what the server says of it later is dropped, and the server can be used again."""
    run = bench.begin("import time\nprint('begun')\nwhile True: time.sleep(0.1)")
    with bench.stopped():
        bench.kernel.interrupt()
        bench.kernel.finish(run, 10.0)
        assert run.error["ename"] == "KeyboardInterrupt"
        assert "SIGSTOP" in run.error["evalue"]
        asked = time.monotonic()
        bench.kernel.request("complete_request", {"code": "pri", "cursor_pos": 3})
        assert time.monotonic() - asked < 5.0


def stopped_and_interrupted_twice(bench: Bench) -> None:
    """The second interrupt ends the server."""
    run = bench.begin("import time\nprint('begun')\nwhile True: time.sleep(0.1)")
    with bench.stopped():
        bench.kernel.interrupt()
        bench.kernel.finish(run, 10.0)
        assert "Interrupt again" in run.error["evalue"]
        waiting = bench.kernel.send("1")
        bench.kernel.wait(lambda: bool(waiting.messages), "the cell has begun")
        bench.kernel.interrupt()
        bench.dies(waiting, "it did not answer, and was interrupted again")


def stopped_and_restarted(bench: Bench) -> None:
    """`%dh restart` does not wait for what cannot answer."""
    with bench.stopped():
        former = bench.server
        run = bench.kernel.send("%dh restart")
        wait_until(lambda: is_gone(former), "the stopped server ends", 4.0)
        bench.kernel.finish(run, READY_TIMEOUT_S)
    assert run.text().startswith("A fresh server"), run.messages
    bench.server_was_replaced(bench.server)
    bench.kernel.ok("kept = 1")


def restarted_with_children(bench: Bench) -> None:
    """`%dh restart` ends programs that cells have started, also in sessions of their own."""
    source = (
        "import subprocess\nkids = [subprocess.Popen(['sleep', '1000'], start_new_session=new) for new in (True, False)]\n"
        "print(*(kid.pid for kid in kids))"
    )
    kids = [int(pid) for pid in bench.kernel.ok(source).text().split()]
    bench.kernel.ok("%dh restart", READY_TIMEOUT_S)
    wait_until(lambda: all(map(is_gone, kids)), "the children end")
    bench.server_was_replaced(bench.server)
    bench.kernel.ok("kept = 1")


def silent_for_a_while(bench: Bench) -> None:
    """A call into C that lets nothing else run is no death: the cell goes on."""
    source = "import ctypes\nprint('begun')\nctypes.PyDLL(None).usleep(2_500_000)\nprint('end')"
    run = bench.kernel.ok(source)
    assert run.text() == "begun\nend\n"
    assert run.text("stderr") == ""


Fault = Callable[[Bench], None]
SHORT: tuple[Fault, ...] = (exit_code, killed_from_outside, heap_full_in_a_cell, stopped_and_continued)
ALL: tuple[Fault, ...] = (
    *SHORT,
    crash,
    killed_by_itself,
    abort,
    heap_full_in_the_update_graph,
    killed_while_idle,
    killed_while_it_starts,
    children_left,
    output_of_every_kind,
    stopped_and_interrupted,
    stopped_and_interrupted_twice,
    stopped_and_restarted,
    restarted_with_children,
    silent_for_a_while,
    full_disk,
)
