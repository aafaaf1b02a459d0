"""Telling other clients which variables a cell has changed, and letting go of those it replaced.

Neighbours: `engine` (does it), `session` (says when). A thread of its own: the engine makes it wait while another client's
console script runs.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import types
import weakref
from collections.abc import Iterable
from typing import Any

from .engine import Engine
from .threads import ServiceThread

_PLAIN_TYPES = frozenset(
    {bool, int, float, complex, str, bytes, list, tuple, dict, set, type(None), type, types.FunctionType, types.ModuleType}
    | {types.BuiltinFunctionType, types.MethodType}
)
_LOOK_EVERY_S = 1.0
_COLLECT_AFTER_S = (1.0, 3.0, 10.0)


def worth_telling(values: Iterable[Any]) -> bool:
    """Whether other clients may care for any of these variables: not for plain data, functions and modules."""
    return any(type(value) not in _PLAIN_TYPES for value in values)


class ScopeObserver:
    """One session's thread for the console's list of variables.

    A ticking table is held by the liveness scope in which it was made, and by what was derived from it. When its variable has
    been replaced and its Python object is gone, the scope lets go: it stops ticking once nothing derived from it is left.
    """

    def __init__(self, session_id: str, engine: Engine, scope: Any, *, collect: bool) -> None:
        self._engine, self._scope, self._collect = engine, scope, collect
        self._wake = threading.Event()
        self._changed = self._closed = False
        self._arrived: queue.SimpleQueue[tuple[weakref.ref[Any], Any]] = queue.SimpleQueue()
        self._replaced: list[tuple[weakref.ref[Any], Any]] = []
        self._collect_at: list[float] = []
        ServiceThread(target=self._run, name=f"dh-kernel-scope-{session_id}", daemon=True).start()

    def changed(self, replaced: Iterable[Any]) -> None:
        """A cell has changed variables; `replaced` are the ticking tables that some of them held before."""
        for table in replaced:
            self._arrived.put((weakref.ref(table), table.j_object))
        self._changed = True
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._until_next())
            self._wake.clear()
            with contextlib.suppress(Exception):  # a thread's edge; the next change tries again
                self._step()

    def _until_next(self) -> float | None:
        if self._collect_at:
            return max(0.0, self._collect_at[0] - time.monotonic())
        return _LOOK_EVERY_S if self._replaced else None

    def _step(self) -> None:
        if self._changed:
            self._changed = False
            self._engine.observe_scope()
            while not self._arrived.empty():
                self._replaced.append(self._arrived.get())
            if self._collect and self._replaced and not self._collect_at:
                self._collect_at = [time.monotonic() + delay_s for delay_s in _COLLECT_AFTER_S]
        elif self._collect_at and self._collect_at[0] <= time.monotonic():
            del self._collect_at[0]
            # Java's view of the console holds a replaced variable until a collection; on an idle server that may be hours.
            self._engine.collect_garbage()
        self._let_go()

    def _let_go(self) -> None:
        held = []
        for python_object, j_table in self._replaced:
            if python_object() is not None:
                held.append((python_object, j_table))
            else:
                with contextlib.suppress(Exception):  # not every kind of table is a thing that Java counts
                    self._scope.tryUnmanage(j_table)
        self._replaced = held
