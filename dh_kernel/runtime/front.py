"""What cells call: `display`, `clear_output`, `input`, `getpass`. One of each per process; they find the thread's cell.

Neighbours: `session`, the public module `dh_kernel.display`. Refuses to know the wire.
"""

from __future__ import annotations

import builtins
import getpass as getpass_module
import threading
import uuid
from typing import Any

from .streams import install_switchboard

_installed = False
_lock = threading.Lock()


def _current() -> tuple[Any, Any] | None:
    cell = install_switchboard().current()
    outputs = getattr(cell, "front", None)
    return (outputs, cell) if outputs is not None else None


def current_cell() -> Any:
    """The calling code's cell, None if it belongs to none."""
    front = _current()
    return front[1] if front is not None else None


def install() -> None:
    """Let cells ask and display; what other code of the process gets stays as it was."""
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    original_input, original_getpass = builtins.input, getpass_module.getpass

    def input(prompt: object = "", /) -> str:
        """Ask at the notebook; elsewhere the server's own standard input."""
        front = _current()
        if front is None:
            return original_input(prompt)
        outputs, cell = front
        if cell.stdin is not None and cell.stdin.is_begun:  # a script's: what comes next may be here already
            print(prompt, end="", flush=True)
            line = cell.stdin.readline()
            if not line:
                raise EOFError
            return str(line.removesuffix("\n"))
        return str(outputs.ask(cell, str(prompt), False))

    def getpass(prompt: str = "Password: ", stream: Any = None, **keywords: Any) -> str:
        """Ask at the notebook without showing what is typed."""
        front = _current()
        if front is None:
            return original_getpass(prompt, stream, **keywords)
        outputs, cell = front
        return str(outputs.ask(cell, prompt, True))

    builtins.input = input
    getpass_module.getpass = getpass
    if not hasattr(builtins, "display"):
        builtins.display = display  # type: ignore[attr-defined]


def display(*values: object, display_id: object = None, raw: bool = False, metadata: Any = None, **more: Any) -> Any:
    """Show objects in the running cell.

    Args:
        display_id: True, or a text, for an output that `update_display` can replace.
        raw: the values are MIME bundles (dictionaries) already.
    """
    front = _current()
    if front is None:
        for value in values:
            print(value)
        return None
    outputs, cell = front
    name = uuid.uuid4().hex if display_id is True else (str(display_id) if display_id else None)
    for value in values:
        if raw:
            outputs.display(cell, (dict(value), metadata or {}), display_id=name)  # type: ignore[call-overload]
        else:
            outputs.show(value, display_id=name)
    return DisplayHandle(name) if name else None


def update_display(value: object, *, display_id: str) -> None:
    """Replace what was displayed under `display_id`."""
    show(value, display_id, True)


def show(value: object, display_id: str | None, update: bool) -> None:
    """Show an object in the running cell, or put it in the place of what has `display_id`."""
    front = _current()
    if front is not None:
        front[0].show(value, display_id=display_id, update=update)
    else:
        print(value)


def publish(data: dict[str, Any], metadata: dict[str, Any], display_id: str | None, update: bool) -> None:
    """Show a MIME bundle in the running cell; what IPython's display functions come down to."""
    front = _current()
    if front is not None:
        outputs, cell = front
        outputs.display(cell, (data, metadata), display_id=display_id, update=update)
    elif "text/plain" in data:
        print(data["text/plain"])


def publish_error(content: dict[str, Any]) -> bool:
    """Show an error (`ename`, `evalue`, `traceback`) in the running cell, which goes on. False where there is no cell."""
    front = _current()
    if front is not None:
        outputs, cell = front
        outputs.error(cell, {name: content[name] for name in ("ename", "evalue", "traceback")})
    return front is not None


def clear_output(wait: bool = False) -> None:
    """Clear the running cell's output, or replace it when the next output comes."""
    front = _current()
    if front is not None:
        front[0].clear_output(wait)


class DisplayHandle:
    """Names one output, to replace it later."""

    def __init__(self, display_id: str | None = None) -> None:
        self.display_id = display_id or uuid.uuid4().hex

    def display(self, value: object) -> None:
        """Show an object under this name."""
        display(value, display_id=self.display_id)

    def update(self, value: object) -> None:
        """Replace what is shown under this name."""
        update_display(value, display_id=self.display_id)
