"""Cells by IPython, where the server's Python has it: magics, `!`, `?`, top-level await, `_`, display formatters, tracebacks.

Neighbours: `session` (calls it on the cell's thread), `front` (finds the calling thread's cell). The plain wrapper of
`interpreter` has the same methods. IPython is imported when the interpreter is built, never before.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core import page, payloadpage
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Any as AnyTrait
from traitlets import Type
from traitlets.config import Config

from . import front
from .interpreter import Evaluation, bound_names
from .tracebacks import safe_text, without_own_frames


class _Hook(DisplayHook):  # type: ignore[misc]
    """The value of a trailing expression goes to the session, which knows tables."""

    on_result: Any = None

    def __call__(self, result: Any = None) -> None:
        self.check_for_underscore()
        if result is None or self.quiet() or self.on_result is None:
            return
        self.update_user_ns(result)
        self.fill_exec_result(result)
        self.on_result(result)


class _Publisher(DisplayPublisher):  # type: ignore[misc]
    """`IPython.display` goes to the calling thread's cell."""

    def publish(self, data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **more: Any) -> None:
        front.publish(data, metadata or {}, (transient or {}).get("display_id"), update)

    def clear_output(self, wait: bool = False) -> None:
        front.clear_output(wait)


class _Shell(InteractiveShell):  # type: ignore[misc]
    """An interactive shell on the console's namespace, without terminal, history file and sockets."""

    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)
    names = AnyTrait()
    own_files = AnyTrait()
    shown_traceback = AnyTrait()

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(payloadpage.page), 99)

    def enable_gui(self, gui: Any = None) -> None:
        """`%matplotlib inline` asks for no event loop, and there is no other to give."""
        if gui not in (None, "inline", "agg"):
            print(f"The event loop of {gui!r} cannot run in a server; figures are shown inline.", file=sys.stderr)

    def ask_exit(self) -> None:
        """`exit` asks the front end to end the kernel, as in ipykernel."""
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": self.keepkernel_on_exit})

    keepkernel_on_exit = None

    def set_next_input(self, s: str, replace: bool = False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": s, "replace": replace})

    def transform_ast(self, node: Any) -> Any:
        self.names = bound_names(node)
        return super().transform_ast(node)

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        etype, value, tb = super()._get_exc_info(exc_tuple)
        return etype, value, without_own_frames(tb, self.own_files)

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.shown_traceback = [str(line) for line in stb]

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """IPython keeps all text that cells write, for `%history`; that would keep 50 MB of output in memory."""
        yield


class IPythonInterpreter:
    """Runs cells with an IPython shell of ours. One per process: `get_ipython()` and IPython's display functions find it."""

    def __init__(
        self,
        namespace: dict[str, Any],
        own_files: tuple[str, ...],
        show_table: Callable[[object], None],
        table_class: type,
    ) -> None:
        module = sys.modules["__main__"]
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.autocall = 0
        self._shell: Any = _Shell.instance(
            config=config, user_module=module if vars(module) is namespace else None, user_ns=namespace
        )
        self._shell.own_files = self._own_files = own_files
        self._shell.display_formatter.ipython_display_formatter.for_type(table_class, show_table)
        self._shell.configurables.append(self._shell.display_formatter)

    def run(self, code: str, count: int, *, silent: bool, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run one cell. A failing cell is a result."""
        shell = self._shell
        shell.execution_count, shell.names, shell.shown_traceback = count, {}, None
        shell.payload_manager.clear_payload()
        shell.displayhook.on_result = None if silent else on_result
        try:
            result = shell.run_cell(code, store_history=store, silent=silent)
        except Exception as failure:  # IPython's own, such as a RecursionError on source that is nested very deep
            return Evaluation(assigned=list(shell.names), exception=failure, error=self.describe(failure))
        evaluation = Evaluation(assigned=list(shell.names), payload=shell.payload_manager.read_payload())
        error = result.error_before_exec or result.error_in_exec if result is not None else None
        if error is not None:
            evaluation.exception, evaluation.error = error, self._described(error)
        return evaluation

    @property
    def names(self) -> dict[str, bool]:
        """The names that the running cell binds at its top level, as `bound_names` tells them."""
        return dict(self._shell.names)

    def describe(self, error: BaseException) -> dict[str, Any]:
        """An exception as Jupyter's `ename`, `evalue`, `traceback`."""
        tb = without_own_frames(error.__traceback__, self._own_files)
        lines = self._shell.InteractiveTB.structured_traceback(type(error), error, tb)
        return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": [str(line) for line in lines]}

    def bundle(self, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Data and metadata by IPython's formatters, those that users registered included."""
        data, metadata = self._shell.display_formatter.format(value)
        return dict(data), dict(metadata)

    def expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """The values of `user_expressions`."""
        return dict(self._shell.user_expressions(expressions))

    def _described(self, error: BaseException) -> dict[str, Any]:
        shown = self._shell.shown_traceback
        if shown is None:
            return self.describe(error)
        return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": shown}
