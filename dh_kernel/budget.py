"""How much output the tables of one cell may make: a notebook is a file that somebody saves, opens and compares.

A program that runs scripts shows no HTML, wants the data, and has asked for as many rows as it gets: it has more room.

Pure bookkeeping. Neighbours: `publishing` asks before it sends a table's bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

CELL_BYTES = 1_000_000
PROGRAM_BYTES = 64_000_000
_DATA, _HTML = "application/vnd.dataresource+json", "text/html"
_MOST_NAMES = 10


class TableBudget:
    """The budget of one cell. The first table's text always fits: nothing at all would tell nobody anything."""

    def __init__(self, most_bytes: int = CELL_BYTES) -> None:
        self._most, self._spent = most_bytes, 0
        self._names: list[str] = []
        self._left_out = 0

    @property
    def is_spent(self) -> bool:
        """Whether a table has been left out: those that follow are too, however small, so that one sees where it stops."""
        return self._left_out > 0

    def fitted(self, bundle: Mapping[str, Any]) -> dict[str, Any] | None:
        """The bundle as far as it fits, which is then spent."""
        if self.is_spent:
            return None
        kept: dict[str, Any] = {}
        for kept in self.lighter(bundle):
            size = size_of(kept)
            if self._spent + size <= self._most:
                self._spent += size
                return kept
        if self._spent:
            return None
        self._spent = self._most
        return {mime: text[: self._most] if isinstance(text, str) else text for mime, text in kept.items()}

    def lighter(self, bundle: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The bundle, and what may stand for it where it does not fit: the data for programs goes first, then the HTML."""
        yield dict(bundle)
        yield {mime: part for mime, part in bundle.items() if mime != _DATA}
        yield {mime: part for mime, part in bundle.items() if mime not in (_DATA, _HTML)}

    def leave_out(self, name: str | None) -> None:
        """Note a table that is not shown."""
        self._left_out += 1
        if name is not None and len(self._names) < _MOST_NAMES:
            self._names.append(name)

    def last_line(self) -> str | None:
        """What has been left out, None if nothing."""
        if not self._left_out:
            return None
        count = "1 more table is" if self._left_out == 1 else f"{self._left_out:,} more tables are"
        more = ", …" if self._left_out > len(self._names) else ""
        names = f": {', '.join(self._names)}{more}" if self._names else ""
        return f"{count} not shown, since this cell's tables have filled {self._most / 1e6:g} MB of output{names}"


class ProgramBudget(TableBudget):
    """That of a script. A table that does not fit keeps its columns, so that it is still told to be there."""

    def __init__(self, most_bytes: int = PROGRAM_BYTES) -> None:
        super().__init__(most_bytes)

    def lighter(self, bundle: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Without HTML, and then without rows."""
        kept = {mime: part for mime, part in bundle.items() if mime != _HTML}
        yield kept
        if _DATA in kept:
            described = {name: part for name, part in kept[_DATA].items() if name != "parts"}
            yield {**kept, _DATA: {**described, "data": []}}


def size_of(bundle: Mapping[str, Any]) -> int:
    """What a bundle takes in a notebook's file, about."""
    return sum(len(part if isinstance(part, str) else json.dumps(part)) for part in bundle.values())
