"""What Deephaven's plugins and other libraries make, as a cell shows it, with the real packages.

They are heavy: run at length only, in an environment that has them (`scripts/setup plugins`), or with another interpreter as
the server's, named by DH_KERNEL_PLUGINS_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from harness import HEAP
from sessions import Client, Kind

from dh_kernel.server import LaunchOptions, ServerProcess

pytestmark = pytest.mark.long

PLOTLY = "application/vnd.plotly.v1+json"
PREPARE = """
from deephaven import empty_table, time_table
import pandas, numpy, pyarrow
pg_source = empty_table(6).update(['X = ii', 'Y = ii / 2.0', 'K = i % 2 == 0 ? `even` : `odd`',
    'T = epochNanosToInstant(1_700_000_000_000_000_000L + ii * 1_000_000_000L)'])
pg_big = empty_table(1_000_001).update_view('X = ii')
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    python = os.environ.get("DH_KERNEL_PLUGINS_PYTHON", sys.executable)
    look = (
        "import importlib.metadata as m; [m.version(f'deephaven-plugin-{n}') for n in ('matplotlib', 'plotly-express', 'ui')]"
    )
    command = [python, "-c", f"import plotly, polars, seaborn; {look}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"{python} lacks dh-kernel[plugins]: {found.stderr.strip().splitlines()[-1]}")
    process = ServerProcess.start(LaunchOptions(python=python, heap=HEAP))
    try:
        endpoint = process.wait_ready()
        process.hand_over_output()
        made = Kind("launched", endpoint).open()
        made.ok(PREPARE, 120)
        yield made
        made.close()
    finally:
        process.stop()


def bundles(client: Client, code: str) -> list[dict[str, Any]]:
    """The data of all that a cell shows."""
    run = client.ok(code, 120, show_tables=False)
    found = [event.data for event in run.events if getattr(event, "data", None)]
    json.dumps(found, allow_nan=False)
    return found


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("line(pg_source, x='X', y='Y')", {"x": [0, 1, 2, 3, 4, 5], "y": [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]}),
        ("scatter(pg_source, x='T', y='X')", {"y": [0, 1, 2, 3, 4, 5]}),
        ("bar(pg_source.count_by('N', 'K'), x='K', y='N')", {"type": "bar", "x": ["even", "odd"], "y": [3, 3]}),
        ("pie(pg_source.count_by('N', 'K'), names='K', values='N')", {"type": "pie", "values": [3, 3]}),
        (
            "ohlc(pg_source, x='T', open='Y', high='Y', low='Y', close='Y')",
            {"type": "ohlc", "close": [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]},
        ),
        ("indicator(pg_source.tail(1), value='Y')", {"type": "indicator", "value": 2.5}),
    ],
)
def test_plotly_express_figures_have_their_data(client: Client, call: str, wanted: dict[str, Any]) -> None:
    (data,) = bundles(client, f"import deephaven.plot.express as dx\npg_figure = dx.{call}\npg_figure")
    (trace,) = data[PLOTLY]["data"]
    assert {name: trace[name] for name in wanted} == wanted
    assert data["text/plain"].startswith("pg_figure — deephaven.plot.express.DeephavenFigure")
    assert "%dh grid pg_figure" in data["text/html"]


def test_plotly_express_by_key_in_subplots_and_of_a_large_table(client: Client) -> None:
    (data,) = bundles(client, "dx.line(pg_source, x='X', y='Y', by='K')")
    assert [trace["x"] for trace in data[PLOTLY]["data"]] == [[0, 2, 4], [1, 3, 5]]
    (data,) = bundles(
        client, "dx.make_subplots(dx.line(pg_source, x='X', y='Y'), dx.bar(pg_source, x='K', y='X'), rows=1, cols=2)"
    )
    assert len(data[PLOTLY]["data"]) == 2
    (data,) = bundles(client, "dx.line(pg_big, x='X', y='X')")
    assert len(data[PLOTLY]["data"][0]["x"]) == 5_000
    assert "5,000 of 1,000,001 rows" in data["text/plain"]


def test_displayed_as_well(client: Client) -> None:
    (data,) = bundles(client, "display(dx.line(pg_source, x='X', y='Y'))")
    assert PLOTLY in data


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ui.text('a')", "deephaven.ui.Element"),
        ("ui.table(pg_source)", "deephaven.ui.Element"),
        ("ui.component(lambda: ui.button('b'))()", "deephaven.ui.Element"),
        ("ui.dashboard(ui.panel(ui.text('a')))", "deephaven.ui.Dashboard"),
    ],
)
def test_components_show_as_cards(client: Client, code: str, kind: str) -> None:
    (data,) = bundles(client, f"from deephaven import ui\npg_component = {code}\npg_component")
    assert data["text/plain"].startswith(f"pg_component — {kind} (")
    assert "%dh grid pg_component" in data["text/html"]


@pytest.mark.parametrize(
    ("code", "mime", "text"),
    [
        ("pandas.DataFrame({'a': [1]})", "text/html", "a"),
        ("numpy.arange(3)", "text/plain", "array([0, 1, 2])"),
        ("pyarrow.table({'a': [1]})", "text/plain", "pyarrow.Table"),
        ("__import__('polars').DataFrame({'a': [1]})", "text/html", "shape: (1, 1)"),
        ("__import__('plotly.graph_objects').graph_objects.Figure()", PLOTLY, "Figure"),
        ("import matplotlib.pyplot as plt\npg_plot, _axes = plt.subplots()\npg_plot", "image/png", "<Figure size"),
    ],
)
def test_other_libraries_show_by_their_own_display(client: Client, code: str, mime: str, text: str) -> None:
    (data,) = bundles(client, code)
    assert mime in data
    assert text in data["text/plain"]
    assert "grid" not in data["text/plain"]


def test_seaborn_figures_show_as_pictures(client: Client) -> None:
    code = "import seaborn\n_grid = seaborn.relplot(data=pandas.DataFrame({'a': [1, 2], 'b': [3, 4]}), x='a', y='b')\n"
    (data,) = bundles(client, code)
    assert "image/png" in data
