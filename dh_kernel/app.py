"""The kernel's application: ipykernel's sockets and threads around our kernel, and the one place that builds things.

Neighbours: `__main__` (starts it), `kernel`, `backend`, `history`. Refuses to know messages and gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop
from traitlets import Type
from traitlets.config import Config

from dh_kernel import __version__
from dh_kernel.errors import DhKernelError, SettingsError
from dh_kernel.history import History
from dh_kernel.server import ServerProcess
from dh_kernel.settings import KernelSettings, Settings
from dh_kernel.timings import Timings

from .backend import Backend
from .kernel import DeephavenKernel


class DeephavenKernelApp(IPKernelApp):  # type: ignore[misc]
    """Runs one kernel process."""

    name = "dh-kernel"
    version = __version__
    description = "The Jupyter kernel backed by Deephaven."
    kernel_class = Type(DeephavenKernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)
    classes: ClassVar = [DeephavenKernel, KernelSettings, *IPKernelApp.classes]

    def init_io(self) -> None:
        """Leave this process's own streams alone: users' output comes from the server."""
        self.displayhook = _NoDisplayHook()

    def init_pdb(self) -> None:
        """No user code runs here, so there is nothing to debug."""

    def init_gui_pylab(self) -> None:
        """No figures are drawn here."""

    def close(self) -> None:
        """Close the sockets."""
        if self.kernel is not None and self.kernel.history is not None:
            self.kernel.history.close()
        super().close()

    def run(
        self, settings: Settings, problem: SettingsError | None, first: ServerProcess | DhKernelError | None, timings: Timings
    ) -> None:
        """Serve until shutdown. The server `first` has been spawned already."""
        self.kernel.history = History(Path(self.profile_dir.location, "history.sqlite"))

        async def begin() -> None:
            self.kernel.connect_backend(Backend(settings, problem, first, self.kernel, timings))
            with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows interrupts by messages only
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.kernel.interrupt)

        IOLoop.current().add_callback(begin)
        self.start()


class _NoKeys(logging.Filter):
    """Keeps what stands behind `%dh attach` out of the log, where debugging shows code: it may be a key, by mistake."""

    _LINE = re.compile(r"(%dh[ \t]+attach\b).*")

    def filter(self, record: logging.LogRecord) -> bool:
        """All pass, some shortened."""
        text = record.getMessage()
        if "%dh" in text:
            record.msg, record.args = self._LINE.sub(r"\1 ***", text), ()
        return True


class _NoDisplayHook:
    """Stands where ipykernel expects its own."""

    get_execution_count: Any = None


def configuration(debug: bool) -> Config:
    """What differs from ipykernel's defaults."""
    return Config({"DeephavenKernelApp": {"log_level": 10 if debug else 30}})


def main(
    settings: Settings, problem: SettingsError | None, first: ServerProcess | DhKernelError | None, timings: Timings
) -> None:
    """Build and run the kernel process."""
    app = DeephavenKernelApp.instance(config=configuration(settings.debug))
    app.initialize(sys.argv[1:])
    for handler in logging.getLogger(app.log.name).handlers:
        handler.addFilter(_NoKeys())
    app.run(settings, problem, first, timings)
