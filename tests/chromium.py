"""A headless Chromium, driven over its own debugging protocol.

Source: Chrome DevTools Protocol, domains Page, Runtime, Input, Emulation.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket
from harness import TIMEOUT_S, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing that reaches for the network, or remembers; a machine of tests has neither a graphics card nor a sandbox.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--password-store=basic",
    "--remote-debugging-port=0",
    "--window-size=1280,1000",
)


class Page:
    """One tab."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=TIMEOUT_S, suppress_origin=True)
        self._number = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result. Events are not looked at."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of its promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The expression's value as soon as it is true. Asked anew each time, since a page may be replaced meanwhile."""
        found: list[Any] = []

        def is_there() -> bool:
            found[:] = [self.value(f"(() => {{ try {{ return {expression} }} catch (error) {{ return null }} }})()")]
            return bool(found[0])

        wait_until(is_there, expression, timeout_s)
        return found[0]

    def click(self, selector: str) -> None:
        """Click with the mouse at the middle of the first element that matches."""
        place = self.wait(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});"
            "const r = e.getBoundingClientRect(); return r.width && [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Insert text where the cursor is, as pasting does."""
        self.call("Input.insertText", text=text)

    def shift_enter(self) -> None:
        """The key that runs a cell."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 8}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def key(self, name: str, code: int) -> None:
        """A key without text, such as `ArrowRight`, whose Windows key code is 39."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def picture(self, file: Path) -> None:
        """Save what the page looks like as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Let go of the tab."""
        self._socket.close()


def program() -> str | None:
    """The path of a Chromium, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium(path: str, folder: Path) -> Iterator[Page]:
    """A browser with a fresh profile, and its one tab; ended for certain."""
    profile = folder / "profile"
    profile.mkdir()
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [path, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder)},
        )
        try:
            page = Page(_tab(_debugging_port(process, profile, folder / "chromium.log")))
            yield page
            page.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30.0)


def _debugging_port(process: subprocess.Popen[bytes], profile: Path, log: Path) -> int:
    file = profile / "DevToolsActivePort"
    wait_until(lambda: process.poll() is not None or (file.exists() and "\n" in file.read_text("ascii")), "Chromium's port")
    assert process.poll() is None, log.read_text("utf-8", "replace")[-3000:]
    return int(file.read_text("ascii").splitlines()[0])


def _tab(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_S) as answer:
        tabs = json.load(answer)
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
