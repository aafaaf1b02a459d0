"""Which global names a kernel has bound, in a namespace that others bind names in as well: a server's console.

Neighbours: `evaluation` (compares the namespace before and after each cell), `session` (forgets; there is none in a launched
server, which is ended instead). A dictionary does not tell who changes it. What has changed while a cell ran is the cell's if
its name stands in code that the kernel has run, or if that code can bind names that do not stand there (`import *`, a magic).
What somebody has bound anew since is theirs.
"""

from __future__ import annotations

import re
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_WORD = re.compile(r"\w+")
_BINDS_ANYTHING = re.compile(r"import\s*\(?\s*\*|^\s*%", re.MULTILINE)
_GONE = object()


class Ownership:
    """The names that a kernel's sessions have bound in one namespace."""

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
        for name in [name for name in list(self._own) if not self._still(name)]:
            self._own.pop(name, None)  # also lets go of what another has replaced

    def forget(self) -> None:
        """Remove the names, as far as they are still the session's."""
        for name in [name for name in list(self._own) if self._still(name)]:
            self._namespace.pop(name, None)
        self._own.clear()

    def is_of(self, namespace: dict[str, Any]) -> bool:
        """Whether this is about that namespace."""
        return self._namespace is namespace

    def _still(self, name: str) -> bool:
        reference = self._own.get(name)
        return reference is not None and name in self._namespace and reference() is self._namespace[name]


_MOST_KERNELS = 50
_of_kernels: OrderedDict[str, Ownership] = OrderedDict()


def inherited(kernel: str, namespace: dict[str, Any]) -> Ownership:
    """What a kernel has bound; also in sessions that were lost, whose variables stay, and that it had before this one."""
    own = _of_kernels.get(kernel)
    if own is None or not own.is_of(namespace):
        own = Ownership(namespace)
    if kernel:
        _of_kernels[kernel] = own
        _of_kernels.move_to_end(kernel)
        while len(_of_kernels) > _MOST_KERNELS:
            _of_kernels.popitem(last=False)
    return own


def leave(kernel: str) -> None:
    """A kernel ends its session in good order: what it has not removed stays for good."""
    _of_kernels.pop(kernel, None)


def _reference(value: object) -> Callable[[], object]:
    """A weak reference; plain data, of which there is none, is held."""
    try:
        weak = weakref.ref(value)
    except TypeError:
        return lambda: value
    return lambda: _GONE if (found := weak()) is None else found
