"""Being told when tables change, and why they fail; without a call of Python's while nobody wants to know of changes.

Neighbours: `engine`, `live` (has a watch for each output), `tables` (says which tables something is made of). Refuses to read
rows.

A listener in Python costs Python's lock in each cycle of the update graph. The one for changes is therefore taken off and put
back. But the engine tells a failure only to those who listen just then, and keeps no reason. So a second one stays: on a table
derived from the watched one which never has a row. It has nothing to tell, and passes failures on; what it does in a cycle, it
does in Java.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .engine import Engine

_FILTER = "io.deephaven.engine.table.impl.select.WhereNoneFilter"
_ADAPTER = "io.deephaven.integrations.python.PythonReplayListenerAdapter"


class Watch:
    """Watches the tables that one thing is made of, which may change.

    Args:
        held: Java's objects to keep alive as well; the tables are kept by being watched.
        on_change: called in each cycle in which a table changes, unless paused; on the engine's threads, as is
        on_failure: gets Java's stack trace.
    """

    def __init__(
        self,
        engine: Engine,
        j_tables: Iterable[Any],
        on_change: Callable[[], None],
        on_failure: Callable[[str], None],
        held: Iterable[Any] = (),
    ) -> None:
        self._engine, self._on_change, self._on_failure = engine, on_change, on_failure
        self._watched: dict[Any, Listening] = {}
        self._scope = engine.new_scope()
        self.paused = False
        try:
            for referent in held:
                self._scope.manage(referent)
            self.follow(j_tables)
        except BaseException:
            self.close()
            raise

    def follow(self, j_tables: Iterable[Any]) -> None:
        """Watch these tables, and those that were watched and are not among them no more.

        Raises:
            Exception: one of them has failed already, or is of another update graph.
        """
        wanted = dict.fromkeys(j_tables)
        for j_table in [each for each in self._watched if each not in wanted]:
            self._watched.pop(j_table).close()
        for j_table in wanted:
            if j_table not in self._watched:
                made = self._watched[j_table] = Listening(self._engine, j_table, self._on_change, self._on_failure)
                if self.paused:
                    made.pause()

    def pause(self) -> None:
        """Tell no changes for a while."""
        for listening in self._watched.values():
            listening.pause()
        self.paused = True

    def resume(self) -> None:
        """Tell changes again; not those that have been meanwhile.

        Raises:
            Exception: the engine lets nobody listen to a table that has failed.
        """
        if self.paused:
            for listening in self._watched.values():
                listening.resume()
        self.paused = False

    def close(self) -> None:
        """Watch nothing any more, and let go of all that was held."""
        while self._watched:
            self._watched.popitem()[1].close()
        self._scope.release()


class Listening:
    """The listeners of one table, and the scope that holds them and the table."""

    def __init__(self, engine: Engine, j_table: Any, on_change: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        create = engine.jpy.get_type(_ADAPTER).create
        self._j_table, self._scope, self._listens = j_table, engine.new_scope(), False
        name = "dh-kernel live output"

        def failed(trace: object) -> None:
            on_failure(str(trace))

        try:
            with engine.cell_context(self._scope):
                self._silent = _without_rows(engine.jpy, j_table)
                self._of_failure = create(name, self._silent, False, lambda update, replay: None, failed, [])
                self._silent.addUpdateListener(self._of_failure)
                self._of_change = create(name, j_table, False, lambda update, replay: on_change(), failed, [])
                self.resume()
        except BaseException:
            self._scope.release()
            raise

    def pause(self) -> None:
        """Take the listener for changes off."""
        self._j_table.removeUpdateListener(self._of_change)
        self._listens = False

    def resume(self) -> None:
        """Put it back."""
        if not self._listens:
            self._j_table.addUpdateListener(self._of_change)
            self._listens = True

    def close(self) -> None:
        """Take both off, and let go of the table."""
        self._j_table.removeUpdateListener(self._of_change)
        self._silent.removeUpdateListener(self._of_failure)
        self._scope.release()


def _without_rows(jpy: Any, j_table: Any) -> Any:
    """A table that fails when this one does, and does nothing else: not even its rows' keys shift, as they are none."""
    table = jpy.get_type("io.deephaven.engine.table.Table")
    narrow = jpy.cast(j_table, table).view(jpy.array("java.lang.String", []))
    return jpy.cast(jpy.cast(narrow, table).where(jpy.get_type(_FILTER).INSTANCE), table).flatten()
