"""The history of inputs: what front ends are told is what ipykernel tells, and what other programs of IPython's find."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest
from comparing import IPYKERNEL, add_ipykernel
from harness import ATTACHED, SCRIPTS, TIMEOUT_S, Kernel, Place, is_gone, started, wait_until

FILE = "profile_default/history.sqlite"
EARLIER = ("a = 1", "%time a", "b = 2\nb", "a = 1", "'wide * open'")
CELLS = ("c = 3", "a = 1", "'value'", "%time pass", "print('*')")
REQUESTS: list[dict[str, Any]] = [
    {"hist_access_type": "tail", "n": 3},
    {"hist_access_type": "tail", "n": 1000},
    {"hist_access_type": "tail", "n": 0},
    {"hist_access_type": "tail"},
    {"hist_access_type": "tail", "n": 8, "raw": False},
    {"hist_access_type": "tail", "n": 8, "output": True},
    {"hist_access_type": "range", "session": 0, "start": 1},
    {"hist_access_type": "range", "session": 0, "start": 2, "stop": 4},
    {"hist_access_type": "range", "session": 0, "start": -2},
    {"hist_access_type": "range", "session": 0, "start": 1, "output": True},
    {"hist_access_type": "range", "session": 0, "start": 1, "raw": False},
    {"hist_access_type": "range", "session": 0},
    {"hist_access_type": "range", "session": 1, "start": 1},
    {"hist_access_type": "range", "session": 1, "start": 2, "stop": 4, "output": True},
    {"hist_access_type": "range", "session": -1, "start": 1, "raw": False},
    {"hist_access_type": "range", "session": 77, "start": 1},
    {"hist_access_type": "search", "pattern": "a*"},
    {"hist_access_type": "search", "pattern": "a = ?", "unique": True},
    {"hist_access_type": "search", "pattern": "*", "n": 4},
    {"hist_access_type": "search", "pattern": "*a*", "n": 3, "unique": True},
    {"hist_access_type": "search", "pattern": "*", "unique": True},
    {"hist_access_type": "search", "pattern": "*[*]*"},
    {"hist_access_type": "search", "pattern": "*time*", "raw": False},
    {"hist_access_type": "search", "pattern": "b*", "output": True},
    {"hist_access_type": "search", "pattern": "nowhere"},
    {"hist_access_type": "sideways"},
]


def history(kernel: Kernel, **request: Any) -> list[Any]:
    """The entries that a request finds."""
    message = kernel.client.session.msg("history_request", {"raw": True, "output": False, **request})
    kernel.client.shell_channel.send(message)
    reply = kernel.answer(message["header"]["msg_id"])
    assert reply["msg_type"] == "history_reply"
    assert reply["content"]["status"] == "ok"
    entries: list[Any] = reply["content"]["history"]
    return entries


def inputs(file: Path) -> list[str]:
    """All inputs in a file, in the order in which they were written."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return [text for (text,) in database.execute("SELECT source_raw FROM history ORDER BY session, line")]


@pytest.fixture(scope="module")
def both_place(attached_place: Place) -> Place:
    """The kernelspec of the real ipykernel beside ours."""
    add_ipykernel(attached_place)
    return attached_place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory for IPython."""
    made = tmp_path / "ipython"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture(scope="module")
def pair(both_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Kernel]]:
    """An ipykernel and a kernel of ours, with the same two earlier sessions and the same cells in this one."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("theirs", "ours"))
    for name in (IPYKERNEL, ATTACHED):
        with started(both_place, name, {"IPYTHONDIR": str(first)}) as kernel:
            for code in EARLIER:
                kernel.run(code)
    shutil.copytree(first, second, dirs_exist_ok=True)
    with ExitStack() as stack:
        theirs, ours = (
            stack.enter_context(started(both_place, name, {"IPYTHONDIR": str(folder)}))
            for name, folder in ((IPYKERNEL, first), (ATTACHED, second))
        )
        for kernel in (theirs, ours):
            for code in CELLS:
                kernel.run(code)
        yield theirs, ours


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: " ".join(f"{k[:7]}={v}" for k, v in request.items()))
def test_a_request_finds_what_it_finds_in_ipykernel(pair: tuple[Kernel, Kernel], request_: dict[str, Any]) -> None:
    """ipykernel calls the running session 0 and has a blank line 0 in it; ours tells its number and begins with line 1."""
    theirs, ours = (history(kernel, **request_) for kernel in pair)
    assert ours == [[session or 3, line, found] for session, line, found in theirs if line > 0]


def test_the_requests_find_something(pair: tuple[Kernel, Kernel]) -> None:
    """Else the comparison says nothing."""
    counts = [len(history(pair[1], **request)) for request in REQUESTS]
    assert sum(count > 0 for count in counts) == len(REQUESTS) - 4
    assert [3, 3, ["'value'", "'value'"]] in history(pair[1], hist_access_type="range", session=0, start=1, output=True)
    assert [2, 2, "get_ipython().run_line_magic('time', 'a')"] in history(
        pair[1], hist_access_type="range", session=2, start=1, raw=False
    )


def test_requests_without_sense_leave_the_file_alone(pair: tuple[Kernel, Kernel]) -> None:
    """IPython takes an error of the database for a broken file, and moves it out of the way."""
    before = history(pair[1], hist_access_type="tail", n=1000)
    for request in ({"n": "many"}, {"n": -1}, {"n": 1.5}):
        history(pair[1], hist_access_type="tail", **request)
        history(pair[1], hist_access_type="search", pattern="[", **request)
    history(pair[1], hist_access_type="range", session="x", start=[1])
    assert history(pair[1], hist_access_type="tail", n=1000) == before


def test_silent_cells_and_those_without_history_are_not_kept(pair: tuple[Kernel, Kernel]) -> None:
    before = history(pair[1], hist_access_type="tail", n=1000)
    pair[1].ok("'unseen'", silent=True)
    pair[1].ok("'unseen'", store_history=False)
    assert history(pair[1], hist_access_type="tail", n=1000) == before


def test_ipython_in_a_terminal_and_the_kernel_see_each_other(both_place: Place, home: Path) -> None:
    environ = {"IPYTHONDIR": str(home)}
    terminal = [str(SCRIPTS / "ipython"), "--simple-prompt", "--no-banner", "--colors=NoColor"]
    where = {"env": {**both_place.environ, **environ}, "cwd": both_place.folder, "text": True, "timeout": TIMEOUT_S}
    subprocess.run(terminal, input="from_terminal = 1\nexit\n", check=True, capture_output=True, **where)  # type: ignore[call-overload]
    with started(both_place, ATTACHED, environ) as kernel:
        kernel.ok("from_kernel = 2")
        assert [1, 1, "from_terminal = 1"] in history(kernel, hist_access_type="tail", n=10)
    shown = subprocess.run(terminal, input="%history -g from_kernel\nexit\n", check=True, capture_output=True, **where)  # type: ignore[call-overload]
    assert "2/1: from_kernel = 2" in shown.stdout


def test_a_killed_kernel_loses_no_input_not_even_that_of_the_running_cell(both_place: Place, home: Path) -> None:
    with started(both_place, ATTACHED, {"IPYTHONDIR": str(home)}) as kernel:
        kernel.ok("earlier = 1")
        run = kernel.send("import threading; print('runs', flush=True); threading.Event().wait(30)")
        kernel.wait(lambda: "runs" in run.text(), "the cell's start")
        pid = kernel.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid), "the kernel's end")
        assert [code[:16] for code in inputs(home / FILE)] == ["earlier = 1", "import threading"]


def test_several_kernels_share_a_file(both_place: Place, home: Path) -> None:
    environ = {"IPYTHONDIR": str(home)}
    with ExitStack() as stack:
        kernels = [stack.enter_context(started(both_place, name, environ)) for name in (ATTACHED, ATTACHED, IPYKERNEL)]
        runs = [
            (kernel, kernel.send(f"'kernel {number}, cell {cell}'"))
            for cell in range(20)
            for number, kernel in enumerate(kernels)
        ]
        for kernel, run in runs:
            kernel.finish(run)
        tail = history(kernels[0], hist_access_type="tail", n=1000)
    wanted = {f"'kernel {number}, cell {cell}'" for cell in range(20) for number in range(3)}
    assert set(inputs(home / FILE)) == wanted
    assert len(inputs(home / FILE)) == len(wanted)
    assert {text for _, _, text in tail} == wanted
    assert {line for _, line, _ in tail} == set(range(1, 21))


def test_without_a_home_the_history_is_in_memory(both_place: Place) -> None:
    with started(both_place, ATTACHED, {"IPYTHONDIR": "/proc/no/such/place", "HOME": "/proc/no/such/place"}) as kernel:
        kernel.ok("kept = 'a while'")
        assert [text for _, _, text in history(kernel, hist_access_type="tail", n=10)] == ["kept = 'a while'"]
        assert kernel.ok("kept").result == {"text/plain": "'a while'"}


def test_a_broken_file_is_put_aside(both_place: Place, home: Path) -> None:
    (home / "profile_default").mkdir()
    (home / FILE).write_bytes(b"no database " * 4000)
    with started(both_place, ATTACHED, {"IPYTHONDIR": str(home)}) as kernel:
        kernel.ok("after = 1")
        assert [text for _, _, text in history(kernel, hist_access_type="tail", n=10)] == ["after = 1"]
    assert inputs(home / FILE) == ["after = 1"]
    assert len(list((home / "profile_default").glob("history-corrupt*"))) == 1


def test_inputs_of_any_kind_come_back_as_they_are(both_place: Place, home: Path) -> None:
    codes = ["# " + "x" * 3_000_000, "'ß 😀 \N{MUSICAL SYMBOL G CLEF}'", "'''a\n\n  b\t'''", "1/0", "x = = 1"]
    with started(both_place, ATTACHED, {"IPYTHONDIR": str(home)}) as kernel:
        for code in codes:
            kernel.run(code)
        assert [text for _, _, text in history(kernel, hist_access_type="tail", n=10)] == codes
        kernel.client.session.pack = lambda content: json.dumps(content, default=str).encode("ascii")
        kernel.run("'\ud800'")
        assert history(kernel, hist_access_type="tail", n=1)[0][2] == "'\\ud800'"


def test_the_consoles_up_arrow_brings_the_input_of_an_earlier_session(both_place: Place, home: Path) -> None:
    with started(both_place, ATTACHED, {"IPYTHONDIR": str(home)}) as kernel:
        kernel.ok("answer = 41 + 1")
    child = pexpect.spawn(
        str(SCRIPTS / "jupyter"),
        ["console", "--kernel", ATTACHED, "--ZMQTerminalInteractiveShell.kernel_timeout=60"],
        env={**both_place.environ, "IPYTHONDIR": str(home), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        cwd=str(both_place.folder),
        encoding="utf-8",
        timeout=TIMEOUT_S,
        dimensions=(50, 120),
    )
    try:
        child.expect("In .*1.*]: ")
        child.send("\x1b[A")
        child.expect("41")
        child.send("\r")
        child.expect("In .*2.*]: ")
        child.send("print('it is', answer)\r")
        child.expect("it is 42")
        child.expect("In .*3.*]: ")
        child.sendeof()
        child.expect("[Dd]o you really want to exit")
        child.send("y\r")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
