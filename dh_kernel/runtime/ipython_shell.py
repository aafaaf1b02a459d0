"""Cells by IPython, where the server's Python has it: magics, `!`, `?`, top-level await, `_`, display formatters, tracebacks.

Neighbours: `session` (calls it on the cell's thread), `front` (finds the calling thread's cell), `ipython_current` (finds a
cell's shell), `ipython_profile`, `ipython_magics`. The plain wrapper of `interpreter` has the same methods. IPython is
imported when the interpreter is built, never before.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core import interactiveshell, page, payloadpage
from IPython.core.autocall import ExitAutocall
from IPython.core.compilerop import CachingCompiler
from IPython.core.display_functions import display
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.formatters import DisplayFormatter
from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import leading_empty_lines
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.payload import PayloadManager
from IPython.core.ultratb import AutoFormattedTB
from traitlets import Any as AnyTrait
from traitlets import Type
from traitlets.config import Config

from . import front, ipykernel_names
from .cell_files import CellFiles
from .display import Bundle, text_of
from .facade import KernelFacade
from .interpreter import ASYNC_WORDS, Evaluation, Request, bound_names, defined_names
from .ipython_current import NoBuiltinTrap, NoDisplayTrap, ensure_routed
from .ipython_magics import KernelMagics
from .parents import Parents
from .session_names import LAST_INPUTS, LAST_RESULTS, SessionNames
from .standing_aside import set_aside
from .tracebacks import safe_text, without_own_frames

_NAMES = (*LAST_RESULTS, *LAST_INPUTS, "In", "Out", "_ih", "_oh", "_dh", "exit", "quit")
_LAUNCHED_ENVIRONMENT = {"TERM": "xterm-color", "CLICOLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
_OBJECT = "application/x-dh-kernel-object"  # inside this process only
_ENVIRONMENT = {"PAGER": "cat", "GIT_PAGER": "cat"}
_INLINE = "module://matplotlib_inline.backend_inline"


class _Run(threading.local):
    """What belongs to the calling thread's cell: cells of several subshells share one shell."""

    request: Any = None
    names: dict[str, bool]
    on_result: Any = None
    shown_traceback: Any = None
    interrupt_shown = False
    shown_text: str | None = None
    showing = False
    failure: BaseException | None = None
    payload: list[dict[str, Any]]

    def __init__(self) -> None:
        self.begin(None, None)

    def begin(self, request: Request | None, on_result: Callable[[object], None] | None) -> None:
        self.request, self.on_result = request, on_result
        self.names, self.shown_traceback, self.interrupt_shown, self.payload = {}, None, False, []
        self.showing, self.failure = False, None


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
        self.shell.own_names.note_numbered(f"_{self.prompt_count}")
        self.fill_exec_result(result)
        _run.shown_text, _run.showing = None, True
        try:
            _run.on_result(result)
        finally:
            _run.showing = False
        if _run.shown_text is not None:
            self.shell.history_manager.output_hist_reprs[self.prompt_count] = _run.shown_text


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
    """Tells a cell under which file name it is compiled: that of its file, where it can be debugged."""

    cell_files: CellFiles | None = None

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        if self.cell_files is None:
            return str(super().get_code_name(raw_code, transformed_code, number))
        return self.cell_files.name(raw_code)

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        name = str(super().cache(transformed_code, number, raw_code))
        if _run.request is not None:
            _run.request.compiled(name)
        return name


class _Formatter(DisplayFormatter):  # type: ignore[misc]
    """Hands on as it is what the session shows in its own way, such as tables: only the publisher hears of a display_id."""

    shown = AnyTrait(lambda value: False)
    added = AnyTrait(lambda value, bundle: bundle)

    def format(self, obj: Any, include: Any = None, exclude: Any = None) -> Any:
        if self.shown(obj):
            return {_OBJECT: obj}, {}
        return self.added(obj, super().format(obj, include=include, exclude=exclude))


class _Publisher(DisplayPublisher):  # type: ignore[misc]
    """`IPython.display` goes to the calling thread's cell."""

    def publish(self, data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **more: Any) -> None:
        display_id = (transient or {}).get("display_id")
        if _OBJECT in data:
            front.show(data[_OBJECT], display_id, update)
        else:
            front.publish(data, metadata or {}, display_id, update)

    def clear_output(self, wait: bool = False) -> None:
        front.clear_output(wait)


class _Tracebacks(AutoFormattedTB):  # type: ignore[misc]
    """One at a time, as the shell has one of these for all its threads, and what it reads is the process's.

    Where it fails the plain traceback is the error's: IPython would print both failures into the cell.
    """

    def structured_traceback(
        self, etype: Any = None, evalue: Any = None, etb: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        if etype is None:
            etype, evalue, etb = sys.exc_info()
        try:
            with _formatting:
                return super().structured_traceback(etype, evalue, etb, *arguments, **options)
        except Exception:
            tb = etb[0] if isinstance(etb, tuple) else etb
            return "".join(traceback.format_exception(etype, evalue, tb)).rstrip("\n").split("\n")


_formatting = threading.RLock()  # of all shells


class _Exit(ExitAutocall):  # type: ignore[misc]
    """`exit`, `quit()`, `exit(keep_kernel=True)`."""

    def __call__(self, keep_kernel: bool = False) -> None:
        self._ip.keepkernel_on_exit = keep_kernel
        self._ip.ask_exit()


class ZMQInteractiveShell(Parents, InteractiveShell):  # type: ignore[misc]
    """An interactive shell on the console's namespace, without terminal, history file and sockets.

    It has the name of ipykernel's: libraries tell a notebook by that (rich, pandas), and users' configuration names it.

    Args:
        launched: the process belongs to the notebook alone, so the shell may change it as ipykernel does.
    """

    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)
    compiler_class = Type(_Compiler)
    own_files = AnyTrait()
    kernel = AnyTrait()
    launched = AnyTrait(True)
    own_names = AnyTrait()
    keepkernel_on_exit = None

    def __init__(self, **options: Any) -> None:
        self._bound: set[str] = set()
        self.former_environment: dict[str, str] = {}
        self.own_environment: dict[str, str] = {}
        super().__init__(**options)

    def init_environment(self) -> None:
        """Subprocesses have no terminal that could page."""
        own = {**_ENVIRONMENT, **_LAUNCHED_ENVIRONMENT} if self.launched else _ENVIRONMENT
        for name, value in own.items():
            if self.launched and name in os.environ:
                self.former_environment[name] = os.environ[name]
            if self.launched or name not in os.environ:
                self.own_environment[name] = os.environ[name] = value

    def init_sys_modules(self) -> None:
        """`__main__` is the console's module where that runs in one; it stays what it is."""

    def init_virtualenv(self) -> None:
        """The server runs in the environment that it was started in."""

    def init_prompts(self) -> None:
        """Their presence in `sys` would tell other code of the process that it is interactive."""
        if self.launched:
            super().init_prompts()

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        """IPython's, whatever its version makes them with."""
        super().init_traceback_handlers(custom_exceptions)
        self.InteractiveTB.__class__ = _Tracebacks

    def init_builtins(self) -> None:
        """As in IPython, but nothing that must be taken back when a cell ends."""
        if self.launched:
            builtins.__dict__["__IPYTHON__"] = True
        builtins.__dict__["display"] = display
        self.builtin_trap = NoBuiltinTrap(shell=self)

    def init_displayhook(self) -> None:
        super().init_displayhook()
        self.display_trap = NoDisplayTrap(hook=self.displayhook)

    def init_display_formatter(self) -> None:
        self.display_formatter = _Formatter(parent=self)
        self.configurables.append(self.display_formatter)

    def init_user_ns(self) -> None:
        """The usual names; `get_ipython` finds the shell of the cell that calls it."""
        before = dict(self.user_ns)
        super().init_user_ns()
        self.user_ns["get_ipython"] = self.user_ns_hidden["get_ipython"] = get_ipython
        self.user_ns["exit"] = self.user_ns["quit"] = self.user_ns_hidden["exit"] = self.user_ns_hidden["quit"] = _Exit(self)
        if not self.launched and "open" not in before:
            self.user_ns.pop("open", None)

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(payloadpage.page), 99)

    def init_payload(self) -> None:
        self.payload_manager = _Payloads(parent=self)
        self.configurables.append(self.payload_manager)

    def init_magics(self) -> None:
        super().init_magics()
        self.register_magics(KernelMagics)
        self.magics_manager.register_alias("ed", "edit")

    def enable_gui(self, gui: Any = None) -> None:
        """`%matplotlib inline` asks for no event loop, and there is no other to give."""
        if gui not in (None, "inline", "agg", "nbagg", "widget", "ipympl"):
            print(f"The event loop of {gui!r} cannot run in a server; figures are shown inline.", file=sys.stderr)

    def ask_exit(self) -> None:
        """`exit` asks the front end to end the kernel, as in ipykernel."""
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": self.keepkernel_on_exit})

    def set_next_input(self, s: str, replace: bool = False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": s, "replace": replace})

    def transform_ast(self, node: Any) -> Any:
        _run.names = bound_names(node)
        if not self.launched:
            self._bound.update(defined_names(node))
        return super().transform_ast(node)

    def reset(self, new_session: bool = True, aggressive: bool = False) -> None:
        """Forget all names; in a console that others use too, those that this session's cells have bound."""
        if self.launched:
            super().reset(new_session, aggressive)
            return
        for name in self._bound:
            self.user_ns.pop(name, None)
        self._bound.clear()
        self.displayhook.flush()

    def begin_cell(self, count: int) -> None:
        """Number the next cell: also after cells that did not come here, so that `In[7]` is the input of cell 7."""
        ensure_routed()
        self.own_names.enter()
        self.execution_count = count
        for inputs in (self.history_manager.input_hist_parsed, self.history_manager.input_hist_raw):
            inputs.extend([""] * (count - len(inputs)))

    # --- errors

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        etype, value, tb = super()._get_exc_info(exc_tuple)
        return etype, value, without_own_frames(tb, self.own_files)

    def showtraceback(self, exc_tuple: Any = None, *arguments: Any, **options: Any) -> None:
        """As IPython; but it prints exception groups, which are errors like others here."""
        etype, value, tb = exc_tuple or sys.exc_info()
        if isinstance(value, KeyboardInterrupt) and without_own_frames(tb, self.own_files) is None:
            self._showtraceback(etype, value, _without_frames(value))
        elif isinstance(value, getattr(builtins, "BaseExceptionGroup", ())):
            group: Any = value
            text = "".join(traceback.format_exception(etype, group, without_own_frames(tb, self.own_files)))
            self._showtraceback(etype, value, text.rstrip("\n").split("\n"))
        else:
            try:
                super().showtraceback(exc_tuple, *arguments, **options)
            except Exception:  # IPython's formatter cannot do all: a context without a traceback, say
                text = "".join(traceback.format_exception(etype, value, without_own_frames(tb, self.own_files)))
                self._showtraceback(etype, value, text.rstrip("\n").split("\n"))

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        lines = [str(line) for line in stb]
        if _run.showing and isinstance(evalue, BaseException):  # an object's own display has failed, and with it the cell
            _run.shown_traceback, _run.failure = lines, evalue
        elif self._ends_cell() and _run.request is not None:
            if not (_run.interrupt_shown and etype is KeyboardInterrupt):  # of two the first tells where the cell was
                _run.shown_traceback, _run.interrupt_shown = lines, etype is KeyboardInterrupt
        elif not front.publish_error({"ename": etype.__name__, "evalue": safe_text(evalue), "traceback": lines}):
            print("\n".join(lines), file=sys.stderr)  # a start-up file's

    @staticmethod
    def _ends_cell() -> bool:
        """Whether this is the error that ends the cell, which its reply shows; else users' code or a widget shows one."""
        frame, direct, runs, outer_runs = sys._getframe(1), True, 0, 0
        while frame is not None:
            name, file = frame.f_code.co_name, frame.f_code.co_filename
            if file == interactiveshell.__file__:
                runs += name == "run_cell_async"
                outer_runs += name == "_run_cell"  # alone, if an interrupt struck it
                direct &= name != "safe_execfile"
            elif file != __file__ and not (runs or outer_runs):
                direct = False
            frame = frame.f_back  # type: ignore[assignment]
        return direct and (runs or outer_runs) == 1

    def shows_otherwise(self, error: BaseException) -> bool:
        """Whether such errors show in another way: IPython's one line, rich's tracebacks, handlers by `set_custom_exc`."""
        if isinstance(error, UsageError) or {"showtraceback", "_showtraceback"} & vars(self).keys():
            return True
        return bool(self.custom_exceptions) and isinstance(error, self.custom_exceptions)

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """IPython keeps all text that cells write, for `%history`; that would keep 50 MB of output in memory."""
        yield

    @contextlib.contextmanager
    def standing_aside(self) -> Iterator[None]:
        """For the time of a program: no names, no builtins, no prompts and no environment of a notebook's."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.own_names.set_aside(self._names_of_shell()))
            if self.launched:
                ours = {"get_ipython": get_ipython, "__IPYTHON__": True}
                stack.enter_context(set_aside(vars(builtins), ours))
                stack.enter_context(set_aside(vars(sys), {name: vars(sys).get(name) for name in ("ps1", "ps2", "ps3")}))
                stack.enter_context(set_aside(sys.modules, ipykernel_names.offered))
                ours = {**self.own_environment, "MPLBACKEND": _INLINE}
                stack.enter_context(set_aside(os.environ, ours, self.former_environment))
            yield

    def _names_of_shell(self) -> dict[str, Any]:
        """What IPython has put into the namespace; the latest results and inputs are told by where it keeps them."""
        history, hook = self.history_manager, self.displayhook
        latest = {name: getattr(history, name, None) for name in LAST_INPUTS}
        latest.update({name: getattr(hook, name, None) for name in LAST_RESULTS})
        hidden = {name: value for name, value in self.user_ns_hidden.items() if not name.startswith("__")}
        return {**hidden, **latest, "__builtin__": builtins}

    def close(self) -> None:
        """The session has ended; its results are released."""
        atexit.unregister(self.atexit_operations)
        self.own_names.close()
        self.history_manager.close()


class IPythonInterpreter:
    """Runs cells with an IPython shell of the session's own, which `get_ipython()` and `IPython.display` find by the cell.

    Args:
        shown: whether the session shows an object in its own way, as it does tables.
        added: completes the bundle of another object.
        follows_profile: reads the user's configuration, and `start` runs the start-up files.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        own_files: tuple[str, ...],
        shown: Callable[[object], bool],
        added: Callable[[object, Bundle], Bundle],
        *,
        launched: bool = True,
        follows_profile: bool = False,
        cell_files: CellFiles | None = None,
    ) -> None:
        module = sys.modules["__main__"]
        own_names = SessionNames(namespace, _NAMES)
        own_names.enter()
        self._profile = _profile() if follows_profile else None
        config = Config(self._profile.config) if self._profile is not None else Config()
        config.HistoryManager.hist_file = ":memory:"  # the kernel keeps the history on disk
        config.InteractiveShell.autocall = 0
        config.IPKernelApp.dh_kernel = True  # tqdm.auto looks whether there is such a section
        self.shell: Any = ZMQInteractiveShell(
            config=config,
            user_module=module if vars(module) is namespace else None,
            user_ns=namespace,
            own_names=own_names,
            launched=launched,
            own_files=own_files,
        )
        self._own_files = own_files
        self.shell.compile.cell_files = cell_files
        self.shell.kernel = KernelFacade(self.shell)
        self.shell.display_formatter.shown, self.shell.display_formatter.added = shown, added
        ensure_routed(self.shell if launched else None)
        if launched:
            ipykernel_names.install(ZMQInteractiveShell)

    def start(self) -> None:
        """Run what the user's profile asks for, before the first cell."""
        if self._profile is not None:
            self._profile.start(self.shell)

    def awaits(self, code: str) -> bool:
        """Whether a cell may suspend."""
        if not ASYNC_WORDS.search(code):
            return False
        try:
            return bool(self.shell.should_run_async(code, transformed_cell=self.shell.transform_cell(code)))
        except Exception:  # a transformer's, or a SyntaxError: running the cell tells it
            return False

    async def run(self, code: str, request: Request, *, store: bool, on_result: Callable[[object], None]) -> Evaluation:
        """Run one cell. A failing cell is a result."""
        _run.begin(request, None if request.silent else on_result)
        self.shell.begin_cell(request.count)
        try:
            result = await self._run(code, request, store)
        except Exception as failure:  # IPython's own, such as a RecursionError on source that is nested very deep
            return Evaluation(assigned=list(_run.names), exception=failure, error=self.describe(failure))
        self.shell.own_names.note_numbered(f"_i{request.count}")
        evaluation = Evaluation(assigned=list(_run.names), payload=_run.payload)
        error = result.error_before_exec or result.error_in_exec or _run.failure if result is not None else None
        if error is not None:
            evaluation.exception, evaluation.error = error, self._described(error)
        return evaluation

    async def _run(self, code: str, request: Request, store: bool) -> Any:
        shell = self.shell
        meta = request.cell_meta
        how = {"store_history": store, "silent": request.silent, "cell_id": meta.get("cellId"), "cell_meta": meta}
        if not self.awaits(code):
            return shell.run_cell(code, **how)
        # As `run_cell` does, but on the loop that runs already.
        result = None
        try:
            result = await shell.run_cell_async(code, transformed_cell=shell.transform_cell(code), **how)
        finally:
            shell.events.trigger("post_execute")
            if not request.silent:
                shell.events.trigger("post_run_cell", result)
        return result

    @property
    def names(self) -> dict[str, bool]:
        """The names that the calling thread's cell binds at its top level, as `bound_names` tells them."""
        return dict(_run.names)

    def describe(self, error: BaseException) -> dict[str, Any]:
        """An exception as Jupyter's `ename`, `evalue`, `traceback`."""
        tb = without_own_frames(error.__traceback__, self._own_files)
        formatter = self.shell.InteractiveTB
        lines = formatter.structured_traceback(type(error), error, tb) if tb is not None else _without_frames(error)
        return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": [str(line) for line in lines]}

    def bundle(self, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Data and metadata by IPython's formatters, those that users registered included."""
        data, metadata = self.shell.display_formatter.format(value)
        _run.shown_text = data.get("text/plain")
        return dict(data), dict(metadata)

    def expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """The values of `user_expressions`."""
        found = dict(self.shell.user_expressions(expressions))
        for value in found.values():
            if _OBJECT in value.get("data", {}):
                value["data"] = {"text/plain": text_of(value["data"][_OBJECT])}
        return found

    def standing_aside(self) -> contextlib.AbstractContextManager[None]:
        """For the time of a program: nothing tells of a notebook."""
        aside: contextlib.AbstractContextManager[None] = self.shell.standing_aside()
        return aside

    def close(self) -> None:
        """The session has ended."""
        self.shell.close()

    def keep_lines(self, keep: bool) -> None:
        """IPython drops empty lines at a cell's start."""
        transforms = self.shell.input_transformer_manager.cleanup_transforms
        if keep:
            transforms[:] = [transform for transform in transforms if transform is not leading_empty_lines]
        elif leading_empty_lines not in transforms:
            transforms.insert(0, leading_empty_lines)

    def _described(self, error: BaseException) -> dict[str, Any]:
        shown = _run.shown_traceback
        if shown is not None:
            return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": shown}
        if self.shell.shows_otherwise(error):
            return {"ename": type(error).__name__, "evalue": safe_text(error), "traceback": []}
        return self.describe(error)


def _profile() -> Any:
    from .ipython_profile import Profile

    return Profile()


def _without_frames(error: BaseException) -> list[str]:
    """The traceback of an interrupt that struck outside the user's code: IPython can show none without frames."""
    return "".join(traceback.format_exception_only(type(error), error)).rstrip("\n").split("\n")
