"""What cells get for `IPython.display` where the plain wrapper runs them: functions that display, and the usual objects.

Neighbours: `front` (shows), `ipython_names`, `stand_ins`. Where IPython is installed, its own objects are used; its functions
would only print, as there is no shell of its own.
"""

from __future__ import annotations

import importlib
import uuid
from pathlib import Path
from typing import Any

from . import front
from .front import clear_output

__all__ = ["DisplayHandle", "clear_output", "display", "publish_display_data", "update_display"]


def display(
    *objs: object,
    include: Any = None,
    exclude: Any = None,
    metadata: dict[str, Any] | None = None,
    display_id: object = None,
    raw: bool = False,
    clear: bool = False,
    **more: Any,
) -> DisplayHandle | None:
    """Show objects in the running cell, or MIME bundles if `raw`; a handle if `display_id` is a name or True."""
    if clear:
        clear_output(wait=True)
    name = uuid.uuid4().hex if display_id is True else str(display_id) if display_id else None
    for value in objs:
        if raw:
            publish_display_data(value, metadata, transient={"display_id": name})
        else:
            front.display(value, display_id=name)
    return DisplayHandle(name) if name else None


def update_display(obj: object, *, display_id: str, raw: bool = False, metadata: Any = None, **more: Any) -> None:
    """Replace what was displayed under `display_id`."""
    if raw:
        publish_display_data(obj, metadata, transient={"display_id": display_id}, update=True)
    else:
        front.update_display(obj, display_id=display_id)


def publish_display_data(data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **more: Any) -> None:
    """Show a MIME bundle."""
    front.publish(dict(data), metadata or {}, (transient or {}).get("display_id"), update)


class DisplayHandle:
    """Names one output, to replace it later."""

    def __init__(self, display_id: str | None = None) -> None:
        self.display_id = display_id or uuid.uuid4().hex

    def display(self, obj: object, **options: Any) -> None:
        """Show an object under this name."""
        display(obj, display_id=self.display_id, **options)

    def update(self, obj: object, **options: Any) -> None:
        """Replace what is shown under this name."""
        update_display(obj, display_id=self.display_id, **options)


class _Rich:
    """Data of one MIME type, given as it is or in a file."""

    mime = "text/plain"

    def __init__(self, data: Any = None, *, filename: str | None = None, metadata: Any = None) -> None:
        self.data = self._read(Path(filename)) if data is None and filename else data
        self.metadata = metadata or {}

    def _read(self, file: Path) -> Any:
        return file.read_text("utf-8")

    def __repr__(self) -> str:
        return f"<IPython.core.display.{type(self).__name__} object>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {self.mime: self.data, "text/plain": repr(self)}, {self.mime: self.metadata} if self.metadata else {}


class _Image(_Rich):
    """A PNG or JPEG picture, as its bytes or in a file."""

    def _read(self, file: Path) -> Any:
        return file.read_bytes()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        jpeg = bytes(self.data or b"").startswith(b"\xff\xd8")
        return {"image/jpeg" if jpeg else "image/png": self.data, "text/plain": repr(self)}, {}


class _Math(_Rich):
    mime = "text/latex"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        text = str(self.data).strip("$")
        return {self.mime: rf"$\displaystyle {text}$", "text/plain": repr(self)}, {}


_OBJECTS: dict[str, type[_Rich]] = {
    name: type(name, (base,), {"mime": mime, "__doc__": f"Shows as {mime}."})
    for name, base, mime in (
        ("HTML", _Rich, "text/html"),
        ("Markdown", _Rich, "text/markdown"),
        ("Latex", _Rich, "text/latex"),
        ("Math", _Math, "text/latex"),
        ("SVG", _Rich, "image/svg+xml"),
        ("JSON", _Rich, "application/json"),
        ("Javascript", _Rich, "application/javascript"),
        ("Image", _Image, "image/png"),
    )
}


def __getattr__(name: str) -> Any:
    try:
        return getattr(importlib.import_module("IPython.display"), name)
    except ImportError:
        pass
    if name in _OBJECTS:
        return _OBJECTS[name]
    raise AttributeError(f"IPython.display.{name} needs IPython, which is not in the server's Python")
