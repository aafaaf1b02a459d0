"""The kernel in JupyterLab, as a person sees it: the launcher, a cell, and its table in a light and in a dark theme."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import SCRIPTS, Place, wait_until

sys.path.insert(0, str(Path(__file__).parent))
from chromium import Page, chromium, program

CELL = (
    "from deephaven import empty_table\nt = empty_table(1000).update(['X = i', 'Y = `<u>` + i', 'Z = i % 3 == 0 ? null : X'])"
)
OUTPUT = ".jp-Notebook .jp-OutputArea-output"
CONTRAST = 4.5  # WCAG 2.2, level AA, for text

# Luminance and contrast by WCAG's formulas, for an element and the first opaque background behind it.
_CONTRAST_OF = """
(selector => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c } return [255, 255, 255] };
  const opacity = e => { let o = 1; for (; e; e = e.parentElement) o *= Number(getComputedStyle(e).opacity); return o };
  return Array.from(document.querySelectorAll(selector)).filter(e => e.textContent.trim()).map(e => {
    const behind = ground(e), o = opacity(e), ink = numbers(getComputedStyle(e).color);
    const seen = ink.slice(0, 3).map((c, n) => o * c + (1 - o) * behind[n]);
    const [a, b] = [light(seen), light(behind)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05)
  })
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
    notebook.picture(tmp_path / "table.png")
    contrasts = notebook.value(f"{_CONTRAST_OF}('{OUTPUT} caption, {OUTPUT} th, {OUTPUT} td, {OUTPUT} span')")
    assert len(contrasts) > 30
    assert min(contrasts) >= CONTRAST, sorted(contrasts)[:5]
