"""The rows about starts and what stays resident: on another Java, from a spare server, after a restart, idle.

Neighbours: `rows.py` lists them with the others, `turns.py` takes the peers in turn, `peers.py` runs things.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
from clients import BenchmarkError, CellRun, Kernel
from machine import rss_mb
from peers import EMBEDDED, OURS, OURS_STANDBY, TELL_JAVA, Bench
from report import Row
from turns import rotated

TABLE = 'empty_table(1000).update(["X = i", "Y = Math.sin(X)"])'
JAVA_25 = "DH_BENCH_JAVA_25"
_USUAL_25 = "/usr/lib/jvm/*25*"
# Deephaven's own options are for Java 17; ours adds the same.
_FOR_25 = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
IDLE_S = 10.0
_COMMAND = "import sys; from dh_kernel.cli import main; sys.exit(main(sys.argv[1:]))"


def first_table_25(bench: Bench, row: Row) -> None:
    """As first-table, on Java 25: the folder in DH_BENCH_JAVA_25, or one of that version in the usual place."""
    homes = [os.environ.get(JAVA_25, ""), *sorted(glob.glob(_USUAL_25))]
    home = next((home for home in homes if os.path.exists(os.path.join(home, "bin", "javac"))), None)
    if home is None:
        raise BenchmarkError(f"there is no Java 25: name its folder in {JAVA_25}")
    environ = {"JAVA_HOME": home}
    _make_archive(bench, environ)
    _measure(bench, row, (OURS, EMBEDDED), lambda name: _from_spawn(bench, row, name, environ))


def standby(bench: Bench, row: Row) -> None:
    """As first-table, where a spare server waits; it is waited for before each round, which is not measured."""
    with keeper(bench):
        _measure(bench, row, (OURS_STANDBY, OURS, EMBEDDED), lambda name: _from_spawn(bench, row, name, {}))


def restart(bench: Bench, row: Row) -> None:
    """From a front end's restart, of a kernel with a table, to a first table again; with a spare server too."""

    def measure(name: str) -> Iterator[tuple[str, float]]:
        with _kernel(bench, row, name, {}) as kernel:
            kernel.run(_code(bench, name))
            if name == OURS_STANDBY:
                await_spare(bench)
            begun = time.perf_counter()
            kernel.restart()
            restarted_s = time.perf_counter() - begun
            run = kernel.run(_code(bench, name))
            yield "until the new process is there", restarted_s
            yield "to the table", _table_at(run) - begun

    with keeper(bench):
        _measure(bench, row, (OURS_STANDBY, OURS, EMBEDDED), measure)


def idle_memory(bench: Bench, row: Row) -> None:
    """Resident memory of kernel and server, ten seconds after a first table was shown; of a spare server's too."""

    def measure(name: str, count: bool) -> None:
        with _kernel(bench, row, name, {}) as kernel:
            kernel.run(_code(bench, name))
            time.sleep(IDLE_S)
            family = [kernel.process, *kernel.process.children(recursive=True)]
            if count:
                row.add("kernel's process", "MB", name, rss_mb(kernel.process.pid))
                row.add("all processes", "MB", name, sum(rss_mb(process.pid) for process in family))

    names = [name for name in (OURS, EMBEDDED) if name != OURS or bench.has_ours]
    for turn in range(bench.repeat):
        for name in rotated(names, turn):
            measure(name, True)
    if bench.has_ours:
        with keeper(bench):
            pids = await_spare(bench)
            row.add("a spare server", "MB", OURS, sum(rss_mb(pid) for pid in pids))
            row.add("its keeper", "MB", OURS, rss_mb(psutil.Process(pids[0]).ppid()))


def _from_spawn(bench: Bench, row: Row, name: str, environ: dict[str, str]) -> Iterator[tuple[str, float]]:
    with _kernel(bench, row, name, environ) as kernel:
        run = kernel.run(_code(bench, name, _FOR_25 if environ else ()))
        bench.java[f"{row.name}: {name}"] = kernel.run(TELL_JAVA).text.strip()
        yield "to the table", _table_at(run) - kernel.spawned_at
        yield "to idle", run.done_at - kernel.spawned_at


def _measure(bench: Bench, row: Row, names: tuple[str, ...], measure) -> None:  # type: ignore[no-untyped-def]
    """In rounds; the first fills the disk's caches and is not counted."""
    left = [name for name in names if name == EMBEDDED or bench.has_ours]
    for turn in range(bench.repeat + 1):
        for name in rotated(list(left), turn):
            try:
                if OURS_STANDBY in left:
                    await_spare(bench)  # none is made while somebody is measured
                for metric, seconds in measure(name):
                    if turn:
                        _add(row, names, name, metric, seconds)
            except Exception as error:  # one peer's failure must not cost the others' results
                row.problem(f"{name}: {type(error).__name__}: {error}")
                left.remove(name)


def _add(row: Row, names: tuple[str, ...], name: str, metric: str, seconds: float) -> None:
    """With a standby and without are two metrics of ours, and the peer is compared with each."""
    spare = f"{metric}, from standby"
    if name != OURS_STANDBY:
        row.add(metric, "s", name, seconds)
    if name == OURS_STANDBY or (name == EMBEDDED and OURS_STANDBY in names):
        row.add(spare, "s", OURS if name == OURS_STANDBY else name, seconds)


@contextlib.contextmanager
def _kernel(bench: Bench, row: Row, name: str, environ: dict[str, str]) -> Iterator[Kernel]:
    ours = {"DH_KERNEL_STANDBY": "1"} if name == OURS_STANDBY else bench.no_spares()
    kernel = bench.kernel("ipykernel" if name == EMBEDDED else OURS, {**environ, **ours})
    try:
        yield kernel
    finally:
        for text in kernel.stop():
            row.problem(text)


def _code(bench: Bench, name: str, options: tuple[str, ...] = ()) -> str:
    if name == EMBEDDED:
        return f"{bench.start_cell(*options)}t = {TABLE}\nto_pandas(t.head(10))"
    return f"from deephaven import empty_table\nt = {TABLE}"


def _table_at(run: CellRun) -> float:
    if run.first_table_at is None:
        raise BenchmarkError("no table was shown")
    return run.first_table_at


def _make_archive(bench: Bench, environ: dict[str, str]) -> None:
    """The warm cache: what a kernel makes some time after its first start."""
    subprocess.run(
        [sys.executable, "-c", _COMMAND, "archive", "make"],
        env={**bench.environment(), **environ},
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def keeper(bench: Bench) -> Iterator[None]:
    """A keeper for this block. Its spares are made at low priority: nothing is measured meanwhile."""
    _make_archive(bench, {})
    try:
        yield
    finally:
        _command(bench, "stop")


def await_spare(bench: Bench) -> list[int]:
    """Wait until a spare server is there; its processes."""
    return list(json.loads(_command(bench, "start"))["pids"])


def _command(bench: Bench, action: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, "standby", action, "--json"],
        env={**bench.environment(), "DH_KERNEL_STANDBY": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
