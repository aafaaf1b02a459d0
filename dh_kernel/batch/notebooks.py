"""One notebook, executed by nbclient in the run's kernel, and written whatever happens.

Neighbours: `runner` (says what, and when it is over), `parameters`, `reports`, `saving`. The metadata are papermill's (2.7,
read in what it writes). Refuses to know signals.

The executed notebook is written after every cell (`saving` says how): a reader sees a whole one, and a run that is killed
leaves what it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from dh_kernel import __version__

from .command import Item, Order
from .conversation import KernelGone, tell
from .outcome import ERROR, EXIT_CODES, Outcome, Status, of_reply
from .parameters import HEADING, as_code
from .reports import Report
from .saving import Target

nbformat: Any = importlib.import_module("nbformat")  # it has no types

_WHOLE_DAY_S = 86_400


@dataclass(frozen=True)
class Surroundings:
    """What a notebook's run needs of the run it is part of.

    `limit` begins to count a cell's time and is to be cancelled at its end. `is_over`: nothing more may begin. `ended` gives
    the outcome of what has ended by itself, and `cut_off_by` that of what was ended by an exception.
    """

    order: Order
    kernel: Any
    report: Report
    bar: Callable[[int, int], None]
    server: dict[str, Any]
    limit: Callable[[], asyncio.Handle]
    is_over: Callable[[], bool]
    ended: Callable[[Outcome], Outcome]
    cut_off_by: Callable[[BaseException], Outcome]


class _Executor(NotebookClient):
    """Tells the report what nbclient hears."""

    report: Report

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """As nbclient; a cell's text and tables are reported as they come."""
        tell(self.report, msg)
        return super().process_message(msg, cell, cell_index)


class NotebookRun:
    """Executes one notebook."""

    def __init__(self, item: Item, around: Surroundings) -> None:
        assert item.file is not None
        self._around, self._item = around, item
        self._source = Path(item.file)
        self._path = target_of(item, around.order)
        self._target = Target(self._path)
        self._reply: dict[str, Any] | None = None
        self._failed: int | None = None
        self._notebook: Any = None

    async def run(self) -> Outcome:
        """Execute and write it.

        Raises:
            KernelGone: the kernel has died; what there is has been written.
        """
        report, begun = self._around.report, time.monotonic()
        report.item("notebook", self._item.name, None, 0.0)
        outcome = Outcome()
        try:
            outcome = await self._read_and_execute()
        except BaseException as error:
            outcome = self._around.cut_off_by(error)
            raise
        finally:
            report.item("notebook", self._item.name, outcome, time.monotonic() - begun, output=str(self._path))
        return outcome

    async def _read_and_execute(self) -> Outcome:
        try:
            self._notebook = read(self._source)
            return await self._execute()
        except OSError as error:
            told = {"name": type(error).__name__, "value": f"{self._item.name}: {error}", "traceback": []}
        except NotANotebook as error:
            told = {"name": "NotANotebook", "value": f"{self._item.name} is no notebook: {error}", "traceback": []}
        self._around.report.error(told)
        return Outcome(Status.ERROR, ERROR, told)

    async def _execute(self) -> Outcome:
        cells = self._notebook.cells
        inject(self._notebook, self._around.order.parameters)
        begun = _Times()
        self._describe(begun)
        for cell in cells:
            _clear(cell)
        self._target.save(self._text)
        client = await self._around.kernel.client()
        client.allow_stdin = False
        executor = _Executor(
            self._notebook,
            km=self._around.kernel.manager,
            timeout=None,
            iopub_timeout=_WHOLE_DAY_S,  # the reply says that all has been sent, so all will arrive
            raise_on_iopub_timeout=True,
            allow_errors=self._around.order.allow_errors,
            on_cell_executed=self._executed,
        )
        executor.kc, executor.report = client, self._around.report
        try:
            return await self._cells(executor)
        finally:
            with contextlib.suppress(Exception):  # of widgets whose states are not as they should be
                executor.set_widgets_metadata()
            self._describe(begun, over=True)
            await self._target.finish(self._text)

    async def _cells(self, executor: _Executor) -> Outcome:
        cells = self._notebook.cells
        outcome, number = Outcome(), 0
        for index, cell in enumerate(cells):
            self._around.bar(index, len(cells))
            if runs(cell):
                number += 1
            outcome = await self._cell(executor, index, cell)
            self._target.save(self._text)
            if not outcome.goes_on or outcome.status is Status.EXIT or self._around.is_over():
                break
        self._around.bar(len(cells), len(cells))
        return outcome

    async def _cell(self, executor: _Executor, index: int, cell: Any) -> Outcome:
        report, times = self._around.report, _Times()
        if not runs(cell):
            _set_status(cell, "completed", times, exception=False)
            return Outcome()
        report.item("cell", str(cell.get("id", index)), None, 0.0, index=index)
        _set_status(cell, "running", times, exception=None)
        limit = self._around.limit()
        self._reply = None
        outcome, failed = Outcome(), True
        try:
            outcome = self._around.ended(await self._run_cell(executor, index, cell))
            failed = bool(self._reply and self._reply["status"] != "ok") and outcome != Outcome(Status.EXIT)
        except BaseException as error:
            outcome = self._around.cut_off_by(error)
            self._mark(cell, outcome.error or _reason(outcome))
            if isinstance(error, DeadKernelError):  # also when this was cancelled: nbclient takes that for a death
                raise KernelGone from None
            raise
        finally:
            limit.cancel()
            _set_status(cell, "completed" if outcome.goes_on else "failed", times, exception=failed)
            report.item("cell", str(cell.get("id", index)), outcome, times.seconds, index=index)
        return outcome

    async def _run_cell(self, executor: _Executor, index: int, cell: Any) -> Outcome:
        with contextlib.suppress(CellExecutionError):  # the reply tells the same
            await executor.async_execute_cell(cell, index)
        return self._told(cell)

    def _executed(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        self._reply = execute_reply["content"]

    def _told(self, cell: Any) -> Outcome:
        """The outcome of the reply. An error that is allowed lets the notebook go on, but not one of the server.

        An exit is no error, so `--allow-errors` is not about it; the cell's own tag is about whatever it raises.
        """
        reply = self._reply or {"status": "ok"}
        outcome = of_reply(reply)
        by_tag = "raises-exception" in cell.metadata.get("tags", []) and outcome.status in (Status.ERROR, Status.EXIT)
        by_option = self._around.order.allow_errors and outcome.status is Status.ERROR
        if (by_tag or by_option) and not reply.get("dh_kernel"):
            return Outcome()
        if not outcome.goes_on and outcome.error is not None and not _shows_error(cell):
            self._mark(cell, outcome.error)
        return outcome

    @staticmethod
    def _mark(cell: Any, error: dict[str, Any]) -> None:
        """Let the cell show why it was cut off."""
        traceback = error["traceback"] or [f"{error['name']}: {error['value']}"]
        cell.outputs.append(
            nbformat.v4.new_output("error", ename=error["name"], evalue=error["value"], traceback=list(traceback))
        )

    # --- metadata and the file

    def _describe(self, begun: _Times, *, over: bool = False) -> None:
        order = self._around.order
        failed = any(cell.metadata.get("papermill", {}).get("exception") for cell in self._notebook.cells)
        self._notebook.metadata["papermill"] = {
            "default_parameters": {},
            "duration": begun.seconds if over else None,
            "end_time": _now() if over else None,
            "environment_variables": {},
            "exception": failed or None,
            "input_path": self._item.name,
            "output_path": os.path.relpath(self._path),
            "parameters": json.loads(json.dumps(order.parameters), parse_constant=str),  # JSON has no NaN
            "start_time": begun.start,
            "version": f"dh-kernel {__version__}",
        }
        self._notebook.metadata["deephaven"] = {"version": self._around.server.get("version")}

    @property
    def _text(self) -> str:
        return str(nbformat.writes(self._notebook, version=4))


class _Times:
    def __init__(self) -> None:
        self.start, self._begun = _now(), time.monotonic()

    @property
    def seconds(self) -> float:
        """Since then."""
        return round(time.monotonic() - self._begun, 6)


class NotANotebook(Exception):
    """What has been read is no notebook."""


def read(path: Path) -> Any:
    """A notebook, as the latest version: in former ones cells have no id, and what is put into them would have one.

    Raises:
        OSError: the file cannot be read.
        NotANotebook: it is none.
    """
    text = path.read_bytes()
    try:
        found: Any = nbformat.v4.upgrade(nbformat.reads(text.decode("utf-8"), as_version=4))
        found.metadata.setdefault("papermill", {})
        if not all({"cell_type", "metadata", "source"} <= cell.keys() for cell in found.cells):
            raise ValueError("there is a cell without a type, without metadata or without a source")
        return found
    except Exception as error:  # a file may hold anything, and each kind has an exception of its own
        raise NotANotebook((str(error).splitlines() or [type(error).__name__])[0]) from None


def _reason(outcome: Outcome) -> dict[str, Any]:
    return {"name": "RunEnded", "value": EXIT_CODES[outcome.exit_code], "traceback": []}


def target_of(item: Item, order: Order) -> Path:
    """Where the executed notebook goes."""
    assert item.file is not None
    if order.output == "":
        return Path(item.file)
    return Path(order.output) if order.output else Path(item.file).with_suffix(".out.ipynb")


def runs(cell: Any) -> bool:
    """Whether nbclient runs the cell."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and "skip-execution" not in cell.metadata.get("tags", [])


def inject(notebook: Any, parameters: dict[str, Any]) -> None:
    """Put the parameters where papermill does: in place of those of a former run, or behind the cell with the defaults."""
    if not parameters:
        return
    cell = nbformat.v4.new_code_cell(f"{HEADING}\n{as_code(parameters)}")
    cell.metadata["tags"] = ["injected-parameters"]
    tags = [part.metadata.get("tags", []) for part in notebook.cells]
    former = next((index for index, found in enumerate(tags) if "injected-parameters" in found), None)
    defaults = next((index for index, found in enumerate(tags) if "parameters" in found), None)
    if former is not None:
        notebook.cells[former] = cell
    else:
        notebook.cells.insert(0 if defaults is None else defaults + 1, cell)


def _clear(cell: Any) -> None:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    cell.metadata["papermill"] = {
        "duration": None,
        "end_time": None,
        "exception": None,
        "start_time": None,
        "status": "pending",
    }


def _set_status(cell: Any, status: str, times: _Times, *, exception: bool | None) -> None:
    over = status != "running"
    cell.metadata["papermill"] = {
        "duration": times.seconds if over else None,
        "end_time": _now() if over else None,
        "exception": exception,
        "start_time": times.start,
        "status": status,
    }


def _shows_error(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
