"""Jupyter's own programs and clients with the kernel, as real processes: what users do by hand and pipelines do at night."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pexpect  # type: ignore[import-untyped]
import pytest
from harness import (
    ATTACHED,
    LAUNCHED,
    SCRIPTS,
    TIMEOUT_S,
    Kernel,
    Place,
    descendants,
    is_gone,
    started,
    wait_until,
)
from jupyter_client.manager import AsyncKernelManager

TABLE = "from deephaven import empty_table\nt = empty_table(1000).update(['X = i', 'Y = i * 2'])"
MIME_TYPES = {"text/plain", "text/html", "application/vnd.dataresource+json"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


def notebook(file: Path, *cells: str, tags: dict[int, str] | None = None) -> Path:
    """Write a notebook of code cells."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": code,
            "metadata": {"tags": [tags[number]]} if tags and number in tags else {},
            "execution_count": None,
            "outputs": [],
        }
        for number, code in enumerate(cells)
    ]
    kernelspec = {"name": LAUNCHED, "display_name": "Deephaven", "language": "python"}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": made}
    file.write_text(json.dumps(whole), "utf-8")
    return file


def saved_cells(file: Path) -> list[Any]:
    """The code cells of a saved notebook."""
    saved = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    return [cell for cell in saved.cells if cell.cell_type == "code"]


def outputs(file: Path) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell of a saved notebook."""
    return [list(cell.outputs) for cell in saved_cells(file)]


def text_of(cell: list[dict[str, Any]], name: str = "stdout") -> str:
    return "".join(output["text"] for output in cell if output["output_type"] == "stream" and output["name"] == name)


# --- jupyter console


@pytest.fixture
def console(place: Place) -> Iterator[pexpect.spawn]:
    """A console in a terminal of its own, at its first prompt."""
    child = pexpect.spawn(
        str(SCRIPTS / "jupyter"),
        ["console", "--kernel", LAUNCHED, "--simple-prompt", "--ZMQTerminalInteractiveShell.kernel_timeout=60"],
        env={**place.environ, "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"},
        cwd=str(place.folder),
        encoding="utf-8",
        timeout=TIMEOUT_S,
        dimensions=(50, 120),
    )
    yield child
    child.close(force=True)


def test_console_runs_a_cell_shows_a_table_and_exits(console: pexpect.spawn) -> None:
    console.expect(r"In \[1\]: ")
    console.sendline("from deephaven import empty_table; empty_table(12).update('X = i * 7')")
    console.expect(r"Out\[1\]:")
    console.expect(r"12 rows")
    console.expect(r"int")
    console.expect(r"63")  # the tenth row
    console.expect(r"In \[2\]: ")
    console.sendline("print('still', 'here')")
    console.expect(r"still here")
    console.expect(r"In \[3\]: ")
    console.sendline("1/0")
    console.expect("ZeroDivisionError")
    console.expect(r"In \[4\]: ")
    kernels = descendants(console.pid)
    assert kernels
    console.sendline("exit")
    console.expect(pexpect.EOF)
    wait_until(lambda: all(map(is_gone, kernels)), "the console's kernel and its server end")


# --- jupyter run, jupyter execute, papermill, nbconvert


def test_run_prints_and_ends_with_zero(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        TABLE + "\nimport sys\nprint('rows', t.size)\nprint('careful', file=sys.stderr)\nt.where('X > 997')\n", "utf-8"
    )
    done = place.run("jupyter", "run", "--kernel", LAUNCHED, str(script))
    assert done.returncode == 0, done.stderr
    assert "rows 1000\n" in done.stdout
    assert re.search(r"^\s*998\s+1996\s*$", done.stdout, re.MULTILINE), done.stdout
    assert "careful" in done.stderr


@pytest.mark.long
def test_run_of_a_failing_script_ends_with_one(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('before')\nraise LookupError('no such thing')\nprint('after')\n", "utf-8")
    done = place.run("jupyter", "run", "--kernel", LAUNCHED, str(script))
    assert done.returncode == 1
    assert "before" in done.stdout
    assert "LookupError" in done.stderr
    assert "no such thing" in done.stderr
    assert "after\n" not in done.stdout


def test_execute_saves_every_kind_of_output(place: Place, tmp_path: Path) -> None:
    file = notebook(tmp_path / "nb.ipynb", TABLE + "\nprint('made', t.size)", "t.where('X > 990')", "1 + 1")
    done = place.run("jupyter", "execute", "--kernel_name", LAUNCHED, "--inplace", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, third = outputs(file)
    assert text_of(first) == "made 1000\n"
    assert text_of(first, "stderr") == ""  # the note that the server starts has been taken back
    assert [output["output_type"] for output in first] == ["stream", "display_data"]
    assert set(first[1]["data"]) == MIME_TYPES
    assert first[1]["data"]["application/vnd.dataresource+json"]["deephaven"]["rows"] == 1000
    assert [(output["output_type"], output.get("execution_count")) for output in second] == [("execute_result", 2)]
    assert second[0]["data"]["application/vnd.dataresource+json"]["data"][0] == {"X": 991, "Y": 1982}
    assert [(output["data"], output["execution_count"]) for output in third] == [({"text/plain": "2"}, 3)]
    assert [cell.execution_count for cell in saved_cells(file)] == [1, 2, 3]


def test_execute_of_a_failing_notebook_ends_with_one_and_the_traceback(attached_place: Place, tmp_path: Path) -> None:
    file = notebook(tmp_path / "nb.ipynb", "x = 0", "print('so far')\n1 / x", "print('never')")
    done = attached_place.run("jupyter", "execute", "--kernel_name", ATTACHED, "--inplace", str(file), cwd=tmp_path)
    assert done.returncode == 1
    told = ESCAPES.sub("", done.stderr)
    assert "ZeroDivisionError: division by zero" in told
    assert "Cell In[2], line 2" in told
    assert "so far" in told


@pytest.mark.long
def test_papermill_gives_parameters(place: Place, tmp_path: Path) -> None:
    source = notebook(
        tmp_path / "in.ipynb",
        "n = 3\nname = 'nobody'",
        "from deephaven import empty_table\nt = empty_table(n).update('X = i')\nprint(name)",
        tags={0: "parameters"},
    )
    target = tmp_path / "out.ipynb"
    done = place.run("papermill", str(source), str(target), "-k", LAUNCHED, "-p", "n", "5", "-p", "name", "Ada", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _, injected, last = outputs(target)
    assert injected == []
    assert text_of(last) == "Ada\n"
    tables = [output["data"] for output in last if output["output_type"] == "display_data"]
    assert [table["application/vnd.dataresource+json"]["deephaven"]["rows"] for table in tables] == [5]


def test_papermill_of_a_failing_notebook_ends_with_one_and_saves_the_error(attached_place: Place, tmp_path: Path) -> None:
    source = notebook(tmp_path / "in.ipynb", "raise LookupError('no such thing')", "print('never')")
    target = tmp_path / "out.ipynb"
    done = attached_place.run("papermill", str(source), str(target), "-k", ATTACHED, cwd=tmp_path)
    assert done.returncode == 1
    saved = [output for cell in outputs(target) for output in cell]
    assert [(output["ename"], output["evalue"]) for output in saved if output["output_type"] == "error"] == [
        ("LookupError", "no such thing")
    ]
    assert not any("never" in output.get("text", "") for output in saved)


def test_nbconvert_executes_into_html(attached_place: Place, tmp_path: Path) -> None:
    file = notebook(tmp_path / "nb.ipynb", TABLE, "print('made', t.size)")
    done = attached_place.run(
        "jupyter",
        "nbconvert",
        "--execute",
        "--to",
        "html",
        "--ExecutePreprocessor.kernel_name=" + ATTACHED,
        str(file),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "nb.html").read_text("utf-8")
    assert "made 1000" in page
    assert re.search(r"<caption[^>]*>.*1,000 rows", page, re.DOTALL)


# --- jupyter_client


async def test_asynchronous_client(attached_place: Place) -> None:
    """nbclient, jupyter_server and VS Code's helpers use this one."""
    blocking = attached_place.manager(ATTACHED)
    manager = AsyncKernelManager(
        kernel_name=ATTACHED, kernel_spec_manager=attached_place.specs(), connection_file=blocking.connection_file
    )
    await manager.start_kernel(env=attached_place.environ, cwd=str(attached_place.folder))
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=TIMEOUT_S)
        messages: list[dict[str, Any]] = []
        reply = await client.execute_interactive(
            "print('hello')\n6 * 7", output_hook=messages.append, timeout=TIMEOUT_S, allow_stdin=False
        )
        assert reply["content"]["status"] == "ok"
        assert [m["content"]["text"] for m in messages if m["msg_type"] == "stream"] == ["hello\n"]
        assert [m["content"]["data"] for m in messages if m["msg_type"] == "execute_result"] == [{"text/plain": "42"}]
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
        await manager.cleanup_resources()


@pytest.mark.long
def test_restart_gives_a_fresh_namespace(place: Place) -> None:
    with started(place, LAUNCHED) as kernel:
        kernel.ok("x = 1\nimport os\nprint(os.getpid())")
        before = [kernel.pid, *descendants(kernel.pid)]
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=TIMEOUT_S)
        run = kernel.run("x")
        assert run.error["ename"] == "NameError"
        assert run.error["evalue"] == "name 'x' is not defined"
        assert kernel.ok("1").contents("execute_result")[0]["execution_count"] == 2
        wait_until(lambda: all(map(is_gone, before)), "the processes of the kernel before the restart end")


def test_shutdown_leaves_no_process(place: Place) -> None:
    with started(place, LAUNCHED) as kernel:
        kernel.ok("1")
        processes = [kernel.pid, *descendants(kernel.pid)]
        assert len(processes) >= 2  # the kernel and its server
    wait_until(lambda: all(map(is_gone, processes)), "the kernel and its server end")


def test_shutdown_leaves_an_attached_server_alone(attached_place: Place) -> None:
    with started(attached_place, ATTACHED) as kernel:
        server = int(kernel.ok("import os\nprint(os.getpid())").text())
        processes = [kernel.pid, *descendants(kernel.pid)]
        assert server not in processes
    wait_until(lambda: all(map(is_gone, processes)), "the kernel ends")
    assert not is_gone(server)


# --- interrupts


BUSY = {
    "python": "print('on', flush=True)\nn = 0\nwhile True:\n    n += 1",
    "time.sleep": "import time\nprint('on', flush=True)\ntime.sleep(600)",
    "java sleep": "import jpy\nprint('on', flush=True)\njpy.get_type('java.lang.Thread').sleep(600_000)",
    "table operation": (
        "from deephaven import empty_table\nprint('on', flush=True)\n"
        "for _ in range(1000):\n"
        "    empty_table(50_000_000).update('X = Math.sin(ii) + Math.cos(ii)').sort('X')"
    ),
}


@pytest.mark.parametrize("busy", list(BUSY))
def test_interrupt_ends_the_cell_and_only_the_cell(kernel: Kernel, busy: str) -> None:
    kernel.ok("kept = 'kept'")
    run = kernel.send(BUSY[busy])
    kernel.wait(lambda: "on\n" in run.text(), "the cell is at work")
    kernel.interrupt()
    kernel.finish(run, 30.0)
    assert run.reply["status"] == "error"
    assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.ok("kept").result == {"text/plain": "'kept'"}


@pytest.mark.long
def test_interrupt_while_a_formula_compiles_leaves_the_compiler_whole(kernel: Kernel) -> None:
    """It reads classes through channels that Java closes, for the whole server, when the thread is interrupted."""
    kernel.ok("from deephaven import empty_table")
    for attempt in range(1, 6):
        run = kernel.send(
            "print('on', flush=True)\n"
            f"for n in range({attempt}_000, {attempt}_999):\n    made = empty_table(1).update(f'X = i + {{n}}')\n    print(n)"
        )
        kernel.wait(lambda run=run, attempt=attempt: run.text().count("\n") > attempt, "formulas are compiled")  # type: ignore[misc]
        kernel.interrupt()
        kernel.finish(run, 30.0)
        assert run.error["ename"] == "KeyboardInterrupt"
        kernel.ok(f"empty_table(1).update('X = i * {attempt}_000_000');")


def test_interrupt_of_a_subprocess(launched_kernel: Kernel) -> None:
    """On the server's main thread, as in any Python: the child gets none of it, and its parent ends it."""
    run = launched_kernel.send("import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint(child.pid)\nchild.wait()")
    launched_kernel.wait(lambda: run.text().endswith("\n"), "the child's number")
    launched_kernel.interrupt()
    launched_kernel.finish(run, 30.0)
    assert run.error["ename"] == "KeyboardInterrupt"
    assert not is_gone(int(run.text()))
    launched_kernel.ok("child.kill()\nchild.wait()")


def test_interrupt_while_nothing_runs_hits_nothing(kernel: Kernel) -> None:
    assert kernel.control("interrupt_request") == {"status": "ok"}  # answered: it comes before the cell
    assert kernel.ok("sum(range(1000))").result == {"text/plain": "499500"}
