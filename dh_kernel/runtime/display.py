"""From an object to a MIME bundle, by the display protocol: `_repr_mimebundle_`, `_repr_*_`, and text.

Neighbours: `session` (sends bundles), `tables` (tables do not come here). Refuses to know where a bundle goes.
Source: the rich display protocol, IPython documentation, "Integrating your objects with IPython".
"""

from __future__ import annotations

import base64
import contextlib
import pprint
import sys
from typing import Any

_METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("text/latex", "_repr_latex_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/pdf", "_repr_pdf_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)
PLOTLY = "application/vnd.plotly.v1+json"
_PRETTY_TYPES = (dict, list, tuple, set, frozenset)
_TEXT_WIDTH = 79

Bundle = tuple[dict[str, Any], dict[str, Any]]


def mime_bundle(value: object) -> Bundle:
    """Data and metadata for an object. Never raises: a method that fails is reported on stderr and left out."""
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if not isinstance(value, type):
        _own_bundle(value, data, metadata)
        for mime, name in _METHODS:
            if mime not in data:
                _one_format(value, mime, name, data, metadata)
        _figure(value, data)
        _plotly(value, data)
    if "text/plain" not in data:
        data["text/plain"] = text_of(value)
    return {mime: _sendable(part) for mime, part in data.items()}, metadata


def text_of(value: object) -> str:
    """`repr`, on several lines where a container is long; a note where `repr` fails."""
    try:
        text = repr(value)
        if len(text) > _TEXT_WIDTH and type(value) in _PRETTY_TYPES:
            with contextlib.suppress(Exception):
                return pprint.pformat(value, width=_TEXT_WIDTH, sort_dicts=False)
        return text if type(text) is str else str(text)
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"<{kind} object: its repr raised {type(error).__name__}: {_safe(error)}>"


def _safe(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "?"


def _method(value: object, name: str) -> Any:
    # Objects that invent any attribute (mocks, proxies) would invent these too.
    if getattr(value, "_ipython_canary_method_should_not_exist_", None) is not None:
        return None
    method = getattr(value, name, None)
    return method if callable(method) else None


def _own_bundle(value: object, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    try:
        method = _method(value, "_repr_mimebundle_")
        made = method(include=None, exclude=None) if method else None
        if isinstance(made, tuple):
            made, more = made
            metadata.update(more)
        if made:
            data.update(made)
    except Exception as error:
        _report(value, "_repr_mimebundle_", error)


def _one_format(value: object, mime: str, name: str, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    try:
        method = _method(value, name)
        made = method() if method else None
    except Exception as error:
        _report(value, name, error)
        return
    if isinstance(made, tuple) and len(made) == 2:
        made, metadata[mime] = made
    if made is not None:
        data[mime] = made


def _report(value: object, name: str, error: Exception) -> None:
    print(f"{type(value).__name__}.{name} raised {type(error).__name__}: {_safe(error)}", file=sys.stderr)


def _figure(value: object, data: dict[str, Any]) -> None:
    figure_module = sys.modules.get("matplotlib.figure")
    if figure_module is None or "image/png" in data or not isinstance(value, figure_module.Figure):
        return
    import io

    target = io.BytesIO()
    value.savefig(target, format="png", bbox_inches="tight")
    data["image/png"] = target.getvalue()


def _plotly(value: object, data: dict[str, Any]) -> None:
    """A plotly figure as JSON, which front ends draw; its own method says nothing where no front end is known to it."""
    module = sys.modules.get("plotly.basedatatypes")
    if module is None or PLOTLY in data or not isinstance(value, module.BaseFigure):
        return
    import json

    data[PLOTLY] = json.loads(value.to_json())
    data.setdefault("text/plain", f"{type(value).__name__} with {len(value.data)} traces")


def _sendable(part: Any) -> Any:
    if isinstance(part, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(part)).decode("ascii")
    return part


def open_figures() -> list[Any]:
    """The figures that pyplot holds, taken from it; none where pyplot is not loaded or draws in windows of its own."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    backend = getattr(sys.modules.get("matplotlib"), "get_backend", lambda: "")
    if pyplot is None or not hasattr(pyplot, "get_fignums") or backend().lower() not in _STILL_BACKENDS:
        return []
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    pyplot.close("all")
    return figures


def forget_figure(value: object) -> None:
    """A figure that is a result has been shown: pyplot need not show it again."""
    pyplot, figures = sys.modules.get("matplotlib.pyplot"), sys.modules.get("matplotlib.figure")
    if pyplot is not None and figures is not None and isinstance(value, figures.Figure):
        pyplot.close(value)


_STILL_BACKENDS = ("agg", "module://dh_kernel.matplotlib_backend", "template", "svg", "pdf", "cairo")
