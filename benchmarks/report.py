"""What was measured, as data, as a table for people and as JSON.

Neighbours: `rows.py` fills a `Row`, `run.py` prints and writes. Pure but for the writing of the file: measures nothing.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import EMBEDDED, IPYKERNEL, IPYKERNEL_SUBSHELL, OURS, OURS_STATIC, PYDEEPHAVEN, PYDEEPHAVEN_WHOLE

COLUMNS = (OURS, OURS_STATIC, IPYKERNEL, IPYKERNEL_SUBSHELL, EMBEDDED, PYDEEPHAVEN, PYDEEPHAVEN_WHOLE)


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def largest(values: list[float]) -> float:
    """The largest value."""
    return max(values)


def p99(values: list[float]) -> float:
    """The value that 99 in 100 do not exceed."""
    return sorted(values)[max(0, math.ceil(0.99 * len(values)) - 1)]


STATISTICS = {"median": median, "p99": p99, "max": largest}


@dataclass
class Metric:
    """One quantity with the samples of each peer. `shown` are the statistics to print; JSON has them all."""

    unit: str
    shown: tuple[str, ...]
    samples: dict[str, list[float]] = field(default_factory=dict)

    def values(self, statistic: str) -> dict[str, float]:
        """A statistic for each peer."""
        return {peer: STATISTICS[statistic](samples) for peer, samples in self.samples.items() if samples}

    def ratios(self, statistic: str) -> dict[str, float | None]:
        """Ours divided by each peer's; None where that means nothing."""
        values = self.values(statistic)
        ours = values.pop(OURS, None)
        return {peer: ours / value if ours is not None and value > 0 else None for peer, value in values.items()}


@dataclass
class Row:
    """The result of one row: its metrics, and whatever went wrong. `load` is the machine's load average when it began."""

    name: str
    measures: str
    load: float = 0.0
    metrics: dict[str, Metric] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, metric: str, unit: str, peer: str, value: float, *, shown: tuple[str, ...] = ("median",)) -> None:
        """Record one sample."""
        self.metrics.setdefault(metric, Metric(unit, shown)).samples.setdefault(peer, []).append(value)

    def problem(self, text: str) -> None:
        """Record what went wrong, once."""
        if text not in self.problems:
            self.problems.append(text)


def as_json(rows: list[Row], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything, for a file."""
    return {"facts": facts, "rows": [_row_as_json(row) for row in rows]}


def _row_as_json(row: Row) -> dict[str, Any]:
    metrics = {
        name: {
            "unit": metric.unit,
            "samples": metric.samples,
            **{statistic: metric.values(statistic) for statistic in STATISTICS},
            "ratio_ours_to": {statistic: metric.ratios(statistic) for statistic in ("median", "p99")},
        }
        for name, metric in row.metrics.items()
    }
    return {
        "name": row.name,
        "measures": row.measures,
        "load_average": row.load,
        "metrics": metrics,
        "problems": row.problems,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write, making the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def as_text(rows: list[Row]) -> str:
    """A table: one line for each statistic, a peer's cell is its value and, in brackets, ours divided by it."""
    present = [peer for peer in COLUMNS if any(peer in metric.samples for row in rows for metric in row.metrics.values())]
    head = ["row", "metric", "unit", *[peer if peer == OURS else f"{peer} (ours/it)" for peer in present], "samples"]
    lines = [head]
    for row in rows:
        lines += _lines(row, present)
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table.insert(1, "-" * max(map(len, table)))
    problems = [f"! {row.name}: {problem}" for row in rows for problem in row.problems]
    return "\n".join([*table, *([""] if problems else []), *problems])


def _lines(row: Row, present: list[str]) -> list[list[str]]:
    lines = []
    for name, metric in row.metrics.items():
        counts = sorted({len(samples) for samples in metric.samples.values()})
        for statistic in metric.shown:
            values, ratios = metric.values(statistic), metric.ratios(statistic)
            label = name if statistic == "median" else f"{name}, {statistic}"
            cells = [_cell(values.get(peer), ratios.get(peer)) for peer in present]
            lines.append([row.name, label, metric.unit, *cells, "/".join(map(str, counts))])
    return lines


def _cell(value: float | None, ratio: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:.{digits}f}" + (f" ({ratio:.2f})" if ratio is not None else "")
