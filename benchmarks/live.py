"""The rows about outputs that follow their tables: what they cost, and what they do to a cell that runs beside them.

The peer is the same kernel with the same ticking tables and nothing live, measured in turn. Neighbours: `rows.py` lists these
rows, `turns.py` starts the kernel, `clients.py` speaks to it.
"""

from __future__ import annotations

import queue
import time

import psutil  # type: ignore[import-untyped]
from clients import BenchmarkError, Kernel
from peers import OURS, OURS_STATIC, Bench, Peer
from report import Row
from turns import kernel_of, running

OUTPUTS = 50
MAKE = """\
from deephaven import time_table
tables = [time_table('PT0.2s').update(['N = ii', 'Wave = Math.sin(N / 5)', 'Text = `row ` + N']) for _ in range({count})]
%dh set live_outputs {count}
%dh set live_time_s 2h"""
SHOW = "for shown in tables: display(shown);"
SETTLE_S = 3.0


def live_table(bench: Bench, row: Row) -> None:
    """Processor time of kernel and server per second, with one output that is updated once a second, and without."""
    with running(bench, row, OURS) as peers:
        for peer in peers:
            kernel_of(peer).run(MAKE.format(count=1))
            for turn in range(2 * max(bench.repeat, 2)):
                _set_live(kernel_of(peer), live=turn % 2 == 0)
                column = OURS if turn % 2 == 0 else OURS_STATIC
                _add_cpu(row, peer, column, seconds=5.0 if bench.quick else 20.0)


def live_outputs(bench: Bench, row: Row) -> None:
    """`x = 1` as JupyterLab sends it, while 50 outputs are updated once a second, and while none is."""
    size = 20 if bench.quick else 100
    with running(bench, row, OURS) as peers:
        for peer in peers:
            kernel = kernel_of(peer)
            kernel.run(MAKE.format(count=OUTPUTS))
            for _ in range(50):
                kernel.run("x = 1", cell_id="trivial")
            for turn in range(2 * max(bench.repeat, 2)):
                live = turn % 2 == 0
                column = OURS if live else OURS_STATIC
                _set_live(kernel, live=live)
                for _ in range(size):
                    run = kernel.run("x = 1", cell_id="trivial")
                    row.add("x = 1", "ms", column, run.done_s * 1e3, shown=("median", "p99"))
                    time.sleep(0.05)  # a person's cells are spread over the second, not all between two updates
                _add_cpu(row, peer, column, seconds=5.0 if bench.quick else 10.0)
                updates = _updates_in(kernel, 5.0)
                row.add("updates per second", "", column, updates / 5.0)
                if live and updates < OUTPUTS:
                    raise BenchmarkError(f"{updates} updates of {OUTPUTS} outputs in 5 s: they are not live")
                if not live and updates:
                    raise BenchmarkError(f"{updates} updates although nothing should be live")


def _set_live(kernel: Kernel, *, live: bool) -> None:
    kernel.run("%dh live stop")
    if live:
        kernel.run(SHOW, cell_id="show")
    time.sleep(SETTLE_S)


def _add_cpu(row: Row, peer: Peer, column: str, *, seconds: float) -> None:
    """Record the processor time that each process takes in a second while nobody asks anything."""
    before = {part: _cpu_s(pid) for part, pid in peer.processes().items()}
    start = time.perf_counter()
    time.sleep(seconds)
    taken = time.perf_counter() - start
    for part, pid in peer.processes().items():
        row.add(f"{part}, processor time per second", "ms", column, (_cpu_s(pid) - before[part]) / taken * 1e3)


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _updates_in(kernel: Kernel, seconds: float) -> int:
    """How many `update_display_data` come within a time; what had come before is thrown away."""
    count = 0
    _drain(kernel)
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        try:
            message = kernel.client.get_iopub_msg(timeout=left)
        except queue.Empty:
            break
        count += message["msg_type"] == "update_display_data"
    return count


def _drain(kernel: Kernel) -> None:
    try:
        while True:
            kernel.client.get_iopub_msg(timeout=0)
    except queue.Empty:
        pass
