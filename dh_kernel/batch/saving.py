"""Where an executed notebook goes: a file that is whole at any time, or something that is written to once, at the end.

Neighbours: `notebooks`. Refuses to know notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from pathlib import Path


class Target:
    """A path to write to. What is there and is no file, such as a pipe or a device, gets the last text only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_file = path.is_file() or path.is_dir() or not path.exists()  # a folder is told of at the first text

    def save(self, text: str) -> None:
        """What there is now.

        Raises:
            OSError: it cannot be written.
        """
        if self._is_file:
            write_atomically(self._path, text)

    async def finish(self, text: str) -> None:
        """What there is at the end. A pipe waits for its reader, on a thread that is left behind when this is cancelled.

        Raises:
            OSError: it cannot be written.
        """
        if self._is_file:
            write_atomically(self._path, text)
            return
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()

        def settle(error: OSError | None) -> None:
            if not written.done():
                written.set_result(None) if error is None else written.set_exception(error)

        def write() -> None:
            problem: OSError | None = None
            try:
                with open(self._path, "wb") as file:  # as it is: nothing takes its place
                    file.write(_encoded(text))
            except OSError as error:
                problem = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, problem)

        threading.Thread(target=write, name="dh-run-output", daemon=True).start()
        await written


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside it, then give it its name; it keeps the permissions of the former one. Links are followed."""
    path = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoded(text))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _encoded(text: str) -> bytes:
    return (text if text.endswith("\n") else f"{text}\n").encode("utf-8", "backslashreplace")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
