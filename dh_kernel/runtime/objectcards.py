"""Cards for objects that the server's UI can show and a notebook cannot: deephaven.ui components, plugins' own, figures.

Neighbours: `engine` (asks the registry of object types), `figures` (draws those whose data is in tables; the card is then for
front ends that do not draw), `session` (lets every bundle pass through here). Refuses objects that show themselves in another
way than by text.
"""

from __future__ import annotations

import contextlib
import html
import types
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from .display import PLOTLY, Bundle
from .engine import Engine
from .figures import drawn
from .tables import in_short

_PLAIN = frozenset({"builtins", "types", "functools", "collections", "datetime", "decimal", "fractions", "pathlib", "enum"})
_PLAIN_TYPES = (type, types.ModuleType, types.FunctionType, BaseException)
_STYLE = "border:1px solid;border-radius:4px;padding:0.5em 0.8em;display:inline-block;max-width:100%;box-sizing:border-box"
_MOST_NAMED = 10


class ObjectCards:
    """Adds cards to bundles. `name_of` tells the variable that holds an object, `address` where the server listens."""

    def __init__(self, engine: Engine, name_of: Callable[[object], str | None], address: str) -> None:
        self._engine, self._name_of, self._address = engine, name_of, address

    def added(self, value: object, bundle: Bundle) -> Bundle:
        """The bundle, with a card in its place where the object has a type in the server's UI and nothing but its text."""
        data, metadata = bundle
        if set(data) - {"text/plain"} or isinstance(value, _PLAIN_TYPES) or type(value).__module__ in _PLAIN:
            return bundle
        kind, figure, lines = None, None, []
        with contextlib.suppress(Exception):  # other people's plugins are asked
            kind = self._engine.object_type(value)
        try:
            figure = drawn(self._engine, value)
        except Exception as error:  # a figure of another version, or its data
            lines = [f"The figure cannot be drawn here: {in_short(str(error)) or type(error).__name__}"]
        if figure is not None:
            kind, lines = kind or "Figure", list(figure.notes)
            data = {**data, PLOTLY: figure.figure}
        return bundle if kind is None else ({**data, **self._card(value, kind, lines)}, metadata)

    def _card(self, value: object, kind: str, lines: list[str]) -> dict[str, Any]:
        name = self._name_of(value)
        about = f"{type(value).__module__}.{type(value).__qualname__}"
        lines = [*_of_figure(self._engine.jpy, value), *lines, *_ways(name, self._address)]
        title = f"{name or type(value).__name__} — {kind}"
        text = "\n".join([f"{title} ({about})", *lines])
        head = f"<b><bdi>{html.escape(name or type(value).__name__)}</bdi></b> — {html.escape(kind)}"
        small = f'<div style="font-size:0.85em;opacity:0.7">{html.escape(about)}</div>'
        rest = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        return {"text/plain": text, "text/html": f'<div style="{_STYLE}"><div>{head}</div>{small}{rest}</div>'}


def _ways(name: str | None, address: str) -> list[str]:
    """How to see the object itself."""
    if name is None:
        return ["Assign it to a variable, NAME: then `%dh grid NAME` shows it here."]
    return [f"`%dh grid {name}` shows it here; the server's UI at http://{address}/iframe/widget/?name={quote(name)}"]


def _of_figure(jpy: Any, value: object) -> list[str]:
    """What a figure of `deephaven.plot` has: its titles, and the names of its series."""
    figure = getattr(value, "j_figure", None)
    if figure is None:
        return []
    lines = []
    with contextlib.suppress(Exception):  # of another version
        charts = jpy.cast(figure, jpy.get_type("io.deephaven.plot.FigureImpl")).getFigure().getCharts().getCharts()
        for chart in (charts.get(position) for position in range(min(charts.size(), _MOST_NAMED))):
            axes = chart.getAxes()
            names = [name for each in range(axes.size()) for name in _series(axes.get(each))]
            lines.append(f"chart {chart.getTitle() or ''}".rstrip() + (f": {', '.join(names[:_MOST_NAMED])}" if names else ""))
    return lines


def _series(axes: Any) -> list[str]:
    return [str(name) for name in axes.dataSeries().getSeriesDescriptions().keySet().toArray()]
