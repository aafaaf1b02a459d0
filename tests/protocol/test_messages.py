"""What a cell says, in which order, and with which content: Jupyter's messages on both kinds of server."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import LAUNCHED, PYTHON, TIMEOUT_S, Kernel, Place, Run, started
from jupyter_client.jsonutil import json_default

DATA_RESOURCE = "application/vnd.dataresource+json"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
FIVE_MB = 5_000_000


class Gate:
    """Holds up a cell until the test opens it. The cell runs `wait` and then goes on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(self.path)
        self.wait = f"open({str(self.path)!r}).read()\n"

    def open(self) -> None:
        """Let the cell go on; waits until it has come to the gate."""
        self.path.write_text("")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def traceback_of(run: Run) -> str:
    """The traceback as people read it."""
    return ESCAPES.sub("", "\n".join(run.error["traceback"]))


def tables(bundles: list[dict[str, Any]]) -> list[str | None]:
    """The names of the tables among bundles."""
    return [bundle[DATA_RESOURCE]["name"] for bundle in bundles if DATA_RESOURCE in bundle]


def alive(kernel: Kernel) -> bool:
    """Whether the next cell works."""
    return kernel.ok("20 + 22").result == {"text/plain": "42"}


# --- streams


def test_streams_are_separate_and_in_order(kernel: Kernel) -> None:
    run = kernel.ok("import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('three')")
    assert run.kinds == ["execute_input", "stdout", "stderr", "stdout"]
    assert run.text("stdout") == "one\nthree\n"
    assert run.text("stderr") == "two\n"


def test_text_without_newline_shows_before_the_cell_ends(kernel: Kernel, gate: Gate) -> None:
    run = kernel.send(f"print('working', end='')\n{gate.wait}print(' done')")
    kernel.wait(lambda: run.text() == "working", "the text")
    assert not run.idle
    gate.open()
    assert kernel.finish(run).text() == "working done\n"


def test_a_thread_prints_under_the_cell_that_started_it(kernel: Kernel, gate: Gate) -> None:
    later = f"def later():\n    {gate.wait}    print('from the thread')\n"
    run = kernel.ok(f"import threading\n{later}th = threading.Thread(target=later)\nth.start()")
    gate.open()
    other = kernel.ok("th.join()")
    kernel.wait(lambda: run.text() == "from the thread\n", "the thread's text")
    assert other.text() == ""


def test_five_megabytes_printed_come_whole(kernel: Kernel) -> None:
    run = kernel.ok(f"print('0123456789' * {FIVE_MB // 10})")
    assert run.text() == "0123456789" * (FIVE_MB // 10) + "\n"


def test_many_lines_come_whole(kernel: Kernel) -> None:
    run = kernel.ok("for i in range(20000):\n    print('line', i)")
    assert run.text() == "".join(f"line {i}\n" for i in range(20000))
    assert len(run.contents("stream")) < 1000  # coalesced


def test_bytes_that_are_not_utf8(kernel: Kernel) -> None:
    run = kernel.ok(r"import sys; n = sys.stdout.buffer.write(b'caf\xe9 \xff.\n')")
    assert run.text() == "caf\ufffd \ufffd.\n"
    assert alive(kernel)


def test_printed_lone_surrogate(kernel: Kernel) -> None:
    run = kernel.run(r"print('a\ud800b')")
    assert "a" in run.text()
    assert "b" in run.text()
    assert alive(kernel)


def test_subprocess_stands_where_it_belongs(launched_kernel: Kernel) -> None:
    run = launched_kernel.ok("import subprocess\nprint('a')\nsubprocess.run(['echo', 'child'])\nprint('b');")
    assert run.text() == "a\nchild\nb\n"


def test_file_descriptors_and_print_stay_in_order(launched_kernel: Kernel) -> None:
    """What C and Java libraries write goes to the descriptor; many times, since a race shows now and then only."""
    code = "import os\nfor n in range(0, 400, 2):\n    print(n)\n    written = os.write(1, f'{n + 1}\\n'.encode())"
    assert launched_kernel.ok(code).text() == "".join(f"{n}\n" for n in range(400))


def test_subprocess_says_bytes_that_are_not_utf8(launched_kernel: Kernel) -> None:
    run = launched_kernel.ok(r"done = subprocess.run(['printf', 'caf\\351.\\n'])")
    assert run.text() == "caf\ufffd.\n"


def test_java_prints_to_the_notebook(launched_kernel: Kernel) -> None:
    run = launched_kernel.ok(
        "import jpy\nsystem = jpy.get_type('java.lang.System')\nprint('a')\nsystem.out.println('from java')\nprint('b')\n"
        "system.err.println('java err')"
    )
    assert run.text() == "a\nfrom java\nb\n"
    launched_kernel.wait(lambda: run.text("stderr") == "java err\n", "Java's standard error")


# --- counting, silence, history


def test_counts_agree_and_rise_by_one(kernel: Kernel) -> None:
    first, failed, last = kernel.ok("'a'"), kernel.run("1 / 0"), kernel.ok("'b'")
    counts = [run.reply["execution_count"] for run in (first, failed, last)]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    for run in (first, failed, last):
        assert [content["execution_count"] for content in run.contents("execute_input")] == [run.reply["execution_count"]]
    assert first.contents("execute_result")[0]["execution_count"] == counts[0]
    assert last.contents("execute_result")[0]["execution_count"] == counts[2]
    assert first.contents("execute_input")[0]["code"] == "'a'"


def test_every_cell_is_busy_then_idle(kernel: Kernel) -> None:
    assert kernel.ok("1").states == ["busy", "idle"]
    assert kernel.run("1 / 0").states == ["busy", "idle"]


def test_silent_cell_says_nothing_and_counts_nothing(kernel: Kernel) -> None:
    before = kernel.ok("1").reply["execution_count"]
    silent = kernel.ok("quiet = 5\nprint('no')\nquiet", silent=True)
    assert silent.messages == []
    after = kernel.ok("quiet")
    assert after.reply["execution_count"] == before + 1
    assert after.result == {"text/plain": "5"}


def test_cell_without_history_shows_and_counts_nothing(kernel: Kernel) -> None:
    before = kernel.ok("1").reply["execution_count"]
    run = kernel.ok("print('shown')\n'unkept marker'", store_history=False)
    assert run.text() == "shown\n"
    assert run.result == {"text/plain": "'unkept marker'"}
    assert kernel.ok("1").reply["execution_count"] == before + 1
    kept = kernel.answer(kernel.client.history(hist_access_type="tail", n=3))["content"]["history"]
    assert not any("unkept marker" in entry[2] for entry in kept)


def test_hidden_cells_of_vscode(kernel: Kernel) -> None:
    """It runs them when a notebook opens, and takes a failure for a broken kernel."""
    for code in ("%config Completer.use_jedi = False", "__vsc_ipynb_file__ = '/a/b.ipynb'", "%matplotlib inline"):
        run = kernel.run(code, store_history=False)
        assert run.reply["status"] == "ok" or "matplotlib" in code, run.reply


# --- results, expressions, displays


def test_user_expressions(kernel: Kernel) -> None:
    reply = kernel.ok("value = 6", user_expressions={"good": "value * 7", "bad": "no_such_name"}).reply
    good, bad = reply["user_expressions"]["good"], reply["user_expressions"]["bad"]
    assert (good["status"], good["data"]) == ("ok", {"text/plain": "42"})
    assert (bad["status"], bad["ename"]) == ("error", "NameError")


def test_only_the_trailing_expression_is_the_result(kernel: Kernel) -> None:
    assert kernel.ok("1\n2\n3").result == {"text/plain": "3"}
    assert kernel.ok("x = 3").result is None
    assert kernel.ok("None").result is None
    assert kernel.ok("3;").result is None
    assert kernel.ok("'a;'  # not this ; one").result == {"text/plain": "'a;'"}


def test_rich_representations(kernel: Kernel) -> None:
    code = (
        "class Html:\n    def __repr__(self): return 'plain'\n    def _repr_html_(self): return '<b>rich</b>'\n"
        "class Bundle:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'text/plain': 'p', 'text/markdown': '*m*'}, {'text/markdown': {'k': 1}}\n"
        "display(Html())\ndisplay(Bundle())\nHtml()"
    )
    run = kernel.ok(code)
    assert run.kinds == ["execute_input", "display_data", "display_data", "execute_result"]
    assert run.bundles == [{"text/plain": "plain", "text/html": "<b>rich</b>"}, {"text/plain": "p", "text/markdown": "*m*"}]
    assert run.contents("display_data")[1]["metadata"] == {"text/markdown": {"k": 1}}
    assert run.result == {"text/plain": "plain", "text/html": "<b>rich</b>"}


def test_display_stands_between_what_is_printed(kernel: Kernel) -> None:
    run = kernel.ok("print('a')\ndisplay(1)\nprint('b')")
    assert run.kinds == ["execute_input", "stdout", "display_data", "stdout"]


def test_display_can_be_updated(kernel: Kernel) -> None:
    run = kernel.ok("h = display('first', display_id='my-id')\nh.update('second')")
    [shown], [updated] = run.contents("display_data"), run.contents("update_display_data")
    assert shown["transient"] == updated["transient"] == {"display_id": "my-id"}
    assert updated["data"] == {"text/plain": "'second'"}


@pytest.mark.parametrize("ending", ["", "\nplt.show()", "\nfigure"], ids=["left open", "show", "as result"])
def test_figure_is_a_png_once(launched_kernel: Kernel, ending: str) -> None:
    run = launched_kernel.ok(f"import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([1, 3, 2]);{ending}")
    shown = [*run.bundles, *([run.result] if run.result else [])]
    pictures = [bundle["image/png"] for bundle in shown if "image/png" in bundle]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG\r\n\x1a\n")
    assert run.text("stderr") == ""


def test_await_at_top_level(kernel: Kernel) -> None:
    assert kernel.ok("import asyncio\nawait asyncio.sleep(0, 'woken')").result == {"text/plain": "'woken'"}


def test_input_asks_the_client(kernel: Kernel) -> None:
    run = kernel.send("name = input('Who? ')\nprint('Hello', name)", allow_stdin=True)
    request = kernel.client.get_stdin_msg(timeout=TIMEOUT_S)
    assert request["msg_type"] == "input_request"
    assert request["content"] == {"prompt": "Who? ", "password": False}
    kernel.client.input("Ada")
    assert kernel.finish(run).text() == "Hello Ada\n"


def test_input_without_a_client_that_answers_is_an_error(kernel: Kernel) -> None:
    run = kernel.run("input('Who? ')", allow_stdin=False)
    assert run.error["ename"] == "StdinNotImplementedError" or "input" in run.error["evalue"]


# --- tables


def test_assigned_tables_show_at_the_end_in_their_order(kernel: Kernel) -> None:
    run = kernel.ok(
        "from deephaven import empty_table\nb = empty_table(1).update('X = i')\na = empty_table(2).update('X = i')\n"
        "print('end')"
    )
    assert run.kinds == ["execute_input", "stdout", "display_data", "display_data"]
    assert tables(run.bundles) == ["b", "a"]
    assert [bundle[DATA_RESOURCE]["data"] for bundle in run.bundles] == [[{"X": 0}], [{"X": 0}, {"X": 1}]]
    assert all(set(bundle) == {"text/plain", "text/html", DATA_RESOURCE} for bundle in run.bundles)


def test_trailing_table_shows_once_as_the_result(kernel: Kernel) -> None:
    run = kernel.ok("c = empty_table(3).update('X = i')\nc")
    assert run.bundles == []
    assert run.result is not None
    assert tables([run.result]) == ["c"]
    assert run.result[DATA_RESOURCE]["deephaven"]["rows"] == 3


def test_semicolon_hides_a_trailing_table(kernel: Kernel) -> None:
    assert kernel.ok("c;").kinds == ["execute_input"]
    assert kernel.ok("empty_table(3);").kinds == ["execute_input"]


def test_unnamed_table_is_a_result(kernel: Kernel) -> None:
    run = kernel.ok("empty_table(100).update(['X = i', 'S = `<script>`'])")
    assert run.result is not None
    resource = run.result[DATA_RESOURCE]
    assert resource["name"] is None
    assert [field["deephavenType"] for field in resource["schema"]["fields"]] == ["int", "java.lang.String"]
    assert (resource["deephaven"]["rows"], resource["deephaven"]["shown"], len(resource["data"])) == (100, 10, 10)
    assert "<script" not in run.result["text/html"]
    assert "&lt;script&gt;" in run.result["text/html"]
    assert "10 of 100 rows" in run.result["text/plain"]


def test_tables_in_globals_and_loops_show(kernel: Kernel) -> None:
    run = kernel.ok("for n in range(2):\n    globals()[f'loop_{n}'] = empty_table(n + 1)")
    assert tables(run.bundles) == ["loop_0", "loop_1"]


def test_tables_of_a_failed_cell_do_not_hide_the_error(kernel: Kernel) -> None:
    run = kernel.run("before_error = empty_table(1)\nraise LookupError('x')")
    assert run.kinds[-1] == "error"
    assert run.error["ename"] == "LookupError"


# --- errors


def test_traceback_shows_the_cell_and_none_of_ours(kernel: Kernel) -> None:
    run = kernel.run("def inner(n):\n    return 1 / n\n\ninner(0)")
    count = run.reply["execution_count"]
    assert (run.error["ename"], run.error["evalue"]) == ("ZeroDivisionError", "division by zero")
    for name in ("ename", "evalue", "traceback"):
        assert run.reply[name] == run.error[name]
    told = traceback_of(run)
    assert f"Cell In[{count}], line 4" in told
    assert f"Cell In[{count}], line 2" in told
    assert "return 1 / n" in told
    assert told.rstrip().endswith("ZeroDivisionError: division by zero")
    assert not re.search(r"dh_kernel|interpreter\.py|runtime|ipykernel", told), told


def test_error_in_an_earlier_cells_function_names_that_cell(kernel: Kernel) -> None:
    first = kernel.ok("def early():\n    raise LookupError('deep')")
    told = traceback_of(kernel.run("early()"))
    assert f"Cell In[{first.reply['execution_count']}], line 2" in told
    assert "raise LookupError('deep')" in told


def test_chained_errors_show_both_and_none_of_ours(kernel: Kernel) -> None:
    told = traceback_of(kernel.run("try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('second') from e"))
    assert told.index("KeyError: 'k'") < told.index("ValueError: second")
    assert "The above exception was the direct cause" in told
    assert "dh_kernel" not in told


def test_deephaven_error_says_why(kernel: Kernel) -> None:
    run = kernel.run("empty_table(1).update('X = noSuchColumn')")
    assert run.error["ename"] == "DHError"
    assert "noSuchColumn" in run.error["evalue"] + traceback_of(run)
    assert "dh_kernel" not in traceback_of(run)


def test_syntax_error_is_pythons(kernel: Kernel) -> None:
    run = kernel.run("x = 1\ny = = 2")
    assert run.error["ename"] == "SyntaxError"
    told = traceback_of(run)
    assert f"Cell In[{run.reply['execution_count']}], line 2" in told
    assert re.search(r"^ *y = = 2\n +\^\n", told, re.MULTILINE), told
    assert told.rstrip().endswith("SyntaxError: invalid syntax")
    assert "dh_kernel" not in told
    assert "Traceback" not in told


def test_exit_of_the_program_is_an_error_not_the_end(kernel: Kernel) -> None:
    run = kernel.run("import sys\nsys.exit(3)")
    assert run.reply["status"] == "error"
    assert run.error["ename"] == "SystemExit"
    assert alive(kernel)


def test_error_stops_the_cells_behind_it(kernel: Kernel, gate: Gate) -> None:
    failing = kernel.send(f"{gate.wait}1 / 0")
    behind = [kernel.send(f"print('ran {n}')") for n in range(2)]
    assert kernel.request("kernel_info_request")["status"] == "ok"  # it passes them, so they are there
    gate.open()
    assert kernel.finish(failing).reply["status"] == "error"
    assert [kernel.answer(run.id)["content"]["status"] for run in behind] == ["aborted", "aborted"]
    assert alive(kernel)
    assert [run.messages for run in behind] == [[], []]


def test_error_stops_nothing_where_that_is_not_wanted(kernel: Kernel, gate: Gate) -> None:
    failing = kernel.send(f"{gate.wait}1 / 0", stop_on_error=False)
    behind = kernel.send("print('ran')")
    gate.open()
    assert kernel.finish(failing).reply["status"] == "error"
    assert kernel.finish(behind).text() == "ran\n"


# --- input that is odd


def test_nul_byte_in_the_source(kernel: Kernel) -> None:
    run = kernel.run("x = 1\ny = '\0'")
    assert run.reply["status"] == "error"
    assert run.error["ename"] in ("SyntaxError", "ValueError")
    assert alive(kernel)


@pytest.fixture
def packs_surrogates(kernel: Kernel) -> Iterator[None]:
    """JavaScript's JSON has lone surrogates as escapes; jupyter_client refuses to send them so."""
    session = kernel.client.session
    before = session.pack
    session.pack = lambda thing: json.dumps(thing, default=json_default).encode("ascii")
    yield
    session.pack = before


@pytest.mark.usefixtures("packs_surrogates")
def test_lone_surrogate_in_the_source(kernel: Kernel) -> None:
    run = kernel.run("odd = 'a\ud800b'", 20.0)
    assert run.reply["status"] == "error"
    assert "surrogate" in run.error["evalue"]
    assert alive(kernel)


@pytest.mark.usefixtures("packs_surrogates")
def test_lone_surrogate_in_questions(kernel: Kernel) -> None:
    client = kernel.client
    for msg_id in (client.complete("x\ud800"), client.inspect("x\ud800"), client.is_complete("x = '\ud800'")):
        assert kernel.answer(msg_id, 20.0)["content"]["status"] in ("ok", "error", "complete", "incomplete", "invalid")
    assert alive(kernel)


def test_five_megabytes_of_source(kernel: Kernel) -> None:
    line = "# " + "x" * 77 + "\n"
    code = line * (FIVE_MB // 2 // len(line)) + f"long = '{'y' * (FIVE_MB // 2)}'\nlen(long)"
    assert len(code) > 4_900_000
    assert kernel.ok(code).result == {"text/plain": str(FIVE_MB // 2)}


def test_endless_values_are_not_walked(kernel: Kernel) -> None:
    assert kernel.ok("import itertools\nitertools.count()").result == {"text/plain": "count(0)"}
    result = kernel.ok("(n for n in itertools.count())").result
    assert result is not None
    assert result["text/plain"].startswith("<generator object")


def test_repr_that_raises(kernel: Kernel) -> None:
    run = kernel.run("class Bad:\n    def __repr__(self):\n        raise LookupError('no repr here')\nBad()")
    said = json.dumps([run.messages, run.reply], default=str)
    assert "no repr here" in said
    assert alive(kernel)


def test_repr_that_prints(kernel: Kernel) -> None:
    run = kernel.ok("class Loud:\n    def __repr__(self):\n        print('from repr')\n        return 'Loud()'\nLoud()")
    assert run.text() == "from repr\n"
    assert run.result == {"text/plain": "Loud()"}


def test_result_with_a_lone_surrogate(kernel: Kernel) -> None:
    run = kernel.ok(r"'a\ud800b'")
    assert run.result == {"text/plain": r"'a\ud800b'"}
    shown = kernel.ok("class Odd:\n    def __repr__(self):\n        return 'a\\ud800b'\nOdd()").result
    assert shown is not None
    assert shown["text/plain"].startswith("a")
    assert alive(kernel)


def test_empty_cells(kernel: Kernel) -> None:
    for code in ("", "   \n", "# only a comment"):
        assert kernel.ok(code).result is None
    assert alive(kernel)


# --- a cell that comes early


@pytest.fixture
def held_up(place: Place, gate: Gate, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel whose server does not start before the gate is opened."""
    program = tmp_path / "slow-python"
    program.write_text(f'#!/bin/sh\ncat {gate.path} > /dev/null\nexec {PYTHON} "$@"\n', "utf-8")
    program.chmod(0o755)
    with started(place, LAUNCHED, {"DH_KERNEL_PYTHON": str(program)}) as kernel:
        yield kernel


def test_a_cell_that_comes_early_says_what_it_waits_for(held_up: Kernel, gate: Gate) -> None:
    """The fixture has its kernel_info already: it is answered while the server starts. So are completions."""
    assert held_up.answer(held_up.client.complete("zi"))["content"]["status"] == "ok"
    assert held_up.answer(held_up.client.is_complete("1"))["content"]["status"] == "complete"
    run = held_up.send("print('ready')")
    held_up.wait(lambda: bool(run.contents("stream")), "the note")
    assert re.fullmatch(r"Starting Deephaven.*…\n", run.text("stderr"))
    gate.open()
    held_up.finish(run, 120.0)
    assert run.kinds == ["execute_input", "stderr", "clear_output", "stdout"]
    assert run.text() == "ready\n"


@pytest.mark.long
def test_a_cell_that_comes_early_can_be_interrupted(held_up: Kernel, gate: Gate) -> None:
    run = held_up.send("print('never')")
    held_up.wait(lambda: bool(run.contents("stream")), "the note")
    held_up.interrupt()
    assert held_up.finish(run).error["ename"] == "KeyboardInterrupt"
    gate.open()
    assert held_up.ok("print('now')", 120.0).text() == "now\n"


def test_what_a_thread_puts_out_right_behind_its_cells_end_shows(launched_kernel: Kernel) -> None:
    """Each of them: it may arrive together with the end."""
    code = "import threading\nfor n in range(20): threading.Thread(target=lambda n=n: display(n)).start()"
    runs = [launched_kernel.send(code) for _ in range(15)]
    for run in runs:
        launched_kernel.finish(run)
        launched_kernel.wait(lambda: len(run.bundles) == 20, "the displays of all threads")  # noqa: B023
        assert sorted(int(bundle["text/plain"]) for bundle in run.bundles) == list(range(20))
