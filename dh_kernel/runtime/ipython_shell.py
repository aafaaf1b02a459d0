"""Cells by IPython, where the server's Python has it: magics, `!`, `?`, top-level await, `_`, display formatters, tracebacks.

Neighbours: `session` (calls it on the cell's thread), `front` (finds the calling thread's cell). The plain wrapper of
`interpreter` has the same methods. IPython is imported when the interpreter is built, never before.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core import interactiveshell, page, payloadpage
from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.payload import PayloadManager
from traitlets import Any as AnyTrait
from traitlets import Type
from traitlets.config import Config

from . import front
from .facade import KernelFacade
from .interpreter import ASYNC_WORDS, Evaluation, Request, bound_names
from .tracebacks import safe_text, without_own_frames


class _Run(threading.local):
    """What belongs to the calling thread's cell: cells of several subshells share one shell."""

    request: Any = None
    names: dict[str, bool]
    on_result: Any = None
    shown_traceback: Any = None
    payload: list[dict[str, Any]]

    def __init__(self) -> None:
        self.begin(None, None)

    def begin(self, request: Request | None, on_result: Callable[[object], None] | None) -> None:
        self.request, self.on_result = request, on_result
        self.names, self.shown_traceback, self.payload = {}, None, []


_run = _Run()


class _Hook(DisplayHook):  # type: ignore[misc]
    """The value of a trailing expression goes to the session, which knows tables."""

    @property
    def prompt_count(self) -> int:
        """The number of the calling thread's cell."""
        return _run.request.count if _run.request is not None else int(self.shell.execution_count)

    def __call__(self, result: Any = None) -> None:
        self.check_for_underscore()
        if result is None or self.quiet() or _run.on_result is None:
            return
        self.update_user_ns(result)
        self.fill_exec_result(result)
        _run.on_result(result)


class _Payloads(PayloadManager):  # type: ignore[misc]
    """The payload of the calling thread's cell."""

    def write_payload(self, data: Any, single: bool = True) -> None:
        if single:
            _run.payload = [part for part in _run.payload if part.get("source") != data.get("source")]
        _run.payload.append(data)

    def read_payload(self) -> Any:
        return _run.payload

    def clear_payload(self) -> None:
        _run.payload = []


class _Compiler(CachingCompiler):  # type: ignore[misc]
    """Tells a cell under which file name it is compiled."""

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        name = str(super().cache(transformed_code, number, raw_code))
        if _run.request is not None:
            _run.request.compiled(name)
        return name


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
    compiler_class = Type(_Compiler)
    own_files = AnyTrait()
    kernel = AnyTrait()

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(payloadpage.page), 99)

    def init_payload(self) -> None:
        self.payload_manager = _Payloads(parent=self)
        self.configurables.append(self.payload_manager)

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
        _run.names = bound_names(node)
        return super().transform_ast(node)

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        etype, value, tb = super()._get_exc_info(exc_tuple)
        return etype, value, without_own_frames(tb, self.own_files)

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        lines = [str(line) for line in stb]
        if not self._ends_cell():
            front.publish_error({"ename": etype.__name__, "evalue": safe_text(evalue), "traceback": lines})
        else:
            _run.shown_traceback = lines

    @staticmethod
    def _ends_cell() -> bool:
        """Whether this is the error that ends the cell, which its reply shows; else users' code or a widget shows one."""
        frame, direct, runs = sys._getframe(1), True, 0
        while frame is not None:
            if frame.f_code.co_filename == interactiveshell.__file__:
                runs += frame.f_code.co_name == "run_cell_async"
                direct &= frame.f_code.co_name != "safe_execfile"
            elif frame.f_code.co_filename != __file__ and not runs:
                direct = False
            frame = frame.f_back  # type: ignore[assignment]
        return direct and runs == 1

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
        self._shell.kernel = KernelFacade(self._shell)
        self._shell.display_formatter.ipython_display_formatter.for_type(table_class, show_table)
        self._shell.configurables.append(self._shell.display_formatter)

    def awaits(self, code: str) -> bool:
        """Whether a cell may suspend."""
        if not ASYNC_WORDS.search(code):
            return False
        try:
            return bool(self._shell.should_run_async(code, transformed_cell=self._shell.transform_cell(code)))
        except Exception:  # a transformer's, or a SyntaxError: running the cell tells it
            return False

    async def run(self, code: str, request: Request, *, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run one cell. A failing cell is a result."""
        _run.begin(request, None if request.silent else on_result)
        self._shell.execution_count = request.count
        try:
            result = await self._run(code, store, request.silent)
        except Exception as failure:  # IPython's own, such as a RecursionError on source that is nested very deep
            return Evaluation(assigned=list(_run.names), exception=failure, error=self.describe(failure))
        evaluation = Evaluation(assigned=list(_run.names), payload=_run.payload)
        error = result.error_before_exec or result.error_in_exec if result is not None else None
        if error is not None:
            evaluation.exception, evaluation.error = error, self._described(error)
        return evaluation

    async def _run(self, code: str, store: bool, silent: bool) -> Any:
        shell = self._shell
        if not self.awaits(code):
            return shell.run_cell(code, store_history=store, silent=silent)
        # As `run_cell` does, but on the loop that runs already.
        result = None
        try:
            transformed = shell.transform_cell(code)
            result = await shell.run_cell_async(code, store_history=store, silent=silent, transformed_cell=transformed)
        finally:
            shell.events.trigger("post_execute")
            if not silent:
                shell.events.trigger("post_run_cell", result)
        return result

    @property
    def names(self) -> dict[str, bool]:
        """The names that the calling thread's cell binds at its top level, as `bound_names` tells them."""
        return dict(_run.names)

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
        shown = _run.shown_traceback
        if shown is None:
            return self.describe(error)
        return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": shown}
