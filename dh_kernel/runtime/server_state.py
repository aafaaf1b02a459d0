"""How the server is: its memory, its age, its update graph. Public parts of Deephaven only; what is missing is left out.

Neighbours: `dh_magic` (shows it). Refuses to know sessions and cells.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from typing import Any

from .engine import Engine

_MIB = 1 << 20


def server_lines(engine: Engine) -> list[tuple[str, str]]:
    """Facts about the server as pairs of name and text."""
    jpy = engine.jpy
    runtime = jpy.get_type("java.lang.Runtime").getRuntime()
    java = jpy.get_type("java.lang.System").getProperty("java.version")
    used, most = runtime.totalMemory() - runtime.freeMemory(), runtime.maxMemory()
    lines = [
        ("Deephaven", engine.version),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("Java", str(java)),
        ("process", f"{os.getpid()}, up {_duration(_uptime_ms(jpy) / 1000)}"),
        ("heap", f"{used // _MIB:,} of {most // _MIB:,} MiB in use"),
    ]
    with contextlib.suppress(Exception):  # the update graph may be of another kind, without these
        lines.append(("update graph", _update_graph(engine)))
    return lines


def _uptime_ms(jpy: Any) -> int:
    return int(jpy.get_type("java.lang.management.ManagementFactory").getRuntimeMXBean().getUptime())


def _update_graph(engine: Engine) -> str:
    graph_class = engine.jpy.get_type("io.deephaven.engine.updategraph.impl.PeriodicUpdateGraph")
    graph = engine.jpy.cast(engine.execution_context.update_graph.j_update_graph, graph_class)
    target_ms, sources = int(graph.getTargetCycleDurationMillis()), int(graph.sourceCount())
    return f"{sources:,} source{'' if sources == 1 else 's'}, a cycle every {target_ms:,} ms; {_cycles(engine)}"


def _cycles(engine: Engine) -> str:
    """What the server's own state log says of its latest interval."""
    from deephaven.perfmon import server_state_log

    scope = engine.new_scope()
    with engine.inside(scope):
        last = server_state_log().tail(1).j_table
        names = ("IntervalUGPCyclesTimeMicros", "IntervalUGPCyclesOnBudget", "IntervalDurationMicros")
        rows = last.getRowSet()
        found = None if rows.isEmpty() else [last.getColumnSource(name).get(rows.firstRowKey()) for name in names]
    scope.release()
    if found is None or not (times := [int(time) for time in found[0]]):
        return "no cycles measured yet"
    return (
        f"in the last {found[2] / 1e6:.0f} s {found[1]} of {len(times)} cycles in time, "
        f"mean {sum(times) / len(times) / 1000:.1f} ms, longest {max(times) / 1000:.1f} ms"
    )


def _duration(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
