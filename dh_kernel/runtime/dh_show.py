"""What `%dh show`, `grid`, `live` and `set` do on the server, for both interpreters, in the session of the calling cell.

Neighbours: `dh_magic` (calls this), `dh_line` (the words), `outputs`, `live`, `preferences`. Refuses to know addresses and
keys: where the server's grid is, the kernel tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import front
from .dh_line import DhUsageError, expression_of
from .outputs import Outputs, Shown
from .preferences import PreferenceError

_GRID_NAME = "_dh_grid_"  # private: the cell does not show it as assigned


def show(words: list[str]) -> None:
    """Do what a line says whose first word is one of `SHOWING`.

    Raises:
        DhUsageError: it says nothing that is known.
    """
    _DO[words[0]](words[1:])


def _outputs() -> tuple[Outputs, Any]:
    cell = front.current_cell()
    if cell is None:
        raise DhUsageError("%dh works in cells only.")
    return cell.front, cell


def _show(words: list[str]) -> None:
    outputs, _ = _outputs()
    wanted = expression_of("show", words[0] if words else "")
    value = outputs.evaluate(wanted.code)
    table, shown = outputs.tables.as_table(value), outputs.tables.as_shown(value)
    if (wanted.columns and table is None) or (shown is None and (wanted.rows or wanted.live is not None)):
        raise DhUsageError(
            f"%dh show: {wanted.code} is no table, but {type(value).__name__}: the options mean nothing for it."
        )
    outputs.show(value, how=Shown(rows=wanted.rows, columns=len(wanted.columns), only=wanted.columns, live=wanted.live))


def _grid(words: list[str]) -> None:
    """Ask the kernel for the server's own view of an object. One without a variable gets one: the view finds it by name."""
    outputs, cell = _outputs()
    wanted = expression_of("grid", words[0] if words else "")
    value = outputs.evaluate(wanted.code)
    if type(value).__module__.partition(".")[0] == "builtins":
        raise DhUsageError(f"%dh grid: {wanted.code} is {type(value).__name__}, which the server has no view of.")
    name = outputs.name_of(value) or outputs.bind_new(_GRID_NAME, value)
    outputs.queue(cell, {"kind": "grid", "cell": cell.id, "name": name, "height": wanted.height})


def _live(words: list[str]) -> None:
    from .dh_magic import show_table

    live = _outputs()[0].live
    if live is None or (words and words[0] != "stop"):
        raise DhUsageError("There are: %dh live, %dh live stop, %dh live stop NAME.")
    if words:
        stopped = live.stop(words[1:])
        print(f"Stopped: {', '.join(stopped)}." if stopped else "There are no such live outputs.")
    else:
        show_table(("table", "cell", "for", "updates"), live.listed(), empty="There are no live outputs.")


def _set(words: list[str]) -> None:
    from .dh_magic import show_table

    outputs, _ = _outputs()
    if not words:
        show_table(("name", "value", "meaning"), outputs.preferences.table(), empty="")
        return
    if len(words) != 2:
        raise DhUsageError("Write %dh set NAME VALUE, or %dh set for a list.")
    name = words[0].replace("-", "_")
    try:
        value = outputs.preferences.change(name, words[1])
    except PreferenceError as error:
        raise DhUsageError(f"%dh set: {error}") from None
    outputs.queue_plain({"kind": "setting", "cell": "", "name": name, "value": value})


_DO: dict[str, Callable[[list[str]], None]] = {"show": _show, "grid": _grid, "live": _live, "set": _set}
SHOWING = tuple(_DO)
