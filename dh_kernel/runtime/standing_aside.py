"""What a kernel has put into the process stands aside while a program runs: it then finds what `python script.py` finds.

Neighbours: `programs` (for how long), the interpreters (what is theirs). Refuses to know whose entries these are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

_ABSENT = object()
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@contextlib.contextmanager
def set_aside(
    entries: MutableMapping[str, Any], ours: Mapping[str, Any], before: Mapping[str, Any] = _NOTHING
) -> Iterator[None]:
    """Take our entries out meanwhile; those that somebody else has set, before or meanwhile, stay.

    Args:
        before: what had the names of some of them, and has them again meanwhile.
    """
    taken = {name: value for name, value in ours.items() if _same(entries.get(name, _ABSENT), value)}
    for name in taken:
        if name in before:
            entries[name] = before[name]
        else:
            del entries[name]
    try:
        yield
    finally:
        for name, value in taken.items():
            if _same(entries.get(name, _ABSENT), before.get(name, _ABSENT)):
                entries[name] = value


def _same(one: object, other: object) -> bool:
    """Of texts the value counts: `os.environ` makes a new one each time."""
    return one is other or (isinstance(one, str) and isinstance(other, str) and one == other)
