"""Formulas that were compiled once, kept for the next servers: these load the classes, and need no Java compiler for them.

Deephaven up to 42 compiles into a folder of the session's (`QueryCompilerImpl`, `deephaven.cacheDir`): each formula into one
that is named after a digest of its source, `c_…v61_0`, and appears there whole. It looks there before it compiles, and
compares the source with that of the class that it finds. What is kept belongs to one set of jars. From Deephaven 43 on,
classes stay in memory: nothing is found, nothing kept.

Neighbours: `archives.py` (the folder, who may write there), `headstart.py` (when). Loaded in the server's interpreter. The
standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator

MOST_KEPT = 200
LOOK_EVERY_S = 15.0
_UNFINISHED = "temporaryCompilationDirectory"
_NAME = re.compile(r"c_[0-9a-f]{64}(p\d+)?v\d+_\d+")
_DIGESTS = "digests"
_LARGEST_CLASS = 1 << 20


class KeptFormulas:
    """The classes of formulas, between the folder of a server and the one where they are kept.

    Args:
        kept: the folder that keeps them; made when there is something to keep.
        server: the folder in which a server has its classes, somewhere below.
    """

    passing = "DhKernelHeadStart"  # a formula that names this is not kept

    def __init__(self, kept: str, server: str) -> None:
        self._kept, self._server = kept, server
        self._known: set[str] = set()
        self._lock = threading.Lock()

    @property
    def any(self) -> bool:
        """Whether there is something to restore."""
        return any(True for _ in _formulas(self._kept))

    def restore(self) -> int:
        """Give the server what is kept; how many formulas. What is not as it was written goes, to be kept anew.

        Call it when the server has its folder.
        """
        count = 0
        for root in self._roots():
            for path in list(_formulas(self._kept)):
                part = os.path.relpath(path, self._kept)
                try:
                    count += _copy(_checked(path), os.path.join(root, part))
                    self._known.add(part)
                except ValueError:
                    shutil.rmtree(path, ignore_errors=True)
                except OSError:
                    continue
        return count

    def keep(self) -> int:
        """Keep what has been compiled since; how many formulas. Those kept longest go beyond `MOST_KEPT`."""
        count = 0
        with self._lock:
            for path, part in self._compiled():
                if part in self._known:
                    continue
                self._known.add(part)
                with contextlib.suppress(OSError, ValueError):
                    files = _classes(path)
                    if any(self.passing.encode() in data for data in files.values()):
                        continue
                    os.makedirs(self._kept, mode=0o700, exist_ok=True)
                    digests = "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in sorted(files.items()))
                    count += _copy({**files, _DIGESTS: digests.encode()}, os.path.join(self._kept, part))
            if count:
                self._prune()
        return count

    def keep_on(self) -> None:
        """Keep them as long as this process runs: a thread's life."""
        never = threading.Event()
        while True:
            never.wait(LOOK_EVERY_S)
            with contextlib.suppress(Exception):  # the edge of a thread: only the next start is slower
                self.keep()

    def _roots(self) -> list[str]:
        """The folders of class paths in the server's folder."""
        above = os.path.join(self._server, "script-session-classes")
        with contextlib.suppress(OSError):
            return [entry.path for entry in _entries(above) if entry.is_dir(follow_symlinks=False)]
        return []

    def _compiled(self) -> list[tuple[str, str]]:
        """The folder of each formula that the server has, and its path below the class path."""
        return [(path, os.path.relpath(path, root)) for root in self._roots() for path in _formulas(root)]

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            oldest = sorted(_formulas(self._kept), key=lambda path: os.stat(path).st_mtime, reverse=True)[MOST_KEPT:]
            for path in oldest:
                shutil.rmtree(path, ignore_errors=True)


def _formulas(folder: str) -> Iterator[str]:
    """The folders below that hold a formula's classes."""
    for path, folders, _ in os.walk(folder):
        yield from (os.path.join(path, name) for name in folders if _NAME.fullmatch(name))
        folders[:] = [name for name in folders if not _NAME.fullmatch(name) and not name.startswith(_UNFINISHED)]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _classes(path: str) -> dict[str, bytes]:
    """The files of a formula by their names.

    Raises:
        ValueError: what is there are not just classes.
    """
    files: dict[str, bytes] = {}
    for entry in _entries(path):
        if not entry.is_file(follow_symlinks=False) or entry.stat().st_size > _LARGEST_CLASS:
            raise ValueError(f"{entry.path} is no class")
        with open(entry.path, "rb") as file:
            files[entry.name] = file.read()
        if entry.name != _DIGESTS and not files[entry.name].startswith(b"\xca\xfe\xba\xbe"):
            raise ValueError(f"{entry.path} is no class")
    return files


def _checked(path: str) -> dict[str, bytes]:
    """The classes that are kept in a folder, whole and as they were written.

    Raises:
        ValueError: they are not.
    """
    files = _classes(path)
    lines = files.pop(_DIGESTS, b"").decode("ascii").splitlines()
    if not lines or sorted(lines) != sorted(f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in files.items()):
        raise ValueError(f"{path} is not as it was written")
    return files


def _copy(files: dict[str, bytes], folder: str) -> bool:
    """Write files into a folder that appears whole or not at all; False if it is there."""
    if os.path.exists(folder):
        return False
    new = f"{folder}.{os.getpid()}.new"
    try:
        os.makedirs(new)
        for name, data in files.items():
            with open(os.path.join(new, name), "wb") as file:
                file.write(data)
        os.rename(new, folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return True
