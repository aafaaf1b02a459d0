"""The rows about what a preview costs: against the number of a table's rows, of its columns, and of the tables in one cell.

The peers' way to see a table is `to_pandas(t.head(10))`, whose HTML pandas makes, in the same kind of kernel; and reading the
whole table by pydeephaven, as far as that is reasonable. Neighbours: `rows.py` lists these rows, `turns.py` takes the peers in
turn.
"""

from __future__ import annotations

from clients import BenchmarkError, CellRun
from peers import EMBEDDED, OURS, PYDEEPHAVEN, PYDEEPHAVEN_WHOLE, Bench, KernelPeer, Peer, PydeephavenPeer
from report import Row
from turns import each, kernel_of, rounds, running

EXPONENTS = (3, 4, 5, 6, 7, 8, 9)
WIDTHS = (1, 10, 100, 1000, 2000)
MOST_DOWNLOADED = 6  # as an exponent: more takes a peer minutes
TABLES = 1000
MAKE_LONG = 'rows_{0} = empty_table(10**{0}).update_view(["X = ii", "Y = ii * 0.5", "S = `row ` + ii"]);'
# not by formulas: the engine compiles one for each column, which is no part of a preview
MAKE_WIDE = """\
from deephaven import new_table
from deephaven.column import int_col
columns_{0} = new_table([int_col(f"C{{n}}", list(range(1000))) for n in range({0})]);"""
MAKE_BIG = 'big = empty_table(20_000_000).update("X = ii");'
MANY = f'for n in range({TABLES}): globals()[f"many_{{n}}"] = small.head(10 + n)'


def preview_rows(bench: Bench, row: Row) -> None:
    """From sending a cell that shows a table of 10^3 … 10^9 rows to its HTML; and one that assigns one of 20 million rows."""

    def make(peer: Peer) -> None:
        for exponent in EXPONENTS:
            peer.execute(MAKE_LONG.format(exponent))
        peer.execute(MAKE_BIG)

    def measure(peer: Peer) -> None:
        for exponent in EXPONENTS:
            _preview(row, peer, f"10^{exponent} rows", f"rows_{exponent}")
        if isinstance(peer, KernelPeer):
            code = "assigned = big.view('X')"
            run = peer.kernel.run(code if peer.name == OURS else f"{code}\n{peer.show('assigned')}")
            row.add("20 million rows, assigned", "ms", peer.name, _shown_ms(run))

    def download(peer: Peer) -> None:
        if isinstance(peer, PydeephavenPeer):
            for exponent in (each for each in EXPONENTS if each <= MOST_DOWNLOADED):
                row.add(f"10^{exponent} rows", "ms", PYDEEPHAVEN_WHOLE, peer.download(f"rows_{exponent}") * 1e3)

    _measure(bench, row, make, measure, download)


def preview_columns(bench: Bench, row: Row) -> None:
    """From sending a cell that shows a table of 1 … 2,000 columns to its HTML."""

    def make(peer: Peer) -> None:
        for width in WIDTHS:
            peer.execute(MAKE_WIDE.format(width))

    def measure(peer: Peer) -> None:
        for width in WIDTHS:
            _preview(row, peer, f"{width:,} columns", f"columns_{width}")

    _measure(bench, row, make, measure, lambda peer: None)


def thousand_tables(bench: Bench, row: Row) -> None:
    """A cell that makes 1,000 tables, to its end; ours shows as many as fit 1 MB, the peer displays them all."""
    show_all = f'\nfor n in range({TABLES}): display(to_pandas(globals()[f"many_{{n}}"].head(10)))'
    code = {OURS: MANY, EMBEDDED: MANY + show_all}

    def measure(peer: Peer) -> None:
        run = kernel_of(peer).run(code[peer.name], timeout_s=300)
        row.add("1,000 tables", "ms", peer.name, run.done_s * 1e3)
        row.add("tables shown", "", peer.name, run.tables)
        if not run.tables:
            raise BenchmarkError("no table was shown")

    with running(bench, row, *code) as peers:
        each(row, peers, lambda peer: peer.execute('small = empty_table(1000).update(["X = i", "Y = Math.sin(X)"])'))
        each(row, peers, measure, discard=row)
        rounds(row, peers, 1 if bench.quick else bench.repeat, measure)


def _measure(bench: Bench, row: Row, make, measure, download) -> None:  # type: ignore[no-untyped-def]
    with running(bench, row, OURS, EMBEDDED, PYDEEPHAVEN) as peers:
        each(row, peers, make)
        each(row, peers, measure, discard=row)
        rounds(row, peers, bench.repeat, measure)
        rounds(row, peers, 1, download)


def _preview(row: Row, peer: Peer, label: str, table: str) -> None:
    if isinstance(peer, KernelPeer):
        row.add(label, "ms", peer.name, _shown_ms(peer.kernel.run(peer.show(table))))
    elif isinstance(peer, PydeephavenPeer):
        row.add(label, "ms", peer.name, peer.head(table) * 1e3)


def _shown_ms(run: CellRun) -> float:
    if run.first_table_at is None:
        raise BenchmarkError("no table was shown")
    return (run.first_table_at - run.sent_at) * 1e3
