"""A script run as `python script.py` runs it, in place of a cell: its own name in tracebacks, its arguments, its exit code.

Neighbours: `session` (uses this for requests whose metadata names a program), `interpreter` (its pieces), `streams` (whose
threads are whose). Refuses to know streams and frames. Source: Python's documentation, "Command line and environment".

The kernel hands the metadata on that the front end sent with the request:

    {"dh_kernel": {"program": {"file": absolute name or "<string>", "arguments": [argv[0], ...], "folder": for sys.path[0]}}}

On a server that others use too `sys.argv` and `sys.path` stay what they are: they belong to the process.
"""

from __future__ import annotations

import ast
import concurrent.futures.thread
import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .display import Bundle
from .forks import exit_code
from .interpreter import ASYNC_WORDS, Evaluation, Interpreter, Request, bound_names
from .lanes import no_loop_around
from .stand_ins import redirected, without_magics
from .stdin import FrontEndInput, inherited
from .streams import Switchboard
from .tracebacks import format_error, remember_source, safe_text

_LOOK_S = 0.05  # how long a wait may last before Python gets a chance to deliver an interrupt
_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_EXECUTOR_THREADS: Any = getattr(concurrent.futures.thread, "_threads_queues", ())


@dataclass(frozen=True)
class Program:
    """What a request says of the script. `file` has no directory where the code comes from `-c` or stdin."""

    file: str
    arguments: tuple[str, ...]
    folder: str

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> Program | None:
        """The program of a request's metadata; None for a cell."""
        found = (metadata.get("dh_kernel") or {}).get("program")
        if not found:
            return None
        return cls(str(found["file"]), tuple(map(str, found["arguments"])), str(found["folder"]))


class ProgramInterpreter:
    """Runs one program. What it shows is made by the session's own interpreter."""

    def __init__(
        self,
        program: Program,
        namespace: dict[str, Any],
        shown_by: Callable[[], Interpreter],
        switchboard: Switchboard,
        own_files: tuple[str, ...],
        *,
        launched: bool,
    ) -> None:
        self.names: dict[str, bool] = {}
        self._program, self._namespace, self._shown_by = program, namespace, shown_by
        self._switchboard, self._own_files, self._launched = switchboard, own_files, launched

    def awaits(self, code: str) -> bool:
        """Whether the program awaits something at its top level."""
        if not ASYNC_WORDS.search(code):
            return False
        try:
            return bool(compile(code, "<program>", "exec", _AWAIT, dont_inherit=True).co_flags & inspect.CO_COROUTINE)
        except (SyntaxError, ValueError):
            return False

    async def run(self, code: str, request: Request, *, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run the program, and wait for the threads that it leaves, as Python does at its end."""
        evaluation = Evaluation()
        try:
            with self._as_by_python(request), self._own_stdin(request):
                self._enter()
                try:
                    value = await self._run_module(code, request)
                    if value is not None:
                        on_result(value)
                finally:
                    self._join_threads(request)
        except BaseException as error:
            evaluation.error, evaluation.exception = self.describe(error), error
        evaluation.assigned = list(self.names)
        return evaluation

    def describe(self, error: BaseException) -> dict[str, Any]:
        """An exception as Jupyter's `ename`, `evalue`, `traceback`; with `exit_code` where it ends a program on purpose."""
        described = {"ename": type(error).__name__, "evalue": safe_text(error)}
        if isinstance(error, SystemExit):
            return {**described, "traceback": [], "exit_code": exit_code(error)}
        return {**described, "traceback": format_error(error, self._own_files)}

    def bundle(self, value: object) -> Bundle:
        """Data and metadata of an object."""
        return self._shown_by().bundle(value)

    def expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """The values of `user_expressions`."""
        return self._shown_by().expressions(expressions)

    def standing_aside(self) -> contextlib.AbstractContextManager[None]:
        """Nothing of this one's own is to be found."""
        return contextlib.nullcontext()

    def keep_lines(self, keep: bool) -> None:
        """They always do."""

    def close(self) -> None:
        """Nothing is kept."""

    def _enter(self) -> None:
        """The names and paths that a script finds."""
        program = self._program
        self._namespace["__doc__"] = None
        for name in ("__file__", "__cached__"):
            self._namespace.pop(name, None)
        if not program.file.startswith("<"):
            self._namespace.update(__file__=program.file, __cached__=None)
        if self._launched:
            sys.argv[:] = program.arguments
            sys.path[:1] = [program.folder]

    @contextlib.contextmanager
    def _as_by_python(self, request: Request) -> Iterator[None]:
        """Without the kernel's shell and, unless the program awaits something itself, without the loop around cells."""
        cell: Any = request
        loop = contextlib.nullcontext() if cell.suspends else no_loop_around()
        with self._shown_by().standing_aside(), loop, _own_streams():
            yield

    @contextlib.contextmanager
    def _own_stdin(self, request: Request) -> Iterator[None]:
        """The script's standard input, where the front end hands it out; `sys.stdin` belongs to it in its own process."""
        cell: Any = request
        if cell.reads_stdin and cell.allow_stdin:
            cell.stdin = FrontEndInput(lambda size: bytes(cell.front.read_stdin(cell, size)))
        if not self._launched:
            yield
            return
        former = sys.stdin
        sys.stdin = cell.stdin or open(0, closefd=False)  # noqa: SIM115 - `exit()` closes it: it must not be the process's
        try:
            with inherited(cell.cell_meta["dh_kernel"].get("stdin") if cell.stdin is not None else None):
                yield
        finally:
            sys.stdin = former

    async def _run_module(self, code: str, request: Request) -> object:
        file = self._program.file
        tree, source = _parsed(code, file)
        remember_source(file, source)
        request.compiled(file)
        cell: Any = request
        self._switchboard.remember_names(self._namespace, cell)
        self.names = bound_names(tree)
        if source != code:  # IPython's magics, as calls of its shell
            redirected(tree, self._namespace)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        flags = _AWAIT
        if tree.body:
            compiled = compile(tree, file, "exec", flags, dont_inherit=True)
            flags |= compiled.co_flags & _FUTURE_FLAGS
            await self._execute(compiled)
        if last is None:
            return None
        assert isinstance(last, ast.Expr)
        return await self._execute(compile(ast.Expression(last.value), file, "eval", flags, dont_inherit=True))

    async def _execute(self, code: Any) -> object:
        result = eval(code, self._namespace)
        return await result if code.co_flags & inspect.CO_COROUTINE else result

    def _join_threads(self, request: Request) -> None:
        """Not those of executors that were not shut down: they wait for work for ever, until the interpreter ends."""
        while threads := [thread for thread in threading.enumerate() if self._is_waited_for(thread, request)]:
            for thread in threads:  # which may start others
                while thread.is_alive():
                    thread.join(_LOOK_S)

    def _is_waited_for(self, thread: threading.Thread, request: Request) -> bool:
        owner: object = self._switchboard.by_thread_object.get(thread)
        own = owner is request and thread is not threading.current_thread()
        return own and thread.is_alive() and not thread.daemon and thread not in _EXECUTOR_THREADS


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """What the program puts in the place of `sys.stdout` and `sys.stderr` is flushed at its end, and gone with it."""
    former = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    try:
        yield
    finally:
        for name, stream in former.items():
            if (own := getattr(sys, name, None)) is not stream:
                with contextlib.suppress(Exception):  # such as that it is closed
                    own.flush()  # type: ignore[union-attr]
                setattr(sys, name, stream)


def _parsed(code: str, file: str) -> tuple[ast.Module, str]:
    """The tree and its source; what is no Python may be IPython's magics."""
    try:
        return compile(code, file, "exec", _AWAIT | ast.PyCF_ONLY_AST, dont_inherit=True), code
    except SyntaxError:
        source = without_magics(code)
        if source == code:
            raise
        return compile(source, file, "exec", _AWAIT | ast.PyCF_ONLY_AST, dont_inherit=True), source


def _all_future_flags() -> int:
    import __future__

    flags = 0
    for name in __future__.all_feature_names:
        flags |= int(getattr(__future__, name).compiler_flag)
    return flags


_FUTURE_FLAGS = _all_future_flags()
