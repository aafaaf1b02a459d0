"""The plain wrapper's own text, letter by letter, and the names that a cell assigns."""

from __future__ import annotations

import ast
import asyncio
import sys
from typing import Any

import pytest
from interpreter_host import Request

from dh_kernel.runtime import interpreter as module
from dh_kernel.runtime.interpreter import Evaluation, PlainInterpreter, assigned_names
from dh_kernel.runtime.tracebacks import format_error

OWN_FILES = (module.__file__.rpartition("interpreter")[0],)


class Plain:
    """An interpreter with an empty namespace, and the results of its cells."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self.results: list[object] = []
        self.interpreter = PlainInterpreter(self.namespace, "s1", OWN_FILES)

    def run(self, code: str, count: int = 3) -> Evaluation:
        running = self.interpreter.run(code, Request(count, silent=False), store=True, on_result=self.results.append)
        return asyncio.run(running)

    def traceback(self, code: str, count: int = 3) -> list[str]:
        error = self.run(code, count).error
        assert error is not None
        lines: list[str] = error["traceback"]
        return lines


@pytest.fixture
def plain() -> Plain:
    return Plain()


def test_a_traceback_is_exactly_this(plain: Plain) -> None:
    code = "def f(n):\n    if n:\n        return f(n - 1)\n    raise ValueError('bottom')\n\nf(0)"
    assert plain.traceback(code) == [
        "Traceback (most recent call last):",
        "  Cell In[3], line 6",
        "    f(0)",
        "  Cell In[3], line 4, in f",
        "    raise ValueError('bottom')",
        "ValueError: bottom",
    ]


def test_a_traceback_through_two_cells(plain: Plain) -> None:
    plain.run("def f():\n    raise KeyError('k')", 1)
    assert plain.traceback("x = 1\nf()", 2) == [
        "Traceback (most recent call last):",
        "  Cell In[2], line 2",
        "    f()",
        "  Cell In[1], line 2, in f",
        "    raise KeyError('k')",
        "KeyError: 'k'",
    ]


def test_a_chain_is_exactly_this(plain: Plain) -> None:
    assert plain.traceback("try:\n    raise KeyError('a')\nexcept KeyError as e:\n    raise ValueError('b') from e") == [
        "Traceback (most recent call last):",
        "  Cell In[3], line 2",
        "    raise KeyError('a')",
        "KeyError: 'a'",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        "  Cell In[3], line 4",
        "    raise ValueError('b') from e",
        "ValueError: b",
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_a_group_is_exactly_this(plain: Plain) -> None:
    assert plain.traceback("raise ExceptionGroup('eg', [ValueError(1), KeyError('k')])") == [
        "  + Exception Group Traceback (most recent call last):",
        "  |   Cell In[3], line 1",
        "  |     raise ExceptionGroup('eg', [ValueError(1), KeyError('k')])",
        "  | ExceptionGroup: eg (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
        "    | ValueError: 1",
        "    +---------------- 2 ----------------",
        "    | KeyError: 'k'",
        "    +------------------------------------",
    ]


def test_a_syntax_error_is_exactly_this(plain: Plain) -> None:
    assert plain.traceback("a = 1\nx = = 1") == [
        "  Cell In[3], line 2",
        "    x = = 1",
        "        ^",
        "SyntaxError: invalid syntax",
    ]


def test_a_syntax_errors_value_names_the_cell_and_nothing_internal(plain: Plain) -> None:
    """`evalue` goes to logs and to nbclient's error: the session's id means nothing there."""
    error = plain.run("x = = 1").error
    assert error is not None
    assert error["evalue"].startswith("invalid syntax")
    assert "s1" not in error["evalue"]


def test_a_deep_recursion_is_folded(plain: Plain) -> None:
    lines = plain.traceback("def g():\n    g()\ng()")
    assert lines[:3] == ["Traceback (most recent call last):", "  Cell In[3], line 3", "    g()"]
    assert any("Previous line repeated" in line for line in lines)
    assert lines[-1].startswith("RecursionError: maximum recursion depth exceeded")
    assert len(lines) < 30


def test_an_exception_that_cannot_tell_itself_is_still_told(plain: Plain) -> None:
    error = plain.run("class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E").error
    assert error is not None
    assert error["ename"] == "E"
    assert error["evalue"] == "<str() of the E raised RuntimeError>"
    assert error["traceback"][:3] == ["Traceback (most recent call last):", "  Cell In[3], line 3", "    raise E"]


def test_frames_between_the_users_own_are_left_out(plain: Plain) -> None:
    """A callback called from a module of ours: the user's frames on both sides stay, ours goes."""
    plain.namespace["call"] = lambda work: module._surrogate(work)
    lines = plain.traceback("class Text(str):\n    def encode(self, name):\n        raise ValueError('cb')\ncall(Text())")
    assert "  Cell In[3], line 3, in encode" in lines
    assert "  Cell In[3], line 4" in lines
    assert not any("interpreter.py" in line for line in lines)


def test_errors_of_libraries_keep_their_own_frames(plain: Plain) -> None:
    lines = plain.traceback("import json\njson.loads('{')")
    assert any("decoder.py" in line for line in lines)


def test_ctrl_characters_and_markers_in_messages_stay() -> None:
    try:
        raise ValueError('File "<Cell In[9] zz>", line 1 \x1b[31mred')
    except ValueError as error:
        lines = format_error(error, OWN_FILES)
    assert lines[-1].endswith("\x1b[31mred")


@pytest.mark.parametrize("code", ["%prun 1", "%%cython\n1", "x = 1\n%macro m 1"])
def test_what_needs_ipython_says_so(plain: Plain, code: str) -> None:
    lines = plain.traceback(code)
    wanted = next(line for line in code.split("\n") if line.startswith(("%", "!")))
    assert lines == [
        f"SyntaxError: `{wanted}` needs IPython in the server's Python, which is not there: pip install ipython on the "
        "server, and restart it."
    ]


def test_nul_and_surrogates_are_placed(plain: Plain) -> None:
    assert "line 2" in plain.traceback("a\n\0")[-1]
    assert "a NUL character" in plain.traceback("a\n\0")[-1]
    assert "line 3" in plain.traceback("a\n\n'\ud800'")[-1]
    assert "a lone surrogate" in plain.traceback("'\ud800'")[-1]


def test_an_unknown_name_with_a_question_mark(plain: Plain) -> None:
    assert plain.run("nope?").payload == [{"source": "page", "data": {"text/plain": "Object `nope` not found."}, "start": 0}]


def test_the_value_that_is_stored_is_the_value_that_is_shown(plain: Plain) -> None:
    plain.run("o = object()\no")
    assert plain.results == [plain.namespace["o"]]
    assert plain.namespace["_"] is plain.namespace["o"]


def test_no_store_leaves_the_underscore_alone(plain: Plain) -> None:
    plain.run("1")
    asyncio.run(plain.interpreter.run("2", Request(4, silent=False), store=False, on_result=plain.results.append))
    assert plain.results == [1, 2]
    assert plain.namespace["_"] == 1


def test_nothing_but_the_users_names_and_pythons_own_come_into_the_namespace(plain: Plain) -> None:
    plain.run("a = 1\na")
    names = {"a", "_", "__builtins__", "In", "Out", "_i", "_ii", "_iii"}
    assert {name for name in plain.namespace if not name[-1].isdigit()} == names


ASSIGNMENTS = [
    ("a = 1", ["a"]),
    ("a = b = 1", ["a", "b"]),
    ("a = 1\nb = 2\na = 3", ["b", "a"]),
    ("a, (b, *c) = x", ["a", "b", "c"]),
    ("[a, b] = x", ["a", "b"]),
    ("a: int = 1", ["a"]),
    ("a += 1", ["a"]),
    ("for a in x:\n    b = a\nelse:\n    c = 1", ["a", "b", "c"]),
    ("for a, b in x: pass", ["a", "b"]),
    ("with x as a, y as (b, c):\n    d = 1", ["a", "b", "c", "d"]),
    ("while x:\n    a = 1", ["a"]),
    ("if x:\n    a = 1\nelif y:\n    b = 1\nelse:\n    c = 1", ["a", "b", "c"]),
    ("try:\n    a = 1\nexcept E:\n    b = 1\nelse:\n    c = 1\nfinally:\n    d = 1", ["a", "b", "c", "d"]),
    ("(a := 1)", ["a"]),
    ("f(b=(a := 1))", ["a"]),
    ("match x:\n    case 1:\n        a = 1\n    case _:\n        b = 1", ["a", "b"]),
    ("x.a = 1\ny['b'] = 1\nz[(c := 0)] = 1", ["c"]),
    ("def f(a=1):\n    b = 1", []),
    ("async def f():\n    b = 1", []),
    ("class C:\n    a = 1", []),
    ("f = lambda: (a := 1)", ["f"]),
    ("x = [a for a in y]", ["x"]),
    ("{a: b for a, b in y}", []),
    ("sum(a for a in y)", []),
    ("{a for a in y}", []),
    ("async with x as a:\n    b = 1", ["a", "b"]),
    ("async for a in x: pass", ["a"]),
    ("del a", []),
    ("global a\na = 1", ["a"]),
    ("a", []),
    ("", []),
]


@pytest.mark.parametrize(("code", "names"), ASSIGNMENTS)
def test_assigned_names(code: str, names: list[str]) -> None:
    assert assigned_names(ast.parse(code)) == names
