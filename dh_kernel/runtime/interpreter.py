"""The plain eval/exec wrapper: the statements of a cell, then its trailing expression, in the console's globals.

Neighbours: `session` (calls it on the cell's thread), `tracebacks`, `stand_ins` (IPython's names and magics). Refuses to know
streams, frames and tables. It needs the standard library only; `ipython_shell` stands in its place, behind the same methods,
where the server has IPython.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import io
import re
import threading
import tokenize
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .display import Bundle, mime_bundle
from .session_names import LAST_INPUTS, LAST_RESULTS, SessionNames
from .stand_ins import redirected, without_magics
from .tracebacks import cell_file_name, format_error, remember_source, safe_text

ASYNC_WORDS = re.compile(r"\b(?:await|async)\b")
_HELP = re.compile(r"^\s*(\?{1,2})?\s*([A-Za-z_][\w.]*)\s*(\?{1,2})?\s*$")
_QUIT = {"exit", "quit", "exit()", "quit()"}
_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.IfExp, ast.BoolOp)


@dataclass
class Evaluation:
    """What a cell did: the names `assigned` at its top level, its error, and the payload of its reply."""

    assigned: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    payload: list[dict[str, Any]] = field(default_factory=list)
    exception: BaseException | None = None


class Request(Protocol):
    """What an interpreter wants to know of a cell."""

    count: int
    silent: bool
    cell_meta: dict[str, Any]

    def compiled(self, file: str) -> None:
        """The cell's code has been compiled under this file name."""


class Interpreter(Protocol):
    """Whatever runs cells: the plain wrapper, or IPython's shell."""

    @property
    def names(self) -> dict[str, bool]:
        """The names that the running cell binds at its top level, as `bound_names` tells them."""

    def awaits(self, code: str) -> bool:
        """Whether a cell may suspend: it then has to run as a task of the lane's loop."""

    async def run(self, code: str, request: Request, *, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run one cell."""

    def describe(self, error: BaseException) -> dict[str, Any]:
        """An exception as Jupyter's `ename`, `evalue`, `traceback`."""

    def bundle(self, value: object) -> Bundle:
        """Data and metadata of an object."""

    def expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """The values of `user_expressions`."""

    def standing_aside(self) -> contextlib.AbstractContextManager[None]:
        """For the time of a program: what cells find of the interpreter's own is not there."""

    def keep_lines(self, keep: bool) -> None:
        """Whether lines count as in the cell's source, also behind empty ones at its start."""

    def close(self) -> None:
        """The session has ended: let go of results and inputs."""


class PlainInterpreter:
    """Runs cells with the standard library alone."""

    def __init__(self, namespace: dict[str, Any], session_id: str, own_files: tuple[str, ...]) -> None:
        self.namespace = namespace
        self.bound: set[str] = set()
        """The names that cells have bound."""
        self.last_error: BaseException | None = None
        self._inputs, self._outputs = [""], dict[int, Any]()
        self._own_names = SessionNames(namespace, (*LAST_RESULTS, *LAST_INPUTS, "In", "Out"))
        self._here = threading.local()
        self._session_id, self._own_files = session_id, own_files
        self._future_flags = 0

    @property
    def names(self) -> dict[str, bool]:
        """The names that the calling thread's cell binds at its top level, as `bound_names` tells them."""
        names: dict[str, bool] = getattr(self._here, "names", {})
        return names

    def awaits(self, code: str) -> bool:
        """Whether a cell may suspend."""
        if not ASYNC_WORDS.search(code):
            return False
        try:
            compiled = compile(without_magics(code), "<cell>", "exec", self._flags, dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        return bool(compiled.co_flags & inspect.CO_COROUTINE)

    async def run(self, code: str, request: Request, *, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run one cell. A failing cell is a result: only an interrupt outside the user's code comes through.

        Args:
            on_result: called with the trailing expression's value unless it is None, hushed by `;`, or the cell is silent.
        """
        self._here.names = {}
        if code.strip() in _QUIT:
            return Evaluation(payload=[{"source": "ask_exit", "keepkernel": False}])
        if (page := self._help(code)) is not None:
            return Evaluation(payload=[page])
        self._begin(code, request.count, store=store)
        evaluation = Evaluation()
        file_name = cell_file_name(request.count, self._session_id)
        try:
            source = without_magics(_sendable_source(code))
            remember_source(file_name, source)
            request.compiled(file_name)
            value = await self._run_module(source, file_name)
            if value is not None and not request.silent and not ends_quietly(source):
                if store:
                    self._store(value, request.count)
                on_result(value)
        except BaseException as error:
            evaluation.error = self.describe(error)
            evaluation.exception = self.last_error = error
        evaluation.assigned = list(self.names)
        return evaluation

    def describe(self, error: BaseException) -> dict[str, Any]:
        """An exception as Jupyter's `ename`, `evalue`, `traceback`."""
        traceback = format_error(error, self._own_files)
        return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": traceback}

    def bundle(self, value: object) -> Bundle:
        """Data and metadata by the display protocol."""
        return mime_bundle(value)

    def expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """The values of `user_expressions`, each with a status of its own."""
        results: dict[str, Any] = {}
        for name, expression in expressions.items():
            try:
                code = compile(expression, "<user expression>", "eval", self._future_flags, dont_inherit=True)
                data, metadata = mime_bundle(eval(code, self.namespace))
                results[name] = {"status": "ok", "data": data, "metadata": metadata}
            except Exception as error:
                results[name] = {"status": "error", **self.describe(error)}
        return results

    def standing_aside(self) -> contextlib.AbstractContextManager[None]:
        """Take the session's names out of the namespace."""
        held = [*self._inputs, *self._outputs.values(), self._inputs, self._outputs]
        found = {name: self.namespace.get(name) for name in self._own_names.names}
        return self._own_names.set_aside({name: value for name, value in found.items() if any(value is each for each in held)})

    def keep_lines(self, keep: bool) -> None:
        """They always do."""

    async def _run_module(self, source: str, file_name: str) -> object:
        """Run the statements; the value of the trailing expression, None if there is none."""
        tree = compile(source, file_name, "exec", self._flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        self._here.names = bound_names(tree)
        self.bound |= defined_names(tree)
        redirected(tree, self.namespace)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if tree.body:
            await self._execute(compile(tree, file_name, "exec", self._flags, dont_inherit=True))
            self._future_flags |= _future_flags_of(tree)
        if not isinstance(last, ast.Expr):
            return None
        return await self._execute(compile(ast.Expression(last.value), file_name, "eval", self._flags, dont_inherit=True))

    @property
    def _flags(self) -> int:
        return self._future_flags | _TOP_LEVEL_AWAIT

    async def _execute(self, code: Any) -> object:
        result = eval(code, self.namespace)
        return await result if code.co_flags & inspect.CO_COROUTINE else result

    def _begin(self, code: str, count: int, *, store: bool) -> None:
        """Put the session's `_`, `In`, `Out` … in place, and keep the input."""
        self._own_names.enter()
        names = self.namespace
        names["In"], names["Out"] = self._inputs, self._outputs
        if store:
            self._inputs.extend([""] * (count - len(self._inputs)))
            self._inputs[count:] = [code]
            names["_iii"], names["_ii"], names["_i"] = names.get("_ii", ""), names.get("_i", ""), self._inputs[count - 1]
            names[f"_i{count}"] = code
            self._own_names.note_numbered(f"_i{count}")

    def _store(self, value: object, count: int) -> None:
        names = self.namespace
        if value is self._outputs:
            return
        if "__" in names:
            names["___"] = names["__"]
        if "_" in names:
            names["__"] = names["_"]
        names["_"] = names[f"_{count}"] = self._outputs[count] = value
        self._own_names.note_numbered(f"_{count}")

    def close(self) -> None:
        """The session has ended: let go of results and inputs."""
        self._own_names.close()
        self._outputs.clear()
        self.last_error = None

    def _help(self, code: str) -> dict[str, Any] | None:
        match = _HELP.match(code)
        if match is None or not (match[1] or match[3]) or "\n" in code.strip():
            return None
        from .introspection import inspect_name

        text = inspect_name(self.namespace, match[2], detailed="??" in (match[1], match[3]))
        return {"source": "page", "data": {"text/plain": text or f"Object `{match[2]}` not found."}, "start": 0}


def assigned_names(tree: ast.Module) -> list[str]:
    """The names that a cell binds at its top level, in the order of their last binding, loops and `with` blocks included."""
    return list(bound_names(tree))


def defined_names(tree: ast.Module) -> set[str]:
    """All names that a cell binds at its top level: also those of functions, classes and imports."""
    names = set(bound_names(tree))
    blocks: list[ast.AST] = [tree]
    while blocks:
        for node in ast.iter_child_nodes(blocks.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                blocks.append(node)
    return names


def bound_names(tree: ast.Module) -> dict[str, bool]:
    """As `assigned_names`; True for a name that is bound whenever the cell runs to its end, False for one in a branch."""
    names: dict[str, bool] = {}
    nested = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

    def visit(node: ast.AST, surely: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                names[child.id] = names.pop(child.id, False) or surely
            elif not isinstance(child, (*nested, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
                visit(child, surely and not isinstance(child, _BRANCHES))

    visit(tree, True)
    return names


def _future_flags_of(tree: ast.Module) -> int:
    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                feature = getattr(__future__, alias.name, None)
                flags |= feature.compiler_flag if feature is not None else 0
    return flags


def _sendable_source(code: str) -> str:
    # compile() says "source code string cannot contain null bytes" and "surrogates not allowed"; neither names the place.
    for what, found in (("a NUL character", code.find("\0")), ("a lone surrogate", _surrogate(code))):
        if found >= 0:
            line = code.count("\n", 0, found) + 1
            raise SyntaxError(f"line {line} of the cell holds {what}, which Python source cannot; delete it")
    return code


def _surrogate(code: str) -> int:
    try:
        code.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return -1


def ends_quietly(source: str) -> bool:
    """Whether the last thing in a cell is a `;`."""
    if ";" not in source[-200:]:
        return False
    last = ""
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in (tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER):
                last = token.string
    return last == ";"
