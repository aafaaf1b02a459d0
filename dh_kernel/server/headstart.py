"""What a start does at the same time as the rest, so that nobody waits for it later: only a head start, which may fail unseen.

- The libraries that Deephaven imports are imported while the Java virtual machine starts.
- The Java compiler opens all of Deephaven's jars before its first formula, and keeps them open. It does so while the server is
  made, and Deephaven takes it over from here.
- A first formula loads and warms much of the engine: it runs while the server opens its port. Where it was compiled for a
  former server (`formulas.py`), that is all it does, and the compiler is warmed afterwards.
- IPython is imported then too, for the cells.

Neighbours: `launcher.py` loads this file in the server's interpreter. Nothing of dh_kernel.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable
from typing import Any

_OF_DEEPHAVEN = ("numpy", "pandas", "pyarrow", "pyarrow.compute")
_OF_CELLS = ("IPython.core.interactiveshell", "IPython.core.shellapp", "IPython.core.payloadpage", "comm")
_JARS_WITHIN_S = 30.0
_FIRST = ["X = i", "Y = Math.sin(X)"]


def _begin(name: str, task: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=_quietly, args=(task,), name=name, daemon=True)
    for attribute in ("is_pydev_daemon_thread", "pydev_do_not_trace"):  # a debugger neither stops nor shows it
        setattr(thread, attribute, True)
    thread.start()
    return thread


def _quietly(task: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # whoever needs the result meets any real fault by themselves
        task()


def import_libraries() -> None:
    """Begin to import what Deephaven imports."""
    _begin("dh-imports", lambda: _import_all(_OF_DEEPHAVEN))


def _import_all(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)


class CompilerFiles:
    """The Java compiler's view of the class path: begins to open its jars at once. Call it when the JVM runs.

    Source: `QueryCompilerImpl` of Deephaven keeps one `JavaFileManager` for all compilations, in a static field.
    """

    def __init__(self) -> None:
        self._manager: Any = None
        self._opened = threading.Event()
        _begin("dh-compiler-files", self._open)

    def _open(self) -> None:
        import jpy

        try:
            kind = jpy.get_type("javax.tools.JavaFileObject$Kind")
            location = jpy.get_type("javax.tools.StandardLocation")
            path = jpy.get_type("java.lang.System").getProperty("java.class.path")
            manager = jpy.get_type("javax.tools.ToolProvider").getSystemJavaCompiler().getStandardFileManager(None, None, None)
            manager.handleOption("-cp", jpy.get_type("java.util.Arrays").asList([path]).iterator())
            manager.list(location.CLASS_PATH, "io.deephaven", jpy.get_type("java.util.EnumSet").of(kind.CLASS), False)
            self._manager = manager
        finally:
            self._opened.set()

    def give(self) -> None:
        """Let Deephaven compile with it, unless it has one by now. Call it when the server is made. Blocks until it is open.

        Raises:
            Exception: this version of Deephaven keeps it elsewhere; the jars are opened by the first formula then.
        """
        import jpy

        self._opened.wait(_JARS_WITHIN_S)
        if self._manager is None:
            return
        loader = jpy.get_type("java.lang.ClassLoader").getSystemClassLoader()
        compiler = jpy.get_type("java.lang.Class").forName("io.deephaven.engine.context.QueryCompilerImpl", True, loader)
        fields = jpy.get_type("org.apache.commons.lang3.reflect.FieldUtils")
        kept = fields.readStaticField(compiler, "fileManagerCache", True)
        synchronized = jpy.get_type("io.deephaven.engine.context.util.SynchronizedJavaFileManager")
        jpy.cast(kept, jpy.get_type("java.util.concurrent.atomic.AtomicReference")).compareAndSet(
            None, synchronized(self._manager)
        )


class HeadStart:
    """What is done ahead from the moment on in which the JVM runs.

    Where formulas of former servers are kept, the first one needs no compiler. That begins later then, once the server runs.

    Args:
        formulas: the `KeptFormulas` of this server; None: all formulas are compiled.
    """

    def __init__(self, formulas: Any) -> None:
        self._formulas = formulas
        self._compiler = None if formulas is not None and formulas.any else CompilerFiles()
        self._context: Any = None
        self._threads: list[threading.Thread] = []

    def server_made(self) -> None:
        """Begin with what the first cell would wait for."""
        from deephaven.execution_context import get_exec_ctx

        context, compiler, formulas = get_exec_ctx(), self._compiler, self._formulas
        self._context = context
        if formulas is not None:
            _quietly(lambda: _say_version(context))
        if compiler is not None:
            self._begin("dh-warm-up", lambda: _compile(context, compiler, _FIRST))
        else:
            self._begin("dh-warm-up", lambda: _load(context, formulas, _FIRST))
        self._begin("dh-imports", lambda: _import_all(_OF_CELLS))
        if formulas is not None:
            _begin("dh-formulas", formulas.keep_on)

    def server_started(self) -> None:
        """Begin with what a formula would wait for that is new."""
        if self._compiler is None:
            columns = [f"{self._formulas.passing} = ii"]
            self._begin("dh-compiler", lambda: _compile(self._context, CompilerFiles(), columns))

    def wait(self) -> None:
        """Until all that was begun is done."""
        for thread in self._threads:
            thread.join()

    def end(self) -> None:
        """Keep what has been compiled. Takes some milliseconds."""
        if self._formulas is not None:
            _quietly(self._formulas.keep)

    def _begin(self, name: str, task: Callable[[], None]) -> None:
        self._threads.append(_begin(name, task))


def _say_version(context: Any) -> None:
    """Let the sources of formulas be the same on all servers: they tell the version of the query library, a random one.

    Source: `QueryLibrary` of Deephaven; who adds to the library gives it another, random version.
    """
    context.j_exec_ctx.getQueryLibrary().updateVersionString("DEFAULT")


def _load(context: Any, formulas: Any, columns: list[str]) -> None:
    formulas.restore()
    _update(context, columns)


def _compile(context: Any, compiler: CompilerFiles, columns: list[str]) -> None:
    _quietly(compiler.give)
    _update(context, columns)


def _update(context: Any, columns: list[str]) -> None:
    with context:
        from deephaven import empty_table

        empty_table(1).update(columns)
