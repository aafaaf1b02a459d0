"""Ours and its peers, side by side in one run.

    python benchmarks/run.py [--rows NAME …] [--repeat N] [--json FILE] [--quick] [--heap 2g]

Prints a table with medians and ratios ours/peer, and writes all samples as JSON. `README.md` says what each row means.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from machine import facts
from peers import Bench, missing_packages
from report import Row, as_json, as_text, write_json
from rows import ROWS

RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the rows asked for; 0 if nothing went wrong."""
    options = _parse(arguments)
    missing = missing_packages()
    if missing:
        print(f"not installed here: {', '.join(missing)}. Install them in this environment first.", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt_once)
    bench = Bench(repeat=options.repeat, quick=options.quick, heap=options.heap)
    at_start = facts()
    rows: list[Row] = []
    interrupted = False
    with contextlib.closing(bench):
        if not bench.has_ours:
            print("The kernel is not in this checkout: only its peers are measured.", file=sys.stderr)
        try:
            for name in options.rows:
                _run_row(bench, name, rows)
        except KeyboardInterrupt:
            interrupted = True
    about = {**at_start, "java_and_heap_mb": bench.java, "heap": bench.heap, "quick": bench.quick, "interrupted": interrupted}
    print(as_text(rows))
    write_json(options.json, as_json(rows, about))
    print(f"\nwritten: {options.json}")
    return 130 if interrupted else int(any(row.problems for row in rows))


def _run_row(bench: Bench, name: str, rows: list[Row]) -> None:
    """Add a row to `rows` and fill it, so that what was measured before an interrupt is kept."""
    row = Row(name, (ROWS[name].__doc__ or "").strip().splitlines()[0], load=os.getloadavg()[0])
    rows.append(row)
    print(f"{name}: {row.measures}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    ROWS[name](bench, row)
    print(f"    {time.perf_counter() - start:.0f} s" + "".join(f"\n    ! {text}" for text in row.problems), file=sys.stderr)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds (default 7, with --quick 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: benchmarks/results/<time>.json")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that everything runs")
    parser.add_argument("--heap", default="2g", help="of every Java virtual machine (default 2g)")
    options = parser.parse_args(arguments)
    if options.repeat is None:
        options.repeat = 2 if options.quick else 7
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    if options.json is None:
        options.json = RESULTS / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.json"
    return options


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Let the first Ctrl-C or SIGTERM unwind everything, and keep a second one from disturbing that."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
