"""Everything the runtime takes from Deephaven, in one place: the only module that touches private names of the server.

Neighbours: `channel` (needs the object type), `cells` (needs a thread's engine context). Refuses to know what a cell is.
Checked when a session opens: what is missing ends in one sentence that says what to do, never in a traceback later.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

CHANNEL_TYPE = "dh_kernel.Channel"
PLUGIN_MODULE = "dh_kernel.plugin"

_INTERRUPTED = ("InterruptedException", "CancellationException", "KeyboardInterrupt")


class EngineError(RuntimeError):
    """The server lacks something; the text is for the user."""


class Engine:
    """A server's engine as the runtime uses it. Built on a thread that runs a console script."""

    def __init__(self) -> None:
        try:
            import jpy
            from deephaven.execution_context import get_exec_ctx
        except ImportError as error:
            raise EngineError(f"the server's Python has no usable deephaven package: {error}") from error
        self.jpy = jpy
        self.execution_context = get_exec_ctx()
        self._thread_class = jpy.get_type("java.lang.Thread")
        self._scope_class = jpy.get_type("io.deephaven.engine.liveness.LivenessScope")
        self._scope_stack = jpy.get_type("io.deephaven.engine.liveness.LivenessScopeStack")
        self._script_session = _script_session(jpy)
        self._object_types: Any = None
        with contextlib.suppress(Exception):  # without it there are no cards
            self._object_types = _object_types(jpy, self._script_session)
        self.version = _version()

    def java_thread(self) -> Any:
        """The calling thread, as Java's Thread."""
        return self._thread_class.currentThread()

    def clear_interrupted(self) -> None:
        """Take back an interrupt of the calling thread that nothing has noticed."""
        self._thread_class.interrupted()

    @staticmethod
    def runs_java(java_thread: Any) -> bool:
        """Whether the thread is inside a Java call just now: a thread that only runs Python has no Java frames.

        But one: the question itself, where the calling thread is meant.
        """
        try:
            frames = java_thread.getStackTrace()
            return len(frames) > (1 if len(frames) and frames[0].getMethodName() == "getStackTrace" else 0)
        except Exception:
            return True

    @staticmethod
    def waits_in_java(java_thread: Any) -> bool:
        """Whether the thread stands inside Java in a wait that an interrupt ends: sleep, park, wait."""
        if "WAITING" not in str(java_thread.getState().toString()):
            return False
        return Engine.runs_java(java_thread)

    def threads_in_python(self, prefix: str) -> list[str]:
        """The threads of a kind that are inside a call of Python, or between two, by their names in Python."""
        names = []
        for entry in self._thread_class.getAllStackTraces().entrySet().toArray():
            name = f"java-{entry.getKey().getName()}"
            if name.startswith(prefix) and any(".python." in place.getClassName() for place in entry.getValue()):
                names.append(name)
        return names

    def new_scope(self) -> Any:
        """A liveness scope for what a session's cells make.

        A thread without one keeps every refreshing table for ever (`PermanentLivenessManager`), and the script session's
        own never lets go either.
        """
        return self._scope_class()

    @contextlib.contextmanager
    def inside(self, scope: Any) -> Iterator[None]:
        """Let a scope hold the ticking tables that the calling thread makes."""
        self._scope_stack.push(scope)
        try:
            yield
        finally:
            self._scope_stack.pop(scope)

    @contextlib.contextmanager
    def cell_context(self, scope: Any) -> Iterator[None]:
        """What `evaluateScript` sets up around console code, except the exclusive lock of the update graph."""
        with self.inside(scope), self._executing():
            yield

    def enter_for_good(self, scope: Any) -> None:
        """As `cell_context`, for as long as the calling thread lives: what runs on it between cells needs them as well."""
        self._scope_stack.push(scope)
        self.execution_context.j_exec_ctx.open()

    @contextlib.contextmanager
    def _executing(self) -> Iterator[None]:
        # deephaven's own `with` keeps what it has opened in the context object, which serves one thread at a time.
        opened = self.execution_context.j_exec_ctx.open()
        try:
            yield
        finally:
            opened.close()

    def leave_to_console(self, scope: Any, *, only: Sequence[Any] | None = None) -> None:
        """Let the script session hold what a scope holds, for as long as the server runs: a kernel's variables outlive it.

        Args:
            only: of these objects alone; the rest is let go of.
        """
        console = self._script_session.getQueryScope()
        if only is None:
            scope.transferTo(console)
            return
        for j_table in filter(None, (getattr(value, "j_table", None) for value in only)):
            if j_table.isRefreshing():
                console.manage(j_table)
                if not scope.tryUnmanage(j_table):  # it was not held here
                    console.tryUnmanage(j_table)
        scope.release()

    @staticmethod
    def release(scope: Any) -> None:
        """Let go of all that a scope holds."""
        scope.release()

    def observe_scope(self) -> None:
        """Tell other clients, the web UI among them, which variables have changed. Waits while a console script runs.

        The script session does it by itself only around console scripts. Until then it also holds the replaced values.
        """
        with self._executing():
            self._script_session.observeScopeChanges()

    def cycle_s(self) -> float:
        """The least time between two cycles of the update graph; 0 where it is of a kind that does not tell."""
        try:
            graph_class = self.jpy.get_type("io.deephaven.engine.updategraph.impl.PeriodicUpdateGraph")
            graph = self.jpy.cast(self.execution_context.update_graph.j_update_graph, graph_class)
            return float(graph.getTargetCycleDurationMillis()) / 1000.0
        except Exception:
            return 0.0

    def wait_for_cycle(self, timeout_s: float) -> None:
        """Wait until the update graph's running cycle, if there is one, has told all listeners; no longer than the timeout."""
        lock = self.execution_context.update_graph.j_update_graph.sharedLock()
        if lock.tryLock(int(timeout_s * 1000), self.jpy.get_type("java.util.concurrent.TimeUnit").MILLISECONDS):
            lock.unlock()

    def arrow_messages(self, table: Any) -> list[bytes]:
        """A table's schema and rows as messages of Arrow's stream format, as one consistent snapshot; as Flight sends them."""
        writer = self.jpy.get_type("io.deephaven.extensions.barrage.util.TableToArrowConverter")(table.j_table)
        messages = [bytes(writer.getSchema())]
        while writer.hasNext():
            messages.append(bytes(writer.next()))
        return messages

    @staticmethod
    def is_interruption(error: BaseException) -> bool:
        """Whether an exception, of a cell that was interrupted, comes from the engine: then it is what the interrupt did.

        Java throws what it likes when a wait ends early: `CancellationException`, "Compilation failed", or what a
        KeyboardInterrupt became that landed in Python code which Java had called.
        """
        text = str(error)
        return type(error).__name__ == "DHError" or "\tat " in text or any(name in text for name in _INTERRUPTED)

    @contextlib.contextmanager
    def between_cycles(self, j_table: Any, timeout_s: float) -> Iterator[bool]:
        """Hold off the cycles of a table's update graph; False where the one that runs does not end in time."""
        graph = j_table.getUpdateGraph()
        shared = graph.sharedLock()
        if shared.isHeldByCurrentThread() or graph.exclusiveLock().isHeldByCurrentThread():
            yield True
        elif not shared.tryLock(int(timeout_s * 1000), self.jpy.get_type("java.util.concurrent.TimeUnit").MILLISECONDS):
            yield False
        else:
            try:
                yield True
            finally:
                shared.unlock()

    def is_ring(self, j_table: Any) -> bool:
        """Whether a table keeps its latest rows in a ring: only the class of its columns' sources tells."""
        names = j_table.getDefinition().getColumnNamesArray()
        if not len(names):
            return False
        reinterpreting = self.jpy.get_type("io.deephaven.engine.table.impl.sources.ReinterpretUtils")
        source = reinterpreting.maybeConvertToPrimitive(j_table.getColumnSource(names[0]))
        return "Ring" in str(source.getClass().getSimpleName())

    def merged(self, j_tables: list[Any]) -> Any:
        """Ticking tables in one, one behind the other."""
        tools = self.jpy.get_type("io.deephaven.engine.util.TableTools")
        return tools.merge(self.jpy.array("io.deephaven.engine.table.Table", j_tables))

    def object_type(self, value: object) -> str | None:
        """The name under which the server's clients know objects like this one; None for what they cannot show.

        Asks the plugins.
        """
        from deephaven._wrapper import javaify  # what makes an object of Python's one that Java's registry takes

        if self._object_types is None:
            return None
        scope = self.new_scope()
        try:
            with self.inside(scope):
                found = self._object_types.findObjectType(javaify(value))
                return str(found.get().name()) if found.isPresent() else None
        finally:
            scope.release()

    def heap_bytes(self) -> int:
        """The server's maximum heap."""
        return int(self.jpy.get_type("java.lang.Runtime").getRuntime().maxMemory())

    def collect_garbage(self) -> None:
        """Ask Java for a collection; in a launched server it is a concurrent one."""
        self.jpy.get_type("java.lang.System").gc()


def _version() -> str:
    from importlib import metadata

    for name in ("deephaven-server", "deephaven-core"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "unknown"


def ensure_channel_type() -> None:
    """Make the server know the runtime's channels, once per server.

    Where dh-kernel is installed on the server, its plugin did so at start-up, by the public way. On a vanilla server the
    registry of object types is reached through the script session (private: one field).

    Raises:
        EngineError: neither works here.
    """
    plugin = sys.modules.get(PLUGIN_MODULE)
    if getattr(plugin, "registered", False):
        return
    try:
        _register_privately()
    except Exception as error:
        raise EngineError(
            f"this server ({_version()}) does not let the kernel register its message channel: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}. Next step: install dh-kernel into the server's Python "
            "environment and restart the server; it then registers the channel as a plugin."
        ) from error


def _register_privately() -> None:
    import jpy
    from deephaven_internal.plugin.object import ObjectTypeAdapter

    registry = _object_types(jpy, _script_session(jpy))
    names_class = jpy.get_type("io.deephaven.server.plugin.python.ObjectTypeAdapter")
    plugin = make_channel_type()
    try:
        registry.register(names_class(plugin.name, ObjectTypeAdapter(plugin)))
    except Exception as error:
        # Another session, perhaps of another version of the runtime, was first. The type serves all of them.
        if "already" not in str(error).lower() and "duplicate" not in str(error).lower():
            raise


def _script_session(jpy: Any) -> Any:
    """The script session of the calling console script, as `deephaven.query_scope` reaches it."""
    scope = jpy.get_type("io.deephaven.engine.context.ExecutionContext").getContext().getQueryScope()
    scope_class = jpy.get_type("io.deephaven.engine.util.AbstractScriptSession$ScriptSessionQueryScope")
    return jpy.cast(scope, scope_class).scriptSession()


def _object_types(jpy: Any, session: Any) -> Any:
    """The registry of object types; found only by a thread that runs a console script, whose class loader knows the class."""
    lookup = _private_field(jpy, session, "io.deephaven.engine.util.AbstractScriptSession", "objectTypeLookup")
    return jpy.cast(lookup, jpy.get_type("io.deephaven.server.plugin.type.ObjectTypes"))


def _private_field(jpy: Any, owner: Any, class_name: str, name: str) -> Any:
    field = jpy.get_type("java.lang.Class").forName(class_name).getDeclaredField(name)
    field.setAccessible(True)
    return field.get(owner)


def make_channel_type() -> Any:
    """The object type of every runtime's channel, of whatever version: it knows them by one attribute of their class."""
    from deephaven.plugin.object_type import BidirectionalObjectType

    class ChannelType(BidirectionalObjectType):  # type: ignore[misc]
        name = CHANNEL_TYPE

        def is_type(self, obj: Any) -> bool:
            # Asked for every variable of the console: looks at the class only, and runs no code of the object.
            return type(obj).__dict__.get("__dh_kernel_channel__") is True

        def create_client_connection(self, obj: Any, connection: Any) -> Any:
            return obj.connect(connection)

        def authorization_export_behavior(self) -> str:
            return "transform"

    return ChannelType()
