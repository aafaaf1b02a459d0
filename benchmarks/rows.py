"""The rows of the benchmark: one function each, whose docstring says what it measures.

A row starts the peers it needs, warms them up, measures in rounds that take the peers in turn (the machine is noisy: what is
measured one after the other cannot be compared), checks that what it timed really happened, and ends what it started.

Neighbours: `peers.py` runs things, `machine.py` reads memory, `report.py` holds the results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from batch import run_big_table, run_hello, run_pour
from clients import BenchmarkError, CellRun
from interactive import comm_round_trip, completion, inspection, interrupts
from live import live_outputs, live_table
from machine import peak_mb, reset_peak, rss_mb
from peers import (
    EMBEDDED,
    IPYKERNEL,
    OURS,
    PYDEEPHAVEN,
    PYDEEPHAVEN_WHOLE,
    TELL_JAVA,
    Bench,
    KernelPeer,
    Peer,
    PydeephavenPeer,
)
from previews import preview_columns, preview_rows, thousand_tables
from report import Row
from starts import first_table_25, idle_memory, restart, standby
from turns import each, fresh, kernel_of, rounds, rounds_of_names, running

TABLE = 'empty_table(1000).update(["X = i", "Y = Math.sin(X)"])'
LINES = 20_000
BIG_LINES = 500_000
BIG_BYTES = 100 * BIG_LINES
PRINT_LINES = f'for i in range({LINES}): print("line", i)'
PRINT_BIG_LINES = f'for i in range({BIG_LINES}): print(f"{{i:099d}}")'
MAKE_BIG_TEXT = f'text = "".join(f"{{i:099d}}\\n" for i in range({BIG_LINES}))'
PRINT_BIG_TEXT = 'print(text, end="")'
BIG_TABLE = 'big = empty_table(20_000_000).update("X = ii")'
TRIVIAL = ("x = 1", "1 + 1")


def kernel_info(bench: Bench, row: Row) -> None:
    """From spawning the process to the reply to a kernel_info_request that is sent at once."""

    def measure(name: str, discard: bool) -> None:
        with fresh(bench, row, name) as kernel:
            seconds = kernel.kernel_info()
            if not discard:
                row.add("reply", "s", name, seconds)

    rounds_of_names(bench, row, (OURS, IPYKERNEL), measure)


def first_table(bench: Bench, row: Row) -> None:
    """From spawning the process to a table's HTML at the client, and to reply and idle; the cell is sent at once."""
    code = {
        OURS: f"from deephaven import empty_table\nt = {TABLE}",
        EMBEDDED: f"{bench.start_cell()}t = {TABLE}\nto_pandas(t.head(10))",
    }

    def measure(name: str, discard: bool) -> None:
        with fresh(bench, row, name) as kernel:
            run = kernel.run(code[name])
            bench.java.setdefault(name, kernel.run(TELL_JAVA).text.strip())
            if discard:
                return
            row.add("to the table", "s", name, _first_table_at(run) - kernel.spawned_at)
            row.add("to idle", "s", name, run.done_at - kernel.spawned_at)

    rounds_of_names(bench, row, tuple(code), measure)


def trivial_cell(bench: Bench, row: Row) -> None:
    """From sending `x = 1` or `1 + 1` to both reply and idle (pydeephaven: the call of run_script)."""
    chunks, size = (3, 10) if bench.quick else (15, 25)
    with running(bench, row, OURS, IPYKERNEL, EMBEDDED, PYDEEPHAVEN) as peers:
        for code in TRIVIAL:
            each(row, peers, lambda peer, code=code: peer.trivial(code, 50))  # type: ignore[misc]

        def measure(peer: Peer) -> None:
            for code in TRIVIAL:
                for seconds in peer.trivial(code, size):
                    row.add(code, "ms", peer.name, seconds * 1e3, shown=("median", "p99"))

        rounds(row, peers, chunks, measure)


def printed_lines(bench: Bench, row: Row) -> None:
    """From sending a loop that prints 20,000 lines to both reply and idle; what arrives must be what was printed."""
    expected = "".join(f"line {i}\n" for i in range(LINES)).encode()

    def measure(peer: Peer) -> None:
        run = kernel_of(peer).run(PRINT_LINES)
        row.add("20,000 lines", "ms", peer.name, run.done_s * 1e3)
        _check_text(row, peer, run, expected)

    with running(bench, row, OURS, IPYKERNEL, EMBEDDED) as peers:
        each(row, peers, measure, discard=row)
        rounds(row, peers, bench.repeat, measure)


def big_print(bench: Bench, row: Row) -> None:
    """50 MB printed by one call, and as 500,000 lines: time, and the most memory each process had."""
    expected = "".join(f"{i:099d}\n" for i in range(BIG_LINES)).encode()
    baseline: dict[str, dict[str, float]] = {}

    def warm(peer: Peer) -> None:
        peer.execute(MAKE_BIG_TEXT)
        peer.execute(PRINT_LINES)
        baseline[peer.name] = _resident(peer)

    def measure(peer: Peer, code: str, label: str) -> None:
        _reset_peaks(peer)
        run = kernel_of(peer).run(code, timeout_s=300)
        row.add(label, "s", peer.name, run.done_s)
        _add_peaks(row, peer, baseline[peer.name], f"{label}: ")
        _check_text(row, peer, run, expected)

    with running(bench, row, OURS, IPYKERNEL, EMBEDDED) as peers:
        each(row, peers, warm)
        rounds(row, peers, bench.repeat, lambda peer: measure(peer, PRINT_BIG_TEXT, "one print"))
        if not bench.quick:
            rounds(row, peers, min(bench.repeat, 3), lambda peer: measure(peer, PRINT_BIG_LINES, "500,000 lines"))


def big_preview(bench: Bench, row: Row) -> None:
    """Ten rows of a table of 20 million rows made before: time, and memory added by one preview.

    The peers' way to see a table is `to_pandas(big.head(10))`, and `open_table("big").head(10).to_arrow()`. The last
    column is the whole table over `to_arrow()`, measured after the others with the same server and client.
    """

    def warm(peer: Peer) -> None:
        peer.execute(f"small = {TABLE}")
        for _ in range(5):
            _show(peer, "small")
        peer.execute(BIG_TABLE)

    def measure(peer: Peer) -> None:
        before = _reset_peaks(peer)
        run = _show(peer, "big")
        row.add("done", "ms", peer.name, (run if isinstance(run, float) else run.done_s) * 1e3)
        _add_added(row, peer, peer.name, before)
        if isinstance(run, CellRun):
            row.add("shown", "ms", peer.name, (_first_table_at(run) - run.sent_at) * 1e3)

    def download(peer: Peer) -> None:
        if isinstance(peer, PydeephavenPeer):
            before = _reset_peaks(peer)
            row.add("done", "ms", PYDEEPHAVEN_WHOLE, peer.download("big") * 1e3)
            _add_added(row, peer, PYDEEPHAVEN_WHOLE, before)

    with running(bench, row, OURS, EMBEDDED, PYDEEPHAVEN) as peers:
        each(row, peers, warm)
        rounds(row, peers, bench.repeat, measure)
        rounds(row, peers, 1, download)


def ten_tables(bench: Bench, row: Row) -> None:
    """A cell that makes ten tables of 1,000 rows and shows each; ours shows what is assigned, the peer displays it."""
    assign = "".join(f"t{i} = {TABLE}\n" for i in range(10))
    names = ", ".join(f"t{i}" for i in range(10))
    code = {OURS: assign, EMBEDDED: f"{assign}for t in ({names}): display(to_pandas(t.head(10)))"}

    def measure(peer: Peer) -> None:
        run = kernel_of(peer).run(code[peer.name])
        row.add("ten tables", "ms", peer.name, run.done_s * 1e3)
        if run.tables != 10:
            row.problem(f"{peer.name}: {run.tables} tables shown, expected 10")

    with running(bench, row, *code) as peers:
        each(row, peers, measure, discard=row)
        rounds(row, peers, bench.repeat, measure)


ROWS: dict[str, Callable[[Bench, Row], None]] = {
    "kernel-info": kernel_info,
    "first-table": first_table,
    "first-table-25": first_table_25,
    "standby": standby,
    "restart": restart,
    "idle-memory": idle_memory,
    "trivial-cell": trivial_cell,
    "printed-lines": printed_lines,
    "big-print": big_print,
    "big-preview": big_preview,
    "ten-tables": ten_tables,
    "preview-rows": preview_rows,
    "preview-columns": preview_columns,
    "thousand-tables": thousand_tables,
    "completion": completion,
    "inspection": inspection,
    "interrupts": interrupts,
    "comm-round-trip": comm_round_trip,
    "live-table": live_table,
    "live-outputs": live_outputs,
    "run-hello": run_hello,
    "run-pour": run_pour,
    "run-big-table": run_big_table,
}


# ----- parts of measurements


def _show(peer: Peer, table: str) -> CellRun | float:
    """Let a peer show a table; a number of seconds where there is no cell."""
    if isinstance(peer, PydeephavenPeer):
        return peer.head(table)
    assert isinstance(peer, KernelPeer)
    return peer.kernel.run(peer.show(table))


def _first_table_at(run: CellRun) -> float:
    if run.first_table_at is None:
        raise BenchmarkError("no table was shown")
    return run.first_table_at


def _check_text(row: Row, peer: Peer, run: CellRun, expected: bytes) -> None:
    if run.stdout_sha256 == hashlib.sha256(expected).hexdigest():
        return
    if run.stdout_bytes == len(expected):
        row.problem(f"{peer.name}: all bytes arrived, but not in the order in which they were printed")
    else:
        row.problem(f"{peer.name}: {run.stdout_bytes:,} of {len(expected):,} bytes arrived")


def _resident(peer: Peer) -> dict[str, float]:
    return {part: rss_mb(pid) for part, pid in peer.processes().items()}


def _reset_peaks(peer: Peer) -> dict[str, float]:
    """Forget the peaks, and return what is resident now."""
    for pid in peer.processes().values():
        reset_peak(pid)
    return _resident(peer)


def _add_peaks(row: Row, peer: Peer, baseline: dict[str, float], prefix: str) -> None:
    """Record the peak of each process since `_reset_peaks`, and how far it is above the baseline."""
    for part, pid in peer.processes().items():
        peak = peak_mb(pid)
        row.add(f"{prefix}{part}, peak", "MB", peer.name, peak, shown=("max",))
        row.add(f"{prefix}{part}, peak above the start", "MB", peer.name, peak - baseline[part], shown=("max",))


def _add_added(row: Row, peer: Peer, column: str, before: dict[str, float]) -> None:
    """Record what one step added to each process: what stays resident, and the peak."""
    peaks = {part: peak_mb(pid) for part, pid in peer.processes().items()}
    after = _resident(peer)
    for part, value in before.items():
        row.add(f"{part}, added", "MB", column, after[part] - value, shown=("median", "max"))
    row.add(
        "all processes, added at peak",
        "MB",
        column,
        sum(peaks[part] - before[part] for part in before),
        shown=("median", "max"),
    )
