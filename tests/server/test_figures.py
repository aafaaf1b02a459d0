"""Figures of `deephaven.plot` as plotly's JSON with the tables' data in it; on real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sessions import Client, Kind

PLOTLY = "application/vnd.plotly.v1+json"
PREPARE = """
from deephaven import empty_table, time_table
from deephaven.plot import PlotStyle
from deephaven.plot.figure import Figure
fg_source = empty_table(6).update([
    'X = ii', 'Y = ii == 2 ? NULL_DOUBLE : ii / 2.0', 'K = i % 2 == 0 ? `even` : `odd`', 'Low = Y - 1', 'High = Y + 2',
    'T = epochNanosToInstant(1_700_000_000_000_000_000L + ii * 1_000_000_000L)'])
fg_counts = fg_source.count_by('N', 'K')
fg_big = empty_table(1_000_001).update_view('X = ii')
def styled(name): return Figure().axes(plot_style=getattr(PlotStyle, name))
def xy(figure, **more): return figure.plot_xy('first', fg_source, x='X', y='Y', **more).show()
"""


@pytest.fixture(scope="module")
def client(vanilla_kind: Kind) -> Iterator[Client]:
    made = vanilla_kind.open()
    made.ok(PREPARE, show_tables=False)
    yield made
    made.run("for _n in [n for n in globals() if n.startswith('fg_')]: del globals()[_n]")
    made.close()


def shown(client: Client, code: str) -> dict[str, Any]:
    """The bundle of a cell's result."""
    run = client.ok(code, show_tables=False)
    (data,) = [event.data for event in run.events if getattr(event, "data", None)]
    json.dumps(data, allow_nan=False)
    found: dict[str, Any] = data
    return found


def traces(client: Client, code: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown(client, code)[PLOTLY]["data"]
    return found


X, Y = [0, 1, 2, 3, 4, 5], [0.0, 0.5, None, 1.5, 2.0, 2.5]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("xy(Figure())", {"type": "scatter", "mode": "lines", "x": X, "y": Y, "name": "first"}),
        ("xy(styled('SCATTER'))", {"type": "scatter", "mode": "markers", "x": X}),
        ("xy(styled('STEP'))", {"line": {"shape": "hv"}}),
        ("xy(styled('AREA'))", {"fill": "tozeroy"}),
        ("xy(styled('STACKED_AREA'))", {"stackgroup": "one"}),
        ("Figure().plot_cat('c', fg_counts, category='K', y='N').show()", {"type": "bar", "x": ["even", "odd"], "y": [3, 3]}),
        (
            "Figure().plot_pie('c', fg_counts, category='K', y='N').show()",
            {"type": "pie", "labels": ["even", "odd"], "values": [3, 3]},
        ),
        ("Figure().plot_xy_hist('h', fg_source, x='X', nbins=2).show()", {"type": "bar", "y": [3, 3]}),
        (
            "Figure().plot_ohlc('o', fg_source, x='T', open='Y', high='High', low='Low', close='Y').show()",
            {"type": "ohlc", "open": Y, "close": Y},
        ),
        (
            "Figure().plot_xy('t', fg_source.head(2), x='T', y='X').show()",
            {"x": ["2023-11-14 22:13:20", "2023-11-14 22:13:21"], "y": [0, 1]},
        ),
    ],
)
def test_each_kind_of_series_is_drawn_from_its_table(client: Client, code: str, wanted: dict[str, Any]) -> None:
    (trace,) = traces(client, code)
    assert {name: trace.get(name) for name in wanted} == wanted


def test_error_bars_are_distances(client: Client) -> None:
    (trace,) = traces(client, "xy(Figure(), y_low='Low', y_high='High')")
    assert trace["error_y"]["array"] == [2.0, 2.0, None, 2.0, 2.0, 2.0]
    assert trace["error_y"]["arrayminus"] == [1.0, 1.0, None, 1.0, 1.0, 1.0]


def test_a_series_for_each_key(client: Client) -> None:
    made = traces(client, "xy(Figure(), by=['K'])")
    assert [(trace["name"], trace["x"]) for trace in made] == [("first even", [0, 2, 4]), ("first odd", [1, 3, 5])]


def test_charts_stand_in_their_places(client: Client) -> None:
    code = (
        "xy(xy(Figure(rows=2, cols=1).figure_title(title='All').new_chart(row=0, col=0).chart_title(title='above'))"
        ".new_chart(row=1, col=0).x_axis(label='<b>').y_axis(log=True))"
    )
    made = shown(client, code)
    figure = made[PLOTLY]
    assert figure["layout"]["title"] == {"text": "All"}
    assert figure["layout"]["annotations"][0]["text"] == "above"
    upper, lower = figure["layout"]["yaxis"], figure["layout"]["yaxis2"]
    assert upper["domain"][0] > lower["domain"][1]
    assert lower["type"] == "log"
    assert figure["layout"]["xaxis2"]["title"] == {"text": "&lt;b&gt;"}
    assert [(trace["xaxis"], trace["yaxis"]) for trace in figure["data"]] == [("x", "y"), ("x2", "y2")]


def test_text_and_card_say_what_it_is(client: Client) -> None:
    client.ok("fg_squares = Figure().chart_title(title='Squares').plot_xy('first', fg_source, x='X', y='Y').show()")
    made = shown(client, "fg_squares")
    assert made["text/plain"].startswith("fg_squares — Figure (deephaven.plot.figure.Figure)\nchart Squares: first")
    assert "%dh grid fg_squares" in made["text/html"]
    assert "/iframe/widget/?name=fg_squares" in made["text/plain"]


def test_a_large_table_is_drawn_by_a_part_which_is_told(client: Client) -> None:
    made = shown(client, "Figure().plot_xy('big', fg_big, x='X', y='X').show()")
    (trace,) = made[PLOTLY]["data"]
    assert trace["x"][0] == 0
    assert trace["x"][-1] == 1_000_000
    assert len(trace["x"]) == 5_000
    assert "5,000 of 1,000,001 rows, at even distances" in made["text/plain"]
    assert "5,000 of 1,000,001 rows" in made[PLOTLY]["layout"]["annotations"][-1]["text"]


def test_a_ticking_table_is_drawn_as_it_is_now(client: Client) -> None:
    made = shown(client, "Figure().plot_xy('now', time_table('PT0.05s').update('X = ii'), x='Timestamp', y='X').show()")
    assert "snapshot " in made["text/plain"]


def test_a_table_that_is_slow_or_fails_leaves_the_card(client: Client) -> None:
    client.ok("import threading\nfg_go = threading.Event()\ndef held(x: int) -> int:\n    fg_go.wait(30)\n    return x")
    slow = shown(client, "Figure().plot_xy('s', fg_source.update_view('Z = held(i)'), x='X', y='Z').show()")
    client.ok("fg_go.set()")
    assert PLOTLY not in slow
    assert "not be read within 2 seconds" in slow["text/plain"]
    bad = shown(client, "Figure().plot_xy('s', fg_source.update_view('Z = Integer.parseInt(K)'), x='X', y='Z').show()")
    assert PLOTLY not in bad
    assert "NumberFormatException" in bad["text/html"]
    assert "/iframe/widget/" in bad["text/plain"] or "%dh grid NAME" in bad["text/plain"]
