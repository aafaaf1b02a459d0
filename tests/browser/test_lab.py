"""The kernel in JupyterLab, as a person sees it: the launcher, a cell, and its table in a light and in a dark theme."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, chromium, program
from harness import SCRIPTS, Place, wait_until

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


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str


@pytest.fixture(scope="module")
def lab(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab with this run's kernelspecs, an empty folder and no news from the network."""
    folder = tmp_path_factory.mktemp("lab")
    token = secrets.token_urlsafe(24)
    (folder / "files").mkdir()
    notifications = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    notifications.parent.mkdir(parents=True)
    notifications.write_text('{"fetchNews": "false", "checkForUpdates": false}', "utf-8")
    directories = {f"JUPYTERLAB_{name.upper()}_DIR": str(folder / name) for name in ("settings", "workspaces")}
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1"]
    options += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder / 'files'}"]
    with (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            [str(SCRIPTS / "jupyter"), "lab", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**place.environ, **directories, "JUPYTER_TOKEN": token},
        )
        try:
            yield Lab(_address(process, Path(place.environ["JUPYTER_RUNTIME_DIR"]), folder / "lab.log"), token)
            process.send_signal(signal.SIGTERM)  # it ends its kernels first
            process.wait(60.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30.0)


def _address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    file = runtime / f"jpserver-{process.pid}.json"
    wait_until(lambda: process.poll() is not None or _readable(file), "JupyterLab's address")
    assert process.poll() is None, log.read_text("utf-8", "replace")[-3000:]
    return str(json.loads(file.read_text("utf-8"))["url"])


def _readable(file: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads(file.read_text("utf-8"))["url"])
    return False


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser's tab."""
    path = program()
    if path is None:
        pytest.fail(
            "No Chromium is on PATH. Run: sudo apt-get install -y chromium (scripts/test does that, as root).", pytrace=False
        )
    with chromium(path, tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


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
