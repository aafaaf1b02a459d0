"""One execute request from its code to its outcome: run it, show what it assigned, tell other clients.

Neighbours: `interpreter` (runs the code), `outputs` (shows), `tables`, `scope`. Refuses to know threads and frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine
from typing import Any

from .cells import Cell, Outcome
from .dh_magic import console_cell, exclusively
from .display import forget_figure, open_figures
from .engine import Engine
from .forks import end_child, keep_from_collecting
from .interpreter import Evaluation, Interpreter, ends_quietly
from .outputs import Outputs, Shown
from .ownership import Ownership
from .scope import ScopeObserver, worth_telling
from .tracebacks import format_error, safe_text

_MOST_NAMED = 10


class Evaluator:
    """Evaluates one session's cells. `interpreter` may be replaced before the first one."""

    def __init__(
        self,
        namespace: dict[str, Any],
        interpreter: Interpreter,
        outputs: Outputs,
        scope_observer: ScopeObserver,
        engine: Engine,
        own_files: tuple[str, ...],
        ownership: Ownership | None,
    ) -> None:
        self.interpreter = interpreter
        self._namespace, self._outputs, self._tables = namespace, outputs, outputs.tables
        self._ownership = ownership
        self._scope_observer, self._engine, self._own_files = scope_observer, engine, own_files
        keep_from_collecting()

    async def run(self, cell: Cell, message: dict[str, Any]) -> Outcome:
        """Run a cell; its outcome."""
        return await self.guard(self._evaluate(cell, message))

    async def guard(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """The outcome of some work. Whatever goes wrong, there is one; only interrupts come through."""
        try:
            return await work
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:  # such as a RecursionError of IPython's own, on deeply nested source
            traceback = format_error(error, self._own_files)
            return {"status": "error", "ename": type(error).__name__, "evalue": safe_text(error), "traceback": traceback}

    async def _evaluate(self, cell: Cell, message: dict[str, Any]) -> Outcome:
        if cell.lane is None:
            self._outputs.last_cell = cell
        before = dict(self._namespace)
        shown = self._to_show(cell, message, before)
        console_code = console_cell(message["code"])
        with exclusively() if console_code is not None else contextlib.nullcontext():
            evaluation = await self._run_here(
                message["code"] if console_code is None else console_code, cell, shown, store=message["store_history"]
            )
        expressions: dict[str, Any] = {}
        if evaluation.error is None or "exit_code" in evaluation.error:  # `sys.exit()` is one of a script's good ends
            try:
                self._show_assigned(cell, shown)
                self._tell_left_out(cell, shown)
                if not cell.is_program:
                    self._show_figures(cell)
                if evaluation.error is None:
                    expressions = self.interpreter.expressions(message["user_expressions"])
            except Exception as error:
                evaluation.error, evaluation.exception = self.interpreter.describe(error), error
        self._outputs.drain()
        self._note_changes(message["code"], before)
        if cell.headless and not cell.silent and self._outputs.live is not None:
            self._outputs.live.flush(cell)  # the program may end the kernel next, and looks at nothing behind a cell's reply
        if evaluation.error is not None:
            return {"status": "error", **self._as_interrupt(cell, evaluation), "payload": evaluation.payload}
        return {"status": "ok", "user_expressions": expressions, "payload": evaluation.payload}

    async def _run_here(self, code: str, cell: Cell, shown: _Shown, *, store: bool) -> Evaluation:
        """Run the code. A process that it forks ends here."""
        process = os.getpid()

        def show(value: object) -> None:
            if os.getpid() == process:
                self._show_result(cell, shown, value)

        try:
            evaluation = await self.interpreter.run(code, cell, store=store, on_result=show)
        except BaseException as error:
            if os.getpid() != process:
                end_child(error, format_error(error, self._own_files))
            raise
        if os.getpid() != process:
            error_shown = evaluation.error or {}
            end_child(evaluation.exception, error_shown.get("traceback", ()), error_shown.get("exit_code"))
        return evaluation

    def _to_show(self, cell: Cell, message: dict[str, Any], before: dict[str, Any]) -> _Shown:
        """What the cell is to show of its tables. A `;` at its end hushes them, as it hushes a result."""
        wanted = message["show_tables"] and not cell.silent and not ends_quietly(message["code"])
        return _Shown(before, wanted)

    def _note_changes(self, code: str, before: dict[str, Any]) -> None:
        """Let other clients see the tables and other objects that the cell bound or replaced."""
        names = self._namespace
        gone = [value for name, value in before.items() if names.get(name) is not value]
        new = {name: value for name, value in list(names.items()) if before.get(name, self) is not value}
        if self._ownership is not None:
            self._ownership.note(code, new)
        if worth_telling(gone) or worth_telling(new.values()):
            replaced = [value for value in gone if self._tables.is_refreshing(value)]
            if self._outputs.live is not None:
                self._outputs.live.released(value for value in replaced if self._outputs.name_of(value) is None)
            self._scope_observer.changed(replaced)

    def _show_assigned(self, cell: Cell, shown: _Shown, result: object = None) -> None:
        """The tables that the cell has assigned and that have not been shown yet."""
        preferences = self._outputs.preferences
        if not shown.tables or not preferences.show_tables:
            return
        for name, table in self._tables.assigned(shown.before, self._namespace, self.interpreter.names):
            if table is result or not shown.first_time(table):
                continue
            if shown.count < preferences.max_tables:
                shown.count += 1
                self._outputs.table(cell, table, name, Shown(assigned=True))
            else:
                shown.left_out.append(name)

    def _tell_left_out(self, cell: Cell, shown: _Shown) -> None:
        """One line for the tables that are too many."""
        names = shown.left_out
        if names:
            some = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
            more = "more table" if len(names) == 1 else "more tables"
            text = f"{len(names):,} {more} assigned: {some}. `%dh show NAME` shows one, `%dh set max_tables N` more of them."
            self._outputs.display(cell, ({"text/plain": text}, {}))

    def _show_figures(self, cell: Cell) -> None:
        for figure in open_figures():
            self._outputs.display(cell, self.interpreter.bundle(figure))

    def _show_result(self, cell: Cell, shown: _Shown, value: object) -> None:
        """The trailing expression's value, behind the assigned tables; a table that is both shows once."""
        self._show_assigned(cell, shown, value)
        if self._tables.as_shown(value) is not None:
            shown.first_time(value)
            self._outputs.table(cell, value, self._outputs.name_of(value), Shown(result=True))
            return
        bundle = self._outputs.bundle(value)
        forget_figure(value)
        self._outputs.result(cell, bundle)

    def _as_interrupt(self, cell: Cell, evaluation: Evaluation) -> dict[str, Any]:
        """The error; what an interrupt became on its way becomes the KeyboardInterrupt that the user expects."""
        assert evaluation.error is not None
        error = evaluation.exception
        assert error is not None
        if cell.zone is None or not cell.zone.interrupted or isinstance(error, KeyboardInterrupt):
            return evaluation.error
        if isinstance(error, asyncio.CancelledError):
            text = "interrupted while the cell was awaiting something"
        elif self._engine.is_interruption(error):
            text = "interrupted while the engine was at work"
        else:
            return evaluation.error
        lines = [*evaluation.error["traceback"], f"KeyboardInterrupt: {text}"]
        return {"ename": "KeyboardInterrupt", "evalue": text, "traceback": lines}


class _Shown:
    """What a cell has shown of its tables so far."""

    def __init__(self, before: dict[str, Any], tables: bool) -> None:
        self.before, self.tables = before, tables
        self._seen: set[int] = set()
        self.count = 0
        self.left_out: list[str] = []

    def first_time(self, table: object) -> bool:
        """Note a table; whether it is new. Told by identity: the namespace keeps those of one cell alive."""
        if id(table) in self._seen:
            return False
        self._seen.add(id(table))
        return True
