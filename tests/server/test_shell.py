"""Habits of IPython's users, by both interpreters: IPython's shell where the server has one, else the plain wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sessions import Client, Kind


@pytest.fixture
def other(kind: Kind) -> Iterator[Client]:
    """A second session on the same server."""
    made = kind.open()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("!echo hi", "hi\n"),
        ("w_1 = 'there'\n!echo {1 + 1} $w_1", "2 there\n"),
        ("x_1 = !echo a; echo b\nprint(x_1)", "['a', 'b']\n"),
        ("%%bash\necho one\ncat <<< two", "one\ntwo\n"),
        ("%%sh\necho sh", "sh\n"),
        ("%%script cat\nabc", "abc\n"),
        ("if True:\n    !echo indented", "indented\n"),
        ("s_1 = '''\n!echo no\n'''\n!echo yes", "yes\n"),
        ("!exit 3\nprint(_exit_code)", "3\n"),
        ("y_1 = %pwd\nimport os\nprint(y_1 == os.getcwd())", "True\n"),
        ("%env MINE_1=2\nimport os\nprint(os.environ['MINE_1'])", "env: MINE_1=2\n2\n"),
        ("v_1 = 4\nn_1 = %who_ls int\nprint('v_1' in n_1)", "True\n"),
        ("%matplotlib inline\nprint('still')", "still\n"),
        ("get_ipython().run_line_magic('dh', 'help')\n1;", "%dh  "),
        ("%connect_info", "Another client"),
        ("%edit", "There is no editor"),
    ],
)
def test_magics_and_commands_print(client: Client, code: str, text: str) -> None:
    assert client.ok(code).text().replace("\r\n", "\n").startswith(text)


@pytest.mark.parametrize("code", ["%time sum([1, 2])", "%%time\nz_2 = 1\nz_2 + 2"])
def test_time_shows_the_value_and_how_long_it_took(client: Client, code: str) -> None:
    run = client.ok(code)
    assert run.result == "3"
    assert "Wall time: " in run.text()


@pytest.mark.parametrize("code", ["%timeit -n2 -r3 sum([1, 2])", "%%timeit -n2 -r3\nsum([1, 2])"])
def test_timeit(client: Client, code: str) -> None:
    assert "per loop (mean ± std. dev. of 3 runs, 2 loops each)" in client.ok(code).text()


def test_tables_of_a_timed_cell_show(client: Client) -> None:
    run = client.ok("%%time\nfrom deephaven import empty_table\ntimed_3 = empty_table(3)")
    assert run.table_names == ["timed_3"]


def test_results_and_inputs_have_names(client: Client) -> None:
    first = client.ok("40 + 2")
    number = first.id.rpartition("-")[2]
    assert client.value(f"_ + _{number} + Out[{number}]") == "126"
    assert client.value(f"In[{number}], _i{number}") == "('40 + 2', '40 + 2')"
    client.ok("'marker'")
    assert client.value("_i") == "\"'marker'\""
    assert "40 + 2" in client.ok("%history").text()


def test_a_file_runs_and_its_names_stay(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        "import sys\nran_4 = sys.argv[1:]\nprint(__name__, seen_4 if 'seen_4' in globals() else 'nothing')\n", "utf-8"
    )
    assert client.ok(f"seen_4 = 'mine'\n%run {file} a 'b c'").text() == "__main__ nothing\n"
    assert client.value("ran_4") == "['a', 'b c']"
    assert client.ok(f"%run -i {file}").text() == "__main__ mine\n"
    assert client.value("__name__") == "'__main__'"


def test_a_file_is_written(client: Client, tmp_path: Path) -> None:
    assert client.ok(f"%%writefile {tmp_path}/f.txt\nline\n").text().startswith("Writing ")
    assert (tmp_path / "f.txt").read_text("utf-8") == "line\n"


@pytest.mark.parametrize(("magic", "mime"), [("html", "text/html"), ("markdown", "text/markdown"), ("latex", "text/latex")])
def test_cells_in_other_languages_show(client: Client, magic: str, mime: str) -> None:
    (shown,) = client.ok(f"%%{magic}\n<i>x</i>").displays
    assert shown.data[mime].strip() == "<i>x</i>"


def test_reset_forgets_what_the_cells_have_bound(client: Client) -> None:
    client.ok("import json as gone_5\nlost_5 = 1\ndef f_5(): pass")
    client.ok("%reset -f")
    assert client.value("[name for name in globals() if name.endswith('_5')]") == "[]"


def test_a_command_can_be_interrupted(client: Client) -> None:
    run = client.send("!echo begun; sleep 600")
    client.wait_for_text(run, "begun")
    client.interrupt(run)
    client.finish(run, 20)
    assert client.value("1 + 1") == "2"


def test_debug_asks_where_the_error_came_from(client: Client) -> None:
    client.run("def deep_6(n_6):\n    1 / n_6\ndeep_6(0)")
    run = client.send("%debug", allow_stdin=True)
    client.wait(lambda: any(type(event).__name__ == "InputAsked" for event in run.events), "the debugger's question")
    client.session.send("input_reply", cell=run.id, value="p n_6 + 41", eof=False)
    client.wait_for_text(run, "41")
    client.session.send("input_reply", cell=run.id, value="q", eof=False)
    client.finish(run)
    assert "deep_6" in run.text()


def test_what_is_not_there_says_what_to_install(vanilla_kind: Kind) -> None:
    client = vanilla_kind.open()
    for code in ("%prun 1", "%%cython\n1", "x = 1\n%macro m 1"):
        assert "pip install ipython on the server" in client.run(code).error["evalue"]
    run = client.ok("%load_ext autoreload\n%autoreload 2\nprint('on')")
    assert run.text() == "on\n"
    assert "`%autoreload` has no effect" in run.text("stderr")
    client.close()


def test_two_sessions_have_results_and_inputs_of_their_own(client: Client, other: Client) -> None:
    """On one namespace: each finds its own names while its cells run, and nothing of it when the other has ended."""
    client.ok("'of one'")
    other.ok("'of two'")
    assert client.value("_") == "'of one'"
    assert other.value("_") == "'of two'"
    assert client.value("'of two' in In") == "False"
    assert client.value("[line for line in In if 'of one' in line][0]") == "\"'of one'\""
    same = client.value("id(get_ipython())") == other.value("id(get_ipython())")
    assert not same or "PlainShell" in client.value("type(get_ipython()).__name__")


@pytest.mark.parametrize("name", ["vanilla_kind", "plugin_kind"])
def test_two_sessions_at_a_time_do_not_mix(name: str, request: pytest.FixtureRequest) -> None:
    """Where each has a thread of its own. On a launched server all cells run on the main thread, one after the other."""
    kind: Kind = request.getfixturevalue(name)
    one, two = kind.open(), kind.open()
    run = one.send(
        "import time\nfor i_7 in range(40):\n    print('one', i_7)\n    display('d-one')\n    time.sleep(0.02)\n'r-one'"
    )
    one.wait_for_text(run, "one 3")
    for number in range(10):
        assert two.ok(f"print('two')\ndisplay('d-two')\n'r-two {number}'").result == f"'r-two {number}'"
    one.finish(run)
    assert run.result == "'r-one'"
    assert "two" not in run.text()
    assert {shown.data["text/plain"] for shown in run.displays} == {"'d-one'"}
    one.close()
    two.close()


def test_ipython_finds_the_shell_of_the_calling_cell(plugin_kind: Kind) -> None:
    """By every way that libraries take, also in threads; each session has its own, and what ends is gone."""
    one, two = plugin_kind.open(), plugin_kind.open()
    ways = (
        "import IPython, threading\nfrom IPython.core.getipython import get_ipython as g_8\n"
        "from IPython.core.interactiveshell import InteractiveShell\nfound_8 = []\n"
        "t_8 = threading.Thread(target=lambda: found_8.append(g_8()))\nt_8.start()\nt_8.join()\n"
        "import builtins\n"
        "found_8 += [get_ipython(), builtins.get_ipython(), IPython.get_ipython(), InteractiveShell.instance()]\n"
        "print(len({id(shell) for shell in found_8}), id(found_8[0]))"
    )
    first, second = (client.ok(ways).text().split() for client in (one, two))
    assert first[0] == second[0] == "1"
    assert first[1] != second[1]
    one.ok("%xmode Plain")
    assert "Plain" not in two.value("get_ipython().InteractiveTB.mode")
    one.ok("get_ipython().display_formatter.formatters['text/plain'].for_type(complex, lambda o, p, c: p.text('a complex'))")
    assert one.value("1j") == "a complex"
    assert two.value("1j") == "1j"
    one.close()
    assert two.value("1 + 1") == "2"
    two.close()


def test_a_console_sees_no_shell(plugin_kind: Kind, tmp_path: Path) -> None:
    """Other clients' code must not take the server for a notebook."""
    from sessions import Console

    client = plugin_kind.open()
    client.ok("1")
    console = Console(plugin_kind.endpoint, tmp_path)
    assert console.value("str(__import__('IPython').get_ipython())") == "None"
    client.close()
    console.close()
