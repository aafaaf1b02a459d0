"""Notebooks by `dh-kernel run`: executed by nbclient, and written whatever happens."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import nbformat
import pytest
from batching import Runs, end, notebook, read_until
from harness import wait_until

TABLE = "from deephaven import empty_table\nt = empty_table(n).update('X = i')\nprint('made', t.size)"
STATUS_KEYS = {"duration", "end_time", "exception", "start_time", "status"}
WHOLE_KEYS = {
    "default_parameters",
    "duration",
    "end_time",
    "environment_variables",
    "exception",
    "input_path",
    "output_path",
    "parameters",
    "start_time",
    "version",
}


def saved(path: Path) -> Any:
    """A notebook that is whole and valid."""
    found = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(found)
    return found


def statuses(path: Path) -> list[str]:
    return [cell.metadata["papermill"]["status"] for cell in saved(path).cells]


def test_a_notebook_with_parameters_and_tags_is_executed(attached: Runs) -> None:
    source = notebook(
        attached.folder / "in.ipynb",
        ["n = 1", TABLE, "raise ValueError('expected')", "print('skipped')", "'last'"],
        {0: "parameters", 2: "raises-exception", 3: "skip-execution"},
    )
    before = source.read_bytes()
    done = attached("-p", "n=5", "in.ipynb", "--output", "out/done.ipynb")
    assert done.code == 1  # there is no such folder
    assert "No such file" in done.errors
    (attached.folder / "out").mkdir()
    done = attached("-p", "n=5", "in.ipynb", "--output", "out/done.ipynb")
    assert (done.code, done.text) == (0, ""), done.errors
    whole = saved(attached.folder / "out/done.ipynb")
    cells = whole.cells
    assert cells[1].metadata["tags"] == ["injected-parameters"]
    assert cells[1].source == "# Parameters\nn = 5\n"
    assert cells[2].outputs[0].text == "made 5\n"
    assert cells[2].outputs[1].data["application/vnd.dataresource+json"]["deephaven"]["rows"] == 5
    assert [output.ename for output in cells[3].outputs] == ["ValueError"]
    assert cells[4].outputs == []
    assert cells[5].outputs[0].data["text/plain"] == "'last'"
    assert [cell.metadata["papermill"]["status"] for cell in cells] == ["completed"] * 6
    assert all(set(cell.metadata["papermill"]) == STATUS_KEYS for cell in cells)
    assert set(whole.metadata["papermill"]) == WHOLE_KEYS
    assert whole.metadata["papermill"]["parameters"] == {"n": 5}
    assert whole.metadata["papermill"]["duration"] > 0
    assert whole.metadata["deephaven"]["version"]
    assert source.read_bytes() == before


def test_a_failing_notebook_is_written_with_the_failing_cell_marked(attached: Runs) -> None:
    source = notebook(attached.folder / "nb.ipynb", ["print('so far')", "x = 0\n1 / x", "print('never')"])
    source.chmod(0o640)
    done = attached("--inplace", "nb.ipynb")
    assert done.code == 1
    assert "ZeroDivisionError: division by zero" in done.errors
    assert "\x1b" not in done.errors
    assert statuses(source) == ["completed", "failed", "pending"]
    cells = saved(source).cells
    assert [output.output_type for output in cells[1].outputs] == ["error"]
    assert cells[1].metadata["papermill"]["exception"] is True
    assert cells[2].outputs == []
    assert saved(source).metadata["papermill"]["exception"] is True
    assert stat.S_IMODE(source.stat().st_mode) == 0o640
    assert [path.name for path in attached.folder.iterdir()] == ["nb.ipynb"]


@pytest.mark.long
def test_allow_errors_goes_on(attached: Runs) -> None:
    notebook(attached.folder / "nb.ipynb", ["1 / 0", "print('went on')"])
    done = attached("nb.ipynb", "--allow-errors", "--json")
    assert done.code == 0
    assert done.json["stdout"] == "went on\n"
    assert done.json["items"][0]["output"] == str(attached.folder / "nb.out.ipynb")
    assert statuses(attached.folder / "nb.out.ipynb") == ["completed", "completed"]


@pytest.mark.long
def test_sys_exit_in_a_notebook_gives_its_code(attached: Runs) -> None:
    notebook(attached.folder / "nb.ipynb", ["import sys\nsys.exit(9)", "print('never')"])
    done = attached("nb.ipynb", "--json-lines")
    assert done.code == 9
    cells = [event for event in done.events if event["event"] == "cell" and event["kind"] == "cell"]
    assert [(event["index"], event["status"]) for event in cells] == [(0, "running"), (0, "exit")]


@pytest.mark.long
def test_a_time_limit_writes_what_there_is(attached: Runs) -> None:
    notebook(attached.folder / "nb.ipynb", ["print('quick')", "print('slow', flush=True)\nimport time\ntime.sleep(600)", "1"])
    done = attached("--cell-timeout", "3", "nb.ipynb")
    assert done.code == 3
    assert "3 s (--cell-timeout)" in done.errors
    cells = saved(attached.folder / "nb.out.ipynb").cells
    assert statuses(attached.folder / "nb.out.ipynb") == ["completed", "failed", "pending"]
    assert cells[1].outputs[0].text == "slow\n"
    assert cells[1].outputs[-1].output_type == "error"


def test_a_death_writes_what_there_is(launched: Runs) -> None:
    notebook(launched.folder / "nb.ipynb", ["print('quick')", "import os\nos.kill(os.getpid(), 9)", "1"])
    done = launched("nb.ipynb")
    assert done.code == 4
    cells = saved(launched.folder / "nb.out.ipynb").cells
    assert statuses(launched.folder / "nb.out.ipynb") == ["completed", "failed", "pending"]
    assert cells[1].outputs[-1].ename == "ServerDiedError"


def test_a_script_and_a_notebook_share_a_session(attached: Runs) -> None:
    attached.script("before.py", "day = '2024-01-02'\n")
    notebook(attached.folder / "nb.ipynb", ["report = f'of {day}'"])
    assert attached("before.py", "--then", "nb.ipynb", "--then", "-c", "print(report)").text == "of 2024-01-02\n"


@pytest.mark.long
def test_a_run_that_is_killed_has_written_the_cells_before(attached: Runs) -> None:
    source = notebook(attached.folder / "nb.ipynb", ["print('quick')", "import time\ntime.sleep(600)"])
    process = attached.begin("--json-lines", "--inplace", "nb.ipynb")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b'"index": 1')
        wait_until(lambda: json.loads(source.read_text())["cells"][0]["outputs"] != [], "the first cell is written")
        process.kill()
    finally:
        end(process)
    assert statuses(source)[0] == "completed"
