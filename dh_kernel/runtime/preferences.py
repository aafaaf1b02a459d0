"""How a session shows tables, and what `%dh set` can change of it. Pure.

Neighbours: `dh_show` (`%dh set`), `outputs`, `evaluation`, `live` (ask for the values). The kernel gives the first values
when a session opens, checked, and is told of changes, so that its next session begins with them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Extent:
    """How much of a table is shown at most; `depth` is the level down to which a tree is expanded."""

    rows: int
    columns: int
    depth: int


class PreferenceError(ValueError):
    """The name or the value means nothing; the text says what does."""


@dataclass
class Preferences:
    """The values; of numbers and times the bounds are in `CHECKS`. The kernel's settings have the same names."""

    show_tables: bool = True
    max_tables: int = 1000
    rows: int = 10
    columns: int = 20
    depth: int = 1
    live: bool = True
    live_interval_s: float = 1.0
    live_time_s: float = 1800.0
    live_outputs: int = 20

    def change(self, name: str, text: str) -> Any:
        """Set a value as it is written; the value.

        Raises:
            PreferenceError: there is no such name, or the text is no value of it.
        """
        if name not in CHECKS:
            matches = difflib.get_close_matches(name, CHECKS, n=1, cutoff=0.5)
            hint = f"Did you mean {matches[0]}?" if matches else f"There are: {', '.join(CHECKS)}."
            raise PreferenceError(f"{name} is not a setting of tables. {hint}")
        value = CHECKS[name][0](text)
        setattr(self, name, value)
        return value

    def table(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of each."""
        return [(field.name, _written(getattr(self, field.name)), CHECKS[field.name][1]) for field in fields(self)]


def flag(text: str) -> bool:
    """`on` and `off`, or what else means these."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise PreferenceError(f"{text!r} is neither on nor off.")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Reads a number within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9][0-9_,]*", text) or not least <= int(text.replace(",", "")) <= most:
            raise PreferenceError(f"{text!r} is not a whole number between {least:,} and {most:,}.")
        return int(text.replace(",", ""))

    return read


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Reads a time within bounds: `0.5`, `90s`, `30m`, `2h`."""

    def read(text: str) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([smh]?)", text.strip().lower())
        value = float(match[1]) * _UNITS_S[match[2]] if match else -1.0
        if not least <= value <= most:
            raise PreferenceError(f"{text!r} is not a time between {least:g} and {most:g} seconds: write 0.5, 90s, 30m or 2h.")
        return value

    return read


CHECKS: dict[str, tuple[Callable[[str], Any], str]] = {
    "show_tables": (flag, "show the tables that a cell assigned at its end"),
    "max_tables": (whole_number(0, 10_000), "how many of them a cell shows at most"),
    "rows": (whole_number(1, 10_000), "rows of a preview"),
    "columns": (whole_number(1, 10_000), "columns of a preview"),
    "depth": (whole_number(0, 20), "levels of a tree table that are expanded"),
    "live": (flag, "outputs of refreshing tables follow their tables"),
    "live_interval_s": (seconds(0.1, 3600.0), "least time between two updates of an output"),
    "live_time_s": (seconds(0.0, 7 * 86_400.0), "how long an output follows its table"),
    "live_outputs": (whole_number(0, 1000), "how many outputs do at a time, the latest ones"),
}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
