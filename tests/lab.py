"""A running JupyterLab, and a notebook in it as a person uses it: cells are typed, run by the keyboard, and looked at.

Neighbours: `chromium` (the browser), `harness` (the kernelspecs).
"""

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

from chromium import Page
from harness import SCRIPTS, Place, wait_until

READY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str


@contextlib.contextmanager
def running_lab(place: Place, folder: Path) -> Iterator[Lab]:
    """JupyterLab with this run's kernelspecs, an empty folder and no news from the network; ended for certain."""
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


class Notebook:
    """A new notebook in a tab. Cells are counted from 0, in the order in which they are run."""

    def __init__(self, lab: Lab, page: Page, kernel_title: str = "Deephaven") -> None:
        self.page, self._lab = page, lab
        self._count = 0
        page.go(f"{lab.url}lab?token={lab.token}&reset")
        card = f".jp-LauncherCard[data-category=Notebook][title={kernel_title}]"
        page.wait(f"window.jupyterapp && document.querySelector('{card}') !== null", READY_TIMEOUT_S)
        page.click(card)
        context = "window.jupyterapp.shell.currentWidget.sessionContext"
        page.wait(f"{context}.isReady && {context}.session.kernel.connectionStatus === 'connected'", READY_TIMEOUT_S)

    def send(self, code: str) -> int:
        """Type a cell and run it; its number, at once."""
        last = "Array.from(document.querySelectorAll('.jp-Notebook .jp-CodeCell .cm-content')).at(-1)"
        self.page.wait(f"({last}.scrollIntoView(), {last}.focus(), document.activeElement === {last})")
        self.page.type(code)
        self.page.shift_enter()
        self._count += 1
        return self._count - 1

    def run(self, code: str) -> int:
        """Type a cell, run it and wait for its end; its number."""
        number = self.send(code)
        self.wait_for_end(number)
        return number

    def wait_for_end(self, number: int) -> None:
        """Wait until a cell has the prompt of one that has been run."""
        self.wait(number, "cell => /\\[\\d+\\]/.test(cell.querySelector('.jp-InputPrompt').innerText)", READY_TIMEOUT_S)

    def wait(self, number: int, test: str, timeout_s: float = 60.0) -> Any:
        """What a JavaScript function says of a cell, as soon as that is true."""
        return self.page.wait(f"({test})(document.querySelectorAll('.jp-Notebook .jp-CodeCell')[{number}])", timeout_s)

    def wait_for_text(self, number: int, wanted: str) -> None:
        """Wait until a cell's output has a text."""
        self.wait(number, f"cell => cell.querySelector('.jp-OutputArea').innerText.includes({json.dumps(wanted)})")

    def text(self, number: int) -> str:
        """The text of a cell's output."""
        return str(self.wait(number, "cell => ' ' + cell.querySelector('.jp-OutputArea').innerText").strip())

    def click(self, number: int, selector: str) -> None:
        """Click the first element in a cell's output that matches."""
        mark = f"test-target-{secrets.token_hex(4)}"
        self._do(number, selector, f"classList.add('{mark}')")
        self.page.click(f".{mark}")

    def focus(self, number: int, selector: str) -> None:
        """Give the keyboard to the first element in a cell's output that matches."""
        self._do(number, selector, "focus()")

    def _do(self, number: int, selector: str, method: str) -> None:
        self.wait(number, f"cell => cell.querySelector('.jp-OutputArea {selector}') !== null")
        self.wait(number, f"cell => (cell.querySelector('.jp-OutputArea {selector}').{method}, true)")

    def reload(self) -> None:
        """Save the notebook and load the page anew, with the same kernel."""
        self.page.value("window.jupyterapp.shell.currentWidget.context.save().then(() => true)")
        path = self.page.value("window.jupyterapp.shell.currentWidget.context.path")
        self.page.go("about:blank")
        self.page.go(f"{self._lab.url}lab/tree/{path}?token={self._lab.token}")
        self.page.wait("window.jupyterapp && document.querySelector('.jp-Notebook .jp-CodeCell .cm-content') !== null", 60.0)
