"""The kernel process of a run, or a kernel that runs already; its clients; how it is interrupted and ended.

Neighbours: `app` builds these, `runner` uses them; jupyter_client does the work. Refuses to know what runs in the kernel.

A run's kernel keeps all it writes in a folder of the run's own, which goes with it: nothing in the home directory is touched,
so that it may be read-only, and the user's IPython profile and history have no part in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.session import Session

from dh_kernel.install import DEFAULT_DISPLAY_NAME, DEFAULT_NAME, kernel_dict

_LOOK_S = 0.2
_FOLDER, _LOCK = "dh-run-", "lock"
_YOUNG_S = 60.0
_LOG_LINES = 30
# The working directory is the script's own affair: its modules must not stand in for those that the kernel imports.
_START = "import sys; sys.path[:] = [path for path in sys.path if path]; from dh_kernel.__main__ import main; main()"


class OwnSpecs(KernelSpecManager):
    """Has this interpreter's kernel under the name `deephaven`, whatever is installed, and the others as they are."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec of a name."""
        if kernel_name != DEFAULT_NAME:
            return super().get_kernel_spec(kernel_name)
        spec = kernel_dict(DEFAULT_DISPLAY_NAME, {})
        spec["argv"] = [sys.executable, "-c", _START, "-f", "{connection_file}"]
        return KernelSpec(resource_dir="", **spec)


class Folder:
    """A run's own folder. The run holds a lock in it, so that those of runs that were killed can be told, and are removed."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_FOLDER))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for other in self.path.parent.glob(f"{_FOLDER}*"):
            with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
                _remove_if_left(other)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose run has ended. A young one may not have its lock yet."""
    if folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < _YOUNG_S:
        return
    lock = os.open(folder / _LOCK, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


class Kernel:
    """A kernel that the run has started.

    Args:
        manager: an asynchronous kernel manager, not started.
        environ: added to this process's environment.
        arguments: more words for the kernel's command line: its settings.
    """

    owned = True

    def __init__(
        self, manager: Any, folder: Folder, environ: Mapping[str, str], arguments: Sequence[str], ready_timeout_s: float
    ) -> None:
        self._manager, self._folder, self._ready_timeout_s = manager, folder, ready_timeout_s
        self._arguments = list(arguments)
        self._environ = {**os.environ, "IPYTHONDIR": str(folder.path / "ipython"), **environ}
        self._log = folder.path / "kernel.log"
        self._clients: list[Any] = []
        self._context: Any = None
        self._killed = False

    async def start(self) -> Any:
        """Start the process; its first client, whose channels are open, once it answers.

        Raises:
            RuntimeError: there is no such kernel, it does not answer, or it has ended.
        """
        with self._log.open("wb") as log:
            try:
                await self._manager.start_kernel(
                    extra_arguments=self._arguments,
                    env=self._environ,
                    cwd=os.getcwd(),
                    stdin=None,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                )
            except (NoSuchKernel, OSError) as error:
                raise RuntimeError(str(error)) from error
        return await self.client()

    async def client(self) -> Any:
        """One more client."""
        # A session of its own: its name is the identity of its sockets, and replies go to the one that was there last.
        session = Session(
            parent=self._manager, key=self._manager.session.key, signature_scheme=self._manager.session.signature_scheme
        )
        client = self._manager.client(context=self._unlimited(), session=session)
        client.start_channels(hb=False)
        self._clients.append(client)
        await client.wait_for_ready(timeout=self._ready_timeout_s)
        return client

    def _unlimited(self) -> Any:
        """Sockets that drop nothing at this end."""
        if self._context is None:
            import zmq
            import zmq.asyncio

            self._context = zmq.asyncio.Context()
            self._context.setsockopt(zmq.RCVHWM, 0)
        return self._context

    @property
    def manager(self) -> Any:
        """For nbclient."""
        return self._manager

    async def wait_for_death(self) -> None:
        """Return when the process has ended."""
        while await self._manager.is_alive():
            await asyncio.sleep(_LOOK_S)

    async def interrupt(self) -> None:
        """As the stop button does."""
        if await self._manager.is_alive():
            await self._manager.interrupt_kernel()

    async def shutdown(self, within_s: float) -> None:
        """End the process and its server: ask, and then kill both."""
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError, RuntimeError):
            if not self._killed and within_s > 0 and await self._manager.is_alive():
                self._manager.shutdown_wait_time = within_s
                await asyncio.wait_for(self._manager.shutdown_kernel(), within_s)
        await self.kill()

    async def kill(self) -> None:
        """Kill the process group; the guardian ends the server's."""
        self._killed = True
        with contextlib.suppress(RuntimeError):
            await self._manager.shutdown_kernel(now=True)

    def log_tail(self) -> str:
        """The last lines of what the process itself has written."""
        try:
            lines = self._log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_LOG_LINES:])

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.stop_channels()
        if self._context is not None:
            self._context.destroy(linger=0)


class ExistingKernel:
    """A kernel that somebody else has started, and that goes on.

    Args:
        make_client: an asynchronous client that knows the connection, its channels not open.
    """

    owned = False
    manager = None

    def __init__(self, make_client: Any, ready_timeout_s: float) -> None:
        self._make_client, self._ready_timeout_s = make_client, ready_timeout_s
        self._clients: list[Any] = []

    async def start(self) -> Any:
        """Its first client."""
        return await self.client()

    async def client(self) -> Any:
        """One more client.

        Raises:
            RuntimeError: it does not answer.
        """
        client = self._make_client()
        client.start_channels()
        self._clients.append(client)
        await client.wait_for_ready(timeout=self._ready_timeout_s)
        return client

    async def wait_for_death(self) -> None:
        """Return when it answers no more."""
        while await self._clients[0].is_alive():
            await asyncio.sleep(_LOOK_S)

    async def interrupt(self) -> None:
        """As the stop button does."""
        if self._clients:
            self._clients[0].control_channel.send(self._clients[0].session.msg("interrupt_request", {}))

    async def shutdown(self, within_s: float) -> None:
        """It is not ours to end."""

    async def kill(self) -> None:
        """It is not ours to end."""

    def log_tail(self) -> str:
        """Its log is elsewhere."""
        return ""

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.stop_channels()
