"""Completion and inspection on the live namespace, with jedi where it is importable, else the standard library.

Neighbours: `session` (calls it on a thread of its own, also while a cell runs). It never calls the user's code on purpose:
names are looked up without properties, and only modules, classes and plain instances are walked.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import keyword
import re
import reprlib
from typing import Any

_NAME_AT_CURSOR = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)$")
_PARTIAL = re.compile(r"((?:[^\W\d]\w*\.)*)([^\W\d]\w*)?$")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 1000
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxdict = 50
_MISSING = object()


def complete(namespace: dict[str, Any], code: str, cursor: int) -> dict[str, Any]:
    """Jupyter's `complete_reply` content; positions in code points.

    Source: Jupyter messaging, "Completion".
    """
    before = code[:cursor]
    match = _PARTIAL.search(before)
    path, partial = (match[1].rstrip("."), match[2] or "") if match else ("", "")
    if match and match.start() and before[match.start() - 1] in ".)]}\"'" and not path:
        matches = []  # an attribute of what would have to be computed first
    elif path or partial or not before.strip():
        found = _attributes(namespace, path) if path else _names(namespace)
        matches = sorted({name for name in found if name.startswith(partial)}, key=_private_last)
        if not partial and path:
            matches = [name for name in matches if not name.startswith("__")] or matches
    else:
        matches = []
    return {
        "status": "ok",
        "matches": matches,
        "cursor_start": cursor - len(partial),
        "cursor_end": cursor,
        "metadata": {"_jupyter_types_experimental": [_typed(namespace, path, name, cursor, partial) for name in matches[:200]]}
        if len(matches) <= 200
        else {},
    }


def inspect_at(namespace: dict[str, Any], code: str, cursor: int, detail: int) -> dict[str, Any]:
    """Jupyter's `inspect_reply` content for the name at, or the call around, the cursor."""
    while cursor < len(code) and (code[cursor].isalnum() or code[cursor] == "_"):
        cursor += 1
    before = code[:cursor]
    name = _NAME_AT_CURSOR.search(before)
    if name is None:
        call = re.search(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*\([^()]*$", before)
        name = call
    text = inspect_name(namespace, name[1], detailed=detail > 0) if name else None
    data = {"text/plain": text} if text else {}
    return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}


def inspect_name(namespace: dict[str, Any], dotted: str, *, detailed: bool) -> str | None:
    """What is known of a dotted name: signature, text, documentation, and source when asked; None if there is no such name."""
    value = _resolve(namespace, dotted)
    if value is _MISSING:
        return None
    lines = []
    signature = _signature(value)
    if signature:
        lines.append(f"Signature: {dotted}{signature}")
    lines.append(f"Type:      {type(value).__module__}.{type(value).__qualname__}")
    if not callable(value) and isinstance(value, (str, bytes, int, float, complex, bool, type(None), list, dict, tuple, set)):
        lines.append(f"Value:     {_SHORT.repr(value)[:1000]}")
    with contextlib.suppress(Exception):
        documentation = inspect.getdoc(value if _is_code(value) else type(value))
        if documentation:
            lines.append("Docstring:\n" + documentation)
    if detailed:
        with contextlib.suppress(Exception):
            lines.append("Source:\n" + inspect.getsource(value if _is_code(value) else type(value)))
    with contextlib.suppress(Exception):
        lines.append(f"File:      {inspect.getfile(value if _is_code(value) else type(value))}")
    return "\n".join(lines)


def _private_last(name: str) -> tuple[int, str]:
    return (len(name) - len(name.lstrip("_")), name)


def _names(namespace: dict[str, Any]) -> list[str]:
    return [name for name in (*namespace, *vars(builtins), *keyword.kwlist) if isinstance(name, str)]


def _attributes(namespace: dict[str, Any], path: str) -> list[str]:
    value = _resolve(namespace, path)
    if value is _MISSING:
        return []
    with contextlib.suppress(Exception):
        return [name for name in object.__dir__(value) if isinstance(name, str)] if not isinstance(value, type) else dir(value)
    return []


def _resolve(namespace: dict[str, Any], dotted: str) -> Any:
    first, *rest = dotted.split(".")
    value = namespace.get(first, vars(builtins).get(first, _MISSING))
    for name in rest:
        if value is _MISSING:
            return _MISSING
        value = _attribute(value, name)
    return value


def _attribute(value: Any, name: str) -> Any:
    """An attribute without running a property or `__getattr__` of the user's."""
    try:
        found = inspect.getattr_static(value, name)
    except Exception:
        return _MISSING
    if isinstance(found, (property,)) or (hasattr(type(found), "__get__") and not callable(found)):
        if type(value).__module__.partition(".")[0] not in ("deephaven", "builtins"):
            return _MISSING if not isinstance(found, (staticmethod, classmethod)) else getattr(value, name, _MISSING)
        return getattr(value, name, _MISSING)
    if hasattr(type(found), "__get__"):
        with contextlib.suppress(Exception):
            return getattr(value, name)
    return found


def _is_code(value: Any) -> bool:
    """Whether looking at its attributes runs nothing of the user's: an instance may have a `__getattr__`."""
    return inspect.isroutine(value) or isinstance(value, type) or inspect.ismodule(value)


def _signature(value: Any) -> str | None:
    if not _is_code(value) or inspect.ismodule(value):
        return None
    try:
        return str(inspect.signature(value))
    except Exception:
        return None


def _typed(namespace: dict[str, Any], path: str, name: str, cursor: int, partial: str) -> dict[str, Any]:
    value = _resolve(namespace, f"{path}.{name}" if path else name)
    if isinstance(value, type):
        kind = "class"
    elif inspect.ismodule(value):
        kind = "module"
    elif callable(value) and value is not _MISSING:
        kind = "function"
    elif value is _MISSING and keyword.iskeyword(name):
        kind = "keyword"
    else:
        kind = "instance"
    return {
        "start": cursor - len(partial),
        "end": cursor,
        "text": name,
        "type": kind,
        "signature": (_signature(value) or "") if kind == "function" else "",
    }
