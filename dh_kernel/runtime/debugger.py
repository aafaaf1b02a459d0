"""The debugger's end in the server: debugpy listens in this process; and what its protocol leaves to us.

Neighbours: `session` (hands over the kernel's questions), `cell_files` (where cells' sources are), `threads` (whom debugpy
leaves alone). The kernel process speaks to debugpy by itself; here are only the questions of `_COMMANDS`. Refuses to know
requests, events and clients. debugpy is imported when a front end first asks for it, never before.

debugpy listens without its adapter process: that one leaves the server's process group, and its port is open to every user of
the machine. This one wants a token.

Of the engine's threads only those that compute a cell's own tables can be stopped. The others carry the stream to the kernel,
or hold the update graph's lock. Deephaven asks debugpy to trace every thread that it starts; that is prevented, and Python's
older tracing, which leaves alone what it was not asked to trace, is chosen also where there is a newer one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .cell_files import HASH_METHOD, SEED, CellFiles
from .lanes import LAUNCHER_MODULE
from .questioner import Questioner

HAND_OVER_MODULE = "_dh_kernel_debugged"
_ENVIRONMENT = {
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else it prints what it thinks of frozen modules
    "PYDEVD_IPYTHON_COMPATIBLE_DEBUGGING": "1",  # IPython runs each statement of a cell by itself: "next" goes to the next one
    "PYDEVD_USE_SYS_MONITORING": "0",
}
_STOPPABLE = "java-OperationInitializationThreadPool"  # as `deephaven_internal.java_threads` names them
_STEPPED_THROUGH = ("IPython", "traitlets", "comm", "matplotlib_inline", "jpy")

Describe = Callable[[object, int], tuple[dict[str, Any], list[Any]]]
Reply = Callable[[dict[str, Any], dict[str, Any], list[Any]], None]


def can_debug() -> bool:
    """Whether what a debugger needs is there: IPython runs the cells, and debugpy."""
    return all(importlib.util.find_spec(name) is not None for name in ("IPython", "debugpy"))


class Debugger:
    """Answers one session's questions of this kind, in order, on a thread of its own: what a cell waits for may be stopped.

    Args:
        describe: an object, and how many rows at most, to the answer's content and the references that go with it.
        keep_lines: asks that a cell's lines count as in its source.
        own_files: prefixes of file names that are never stepped into.
    """

    def __init__(
        self,
        name: str,
        namespace: dict[str, Any],
        describe: Describe,
        keep_lines: Callable[[bool], None],
        own_files: tuple[str, ...],
        reply: Reply,
    ) -> None:
        workdir = getattr(sys.modules.get(LAUNCHER_MODULE), "workdir", "")
        self.files = CellFiles(workdir) if workdir and can_debug() else None
        self._name, self._namespace, self._describe = name, namespace, describe
        self._keep_lines, self._own_files, self._reply = keep_lines, own_files, reply
        self._questioner: Questioner | None = None
        self._handed_over: list[object] = []
        self._variables: Any = None
        self._traced = self._used = False
        self._setup: Any = None
        self._former_hook: Callable[..., Any] = sys.breakpointhook

    def put(self, message: dict[str, Any]) -> None:
        """Take a question; returns at once."""
        if self._questioner is None:
            self._questioner = Questioner(f"dh-kernel-debugger-{self._name}", self._answer)
        self._questioner.put(message)

    def close(self) -> None:
        """End the thread."""
        if self._questioner is not None:
            self._questioner.close()

    def enter_cell(self) -> None:
        """Trace the calling thread from now on, or no longer. At a cell's begin: an interrupt may have ended the tracing."""
        if not self._used:
            return
        import pydevd
        import pydevd_tracing

        if self._traced:
            debugger = pydevd.get_global_debugger()
            debugger.enable_tracing(
                debugger.trace_dispatch, apply_to_all_threads=True
            )  # also those of the engine that are new
        else:
            pydevd_tracing.SetTrace(None)

    def let_go(self) -> None:
        """Let threads that are stopped go on, since an interrupt comes for one of them."""
        if self._traced:
            from _pydevd_bundle.pydevd_api import PyDevdAPI

            PyDevdAPI().request_resume_thread("*")

    # --- questions, on the thread for them

    def _answer(self, message: dict[str, Any]) -> None:
        references: list[Any] = []
        try:
            if self.files is None:
                raise RuntimeError("the server's Python has no IPython, or no debugpy")
            content = _COMMANDS[message["command"]](self, message)
            if isinstance(content, tuple):
                content, references = content
            content = {"status": "ok", **content}
        except Exception as error:  # a thread's edge
            content = {"status": "error", "evalue": f"{type(error).__name__}: {error}"}
        self._reply(message, content, references)

    def _info(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.files is not None
        names = {"tmpFilePrefix": self.files.prefix, "tmpFileSuffix": self.files.suffix}
        return {"names": {"hashMethod": HASH_METHOD, "hashSeed": SEED, **names}}

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        """Listen, or go on listening; the address, the token that it wants, and the files that are never stepped into."""
        breakpoint_hook = _import_debugpy()
        import pydevd
        import pydevd_tracing

        assert self.files is not None
        os.makedirs(self.files.prefix, mode=0o700, exist_ok=True)
        for attribute in ("is_pydev_daemon_thread", "pydev_do_not_trace"):
            setattr(threading._DummyThread, attribute, _LeftAlone())
        token = os.urandom(32).hex()
        pydevd.SetupHolder.setup = self._setup
        # The port is 0 as well when it listens already: it asks whether that is the one it was first given.
        host, port = pydevd._enable_attach(("127.0.0.1", 0), access_token=token)
        self._setup, pydevd.SetupHolder.setup = pydevd.SetupHolder.setup, None  # where Deephaven looks
        pydevd_tracing.SetTrace(None)  # of this thread
        if not self._traced:
            self._former_hook, sys.breakpointhook = sys.breakpointhook, breakpoint_hook
            self._keep_lines(True)
        self._traced = self._used = True
        return {"host": host, "port": port, "token": token, "internal": self._internal_files(), "take": _take(self._hand_over)}

    def _stop(self, message: dict[str, Any]) -> dict[str, Any]:
        """Nobody debugs any more: trace nothing. Threads' own tracing ends with `enter_cell`."""
        if self._traced:
            import pydevd_tracing
            from _pydev_bundle.pydev_monkey import undo_patch_thread_modules

            self._traced = False
            sys.breakpointhook = self._former_hook
            undo_patch_thread_modules()
            threading.settrace(None)
            pydevd_tracing.restore_sys_set_trace_func()
            self._keep_lines(False)
        return {}

    def _internal_files(self) -> list[str]:
        """What is no user's code: ours, IPython, and of the standard library what they have loaded."""
        tops = {*sys.stdlib_module_names, *_STEPPED_THROUGH}
        modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in tops]
        files = {file for module in modules if isinstance(file := getattr(module, "__file__", None), str)}
        launcher = sys.modules.get(LAUNCHER_MODULE)
        if launcher is not None:
            files.add(launcher.main.__code__.co_filename)
        return [*(f"{prefix}**" for prefix in self._own_files), *sorted(files)]

    def _dump(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.files is not None
        return {"path": self.files.write(message["code"])}

    def _source(self, message: dict[str, Any]) -> dict[str, Any]:
        path = message["path"]
        lines = linecache.getlines(path)
        if not lines:
            raise FileNotFoundError(f"no source of {path}")
        return {"text": "".join(lines)}

    def _modules(self, message: dict[str, Any]) -> dict[str, Any]:
        modules = [(name, getattr(module, "__spec__", None)) for name, module in list(sys.modules.items())]
        files = [(name, getattr(spec, "origin", None)) for name, spec in modules]
        found = [
            {"id": number, "name": name, "path": file}
            for number, (name, file) in enumerate(files)
            if isinstance(file, str) and file.endswith(".py")
        ]
        return {"modules": found, "total": len(files)}

    def _list_variables(self, message: dict[str, Any]) -> dict[str, Any]:
        """The global variables, or the parts of one that has been listed, in debugpy's own form."""
        reference = message.get("reference")
        if not reference or self._variables is None:
            self._variables, reference = _Variables(self._namespace), None
        return {"variables": self._variables.children(reference)}

    def _rich(self, message: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """How an object looks: a global variable, or what was handed over last."""
        if message["handed_over"]:
            value = self._handed_over.pop()
            self._handed_over.clear()
        else:
            value = self._namespace[message["name"]]
        return self._describe(value, message["rows"])

    def _hand_over(self, value: object) -> bool:
        """Called by an expression in a stopped frame."""
        self._handed_over.append(value)
        return True


_COMMANDS: dict[str, Callable[[Debugger, dict[str, Any]], Any]] = {
    "info": Debugger._info,
    "start": Debugger._start,
    "stop": Debugger._stop,
    "dump": Debugger._dump,
    "source": Debugger._source,
    "modules": Debugger._modules,
    "variables": Debugger._list_variables,
    "rich": Debugger._rich,
}


class _LeftAlone:
    """An attribute of threads that Python has not started, which are Java's: true for all but those that can be stopped."""

    def __get__(self, thread: threading.Thread | None, owner: type) -> bool:
        return thread is None or not thread.name.startswith(_STOPPABLE)


class _Variables:
    """The variables of a namespace while nothing is stopped, as debugpy shows those of a frame."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        _import_debugpy()
        from _pydevd_bundle.pydevd_api import PyDevdAPI
        from _pydevd_bundle.pydevd_frame_utils import FramesList
        from _pydevd_bundle.pydevd_suspended_frames import SuspendedFramesManager, _FramesTracker

        self._manager = SuspendedFramesManager()
        settings = type("Settings", (), {"variable_presentation": PyDevdAPI.VariablePresentation()})()
        tracker = _FramesTracker(self._manager, settings)
        self._frame = eval("__import__('sys')._getframe()", namespace)
        frames = FramesList()
        frames.append(self._frame)
        tracker.track("globals", frames)

    def children(self, reference: int | None) -> list[dict[str, Any]]:
        variable = self._manager.get_variable(reference or id(self._frame))
        return [part.get_var_data() for part in variable.get_children_variables()]


def _take(hand_over: Callable[[object], bool]) -> str:
    """An expression for the function, which any frame can call. It lives in a module of its own, which nobody else knows."""
    module: Any = sys.modules.setdefault(HAND_OVER_MODULE, type(sys)(HAND_OVER_MODULE))
    module.take = hand_over
    return f"__import__({HAND_OVER_MODULE!r}).take"


@functools.cache
def _import_debugpy() -> Callable[..., Any]:
    """Import debugpy; what it makes of `breakpoint()`, which is left as it was."""
    former = sys.breakpointhook
    with _variables_of_environment(_ENVIRONMENT):
        import debugpy.server.api  # noqa: F401  which chooses the debug adapter protocol
    hook, sys.breakpointhook = sys.breakpointhook, former
    return hook


@contextlib.contextmanager
def _variables_of_environment(wanted: dict[str, str]) -> Iterator[None]:
    """Environment variables for debugpy's import; those that the user has set stay."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
