"""What a cell does, promised by both interpreters: the plain wrapper, and IPython's shell where the server has one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from interpreter_host import Host, without_colours

KINDS = ["plain", "ipython"]


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One interpreter for the module: tests use names of their own."""
    made = Host(request.param, tmp_path_factory.mktemp("ipython"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 + 1", "2"),
        ("q1 = 5\nq1 * 2", "10"),
        ("q2 = 5", None),
        ("None", None),
        ("print('x')", None),
        ("", None),
        ("   \n\n", None),
        ("# a comment", None),
        ("'text'  # a comment", "'text'"),
        ("1; 2", "2"),
        ("if True:\n    7", None),
        ("def f1():\n    return 3\nf1()", "3"),
        ("[q3 for q3 in range(3)]", "[0, 1, 2]"),
        ("é_1 = 'ü'\né_1", "'ü'"),
        ("1 + \\\n  2", "3"),
        ("'''a\nb'''", "'a\\nb'"),
    ],
)
def test_statements_run_and_the_trailing_expression_shows(host: Host, code: str, text: str | None) -> None:
    assert host.run(code).text == text


@pytest.mark.parametrize("code", ["1;", "1 ; ", "1;  # hush", "q4 = 3\nq4;\n\n"])
def test_a_semicolon_hushes(host: Host, code: str) -> None:
    assert host.run(code).text is None


@pytest.mark.parametrize("code", ["'a;'", "'#;'", "[1,\n2]  # ;"])
def test_a_semicolon_in_text_or_comment_does_not_hush(host: Host, code: str) -> None:
    assert host.run(code).text is not None


def test_silent_shows_nothing_and_runs(host: Host) -> None:
    assert host.run("q5 = 41\n99", silent=True).text is None
    assert host.run("q5").text == "41"


def test_the_last_results_have_names(host: Host) -> None:
    for number in (101, 102, 103):
        host.run(str(number))
    assert host.run("(_, __, ___)").text == "(103, 102, 101)"


def test_names_persist_and_functions_see_later_ones(host: Host) -> None:
    host.run("def f6(): return later6")
    host.run("later6 = 'now'")
    assert host.run("f6()").text == "'now'"


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nawait asyncio.sleep(0, 'done')",
        "import asyncio\nasync def c7():\n    await asyncio.sleep(0)\n    return 'done'\nawait c7()",
        "import asyncio\nq7 = await asyncio.sleep(0, 'done')\nq7",
        "async def g7():\n    yield 'done'\nasync for q7 in g7():\n    pass\nq7",
    ],
)
def test_await_works_at_the_top_level(host: Host, code: str) -> None:
    assert host.run(code).text == "'done'"


def test_tasks_live_on_from_cell_to_cell(host: Host) -> None:
    """One event loop for all cells of a session, so that a task begun in one can be awaited in the next."""
    host.run("import asyncio\nq8 = asyncio.get_event_loop().create_task(asyncio.sleep(0.01, 'done'))\nawait asyncio.sleep(0)")
    assert host.run("await q8").text == "'done'"


@pytest.mark.parametrize("kind", KINDS)
def test_future_features_stay_on(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    host = Host(kind, tmp_path_factory.mktemp("ipython"))
    host.run("from __future__ import annotations")
    assert host.run("def f(x: not_there): pass\nf.__annotations__").text == "{'x': 'not_there'}"
    host.close()


def test_our_own_future_features_do_not_reach_cells(host: Host) -> None:
    """The runtime's modules use `from __future__ import annotations`; a cell that does not must not have it."""
    assert host.run("def f9(x: int): pass\nf9.__annotations__['x'] is int").text == "True"


def test_assigned_names_come_in_order(host: Host) -> None:
    assert host.run("a10 = 1\nb10, (c10, *d10) = 1, (2, 3)\nfor e10 in []: pass\na10 = 2").assigned == [
        "b10",
        "c10",
        "d10",
        "e10",
        "a10",
    ]


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("raise ValueError('é \U0001f600')", "ValueError", "é \U0001f600"),
        ("undefined_11", "NameError", "name 'undefined_11' is not defined"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("assert False, 'no'", "AssertionError", "no"),
        ("import nowhere_11", "ModuleNotFoundError", "No module named 'nowhere_11'"),
        ("class E11(BaseException): pass\nraise E11('base')", "E11", "base"),
        ("await undefined_11", "NameError", "name 'undefined_11' is not defined"),
        ("raise ValueError", "ValueError", ""),
        ("raise 3", "TypeError", "exceptions must derive from BaseException"),
        ("int('x')", "ValueError", "invalid literal for int() with base 10: 'x'"),
    ],
)
def test_an_error_is_told(host: Host, code: str, name: str, value: str) -> None:
    error = host.run(code).error
    assert error is not None
    assert (error["ename"], error["evalue"]) == (name, value)
    assert name in "".join(error["traceback"])


def test_a_failing_cell_keeps_what_it_had_done(host: Host) -> None:
    ran = host.run("q12 = 1\nprint('before')\n1/0\nq12 = 2")
    assert ran.stdout == "before\n"
    assert host.run("q12").text == "1"


@pytest.mark.parametrize(
    "code",
    [
        "x = = 1",
        "def f(:\n  pass",
        "  x = 1",
        "print('a'",
        "'unended",
        "'''unended",
        "1 = x",
        "f(**{'a': 1}, *[1])\n)",
        "\tx=1\n        y=2",
        "if True:\npass",
    ],
)
def test_a_syntax_error_is_an_error_that_shows_its_line(host: Host, code: str) -> None:
    ran = host.run(f"q13 = 'run'\n{code}")
    assert ran.error is not None
    assert ran.error["ename"] in ("SyntaxError", "IndentationError", "TabError")
    assert f"{ran.error['ename']}:" in ran.traceback
    assert host.run("'q13' in globals()").text == "False", "nothing of a cell with a syntax error runs"


@pytest.mark.parametrize("code", ["return 1", "break", "x = yield", "nonlocal x", "def f(a, a): pass"])
def test_what_only_the_compiler_refuses_is_a_syntax_error_too(host: Host, code: str) -> None:
    error = host.run(code).error
    assert error is not None
    assert error["ename"] == "SyntaxError"


def test_a_traceback_shows_the_cells_lines_and_none_of_ours(host: Host) -> None:
    host.run("def inner():\n    here = 'a mark'\n    raise ValueError('deep')", count=71)
    ran = host.run("def outer():\n    inner()\nouter()", count=72)
    text = ran.traceback
    for wanted in ("Cell In[71], line 3", "Cell In[72], line 2", "Cell In[72], line 3", "raise ValueError('deep')", "inner()"):
        assert wanted in text, text
    for ours in ("dh_kernel", "runtime", "interactiveshell.py", "interpreter.py", " host>"):
        assert ours not in text, text


def test_an_exception_chain_shows_both_ends(host: Host) -> None:
    text = host.run("try:\n    1/0\nexcept ZeroDivisionError as e14:\n    raise ValueError('outer') from e14").traceback
    assert text.index("ZeroDivisionError: division by zero") < text.index("direct cause") < text.index("ValueError: outer")
    text = host.run("try:\n    1/0\nexcept ZeroDivisionError:\n    raise ValueError('outer')").traceback
    assert text.index("ZeroDivisionError: division by zero") < text.index("During handling") < text.index("ValueError: outer")
    text = host.run("try:\n    1/0\nexcept ZeroDivisionError:\n    raise ValueError('outer') from None").traceback
    assert "division by zero" not in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_an_exception_group_shows_its_parts(host: Host) -> None:
    text = host.run("raise ExceptionGroup('both', [ValueError('one'), KeyError('two')])").traceback
    # IPython's own tracebacks name the group only.
    for wanted in ("both (2 sub-exceptions)", *(("ValueError: one", "KeyError: 'two'") if host.kind == "plain" else ())):
        assert wanted in text, text


def test_a_deep_recursion_is_a_short_traceback(host: Host) -> None:
    ran = host.run("def g15():\n    g15()\ng15()")
    assert ran.error is not None
    assert ran.error["ename"] == "RecursionError"
    assert len(ran.traceback) < 10_000
    assert host.run("1 + 1").text == "2"


@pytest.mark.parametrize("method", ["__str__", "__repr__"])
def test_an_exception_that_cannot_tell_itself(host: Host, method: str) -> None:
    ran = host.run(f"class E16(Exception):\n    def {method}(self): raise RuntimeError('never')\nraise E16(1)")
    assert ran.error is not None
    # Where IPython stumbles over an exception, it tells of what it stumbled over.
    assert ran.error["ename"] == "E16" or (host.kind == "ipython" and ran.error["ename"] == "RuntimeError")
    assert "E16" in ran.traceback
    assert isinstance(ran.error["evalue"], str)


def test_an_exception_with_hostile_parts(host: Host) -> None:
    """Causes in a circle, and a lone surrogate in the text."""
    ran = host.run("a17, b17 = ValueError('a'), ValueError('b \\ud800')\na17.__cause__ = b17\nb17.__cause__ = a17\nraise a17")
    assert ran.error is not None
    assert ran.error["ename"] == "ValueError"
    assert host.run("1").text == "1"


@pytest.mark.parametrize(
    "code",
    ["q18 = 1\nx = '\0'", "q18 = 1\nx = '\ud800'", "\0", "\udfff", "q18 = 1\n# \0"],
    ids=["nul", "surrogate", "0", "d", "comment"],
)
def test_source_that_python_cannot_read_is_an_error(host: Host, code: str) -> None:
    ran = host.run(code)
    assert ran.error is not None
    assert ran.error["ename"] in ("SyntaxError", "ValueError", "UnicodeEncodeError")
    assert host.run("1 + 1").text == "2"


@pytest.mark.parametrize(
    "code",
    ["(" * 1000 + ")" * 1000, "+".join(["1"] * 50_000), "-" * 50_000 + "1", "x = " + "[" * 500, "lambda: " * 5000 + "0"],
    ids=["parentheses", "sum", "minus", "brackets", "lambdas"],
)
def test_source_that_is_nested_too_deep_ends_in_a_result_or_an_error(host: Host, code: str) -> None:
    ran = host.run(code)
    if ran.error is not None:
        assert ran.error["ename"] in ("SyntaxError", "RecursionError", "MemoryError"), ran.error["ename"]
    assert host.run("1 + 1").text == "2"


def test_five_megabytes_of_source(host: Host) -> None:
    assert host.run("q19 = '" + "x" * 5_000_000 + "'\nlen(q19)").text == "5000000"
    assert host.run("\n".join(f"q19 = {n}" for n in range(20_000)) + "\nq19").text == "19999"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("def __repr__(self): raise ValueError('no text')", "ValueError"),
        ("def __repr__(self): return 3", "TypeError"),
    ],
)
def test_an_object_whose_repr_fails_is_an_output_or_an_error(host: Host, body: str, part: str) -> None:
    ran = host.run(f"class C20:\n    {body}\nC20()")
    shown = ran.traceback if ran.error is not None else str(ran.results) + ran.stdout
    assert ran.error is not None or ran.results or shown
    assert host.run("1 + 1").text == "2"
    assert part in shown or host.kind == "ipython", "IPython tells on the terminal's stream"


def test_an_object_whose_repr_prints(host: Host) -> None:
    ran = host.run("class C21:\n    def __repr__(self):\n        print('noise')\n        return 'C21!'\nC21()")
    assert ran.text == "C21!"
    assert "noise" in ran.stdout


def test_an_endless_generator_is_not_run(host: Host) -> None:
    text = host.run("import itertools\n(n for n in itertools.count())").text
    assert text is not None
    assert text.startswith("<generator object")


@pytest.mark.parametrize("code", ["exit", "quit()", " exit() "])
def test_exit_asks_the_front_end(host: Host, code: str) -> None:
    payload = host.run(code).payload
    assert [part["source"] for part in payload] == ["ask_exit"]


def test_a_question_mark_asks_for_a_page(host: Host) -> None:
    host.run("def f22(a, b=2):\n    '''Adds things.'''\n    return a + b")
    for code in ("f22?", "?f22"):
        (page,) = host.run(code).payload
        assert page["source"] == "page"
        text = without_colours(page["data"]["text/plain"])
        assert "Adds things." in text
        assert "(a, b=2)" in text
    (page,) = host.run("f22??").payload
    assert "return a + b" in without_colours(page["data"]["text/plain"])


def test_question_marks_elsewhere_are_text(host: Host) -> None:
    assert host.run("'what?'").text == "'what?'"


def test_magics_that_front_ends_send_pass(host: Host) -> None:
    """VS Code's hidden cells, on every server."""
    for code in ("%config Completer.use_jedi = False", "%matplotlib inline", "%matplotlib inline\nq23 = 1\nq23"):
        ran = host.run(code)
        assert ran.error is None, ran.traceback
    assert host.run("q23").text == "1"


def test_percent_signs_in_python_are_python(host: Host) -> None:
    assert host.run("q24 = 7\nq24 \\\n%4").text == "3"
    assert host.run("'''\n%time\n!ls\n'''").text == "'\\n%time\\n!ls\\n'"
    assert host.run("1 != 2").text == "True"


def test_user_expressions_have_a_status_each(host: Host) -> None:
    host.run("q25 = 6")
    found = host.expressions(good="q25 * 7", bad="nowhere_25", worse="1 +")
    assert found["good"]["status"] == "ok"
    assert found["good"]["data"]["text/plain"] == "42"
    assert (found["bad"]["status"], found["bad"]["ename"]) == ("error", "NameError")
    assert (found["worse"]["status"], found["worse"]["ename"]) == ("error", "SyntaxError")


def test_system_exit_ends_the_cell_and_not_the_process(host: Host) -> None:
    host.run("raise SystemExit(3)")
    assert host.run("1 + 1").text == "2"


def test_a_generator_expression_sees_the_cells_names(host: Host) -> None:
    """As at a module's top level, also in the trailing expression."""
    assert host.run("q26 = 3\nsum(q26 for _ in range(2)) + [q26 for _ in 'a'][0] + (lambda: q26)()").text == "12"


def test_classes_and_dataclasses_know_their_module_and_source(host: Host) -> None:
    code = "import inspect\nclass C27:\n    '''doc'''\n    def method(self):\n        return 1\ninspect.getsource(C27.method)"
    assert host.run(code).text == repr("    def method(self):\n        return 1\n")
    assert host.run("C27.__module__").text == "'__main__'"


TOGETHER = """\
import threading
formatter = get_ipython().InteractiveTB
inside, most, plain = [], [0], []
original = formatter.get_records
def get_records(*arguments):
    inside.append(1)
    most[0] = max(most[0], len(inside))
    threading.Event().wait(0.01)
    inside.pop()
    return original(*arguments)
formatter.get_records = get_records
def deep(n):
    return deep(n - 1) if n else 1 / 0
def show():
    for _ in range(3):
        try:
            deep(30)
        except ZeroDivisionError as error:
            lines = formatter.structured_traceback(type(error), error, error.__traceback__)
            plain.append("ZeroDivisionError" not in "".join(lines))
threads = [threading.Thread(target=show) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
del formatter.get_records
most, any(plain), len(plain)
"""


@pytest.mark.parametrize("host", ["ipython"], indirect=True)
def test_tracebacks_are_made_one_at_a_time(host: Host) -> None:
    """Cells of subshells share the shell's formatter, which is made for one thread."""
    assert host.run(TOGETHER).text == "([1], False, 12)"


@pytest.mark.parametrize("host", ["ipython"], indirect=True)
def test_a_traceback_that_ipython_cannot_format_is_pythons(host: Host) -> None:
    """It is the error's, and nothing of it stands in the cell's output."""
    host.run("def fail(*arguments): raise RuntimeError('of the formatter')\nget_ipython().InteractiveTB.get_records = fail")
    ran = host.run("1 / 0")
    host.run("del get_ipython().InteractiveTB.get_records")
    assert ran.stdout == ""
    assert ran.error is not None
    assert ran.error["ename"] == "ZeroDivisionError"
    assert "Traceback (most recent call last)" in ran.traceback
    assert "1 / 0" in ran.traceback
    assert "of the formatter" not in ran.traceback
