"""`_`, `In`, `Out` and the like of one session, in a namespace that several sessions may share: a server's console.

Neighbours: `interpreter` and `ipython_shell` (each has one of these). Refuses to know what the names hold.
"""

from __future__ import annotations

import contextlib
import re
import threading
import weakref
from collections.abc import Iterator
from typing import Any

LAST_RESULTS = ("_", "__", "___")
LAST_INPUTS = ("_i", "_ii", "_iii")
_NUMBERED = re.compile(r"_i?[0-9]+")
_lock = threading.Lock()
_in_place: dict[int, weakref.ref[SessionNames]] = {}


class SessionNames:
    """The names of one session. They are in place from the start of its cell to the start of another session's.

    Args:
        names: those that each session has of its own; what other sessions, and other clients, put there is theirs.
    """

    def __init__(self, namespace: dict[str, Any], names: tuple[str, ...]) -> None:
        self._namespace, self.names = namespace, names
        self._kept: dict[str, Any] = {}
        self._numbered: dict[str, Any] = {}
        self._aside: dict[str, Any] = {}

    def enter(self) -> None:
        """A cell of the session begins."""
        with _lock:
            latest = _in_place.get(id(self._namespace), lambda: None)()
            if latest is self:
                self._put_back()
                return
            if latest is not None:
                latest._take_out()
            self._namespace.update(self._kept)
            _in_place[id(self._namespace)] = weakref.ref(self)

    def _take_out(self) -> None:
        kept = {name: self._namespace.pop(name) for name in self.names if name in self._namespace}
        self._kept, self._aside = {**self._aside, **kept}, {}

    def _put_back(self) -> None:
        for name, value in self._aside.items():
            self._namespace.setdefault(name, value)
        self._aside.clear()

    @contextlib.contextmanager
    def set_aside(self, ours: dict[str, Any]) -> Iterator[None]:
        """Take what is ours out of the namespace meanwhile, or until a cell begins; what users have bound there stays."""
        with _lock:
            for name, value in {**self._numbered, **ours}.items():
                if self._namespace.get(name, self) is value:
                    self._aside[name] = self._namespace.pop(name)
        try:
            yield
        finally:
            with _lock:
                self._put_back()

    def close(self) -> None:
        """The session ends: its results and inputs are released, and the names are gone unless they are another's now."""
        with _lock:
            latest = _in_place.get(id(self._namespace), lambda: None)()
            if latest is self:
                self._take_out()
                del _in_place[id(self._namespace)]
            self._kept.clear()
            for name, value in self._numbered.items():
                if self._namespace.get(name) is value:
                    with contextlib.suppress(KeyError):
                        del self._namespace[name]
            self._numbered.clear()

    def note_numbered(self, name: str) -> None:
        """A name such as `_3` or `_i3` has been bound, to be removed with the session."""
        if _NUMBERED.fullmatch(name) and name in self._namespace:
            self._numbered[name] = self._namespace[name]
