"""IPython's names and magics in cells of a server without IPython, and nowhere else."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import Any

import pytest

from dh_kernel.runtime import ipython_display, ipython_names
from dh_kernel.runtime.stand_ins import redirected, without_magics


@pytest.fixture(autouse=True)
def _no_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server that has only what Deephaven needs."""
    for name in [name for name in sys.modules if name.split(".")[0] == "IPython"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "IPython", None)


def run(code: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """The namespace after a cell."""
    namespace = {} if names is None else names
    tree = redirected(ast.parse(without_magics(code)), namespace)
    exec(compile(tree, "<cell>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "code",
    [
        "import IPython.display as found",
        "import IPython.display\nfound = IPython.display",
        "import IPython\nfound = IPython.display",
        "from IPython import display as found",
        "def inner():\n    import IPython.display as it\n    return it\nfound = inner()",
        "import IPython.core.display as found",
    ],
)
def test_imports_find_the_stand_in(code: str) -> None:
    assert run(code)["found"] is ipython_display


def test_imports_that_are_not_of_ipython_stay() -> None:
    names = run("import os.path, json as j\nfrom os import path\nfrom collections import abc")
    assert isinstance(names["os"], ModuleType)
    assert names["path"] is names["os"].path


def test_relative_imports_stay() -> None:
    code = "from .IPython import display"
    assert ast.unparse(redirected(ast.parse(code), {})) == code


def test_the_process_still_has_no_ipython() -> None:
    run("import IPython.display\nfrom IPython import get_ipython")
    with pytest.raises(ImportError):
        exec("import IPython", {})
    assert "get_ipython" not in dir(__builtins__)


def test_a_name_that_there_is_not_says_what_to_install() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Audio'"):
        run("from IPython.display import Audio")
    with pytest.raises(AttributeError, match="Audio needs IPython"):
        run("import IPython\nIPython.display.Audio")
    with pytest.raises(ImportError):
        run("import IPython.core.magic")


@pytest.mark.parametrize("code", ["found = get_ipython()", "from IPython import get_ipython\nfound = get_ipython()"])
def test_the_shell_is_that_of_the_namespace(code: str) -> None:
    names = run(code, {"mine": 1})
    assert isinstance(names["found"], ipython_names.PlainShell)
    assert names["found"].user_ns is names


def test_a_function_of_the_persons_own_is_kept() -> None:
    assert run("def get_ipython(): return 6\nfound = get_ipython()")["found"] == 6
    assert run("found = get_ipython()", {"get_ipython": lambda: 7})["found"] == 7


def test_variables_are_listed() -> None:
    names = run("_hidden, b, a = 1, 'x', 2\nfound = %who_ls", {})
    assert names["found"] == ["a", "b"]
    assert run("found = %who_ls str\n", {"a": 1, "b": "x"})["found"] == ["b"]


def test_a_magic_can_be_assigned_within_a_function() -> None:
    code = "def listed():\n    text = '%s' % 1\n    variables= %who_ls\n    return variables\nfound = listed()"
    assert run(code, {"a": 1})["found"] == ["a", "listed"]


def test_source_that_is_python_is_left_alone() -> None:
    code = "text = '''\nx = %who_ls\n'''\nrest = 7 %len('ab')"
    assert without_magics(code) == code


def test_magics_that_need_ipython_say_so() -> None:
    for code in ("x = 1\n%prun f()", "%%cython\n1", "x = %macro 1"):
        with pytest.raises(SyntaxError, match=r"needs IPython in the server's Python"):
            without_magics(code)
    with pytest.raises(NotImplementedError, match=r"`%prun` needs IPython"):
        run("get_ipython().run_line_magic('prun', '1')")


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("!ls -l", "get_ipython().system('ls -l')"),
        ("x = !ls", "x = get_ipython().getoutput('ls')"),
        ("if 1:\n    !echo it's", 'if 1:\n    get_ipython().system("echo it\'s")'),
        ("y = 1\n%time f(1, 2)", "y = 1\nget_ipython().run_line_magic('time', 'f(1, 2)')"),
        ("%%time\nx = 1\nx", "get_ipython().run_cell_magic('time', '', 'x = 1\\nx\\n')"),
        ("s = '''\n!ls\n'''\n%pwd", "s = '''\n!ls\n'''\nget_ipython().run_line_magic('pwd', '')"),
    ],
)
def test_magics_become_calls(code: str, wanted: str) -> None:
    """Also beside text in which a line only looks like one."""
    assert without_magics(code) == wanted


def test_harmless_magics_keep_the_block() -> None:
    assert without_magics("try:\n    %matplotlib inline\nexcept: pass") == "try:\n    pass\nexcept: pass"


def test_completion_within_the_process() -> None:
    names = run("found = get_ipython().kernel.do_complete('some_na', 7)", {"some_name": 1})
    assert names["found"]["matches"] == ["some_name"]


@pytest.mark.parametrize(
    ("code", "mime", "data"),
    [
        ("HTML('<b>x</b>')", "text/html", "<b>x</b>"),
        ("Markdown('*x*')", "text/markdown", "*x*"),
        ("Math('x^2')", "text/latex", r"$\displaystyle x^2$"),
        ("JSON({'a': 1})", "application/json", {"a": 1}),
        ("Image(b'\\xff\\xd8x')", "image/jpeg", b"\xff\xd8x"),
        ("Image(b'\\x89PNG')", "image/png", b"\x89PNG"),
    ],
)
def test_objects_show_themselves(code: str, mime: str, data: object) -> None:
    value = run(f"from IPython.display import HTML, Image, JSON, Markdown, Math\nvalue = {code}")["value"]
    bundle, _ = value._repr_mimebundle_()
    assert bundle[mime] == data
    assert bundle["text/plain"] == f"<IPython.core.display.{type(value).__name__} object>"
