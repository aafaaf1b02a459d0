"""JupyterLab's debugger on a launched server, by mouse: a breakpoint, a stop, the variables, and on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chromium import Page
from lab import Lab, Notebook

pytestmark = pytest.mark.long

CODE = "first = 20\nsecond = first * 2\nprint('the end is', second)"
READY_S = 120.0
BUG = ".jp-DebuggerBugButton"
LAST = ".jp-Notebook .jp-CodeCell:last-of-type .cm-content"
FRAMES = ".jp-DebuggerCallstackFrame"


@pytest.fixture(scope="module")
def debugged(lab: Lab, page: Page) -> Notebook:
    """A notebook whose debugger is on."""
    notebook = Notebook(lab, page)
    notebook.run("begun = True")
    page.wait(f"document.querySelector('{BUG}') && !document.querySelector('{BUG}').disabled", READY_S)
    page.click(BUG)
    page.wait(f"document.querySelector('{BUG}').getAttribute('aria-pressed') === 'true'", READY_S)
    return notebook


def gutter(page: Page, line: int) -> dict[str, Any]:
    """Where the gutter of a line of the last cell is."""
    elements = "[...document.querySelectorAll('.jp-CodeCell:last-of-type .cm-breakpoint-gutter .cm-gutterElement')]"
    place = page.wait(
        f"(e => e && (r => r.height && [r.x + r.width / 2, r.y + r.height / 2])(e.getBoundingClientRect()))"
        f"({elements}.filter(e => e.offsetHeight && getComputedStyle(e).visibility !== 'hidden')[{line - 1}])"
    )
    return {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}


def test_a_cell_stops_shows_its_variables_and_goes_on(debugged: Notebook, tmp_path: Path) -> None:
    page = debugged.page
    page.click(LAST)
    page.wait("document.activeElement.matches('.jp-Notebook .cm-content') && !document.activeElement.innerText.trim()")
    page.type(CODE)
    page.wait("[...document.querySelectorAll('.jp-CodeCell')].pop().querySelectorAll('.cm-line').length === 3")
    place = gutter(page, 3)
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, **place)
    page.wait("document.querySelector('.jp-DebuggerBreakpoint') !== null")
    page.click(LAST)
    page.shift_enter()
    shown = page.wait(f"document.querySelector('{FRAMES}') && document.querySelector('{FRAMES}').innerText", READY_S)
    assert "<module>" in shown
    page.wait("document.querySelector('.jp-DebuggerEditor-highlight') !== null")
    variables = page.wait(
        "(t => t.includes('second') && t)(document.querySelector('.jp-DebuggerVariables').innerText)", READY_S
    )
    page.picture(tmp_path / "stopped.png")
    assert "first" in variables
    assert "40" in variables
    page.value("window.jupyterapp.commands.execute('debugger:continue').then(() => true)")
    page.wait("[...document.querySelectorAll('.jp-OutputArea-output')].some(e => e.innerText.includes('the end is 40'))")
    page.wait(f"document.querySelector('{FRAMES}') === null")
    page.click(BUG)
    page.wait(f"document.querySelector('{BUG}').getAttribute('aria-pressed') !== 'true'")
