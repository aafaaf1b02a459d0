"""Figures of `deephaven.plot` as JSON for plotly: each chart's series from the tables that they are of.

Neighbours: `figures`, `points`. Refuses the looks: colours, fonts and shapes are plotly's, but for titles, labels, log axes
and the kind of each series. What no trace of plotly's stands for is named in a note.

Source: `io.deephaven.plot`, Deephaven 42.7: `FigureImpl`, `ChartImpl`, `AxesImpl`, and the series' classes below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .points import MOST_ROWS, Points, plain

_SETS = "io.deephaven.plot.datasets."
_MOST_SERIES = 30
_GAP = 0.08
# Of each class of series, most special first: a part of a trace, and the getter of its values, or of its column's name.
_NUMERIC = {
    "xyerrorbar.XYErrorBarDataSeriesArray": {"x": "getX", "y": "getY", "low": "getYLow", "high": "getYHigh"},
    "interval.IntervalXYDataSeriesArray": {"x": "getX", "y": "getY", "start": "getStartX", "end": "getEndX"},
    "ohlc.OHLCDataSeriesArray": {"x": "getTime", "open": "getOpen", "high": "getHigh", "low": "getLow", "close": "getClose"},
    "xy.XYDataSeriesArray": {"x": "getX", "y": "getY"},
}
_CATEGORY = {
    "categoryerrorbar.CategoryErrorBarDataSeriesPartitionedTable": {
        "x": "getCategoryColumn",
        "y": "getValueColumn",
        "low": "getErrorBarLowColumn",
        "high": "getErrorBarHighColumn",
    },
    "category.CategoryTreemapDataSeriesTableMap": {
        "ids": "getCategoryCol",
        "parents": "getParentColumn",
        "values": "getValueCol",
        "labels": "getLabelColumn",
    },
    "category.CategoryDataSeriesPartitionedTable": {"x": "getCategoryCol", "y": "getValueCol"},
}
_MULTI = {
    "multiseries.MultiXYSeries": {"x": "getXCol", "y": "getYCol"},
    "multiseries.MultiCatSeries": {"x": "getCategoryCol", "y": "getNumericCol"},
    "multiseries.MultiOHLCSeries": {
        "x": "getTimeCol",
        "open": "getOpenCol",
        "high": "getHighCol",
        "low": "getLowCol",
        "close": "getCloseCol",
    },
}


def figure_of(jpy: Any, value: Any, points: Points) -> dict[str, Any]:
    """The figure, with at most so many points."""
    return _Plot(jpy, value, points).figure()


class _Plot:
    def __init__(self, jpy: Any, value: Any, points: Points) -> None:
        self._jpy, self._points = jpy, points
        self._figure = jpy.cast(value.j_object, jpy.get_type("io.deephaven.plot.FigureImpl")).getFigure()
        self._traces: list[dict[str, Any]] = []
        self._layout: dict[str, Any] = {"annotations": []}
        self._axes: dict[tuple[int, int, int], str] = {}
        self._columns: dict[tuple[Any, tuple[str, ...]], dict[str, list[Any]]] = {}

    def figure(self) -> dict[str, Any]:
        """All charts, each in its place."""
        if self._figure.getTitle() is not None:
            self._layout["title"] = {"text": _safe(self._figure.getTitle())}
        charts = self._figure.getCharts().getCharts()
        for number in range(charts.size()):
            self._chart(number, charts.get(number))
        if not self._layout["annotations"]:
            del self._layout["annotations"]
        return {"data": self._traces, "layout": self._layout}

    def _chart(self, number: int, chart: Any) -> None:
        across = _domain(int(chart.column()), int(chart.colSpan()), int(self._figure.getWidth()))
        up = [1 - end for end in reversed(_domain(int(chart.row()), int(chart.rowSpan()), int(self._figure.getHeight())))]
        if chart.getTitle() is not None:
            place = {"x": sum(across) / 2, "y": up[1], "xref": "paper", "yref": "paper"}
            how = {"showarrow": False, "xanchor": "center", "yanchor": "bottom"}
            self._layout["annotations"].append({"text": _safe(chart.getTitle()), **place, **how})
        swapped = str(chart.getPlotOrientation().toString()) != "VERTICAL"
        all_axes = chart.getAxes()
        for axes in (all_axes.get(position) for position in range(all_axes.size())):
            style = str(axes.getPlotStyle().toString())
            names = {
                letter: self._axis(number, dimension, axis, across if (dimension == 0) != swapped else up, letter)
                for dimension, (axis, letter) in enumerate(
                    ((axes.xAxis(), "y" if swapped else "x"), (axes.yAxis(), "x" if swapped else "y"))
                )
            }
            for name, series, columns in self._series(axes.dataSeries().getSeriesDescriptions()):
                self._add(style, name, series, columns, names, across, up, swapped=swapped)

    def _axis(self, chart: int, dimension: int, axis: Any, domain: list[float], letter: str) -> str:
        """Plotly's name of an axis, which is laid out when it is met first."""
        key = (chart, dimension, int(axis.id()))
        if key not in self._axes:
            count = sum(name.startswith(letter) for name in self._axes.values()) + 1
            first = next((name for (c, d, _), name in self._axes.items() if (c, d) == (chart, dimension)), None)
            self._axes[key] = f"{letter}{count if count > 1 else ''}"
            about: dict[str, Any] = {"domain": domain}
            if first is not None:
                about = {"overlaying": first, "side": "top" if letter == "x" else "right"}
            if axis.getLabel() is not None:
                about["title"] = {"text": _safe(axis.getLabel())}
            if axis.isLog():
                about["type"] = "log"
            if axis.getInvert():
                about["autorange"] = "reversed"
            self._layout[f"{letter}axis{count if count > 1 else ''}"] = about
        return self._axes[key]

    # --- series: their names, and their columns as lists

    def _series(self, descriptions: Any) -> Iterator[tuple[str, Any, dict[str, list[Any]]]]:
        found = list(descriptions.values().toArray())
        if len(found) > _MOST_SERIES:
            self._points.notes.append(f"{_MOST_SERIES} of {len(found)} series")
        for each in found[:_MOST_SERIES]:
            series = each.getSeries()
            name = str(series.name())
            multi, getters = self._cast(series, _MULTI)
            if multi is not None:
                yield from self._parts(name, multi, getters)
                continue
            numeric, getters = self._cast(series, _NUMERIC)
            if numeric is not None:
                columns = self._numeric(numeric, getters)
                if columns:
                    yield name, numeric, columns
                else:
                    self._points.notes.append(f"without series {name}, whose data depends on a choice")
                continue
            category, getters = self._cast(series, _CATEGORY)
            if category is not None:
                given = {key: str(getattr(category, getter)()) for key, getter in getters.items()}
                known = {key: column for key, column in given.items() if column != "None"}
                yield name, category, self._table(category.getTableHandle().getTable(), known)
                continue
            self._points.notes.append(f"without series {name}: {series.getClass().getSimpleName()}")

    def _cast(self, series: Any, kinds: dict[str, dict[str, str]]) -> tuple[Any, dict[str, str]]:
        for name, getters in kinds.items():
            kind = self._jpy.get_type(_SETS + name)
            if kind.jclass.isInstance(series):
                return self._jpy.cast(series, kind), getters
        return None, {}

    def _parts(self, name: str, multi: Any, getters: dict[str, str]) -> Iterator[tuple[str, Any, dict[str, list[Any]]]]:
        """A series for each key of a partitioned table."""
        partitioned = multi.getPartitionedTableHandle().getPartitionedTable()
        keys = [str(key) for key in partitioned.keyColumnNames().toArray()]
        j_keys = partitioned.table()
        row_keys = j_keys.getRowSet()
        if int(row_keys.size()) > _MOST_SERIES:
            self._points.notes.append(f"{_MOST_SERIES} of {int(row_keys.size()):,} series")
        columns = {key: str(getattr(multi, getter)()) for key, getter in getters.items()}
        for position in range(min(int(row_keys.size()), _MOST_SERIES)):
            row_key = row_keys.get(position)
            table = j_keys.getColumnSource(partitioned.constituentColumnName()).get(row_key)
            label = ", ".join(str(j_keys.getColumnSource(key).get(row_key)) for key in keys)
            yield f"{name} {label}", multi, self._table(table, columns)

    def _table(self, j_table: Any, columns: dict[str, str]) -> dict[str, list[Any]]:
        """Columns of one table, which is read once for the same ones."""
        key = (j_table, tuple(columns.values()))
        if key not in self._columns:
            self._columns[key] = self._points.of(j_table, list(columns.values()))
        return {name: self._columns[key][column] for name, column in columns.items()}

    def _numeric(self, series: Any, getters: dict[str, str]) -> dict[str, list[Any]]:
        """Values that are columns of one table, or arrays."""
        of_table = self._jpy.get_type("io.deephaven.plot.datasets.data.IndexableNumericDataTable")
        data = {key: getattr(series, getter)() for key, getter in getters.items()}
        made: dict[str, list[Any]] = {}
        handlers = {
            key: self._jpy.cast(each, of_table).getColumnHandler()
            for key, each in data.items()
            if each is not None and of_table.jclass.isInstance(each)
        }
        if handlers:
            table = next(iter(handlers.values())).getTableHandle().getTable()
            made = self._table(table, {key: str(handler.getColumnName()) for key, handler in handlers.items()})
        for key, each in data.items():
            if each is not None and "Swappable" in str(each.getClass().getSimpleName()):
                return {}
            if key not in made and each is not None:
                made[key] = self._array(each)
        return made

    def _array(self, data: Any) -> list[Any]:
        size = int(data.size())
        if size > MOST_ROWS:
            self._points.notes.append(f"the first {MOST_ROWS:,} of {size:,} values")
        return [plain(data.get(index)) for index in range(min(size, MOST_ROWS))]

    # --- traces

    def _add(
        self,
        style: str,
        name: str,
        series: Any,
        columns: dict[str, list[Any]],
        axes: dict[str, str],
        across: list[float],
        up: list[float],
        *,
        swapped: bool,
    ) -> None:
        trace: dict[str, Any] = {"name": _safe(name)}
        if "open" in columns:
            trace |= {"type": "ohlc", **columns}
        elif "parents" in columns:
            about = {"domain": {"x": across, "y": up}, "labels": columns.get("labels", columns["ids"])}
            self._traces.append({**trace, "type": "treemap", **columns, **about})
            return
        elif style == "PIE":
            about = {"domain": {"x": across, "y": up}, "labels": columns["x"], "values": columns["y"]}
            self._traces.append({**trace, "type": "pie", **about})
            return
        else:
            x, y = ("y", "x") if swapped else ("x", "y")
            trace |= {x: columns["x"], y: columns["y"], **self._look(style, series)}
            if swapped and trace["type"] == "bar":
                trace["orientation"] = "h"
            if "start" in columns and trace["type"] == "bar":
                trace["width"] = [
                    end - start if start is not None and end is not None else None
                    for start, end in zip(columns["start"], columns["end"], strict=True)
                ]
            if "low" in columns:
                trace[f"error_{y}"] = _errors(columns)
        if style.startswith("STACKED") and trace["type"] == "bar":
            self._layout["barmode"] = "stack"
        self._traces.append({**trace, "xaxis": axes["x"], "yaxis": axes["y"]})

    @staticmethod
    def _look(style: str, series: Any) -> dict[str, Any]:
        if style in ("BAR", "STACKED_BAR", "HISTOGRAM"):
            return {"type": "bar"}
        lines = style not in ("SCATTER", "ERROR_BAR")
        points = not lines
        if hasattr(series, "getLinesVisible"):
            lines = bool(series.getLinesVisible()) if series.getLinesVisible() is not None else lines
            points = bool(series.getPointsVisible()) if series.getPointsVisible() is not None else points
        made: dict[str, Any] = {"type": "scatter", "mode": "+".join(["lines"] * lines + ["markers"] * points) or "none"}
        if style == "STEP":
            made["line"] = {"shape": "hv"}
        elif style == "AREA":
            made["fill"] = "tozeroy"
        elif style == "STACKED_AREA":
            made["stackgroup"] = "one"
        return made


def _errors(columns: dict[str, list[Any]]) -> dict[str, Any]:
    def distance(one: Any, other: Any) -> Any:
        return None if one is None or other is None else one - other

    above = [distance(high, y) for high, y in zip(columns["high"], columns["y"], strict=True)]
    below = [distance(y, low) for low, y in zip(columns["low"], columns["y"], strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}


def _domain(start: int, span: int, count: int) -> list[float]:
    """Where a chart stands along one direction, between 0 and 1."""
    gap = _GAP if count > 1 else 0.0
    size = (1 - gap * (count - 1)) / max(count, 1)
    begin = start * (size + gap)
    return [round(begin, 4), round(min(begin + span * size + (span - 1) * gap, 1.0), 4)]


def _safe(text: Any) -> str:
    """Plotly reads some tags in texts."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
