"""Which global names a session has bound, in a namespace that others bind names in as well: a server's console.

Neighbours: `evaluation` (compares the namespace before and after each cell), `session` (forgets; there is none in a launched
server, which is ended instead). A dictionary does not tell
who changes it. What has changed while a cell ran is the cell's if its name stands in code that the session has run, or if that
code can bind names that do not stand there (`import *`, a magic). What somebody has bound anew since is theirs.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

_WORD = re.compile(r"\w+")
_BINDS_ANYTHING = re.compile(r"import\s*\(?\s*\*|^\s*%", re.MULTILINE)
_GONE = object()


class Ownership:
    """The names of one session."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._words: set[str] = set()
        self._own: dict[str, Callable[[], object]] = {}  # what gives the value

    def note(self, code: str, new: dict[str, Any]) -> None:
        """A cell has run; `new` is what has been bound in the namespace meanwhile."""
        self._words.update(_WORD.findall(code))
        anything = _BINDS_ANYTHING.search(code) is not None
        for name, value in new.items():
            if anything or name in self._words:
                self._own[name] = _reference(value)
        for name in [name for name in self._own if not self._still(name)]:
            del self._own[name]  # also lets go of what another has replaced

    def forget(self) -> None:
        """Remove the names, as far as they are still the session's."""
        for name in [name for name in self._own if self._still(name)]:
            self._namespace.pop(name, None)
        self._own.clear()

    def _still(self, name: str) -> bool:
        return name in self._namespace and self._own[name]() is self._namespace[name]


def _reference(value: object) -> Callable[[], object]:
    """A weak reference; plain data, of which there is none, is held."""
    try:
        weak = weakref.ref(value)
    except TypeError:
        return lambda: value
    return lambda: _GONE if (found := weak()) is None else found
