"""Jupyter's run app with what pipelines need: its options and configuration files, our order, and an exit code that tells.

Neighbours: `command` (the order), `runner` (carries it out), `kernels`. Refuses to know messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import find_connection_file
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.runapp import RunApp
from jupyter_core.application import JupyterApp
from traitlets import CUnicode, Type

from dh_kernel import __version__
from dh_kernel.install import DEFAULT_NAME
from dh_kernel.settings import as_arguments

from .command import Order, complain, order_of
from .kernels import ExistingKernel, Folder, Kernel, OwnSpecs
from .options import UsageError
from .outcome import SERVER
from .reports import REPORTS
from .runner import Runner
from .writing import Notes, Writer


class BatchApp(RunApp):
    """Runs an order. `c.BatchApp…` and `c.RunApp…` in Jupyter's configuration files set its traits."""

    name = "jupyter-deephaven-run"
    version = __version__
    description = "Run scripts and notebooks on a Deephaven server."
    kernel_name = CUnicode(DEFAULT_NAME, config=True, help="The kernel to start.")
    kernel_manager_class = Type(default_value=AsyncKernelManager, config=True, help="The kernel manager class to use.")
    kernel_client_class: Any = AsyncKernelClient

    def initialize(self, argv: Any = None) -> None:
        """Read options and configuration. The kernel is started later, on the event loop."""
        JupyterApp.initialize(self, argv)

    def migrate_config(self) -> None:
        """Nothing is written to the home directory."""

    def kernel(self, order: Order, folder: Folder) -> Any:
        """The kernel to use.

        Raises:
            OSError: there is no such connection file.
        """
        if order.existing is not None:
            self.connection_file = find_connection_file(order.existing, [".", self.runtime_dir])
            return ExistingKernel(self._client_of_existing, self.kernel_timeout)
        manager = self.kernel_manager_class(
            parent=self,
            kernel_name=self.kernel_name,
            kernel_spec_manager=OwnSpecs(parent=self),
            connection_file=str(folder.path / "kernel.json"),
        )
        return Kernel(manager, folder, order.environ, as_arguments(order.settings), self.kernel_timeout)

    def _client_of_existing(self) -> AsyncKernelClient:
        client = AsyncKernelClient(parent=self, connection_file=self.connection_file)
        client.load_connection_file()
        return client


def main(argv: Sequence[str], prog: str, *, serves: bool = False) -> int:
    """Carry out a command line; the exit code."""
    begun = time.monotonic()
    try:
        order = order_of(argv, prog, serves=serves)
    except UsageError as error:
        return complain(prog, error)
    folder = Folder()
    try:
        os.environ.setdefault("JUPYTER_RUNTIME_DIR", str(folder.path)) if order.existing is None else None
        app = BatchApp.instance()
        try:
            app.initialize(list(order.jupyter))
        except SystemExit as end:  # traitlets has said what is wrong
            return complain(prog, UsageError("an option of Jupyter's is wrong")) if end.code else 0
        return asyncio.run(_run(app, order, folder, prog, begun))
    finally:
        folder.remove()


async def _run(app: BatchApp, order: Order, folder: Folder, prog: str, begun: float) -> int:
    loop = asyncio.get_running_loop()
    runners: list[Runner] = []

    def broken() -> None:
        for runner in runners:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(runner.broken_pipe)

    writer = Writer(broken)
    report = REPORTS[order.form](writer, table_meta=order.table_meta, colours=sys.stderr.isatty())
    terminal = sys.stderr.isatty() and not order.quiet
    notes = Notes(writer, prog, lines=order.verbose or terminal, bars=terminal)
    try:
        kernel = app.kernel(order, folder)
    except OSError:
        notes.say(f"there is no connection file {order.existing}")
        written = asyncio.Event()
        writer.after(lambda: loop.call_soon_threadsafe(written.set))
        await written.wait()
        return SERVER
    runners.append(Runner(order, kernel, report, writer, notes, begun))
    return await runners[0].run()
