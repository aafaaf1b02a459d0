"""Live outputs and the server's own grid in JupyterLab, as a person sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chromium import Page
from harness import wait_until
from lab import Lab, Notebook

TICKING = "from deephaven import time_table\nticking = time_table('PT0.2s').update(['N = ii', 'Wave = Math.sin(ii / 5)'])"
CAPTION = "cell.querySelector('.jp-OutputArea caption')"
ROWS = f"cell => Number({CAPTION}.innerText.match(/([0-9,]+) rows?/)[1].replaceAll(',', ''))"
# How many pixels of the largest canvas have a colour: numbers and times have, the grid without its cells is grey.
COLOURED = """
(() => {
  const canvas = Array.from(document.querySelectorAll('canvas')).sort((a, b) => b.width * b.height - a.width * a.height)[0];
  if (!canvas || !canvas.width) return 0;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = data.slice(i, i + 3);
    count += Math.max(r, g, b) - Math.min(r, g, b) > 80;
  }
  return count;
})()
"""


@pytest.fixture(scope="module")
def notebook(lab: Lab, page: Page) -> Notebook:
    """A notebook for all tests."""
    return Notebook(lab, page)


def test_a_live_table_shown_twice_in_time_differs(notebook: Notebook, tmp_path: Path) -> None:
    cell = notebook.run(TICKING)
    pictures = [tmp_path / "live_1.png", tmp_path / "live_2.png"]
    counts = []
    for picture in pictures:
        seen = counts[-1] if counts else 0
        counts.append(notebook.wait(cell, f"cell => ({ROWS})(cell) > {seen + 6} && ({ROWS})(cell)"))
        notebook.wait(cell, f"cell => ({CAPTION}.scrollIntoView(), true)")
        notebook.page.picture(picture)
    assert counts[1] > counts[0]
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
    assert notebook.wait(cell, "cell => cell.querySelectorAll('.jp-OutputArea table').length") == 1, "updated in place"
    assert notebook.text(cell).splitlines()[-1] == "live"


def test_a_cell_that_runs_again_leaves_one_output_that_is_live(notebook: Notebook) -> None:
    """The second run's output is another one, and the first is forgotten."""
    cell = notebook.run("ticking.last_by()")
    notebook.wait_for_text(cell, "live")
    notebook.wait(cell, "cell => (cell.querySelector('.cm-content').focus(), true)")
    notebook.page.shift_enter()
    listing = notebook.run("%dh live")
    lines = notebook.text(listing).splitlines()
    assert sum("(unnamed)" in line for line in lines) == 1, lines
    before = notebook.text(cell)
    notebook.wait(cell, f"cell => !{before!r}.includes(cell.querySelector('.jp-OutputArea tbody').innerText.trim())")


@pytest.mark.long
def test_the_grid_shows(notebook: Notebook, tmp_path: Path) -> None:
    """The frame logs in by itself where the server was launched, and draws the table's cells."""
    cell = notebook.run("%dh grid ticking --height 300")
    notebook.wait(cell, "cell => (cell.querySelector('iframe').scrollIntoView(), true)")
    wait_until(lambda: _in_frame(notebook.page, "iframe/widget", COLOURED) > 500, "the grid's cells")
    notebook.page.picture(tmp_path / "grid.png")
    assert notebook.wait(cell, "cell => cell.querySelector('iframe').getBoundingClientRect().height") == 300


def _in_frame(page: Page, part_of_url: str, expression: str) -> Any:
    """The value of a JavaScript expression in an inline frame, which is of another origin; 0 while there is no such frame."""
    frames = page.call("Page.getFrameTree")["frameTree"].get("childFrames", [])
    found = [frame["frame"]["id"] for frame in frames if part_of_url in frame["frame"]["url"]]
    if not found:
        return 0
    world = page.call("Page.createIsolatedWorld", frameId=found[0])["executionContextId"]
    answer = page.call("Runtime.evaluate", expression=expression, contextId=world, returnByValue=True)
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value", 0)
