"""Jupyter's run app with what pipelines need: its options and configuration files, our order, and an exit code that tells.

Neighbours: `command` (the order), `runner` (carries it out), `kernels`. Refuses to know messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import find_connection_file
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.runapp import RunApp
from jupyter_core.application import JupyterApp
from traitlets import CUnicode, Type

from dh_kernel import __version__, versions
from dh_kernel.credentials import Unread
from dh_kernel.install import DEFAULT_NAME
from dh_kernel.settings import as_arguments, load_settings

from .command import Order, complain, order_of
from .kernels import ExistingKernel, Folder, Kernel, OwnSpecs
from .options import UsageError
from .outcome import SERVER, Outcome, Status, of_fault
from .reports import REPORTS, Report
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
    try:
        return _carry_out(order, prog, begun)
    except Exception as error:  # before the run has begun, or where it cannot be told: a fault of ours, or of the machine
        return _tell(order, of_fault(error), begun)


def _carry_out(order: Order, prog: str, begun: float) -> int:
    folder = Folder()
    try:
        os.environ.setdefault("JUPYTER_RUNTIME_DIR", str(folder.path)) if order.existing is None else None
        app = BatchApp.instance()
        try:
            app.initialize(list(order.jupyter))
        except SystemExit as end:  # traitlets has said what is wrong
            return complain(prog, UsageError("an option of Jupyter's is wrong")) if end.code else 0
        try:
            kernel = app.kernel(order, folder)
        except OSError:
            value = f"there is no connection file {order.existing}"
            error = {"name": "FileNotFoundError", "value": value, "traceback": [f"{prog}: {value}"]}
            return _tell(order, Outcome(Status.ERROR, SERVER, error), begun)
        return asyncio.run(_run(kernel, order, prog, begun))
    finally:
        folder.remove()


def _tell(order: Order, outcome: Outcome, begun: float) -> int:
    """Report a run that has not come to anything; the exit code."""
    writer, written = Writer(lambda: None), threading.Event()
    report = _report(order, writer)
    if outcome.error is not None:
        report.error(outcome.error)
    report.finish(outcome, time.monotonic() - begun)
    writer.after(written.set)
    written.wait()
    return outcome.exit_code


def _report(order: Order, writer: Writer) -> Report:
    return REPORTS[order.form](writer, table_meta=order.table_meta, colours=sys.stderr.isatty())


def _ahead(order: Order) -> Iterator[str]:
    """What takes minutes before anything else happens."""
    settings, _ = load_settings(as_arguments(order.settings), {**os.environ, **order.environ}, secrets=Unread())
    environment = versions.wanted(settings) if order.existing is None else None
    if environment is not None and not environment.exists:
        yield f"installing Deephaven {environment.version} first: that is done once, and takes minutes"


async def _run(kernel: Any, order: Order, prog: str, begun: float) -> int:
    loop = asyncio.get_running_loop()
    runners: list[Runner] = []

    def broken() -> None:
        for runner in runners:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(runner.broken_pipe)

    writer = Writer(broken)
    terminal = sys.stderr.isatty() and not order.quiet
    notes = Notes(writer, prog, lines=order.verbose or terminal, bars=terminal)
    for note in _ahead(order):
        notes.note(note)
    runners.append(Runner(order, kernel, _report(order, writer), writer, notes, begun))
    return await runners[0].run()
