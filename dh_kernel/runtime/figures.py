"""Figures whose data is in tables, as JSON for plotly with the data filled in; None for what is no such figure.

Neighbours: `objectcards` (shows them), `points` (reads tables), `plots` (figures of `deephaven.plot`). Refuses to import
plotting libraries: who has such a figure has imported its own.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .engine import Engine
from .points import Points
from .threads import in_time

_READ_S = 2.0
_MOST_NAMED = 10
_EXPRESS = "deephaven.plot.express"
_SINGLE = {"indicator": ("value", "delta/reference", "title/text")}


@dataclass(frozen=True)
class Drawn:
    """A figure for plotly, and what is to be said of it."""

    figure: dict[str, Any]
    notes: tuple[str, ...]


def drawn(engine: Engine, value: object) -> Drawn | None:
    """The figure; at most so many points of it, read within two seconds.

    Raises:
        TimeoutError: it takes longer.
    """
    module = type(value).__module__
    make: Callable[[Points], dict[str, Any]]
    if (module == _EXPRESS or module.startswith(f"{_EXPRESS}.")) and hasattr(value, "get_plotly_fig"):
        make = functools.partial(_express, value)
    elif module == "deephaven.plot.figure" and hasattr(value, "j_figure"):
        from .plots import figure_of

        make = functools.partial(figure_of, engine.jpy, value)
    else:
        return None
    return in_time(lambda: _read(engine, make), _READ_S, "the figure's data")


def _read(engine: Engine, make: Callable[[Points], dict[str, Any]]) -> Drawn:
    points, scope = Points(engine), engine.new_scope()
    try:
        with engine.cell_context(scope):
            figure = make(points)
    finally:
        scope.release()
    notes = [
        _contents(figure),
        *points.notes,
        *(["snapshot " + time.strftime("%H:%M:%S UTC", time.gmtime())] if points.ticks else []),
    ]
    if points.notes:
        _annotate(figure, "; ".join(points.notes))
    return Drawn(figure, tuple(notes))


def _contents(figure: dict[str, Any]) -> str:
    """A line on what it draws: its title, and the traces."""
    title = figure.get("layout", {}).get("title", {})
    text = title.get("text") if isinstance(title, dict) else title
    traces = [f"{trace.get('type', 'scatter')} {trace.get('name') or ''}".strip() for trace in figure["data"]]
    told = ", ".join(traces[:_MOST_NAMED]) + (f" and {len(traces) - _MOST_NAMED} more" if len(traces) > _MOST_NAMED else "")
    return ": ".join(part for part in (str(text or ""), told or "nothing") if part)


def _annotate(figure: dict[str, Any], text: str) -> None:
    """Say in the picture itself what it lacks."""
    layout = figure.setdefault("layout", {})
    note = {"text": text, "xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom"}
    layout["annotations"] = [*layout.get("annotations", []), {**note, "showarrow": False, "font": {"size": 10}}]


def _express(value: Any, points: Points) -> dict[str, Any]:
    """A figure of plotly-express: its own plotly figure, with columns in the place of placeholders.

    Source: `DeephavenFigure.get_plotly_fig` and `get_data_mappings`, deephaven-plugin-plotly-express 0.21.
    """
    figure: dict[str, Any] = json.loads(value.get_plotly_fig().to_json())
    exporter = sys.modules[f"{_EXPRESS}.exporter"].Exporter()
    links = [link for mapping in value.get_data_mappings() for link in mapping.get_links(exporter)]
    tables, _, _ = exporter.references()
    wanted: dict[int, list[str]] = {}
    for link in links:
        wanted.setdefault(link["table"], []).extend(link["data_columns"])
    read = {number: points.of(tables[number].j_table, names) for number, names in wanted.items()}
    for link in links:
        for column, paths in link["data_columns"].items():
            for path in paths:
                _put(figure["data"], path, read[link["table"]][column])
    return figure


def _put(traces: list[dict[str, Any]], path: str, values: list[Any]) -> None:
    """Put a column where `/plotly/data/0/marker/color` says."""
    _, _, _, index, *keys = path.split("/")
    target: Any = traces[int(index)]
    single = "/".join(keys) in _SINGLE.get(str(target.get("type")), ())
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    target[keys[-1]] = (values[0] if values else None) if single else values
