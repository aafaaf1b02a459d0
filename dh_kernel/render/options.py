"""How much of a table to show, and how. Leaf: plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RenderOptions:
    """Bounds on what is shown. Numbers below 1 count as 1, except `rows`, where 0 shows the schema alone.

    `cell_characters` cuts names and values in text and HTML; the HTML's tooltip then has up to `title_characters` of them, the
    JSON up to `full_characters` (strings; of arrays a twentieth as many elements). `width` is the terminal's, in columns.
    `time_zone` moves instants in text and HTML; the JSON is always in UTC. An unknown zone counts as UTC.
    """

    rows: int = 10
    columns: int = 20
    cell_characters: int = 60
    width: int = 100
    time_zone: str = "UTC"
    title_characters: int = 1_000
    full_characters: int = 10_000
