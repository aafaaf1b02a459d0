"""Live outputs, `%dh show`, `set` and `grid` as front ends get them, on a launched server and on one that is attached to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import ATTACHED, LAUNCHED, Kernel, Place, Run, Vanilla, started

READY_TIMEOUT_S = 120.0
PREPARE = "from deephaven import empty_table, time_table\n%dh set live_interval_s 0.1"
TABLES = "text/html"


def as_lab(kernel: Kernel, code: str, cell_id: str) -> Run:
    """Run a cell as JupyterLab does, to its end."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
    run = kernel.send_message("execute_request", {**content, "stop_on_error": True}, metadata={"cellId": cell_id})
    return kernel.finish(run)


def shown(run: Run) -> tuple[str, dict[str, Any]]:
    """The display identifier and the data of the one table that a cell displays."""
    (content,) = [content for content in run.contents("display_data") if TABLES in content["data"]]
    return content["transient"]["display_id"], content["data"]


def wait_for_update(kernel: Kernel, run: Run, which: Callable[[str], bool] = lambda text: True) -> dict[str, Any]:
    """The first `update_display_data` of a cell whose text is as wanted."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        contents = run.contents("update_display_data")
        found[:] = [content for content in contents if which(content["data"]["text/plain"])]
        return bool(found)

    kernel.wait(look, "an update")
    return found[0]


def is_last(text: str) -> bool:
    return "no longer live" in text


@pytest.mark.parametrize("code", ["{0} = time_table('PT0.1s')", "{0} = time_table('PT0.1s')\n{0}"])
def test_an_output_is_updated_after_its_cell(kernel: Kernel, code: str) -> None:
    """As `display_data`, a result too: JupyterLab updates no `execute_result`. All three forms say how current they are."""
    kernel.ok(PREPARE)
    name = f"tick_{len(code)}"
    run = as_lab(kernel, code.format(name), name)
    display_id, data = shown(run)
    assert run.result is None
    assert data["text/plain"].splitlines()[-1] == "live"
    if code.endswith("{0}"):  # no `execute_result`, but a result all the same
        kernel.ok(f"assert _ is Out[{run.reply['execution_count']}] is _{run.reply['execution_count']} is {name}")
    update = wait_for_update(kernel, run)
    assert update["transient"]["display_id"] == display_id
    assert set(update["data"]) == set(data)
    assert ">live<" in update["data"]["text/html"]
    assert "snapshot " in update["data"]["text/plain"].splitlines()[0]
    about = update["data"]["application/vnd.dataresource+json"]["deephaven"]
    assert about["live"] is True
    assert about["snapshot"].endswith("Z")
    kernel.ok(f"%dh live stop {name}")
    last = wait_for_update(kernel, run, is_last)
    assert "stopped by %dh live stop" in last["data"]["text/html"]
    assert last["data"]["application/vnd.dataresource+json"]["deephaven"]["live"] is False
    assert run.contents("update_display_data")[-1] is last


def test_a_display_identifier_of_ones_own(kernel: Kernel) -> None:
    """With IPython and without: by `display`, `update_display` and the handle, for tables that are live and that are not."""
    kernel.ok(PREPARE)
    code = (
        "from IPython.display import display, update_display\nhandle = display(empty_table(3), display_id='mine')\n"
        "update_display(empty_table(4), display_id='mine')\n"
        "handle.update(empty_table(5))\nhandle.display_id"
    )
    run = as_lab(kernel, code, "own-1")
    first, *later = [*run.contents("display_data"), *run.contents("update_display_data")]
    assert {content["transient"]["display_id"] for content in (first, *later)} == {"mine"}
    sizes = [content["data"]["application/vnd.dataresource+json"]["deephaven"]["rows"] for content in (first, *later)]
    assert sizes == [3, 4, 5]
    assert run.result is not None
    assert run.result["text/plain"] == "'mine'"
    run = as_lab(kernel, "h = display(time_table('PT0.1s'), display_id=True)\nprint(h.display_id)", "own-2")
    assert shown(run)[0] == run.text().strip()
    assert wait_for_update(kernel, run)["transient"]["display_id"] == run.text().strip()
    kernel.ok("h.update('gone')\n%dh live")


def test_updates_come_while_a_cell_runs_and_its_output_does_too(kernel: Kernel) -> None:
    kernel.ok(PREPARE)
    ticking = as_lab(kernel, "tick_run = time_table('PT0.1s')", "run-1")
    code = "import threading, time\nfor n in range(400):\n    print(n, flush=True)\n    time.sleep(0.05)"
    run = kernel.send(code)
    kernel.wait(lambda: "0\n" in run.text(), "the first line")
    before = len(ticking.contents("update_display_data"))
    lines = len(run.text())
    kernel.wait(lambda: len(ticking.contents("update_display_data")) >= before + 2, "two updates")
    assert not run.idle
    assert len(run.text()) > lines
    kernel.interrupt()
    kernel.finish(run)
    kernel.ok("%dh live stop")


def test_settings_of_tables(kernel: Kernel) -> None:
    """Each by `%dh set`; what is asked for one table goes before."""
    kernel.ok("from deephaven import empty_table\nwide = empty_table(100).update([f'C{n} = ii' for n in range(30)])")
    kernel.ok("%dh set rows 3\n%dh set columns 4")

    def resource(code: str) -> dict[str, Any]:
        (bundle,) = [bundle for bundle in kernel.ok(code).bundles if TABLES in bundle]
        found: dict[str, Any] = bundle["application/vnd.dataresource+json"]
        return found

    assert len(resource("wide_1 = wide.view(['C0', 'C1'])")["data"]) == 3
    assert "4 of 30 columns" in kernel.ok("display(wide)").bundles[0]["text/plain"]
    found = resource("%dh show wide.where('C0 > 50') --rows 5 --columns C3,C0")
    assert [(row["C3"], row["C0"]) for row in found["data"]] == [(n, n) for n in (51, 52, 53, 98, 99)]
    assert kernel.ok("%dh set show_tables off\nwide_2 = wide").bundles == []
    kernel.ok("%dh set show_tables on\n%dh set max_tables 2")
    bundles = kernel.ok("many_1, many_2, many_3, many_4 = (empty_table(n) for n in range(4))").bundles
    assert [TABLES in bundle for bundle in bundles] == [True, True, False]
    assert bundles[2]["text/plain"].startswith("2 more tables assigned: many_3, many_4.")
    (listing,) = kernel.ok("%dh set").bundles
    values = {line.split()[0]: line.split()[1] for line in listing["text/plain"].splitlines()[1:]}
    assert (values["rows"], values["columns"], values["max_tables"], values["show_tables"]) == ("3", "4", "2", "on")
    assert "Did you mean max_tables?" in kernel.run("%dh set max_table 3").reply["evalue"]
    assert "between 1 and 10,000" in kernel.run("%dh set rows none").reply["evalue"]
    kernel.ok("%dh set rows 10\n%dh set columns 20\n%dh set max_tables 1000")


@pytest.mark.parametrize("code", ["hush_1 = empty_table(1);", "hush_2 = empty_table(2)\nhush_2;", "empty_table(3);"])
def test_a_semicolon_hushes_tables(kernel: Kernel, code: str) -> None:
    run = kernel.ok(f"from deephaven import empty_table\n{code}")
    assert run.kinds == ["execute_input"]


def test_bad_lines_of_show_and_grid(kernel: Kernel) -> None:
    kernel.ok("from deephaven import empty_table\nfew = empty_table(3)\nnumber = 3")
    for code, wanted in {
        "%dh show": "wants a variable or an expression",
        "%dh show few --rows many": "--rows wants a whole number",
        "%dh show few --wide": "--wide is not known",
        "%dh show few --columns": "--columns wants names",
        "%dh show number --rows 3": "is no table, but int",
        "%dh grid number": "the server has no view of",
        "%dh live begin": "%dh live stop NAME",
    }.items():
        assert wanted in kernel.run(code).reply["evalue"], code
    assert kernel.run("%dh show nothing").reply["ename"] == "NameError"
    assert kernel.ok("%dh show number").bundles == [{"text/plain": "3"}]


def test_a_launched_servers_grid_needs_no_login(launched_kernel: Kernel) -> None:
    """Its key is random and ends with it; the text has the address without."""
    launched_kernel.ok("from deephaven import empty_table\ngrid_1 = empty_table(3);")
    (bundle,) = launched_kernel.ok("%dh grid grid_1 --height 200").bundles
    assert bundle["text/html"].startswith('<iframe src="http://127.0.0.1:')
    assert "name=grid_1&amp;psk=" in bundle["text/html"]
    assert "height: 200px" in bundle["text/html"]
    assert "psk" not in bundle["text/plain"]
    (unnamed,) = launched_kernel.ok("%dh grid empty_table(4).update('X = i')").bundles
    assert "name=_dh_grid_1" in unnamed["text/plain"]
    assert launched_kernel.ok("_dh_grid_1.size").result == {"text/plain": "4"}


def test_an_attached_servers_key_is_in_no_output(attached_kernel: Kernel, vanilla: Vanilla) -> None:
    attached_kernel.ok("from deephaven import empty_table\ngrid_2 = empty_table(3);")
    run = attached_kernel.ok("%dh grid grid_2")
    (bundle,) = run.bundles
    assert bundle["text/plain"] == f"grid_2: http://{vanilla.address}/iframe/widget/?name=grid_2"
    assert vanilla.key not in json.dumps([run.messages, run.reply], default=str)
    assert "psk" not in bundle["text/html"]


def test_settings_from_the_environment_outlast_a_session(attached_place: Place) -> None:
    """And so do those that a cell has set; the grid's address is where the browser finds it."""
    variables = {
        "DH_KERNEL_ROWS": "4",
        "DH_KERNEL_LIVE": "off",
        "DH_KERNEL_MAX_TABLES": "1",
        "DH_KERNEL_BROWSER_URL": "https://dh.example.org/",
    }
    with started(attached_place, ATTACHED, variables) as kernel:
        code = "from deephaven import empty_table, time_table\nenv_1 = empty_table(9)\nenv_2 = time_table('PT1s')"
        bundles = kernel.ok(code, READY_TIMEOUT_S).bundles
        assert "1 more table assigned: env_2" in bundles[1]["text/plain"]
        kernel.ok("%dh set live on\n%dh set live_outputs 3")
        kernel.ok("%dh restart", READY_TIMEOUT_S)
        (listing,) = kernel.ok("%dh set").bundles
        values = {line.split()[0]: line.split()[1] for line in listing["text/plain"].splitlines()[1:]}
        assert (values["rows"], values["live"], values["live_outputs"], values["max_tables"]) == ("4", "on", "3", "1")
        kernel.ok("from deephaven import empty_table\nenv_1 = empty_table(9);")
        (grid,) = kernel.ok("%dh grid env_1").bundles
        assert '<iframe src="https://dh.example.org/iframe/widget/?name=env_1"' in grid["text/html"]
        _ends_with_the_session(kernel)


def _ends_with_the_session(kernel: Kernel) -> None:
    """A restart and the kernel's end leave marked snapshots, since nothing updates these outputs any more."""
    make = "from deephaven import time_table\n{0} = time_table('PT0.5s')"
    run = as_lab(kernel, make.format("env_3"), "env-3")
    kernel.ok("%dh restart", READY_TIMEOUT_S)
    assert "another server runs the cells" in wait_for_update(kernel, run, is_last)["data"]["text/plain"]
    run = as_lab(kernel, make.format("env_4"), "env-4")
    kernel.client.shutdown()
    assert "the kernel has ended" in wait_for_update(kernel, run, is_last)["data"]["text/plain"]


@pytest.mark.long
def test_a_notebook_that_is_executed_holds_the_last_state(place: Place, tmp_path: Path) -> None:
    """nbclient takes only what comes before the reply of the cell that runs, and as that cell's."""
    cells = [
        "from deephaven import time_table\nlast = time_table('PT0.05s')\nlast",
        "while last.size < 30: last.await_update(2000)\nseen = last.size\nprint('seen', seen)",
    ]
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": LAUNCHED, "display_name": "Deephaven", "language": "python"}},
        "cells": [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
            for n, source in enumerate(cells)
        ],
    }
    file = tmp_path / "run.ipynb"
    file.write_text(json.dumps(notebook), "utf-8")
    done = place.run("jupyter", "execute", "--inplace", f"--kernel_name={LAUNCHED}", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(file.read_text("utf-8"))["cells"]
    (table,) = first["outputs"]
    (text,) = second["outputs"]
    seen = int("".join(text["text"]).split()[1])
    rows = table["data"]["application/vnd.dataresource+json"]["deephaven"]["rows"]
    assert rows >= seen >= 30
