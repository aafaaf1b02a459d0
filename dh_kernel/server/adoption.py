"""A server that was started ahead becomes that of a kernel: its folder and its environment are those that the kernel has.

Neighbours: `launcher.py` loads this file in the server's interpreter. The standard library and jpy only.

For Python that is `chdir` and `os.environ`. Java reads both once, when it starts, and has no way to change them: its three
copies of the working folder, and its map of the environment, are written to. (A relative path that a cell gives to
`parquet.read` is resolved by Java.) Whether that works is tried while nobody waits: where it does not, there is no standby.
What has been read by the time a server is claimed, such as PYTHONPATH, cannot be changed: `standby.py` asks for the same.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

_UNSAFE = "sun.misc.Unsafe"  # open to all code, other than java.io; on Java 25 it wants the option that the launch has


class Adoption:
    """Moves this process. Made once Java runs; raises where it cannot work."""

    def __init__(self) -> None:
        import jpy

        self._jpy = jpy
        self._class = jpy.get_type("java.lang.Class").forName
        self._unsafe = self._open_unsafe()
        file_systems = [
            f for f in self._class("java.io.File").getDeclaredFields() if f.getType().getName() == "java.io.FileSystem"
        ]
        self._file_system = self._static(file_systems[0])
        self._move_java(os.getcwd())
        self._set_java_environment(dict(os.environ))

    def become(self, cwd: str, environment: Mapping[str, str], umask: int) -> None:
        """Stand in a folder, with an environment, as if started there."""
        os.chdir(cwd)
        os.umask(umask)
        os.environ.clear()
        os.environ.update(environment)
        self._move_java(os.getcwd())
        self._set_java_environment(environment)
        importlib.invalidate_caches()

    def _open_unsafe(self) -> Any:
        """Java lets no native thread open a field; a Java method that calls back may."""
        field = self._class(_UNSAFE).getDeclaredField("theUnsafe")
        function = self._jpy.get_type("io.deephaven.integrations.python.PythonFunction")
        function(lambda _: field.setAccessible(True), self._jpy.get_type("java.lang.String").jclass).apply(None)
        return field.get(None)

    def _static(self, field: Any) -> Any:
        return self._unsafe.getObject(self._unsafe.staticFieldBase(field), self._unsafe.staticFieldOffset(field))

    def _put(self, instance: Any, owner: str, name: str, value: Any) -> None:
        offset = self._unsafe.objectFieldOffset(self._class(owner).getDeclaredField(name))
        self._unsafe.putObject(instance, offset, value)

    def _move_java(self, folder: str) -> None:
        paths = self._jpy.get_type("java.nio.file.FileSystems").getDefault()
        self._put(self._file_system, "java.io.UnixFileSystem", "userDir", folder)
        signed = [byte - 256 if byte > 127 else byte for byte in os.fsencode(folder)]
        self._put(paths, "sun.nio.fs.UnixFileSystem", "defaultDirectory", self._jpy.array("byte", signed))
        self._jpy.get_type("java.lang.System").setProperty("user.dir", folder)
        wanted = f"{folder.rstrip('/')}/x"
        old = self._jpy.get_type("java.io.File")("x").getAbsolutePath()
        new = paths.getPath("x", []).toAbsolutePath().toString()
        if not old == new == wanted:
            raise RuntimeError(f"Java stays in another folder than {folder}: {old}, {new}")

    def _set_java_environment(self, environment: Mapping[str, str]) -> None:
        values = self._jpy.get_type("java.util.HashMap")()
        for name, value in environment.items():
            values.put(name, value)
        field = self._class("java.lang.ProcessEnvironment").getDeclaredField("theUnmodifiableEnvironment")
        fixed = self._jpy.get_type("java.util.Collections").unmodifiableMap(values)
        self._unsafe.putObject(self._unsafe.staticFieldBase(field), self._unsafe.staticFieldOffset(field), fixed)


def stamps() -> list[tuple[str, int]]:
    """The folders that modules came from, and when each was changed last: an installation or an upgrade changes one."""
    files = [str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())]
    found = []
    for folder in sys.path:
        if os.path.isabs(folder) and os.path.isdir(folder) and any(file.startswith(folder + os.sep) for file in files):
            found.append((folder, os.stat(folder).st_mtime_ns))
    return found
