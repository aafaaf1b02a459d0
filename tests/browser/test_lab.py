"""The kernel in JupyterLab, as a person sees it: the launcher, a cell, and its table in a light and in a dark theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chromium import Page
from lab import Lab

CELL = (
    "from deephaven import empty_table\nt = empty_table(1000).update(['X = i', 'Y = `<u>` + i', 'Z = i % 3 == 0 ? null : X'])"
)
OUTPUT = ".jp-Notebook .jp-OutputArea-output"
CONTRAST = 4.5  # WCAG 2.2, level AA, for text

# Luminance and contrast by WCAG's formulas, for each element's text on all backgrounds behind it.
_CONTRASTS_OF = """
(selector => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const over = (top, share, below) => below.map((c, n) => share * top[n] + (1 - share) * c);
  const light = rgb => rgb.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = e => {
    if (!e) return [255, 255, 255];
    const c = numbers(getComputedStyle(e).backgroundColor), share = c.length < 4 ? 1 : c[3];
    return share === 1 ? c.slice(0, 3) : over(c, share, ground(e.parentElement));
  };
  const opacity = e => e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1;
  return Array.from(document.querySelectorAll(selector)).filter(e => e.textContent.trim()).map(e => {
    const behind = ground(e), ink = over(numbers(getComputedStyle(e).color), opacity(e), behind);
    const [a, b] = [light(ink), light(behind)].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.textContent];
  });
})
"""


@pytest.fixture(scope="module")
def notebook(lab: Lab, page: Page) -> Page:
    """A notebook opened from the launcher's card, with one cell run."""
    page.go(f"{lab.url}lab?token={lab.token}")
    page.wait("window.jupyterapp && document.querySelector('.jp-LauncherCard[data-category=Notebook]') !== null", 120.0)
    page.click(".jp-LauncherCard[data-category=Notebook][title=Deephaven]")
    page.click(".jp-Notebook .jp-CodeCell .cm-content")
    page.wait("document.activeElement.matches('.jp-Notebook .cm-content')")
    page.type(CELL)
    page.shift_enter()
    page.wait(f"document.querySelector('{OUTPUT} table') !== null", 120.0)
    return page


@pytest.mark.long
def test_launcher_lists_the_kernel_with_its_logo(lab: Lab, page: Page) -> None:
    page.go(f"{lab.url}lab?token={lab.token}")
    card = ".jp-LauncherCard[title=Deephaven]"
    page.wait(f"document.querySelectorAll('{card}').length === 2", 120.0)  # a notebook, and a console
    shown: Any = page.wait(f"(i => i.complete && i.naturalWidth > 0 && i.src)(document.querySelector('{card} img'))")
    assert "/kernelspecs/deephaven/logo" in shown


def test_table_is_visible(notebook: Page) -> None:
    caption, cells, box = notebook.value(
        f"(t => [t.caption.innerText, Array.from(t.rows, r => Array.from(r.cells, c => c.innerText)),"
        f" [t.getBoundingClientRect().width, t.getBoundingClientRect().height]])(document.querySelector('{OUTPUT} table'))"
    )
    assert "t" in caption
    assert "1,000 rows" in caption
    assert len(cells) >= 11
    assert cells[2][-2:] == ["<u>1", "1"]
    assert min(box) > 50
    assert notebook.value(f"document.querySelectorAll('{OUTPUT} table u').length") == 0  # data is never markup


def test_note_of_the_start_is_gone(notebook: Page) -> None:
    assert "Starting" not in notebook.value("document.querySelector('.jp-Notebook').innerText")


def test_prompt_has_its_number(notebook: Page) -> None:
    assert notebook.wait("document.querySelector('.jp-Notebook .jp-InputPrompt').innerText.includes('[1]')")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_table_can_be_read_in_a_light_and_in_a_dark_theme(notebook: Page, theme: str, tmp_path: Path) -> None:
    notebook.value(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}}).then(() => true)")
    dark = "true" if theme.endswith("Light") else "false"
    notebook.wait(f"document.body.dataset.jpThemeLight === '{dark}' && document.body.dataset.jpThemeName === '{theme}'")
    notebook.wait("document.querySelector('#jupyterlab-splash') === null")
    notebook.picture(tmp_path / "table.png")
    contrasts = notebook.value(f"{_CONTRASTS_OF}('{OUTPUT} caption, {OUTPUT} table *')")
    assert len(contrasts) > 30
    assert [found for found in contrasts if found[0] < CONTRAST] == []
