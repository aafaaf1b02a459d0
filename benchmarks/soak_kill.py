"""Kill kernels with SIGKILL at random moments, and look for what they leave behind.

    python benchmarks/soak_kill.py [--count 100] [--parallel 1] [--seed 1] [--latest 9] [--peer NAME] [--ignore …]

Prints counts, and exits with 1 if a process, a file or a listening port remains. Linux only: it reads `/proc`.

Processes are found twice: as descendants of the kernel while it lives, and afterwards by a mark in their environment, which
they inherit however they detach. Neighbours: `clients.py` starts the kernels, `peers.py` knows how they are called.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import random
import re
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from clients import Kernel
from jupyter_core.paths import jupyter_runtime_dir
from machine import has_jvm
from peers import EMBEDDED, IPYKERNEL, OURS, Bench
from rows import TABLE

MARK = "SOAK_KILL_MARK"  # not DH_KERNEL_…: the kernel refuses settings that it does not know
EARLIEST_S = 0.2
IDLE_FOR_S = (0.0, 2.0)
FIRST_TABLE_S = 60.0
VANISH_S = 20.0
LOOK_EVERY_S = 0.05
CELLS = {
    "nothing": "",
    "table": f"t = {TABLE}",
    "idle": f"t = {TABLE}",
    "loop": "import time\nwhile True:\n    print('on')\n    time.sleep(0.01)",
    "child": "import subprocess\nsubprocess.run(['sleep', '600'])",
}


@dataclass
class Case:
    """One kernel's life and what remained of it.

    `kill_after_s` is from the spawn; for the cell `idle`, from the moment its table was shown.
    """

    number: int
    cell: str
    kill_after_s: float
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    processes: set[psutil.Process] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    had_server: bool = False
    showed_table: bool = False
    vanished_s: float = 0.0
    leaks: list[str] = field(default_factory=list)

    def leak(self, what: str) -> None:
        """Record something that remained, or otherwise spoils the case."""
        self.leaks.append(f"kernel {self.number} ({self.cell}, killed after {self.kill_after_s:.2f} s): {what}")


class Soak:
    """The kernels of one run: started, watched, killed, and looked for."""

    def __init__(self, bench: Bench, peer: str) -> None:
        self._bench = bench
        self._peer = peer
        self._stopping = False

    def stop(self) -> None:
        """Let the present kernels be the last."""
        self._stopping = True

    def run(self, case: Case) -> Case:
        """Start, watch until the moment, kill, look for processes and ports."""
        if self._stopping:
            return case
        name = OURS if self._peer == OURS else IPYKERNEL
        kernel = self._bench.kernel(name, {MARK: case.mark})
        try:
            self._live(case, kernel)
        finally:
            _note(case, kernel.process.pid)
            killed_at = time.perf_counter()
            kernel.kill()
            _await_end(case, killed_at)
        return case

    def _live(self, case: Case, kernel: Kernel) -> None:
        """Send the cell, and take note of what the kernel starts, until its moment has come."""
        begin = self._bench.start_cell() if self._peer == EMBEDDED else "from deephaven import empty_table\n"
        if case.cell != "nothing" or self._peer == EMBEDDED:
            shown = "\nto_pandas(t.head(10))" if self._peer == EMBEDDED and case.cell in ("table", "idle") else ""
            kernel.client.execute(begin + CELLS[case.cell] + shown)
        moment = kernel.spawned_at + (FIRST_TABLE_S if case.cell == "idle" else case.kill_after_s)
        while not self._stopping and time.perf_counter() < moment:
            _note(case, kernel.process.pid)
            if not case.showed_table and kernel.saw_table():
                case.showed_table = True
                moment = time.perf_counter() + case.kill_after_s if case.cell == "idle" else moment
            time.sleep(LOOK_EVERY_S)
        if case.cell == "idle" and not case.showed_table and not self._stopping:
            case.leak(f"no table was shown within {FIRST_TABLE_S:g} s: {kernel.last_words()}")


def _note(case: Case, kernel: int) -> None:
    """Add the processes and ports that a kernel has now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(kernel)
        family = [process, *process.children(recursive=True)]
        case.processes.update(family)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                listening = [c.laddr.port for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN]
                case.ports.update(listening)
                case.had_server = case.had_server or has_jvm(member)


def _await_end(case: Case, killed_at: float) -> None:
    """Wait until nothing is left of a kernel; kill and report what stays."""
    left, ports = _alive(case), _listening(case)
    while (left or ports) and time.perf_counter() < killed_at + VANISH_S:
        time.sleep(LOOK_EVERY_S)  # nobody tells when a process that is not our child has gone
        left, ports = _alive(case), _listening(case)
    case.vanished_s = time.perf_counter() - killed_at
    for port in ports:
        case.leak(f"port {port} still listens")
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            case.leak(f"process {process.pid}: {' '.join(process.cmdline())[:100]}")
            process.kill()


def _alive(case: Case) -> list[psutil.Process]:
    """What lives of the processes that were seen, and of those that carry the mark.

    Both are needed: one may have started after the last look, and one that is about to end has no environment any more.
    """
    seen = {process for process in case.processes if process.is_running() and not _is_zombie(process)}
    return list(seen | {process for process in psutil.process_iter() if _has_mark(process.pid, case.mark)})


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _listening(case: Case) -> set[int]:
    """The ports of the case where somebody still listens, and that no other program has taken since."""
    ours = {process.pid for process in case.processes}
    return {
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in case.ports
        if connection.pid is None or connection.pid in ours or _has_mark(connection.pid, case.mark)
    }


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


# ----- files


def _places() -> list[Path]:
    """Where something could be left: temporary folders, Deephaven's cache, Jupyter's runtime folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "deephaven"
    places = {Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm"), cache, Path(jupyter_runtime_dir())}
    return sorted(places)


def _files(ignore: list[str]) -> set[str]:
    """All names in those places, two levels deep."""
    return {str(path) for place in _places() for path in _names(place, 2) if not _ignored(path, ignore)}


def _names(folder: Path, depth: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            yield path
            if depth > 1 and path.is_dir() and not path.is_symlink():
                yield from _names(path, depth - 1)


def _ignored(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(str(path), pattern) for pattern in patterns)


def _names_another(path: str, done: list[Case]) -> bool:
    """True for a file whose name has a process or port that was never one of ours."""
    pid = re.search(r"/(?:\.java_pid|hsperfdata_[^/]+/|dh-kernel-[0-9a-f]+-)(\d+)(?:-|$)", path)
    port = re.search(r"/jetty-127_0_0_1-(\d+)-", path)
    if re.search(r"/hsperfdata_[^/]+$", path):
        return True  # the folder belongs to all of a user's JVMs
    if pid is not None:
        return not any(int(pid[1]) == process.pid for case in done for process in case.processes)
    return port is not None and not any(int(port[1]) in case.ports for case in done)


# ----- the run


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; 0 if nothing remained."""
    options = _parse(arguments)
    bench = Bench(repeat=1, quick=True, heap=options.heap)
    soak = Soak(bench, options.peer)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: soak.stop())
    with contextlib.closing(bench):
        ignore = [*options.ignore, f"{bench.scratch}*"]
        before = _files(ignore)
        with ThreadPoolExecutor(options.parallel) as pool:
            done = list(_report_each(pool.map(soak.run, _cases(options.count, options.seed, options.latest)), options.count))
        new = [path for path in _outermost(_files(ignore) - before) if not _names_another(path, done)]
    leaks = [leak for case in done for leak in case.leaks]
    print(_summary(done))
    for leak in leaks:
        print(f"left behind: {leak}")
    for path in new:
        print(f"left behind: file {path}")
    print(f"processes and ports left: {len(leaks)}, files left: {len(new)}")
    if not any(case.had_server for case in done):
        print("no kernel had a server when it was killed: this run shows nothing")
        return 1
    return int(bool(leaks or new))


def _cases(count: int, seed: int, latest_s: float) -> list[Case]:
    chance = random.Random(seed)
    cells = [list(CELLS)[number % len(CELLS)] for number in range(count)]
    return [
        Case(number, cell, chance.uniform(*(IDLE_FOR_S if cell == "idle" else (EARLIEST_S, latest_s))))
        for number, cell in enumerate(cells, start=1)
    ]


def _report_each(done: Iterator[Case], count: int) -> Iterator[Case]:
    for case in done:
        state = "table shown" if case.showed_table else "server there" if case.had_server else "no server yet"
        print(
            f"{case.number}/{count} {case.cell}: killed after {case.kill_after_s:.2f} s, {state},"
            f" {len(case.processes)} processes, {len(case.ports)} ports; gone after {case.vanished_s:.2f} s"
            + "".join(f"\n    ! {leak}" for leak in case.leaks),
            flush=True,
        )
        yield case


def _summary(done: list[Case]) -> str:
    lived = [case for case in done if case.processes]
    times = sorted(case.vanished_s for case in lived) or [0.0]
    cells = Counter(case.cell for case in lived)
    return (
        f"{len(lived)} kernels killed ({', '.join(f'{count} {cell}' for cell, count in cells.items())});"
        f" {sum(case.had_server for case in lived)} had a server process,"
        f" {sum(case.showed_table for case in lived)} had shown a table;"
        f" {sum(len(case.processes) for case in lived)} processes and {sum(len(case.ports) for case in lived)} ports seen;"
        f" all gone after {times[len(times) // 2]:.2f} s (median), {times[-1]:.2f} s (longest)"
    )


def _outermost(paths: set[str]) -> list[str]:
    """Without those whose folder is in the list as well."""
    return sorted(path for path in paths if str(Path(path).parent) not in paths)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="kernels (default 100)")
    parser.add_argument("--parallel", type=int, default=1, help="at a time (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    parser.add_argument("--latest", type=float, default=9.0, help="seconds; a slow machine needs more (default 9)")
    parser.add_argument("--heap", default="1g", help="of every Java virtual machine (default 1g)")
    parser.add_argument("--peer", choices=(OURS, EMBEDDED), default=OURS, help="the kernel to kill (default ours)")
    parser.add_argument("--ignore", nargs="*", default=[], metavar="PATTERN", help="paths of others at work here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
