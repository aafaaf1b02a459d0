"""Completion of Python: names, attributes, arguments, keys, imports, paths, magics, and code that has not run."""

from __future__ import annotations

import atexit
import dataclasses
import enum
import functools
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from dh_kernel.runtime import jedi_names
from dh_kernel.runtime.introspection import complete


class Person:
    """A person."""

    species = "human"
    born: int

    def __init__(self, name: str, age: int = 3) -> None:
        self.name, self.age = name, age

    @property
    def title(self) -> str:
        return "Dr"

    def befriend(self, other: Person, *, closely: bool = False) -> Person:
        return self

    def __call__(self, question: str) -> None:
        pass

    @classmethod
    def made(cls, recipe: str) -> Person:
        return cls(recipe)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@functools.lru_cache
def cached(alpha: int, beta: int = 2) -> pathlib.Path:
    return pathlib.Path()


def wrapped(first: int, *rest: int, last: int | None = None, **more: int) -> str:
    return ""


@functools.wraps(wrapped)
def wrapper(*args: Any, **kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


@pytest.fixture(autouse=True)
def patient_jedi(monkeypatch: pytest.MonkeyPatch) -> None:
    """What jedi says comes in time, also on a machine that is busy."""
    for name in ("_LONGEST_S", "_BUSY_S"):
        monkeypatch.setattr(jedi_names, name, 20.0)


@pytest.fixture
def names() -> dict[str, Any]:
    return {
        "p": Person("x"),
        "Person": Person,
        "Colour": Colour,
        "Point": Point,
        "cached": cached,
        "wrapped": wrapped,
        "wrapper": wrapper,
        "os": os,
        "json": json,
        "pathlib": pathlib,
        "d": {"one": 1, "two words": 2, 3: 4, "it's": 5, b"raw": 6, "inner": {"deep": Person("y")}},
        "people": [Person("z")],
        "df": pd.DataFrame({"a": [1], "b c": [2], 3: [4]}),
        "größe": 3,
        "_hidden": 1,
        "__dunder": 2,
        "text": "abc",
    }


def ask(names: dict[str, Any], code: str, **options: Any) -> dict[str, Any]:
    """The reply at the `|`, or at the end."""
    before, bar, after = code.partition("|")
    if not bar:
        before = code
    return complete(names, before + after, len(before), **options)


def matches(names: dict[str, Any], code: str, **options: Any) -> list[str]:
    found: list[str] = ask(names, code, **options)["matches"]
    return found


def after(names: dict[str, Any], code: str, **options: Any) -> list[str]:
    """The code up to the cursor as it would be with each match in place."""
    reply = ask(names, code, **options)
    before = code.partition("|")[0] if "|" in code else code
    return [before[: reply["cursor_start"]] + match for match in reply["matches"]]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pri", ["print"]),
        ("grö", ["größe"]),
        ("p.na", ["name"]),
        ("p.na|me", ["name"]),
        ("if p.na| > 3:\n    pass", ["name"]),
        ("x = [p.na", ["name"]),
        ("print(1, p.na", ["name"]),
        ("p.bef|riend(p)", ["befriend"]),
        ("Person.sp", ["species"]),
        ("Person('a').na", ["name"]),
        ("Person('a').bo", ["born"]),
        ("p.befriend(p).be", ["befriend"]),
        ("p.befriend(p, closely=True).title.uppe", ["upper"]),
        ("Person.made('x').na", ["name"]),
        ("people[0].na", ["name"]),
        ("people[-1].na", ["name"]),
        ("[Person('q')][0].na", ["name"]),
        ("{'k': Person('q')}['k'].na", ["name"]),
        ("d['inner']['deep'].na", ["name"]),
        ("text.upper().spli", ["split", "splitlines"]),
        ("'abc'.upper().spli", ["split", "splitlines"]),
        ("f'{text}'.spli", ["split", "splitlines"]),
        ("(text + 'x').spli", ["split", "splitlines"]),
        ("'%s' % p).uppe", []),
        ("Colour.R", ["RED"]),
        ("Point(1).", ["x", "y"]),
        ("cached(1).read_t", ["read_text"]),
        ("wrapped(1).spli", ["split", "splitlines"]),
        ("pathlib.Path('a').read_t", ["read_text"]),
        ("df['a'].to_fr", ["to_frame"]),
        ("df.b", ["backfill", "between_time", "bfill", "bool", "boxplot"]),
        ("os.path.joi", ["join"]),
        ("os . path . joi", ["join"]),
        ("(os\n .path\n .joi", ["join"]),
        ("os.path.joi|\nfoo(", ["join"]),
        ("f'{p.na", ["name"]),
        ("f'{p.name} and {p.ag", ["age"]),
        ('f"{p.na|}"', ["name"]),
        ("foo(; p.na", ["name"]),
        ("x = 'unfinished\np.na", ["name"]),
        ("1if p.na", ["name"]),
        ("%time p.na", ["name"]),
        ("%timeit -n 3 -r 2 p.na", ["name"]),
        ("%%time\np.na", ["name"]),
        ("!ls\np.na", ["name"]),
        ("# p.na", []),
        ("p.name  # pri", []),
        ("'p.na", []),
        ("nowhere.a", []),
        ("def pri", []),
        ("True.real.num", ["numerator"]),
    ],
)
def test_names_and_attributes(names: dict[str, Any], code: str, expected: list[str]) -> None:
    found = matches(names, code)
    if code == "df.b":
        assert set(found) & set(expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("value = Person('a')\nvalue.na", ["name"]),
        ("first, value = 1, Person('a')\nvalue.na", ["name"]),
        ("value: Person\nvalue.na", ["name"]),
        ("value: 'Person | None' = None\nvalue.na", []),
        ("for value in people:\n    value.na", ["name"]),
        ("for value in [Person('a')]:\n    value.na", ["name"]),
        ("with Person('a') as value:\n    value.na", ["name"]),
        ("if (value := Person('a')):\n    value.na", ["name"]),
        ("def f(value: Person):\n    value.na", ["name"]),
        ("def f(value=Person('a')): value.na", ["name"]),
        ("def f(argument_one, *argument_two):\n    argu", ["argument_one", "argument_two"]),
        ("def f(argument_one):\n    def g():\n        argu", ["argument_one"]),
        ("class A:\n    local_one = 1\n    def f(self):\n        local", ["locals"]),
        ("class A:\n    local_one = 1\n    local", ["local_one", "locals"]),
        ("lambda parameter: param", ["parameter"]),
        ("[element for element in elem", ["element"]),
        ("import os.path as path_of\npath_of.joi", ["join"]),
        ("import json, os as system\nsystem.path.joi", ["join"]),
        ("from os import path as path_of\npath_of.joi", ["join"]),
        ("from os import (\n    path,\n    sep,\n)\npath.joi", ["join"]),
        ("try:\n    pass\nexcept KeyError as error:\n    error.with_tr", ["with_traceback"]),
        ("value = 3; value.numer", ["numerator"]),
        ("value = 3\nvalue = 'text'\nvalue.spli", ["split", "splitlines"]),
        ("p = 3\np.numer", ["numerator"]),
        ("def make() -> Person: ...\nmake().na", ["name"]),
        ("async def make(argument_one):\n    await argu", ["argument_one"]),
        ("with open('x') as file:\n    file.readl", ["readline", "readlines"]),
        ("match p:\n    case 1:\n        local_one = 1\n        local_o", ["local_one"]),
        ("this is no Python\nvalue = Person('a')\nvalue.na", ["name"]),
        ("%matplotlib inline\nvalue = Person('a')\nvalue.na", ["name"]),
    ],
)
def test_names_that_the_cell_binds_before_it_runs(names: dict[str, Any], code: str, expected: list[str]) -> None:
    assert matches(names, code) == expected


def test_a_functions_own_names_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """jedi, which is asked where nothing else is found, takes a half typed name for a part of the function."""
    monkeypatch.setattr(jedi_names, "complete", lambda *arguments: [])
    assert matches({}, "def f(argument_one):\n    local_one = 1\nargu") == []
    assert matches({}, "def f(argument_one):\n    local_one = 1\nlocal_") == []
    assert matches({}, "def f(argument_one):\n    local_one = 1\n    if argument_one:\n        local_") == ["local_one"]


def test_a_name_that_only_a_later_line_binds_is_not_known_yet() -> None:
    assert matches({}, "later_o|\nlater_one = 1") == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("wrapped(", ["first=", "last="]),
        ("wrapped(1, la", ["last="]),
        ("wrapped(first=1, ", ["last="]),
        ("wrapped(*people, la", ["last="]),
        ("wrapper(la", ["last="]),
        ("cached(al", ["alpha="]),
        ("Person(", ["age=", "name="]),
        ("Point(", ["x=", "y="]),
        ("p.befriend(", ["closely=", "other="]),
        ("Person.made(", ["recipe="]),
        ("p(", ["question="]),
        ("Person('x').befriend(cl", ["closely="]),
        ("print(1, se", ["sep="]),
        ("sorted([], ke", ["key="]),
        ("f(x, wrapped(la", ["last="]),
        ("wrapped(\n    1,\n    la", ["last="]),
        ("def local(one, two=2, *, three): pass\nlocal(", ["one=", "three=", "two="]),
        ("wrapped(first=la", []),
        ("wrapped(1 + la", []),
        ("wrapped((la", []),
        ("json.dumps({}, ind", ["indent="]),
    ],
)
def test_arguments(names: dict[str, Any], code: str, expected: list[str]) -> None:
    assert [match for match in matches(names, code) if match.endswith("=")] == expected


def test_an_argument_that_has_its_equals_sign_gets_no_other(names: dict[str, Any]) -> None:
    assert "last" in matches(names, "wrapped(la|=3)")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('d["', ["one", "two words", "it's", "inner"]),
        ("d['", ["one", "two words", "it\\'s", "inner"]),
        ('d["o', ["one"]),
        ('d["two w', ["two words"]),
        ('d["o|"]', ["one"]),
        ('d[b"', ["raw"]),
        ('d["inner"]["', ["deep"]),
        ("print(d['inn", ["inner"]),
        ("d ['o", ["one"]),
        ('df["', ["a", "b c"]),
        ('df[["a", "b', ["b c"]),
        ('{"k1": 1, "k2": 2}["', ["k1", "k2"]),
        ("made = {'k1': 1}\nmade['", ["k1"]),
        ('text["', []),
        ('d["one", "', []),
    ],
)
def test_keys(names: dict[str, Any], code: str, expected: list[str], tmp_path: pathlib.Path) -> None:
    os_folder = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert matches(names, code) == expected
    finally:
        os.chdir(os_folder)


def test_keys_with_their_quotes_where_none_is_typed(names: dict[str, Any]) -> None:
    found = matches(names, "d[")
    assert {"'one'", "'two words'", "3", '"it\'s"', "b'raw'"} <= set(found)
    assert "print" in found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import jso", {"json"}),
        ("import os.pa", {"path"}),
        ("import json, xml.dom.mini", {"minidom"}),
        ("import json.de", {"decoder"}),
        ("from xml.e", {"etree"}),
        ("from xml.etree import ElementT", {"ElementTree"}),
        ("from json import lo", {"load", "loads"}),
        ("from json import (loads, du", {"dump", "dumps"}),
        ("from json import loads, \\\n  du", {"dump", "dumps"}),
        ("from json im", {"import"}),
        ("from wsgiref.util import Fi", {"FileWrapper"}),
        ("x = 1; import jso", {"json"}),
        ("import json as x", set()),
        ("from json import loads as lo", set()),
        ("from nowhere.at.all import x", set()),
    ],
)
def test_imports(code: str, expected: set[str]) -> None:
    found = set(matches({}, code))
    assert expected <= found
    assert expected or not found


def test_imports_load_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "surely_new_package"
    (package / "part").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise SystemExit\ndef offered(): pass\nif True:\n    OTHER = 1\nimport os as system\n"
    )
    (package / "part" / "__init__.py").write_text("")
    (package / "leaf.py").write_text("VALUE: int = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert matches({}, "import surely_n") == ["surely_new_package"]
    assert matches({}, "import surely_new_package.") == ["leaf", "part"]
    assert matches({}, "from surely_new_package import ") == ["OTHER", "leaf", "offered", "part", "system"]
    assert matches({}, "from surely_new_package.leaf import VA") == ["VALUE"]
    assert "surely_new_package" not in sys.modules


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    for name in ("data_one.csv", "data two.csv", ".hidden", "Größe.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "data_folder").mkdir()
    (tmp_path / "data_folder" / "inside.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_in_text_and_behind_magics(folder: pathlib.Path) -> None:
    shell = _Shell()
    data = ["data two.csv", "data_folder/", "data_one.csv"]
    assert after({}, "open('da") == [f"open('{name}" for name in data]
    assert after({}, "x = f(1, '''./da") == [f"x = f(1, '''./{name}" for name in data]
    assert after({}, "open(r'data_folder/") == ["open(r'data_folder/inside.txt"]
    assert after({}, f"open('{folder}/data_f") == [f"open('{folder}/data_folder/"]
    assert after({}, "open('Gr") == ["open('Größe.txt"]
    assert after({}, "open('.h") == ["open('.hidden"]
    assert ".hidden" not in matches({}, "open('")
    assert after({}, "%cd da", shell=shell) == ["%cd data_folder/"]
    assert after({}, "%run da", shell=shell) == ["%run data\\ two.csv", "%run data_folder/", "%run data_one.csv"]
    assert after({}, "!cat data_o") == ["!cat data_one.csv"]
    assert after({}, "!cat a b >data\\ t") == ["!cat a b >data\\ two.csv"]
    assert after({}, "x = !ls data_folder/i") == ["x = !ls data_folder/inside.txt"]
    assert after({}, "%%bash\ncat data_o") == ["%%bash\ncat data_one.csv"]
    assert matches({}, "open('nowhere/") == []
    assert matches({"data_x": 1}, "open(da") == ["data_x"]


def test_the_home_folder_stays_as_it_is_written(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert after({}, "open('~/data_o") == ["open('~/data_one.csv"]


class _Magics:
    magics: ClassVar = {
        "line": {"time": print, "timeit": print, "cd": print, "run": print},
        "cell": {"time": print, "bash": print},
    }


class _Shell:
    """What is looked at of IPython's shell."""

    magics_manager = _Magics()
    automagic = True
    configurables = ()


def test_magics_of_a_shell() -> None:
    shell = _Shell()
    assert matches({}, "%ti", shell=shell) == ["%time", "%%time", "%timeit"]
    assert matches({}, "%%ti", shell=shell) == ["%%time"]
    assert matches({}, "x = 1\n%ti", shell=shell) == ["%time", "%timeit"]
    assert matches({}, "x = %ti", shell=shell) == ["%time", "%timeit"]
    assert matches({}, "for x in y:\n    %ti", shell=shell) == ["%time", "%timeit"]
    assert matches({}, "ti", shell=shell) == ["%time", "%%time", "%timeit"]
    assert matches({"time": 1}, "ti", shell=shell) == ["time", "%timeit"]
    assert matches({}, "x = ti", shell=shell) == []
    assert matches({}, "7 %ti", shell=shell) == []
    assert after({}, "  %ti", shell=shell)[0] == "  %time"
    shell.automagic = False  # type: ignore[misc]
    assert matches({}, "ti", shell=shell) == []


def test_magics_without_a_shell_are_the_plain_wrappers() -> None:
    assert matches({}, "%wh", magics=["%who", "%%who_cell", "%pip"]) == ["%who", "%%who_cell"]
    assert "%pip" in matches({}, "%pi")
    assert matches({}, "pip") == []


@pytest.fixture(scope="module")
def ipython() -> Iterator[tuple[Any, dict[str, Any]]]:
    config = Config()
    config.HistoryManager.enabled = False
    namespace: dict[str, Any] = {}
    shell = InteractiveShell(config=config, user_ns=namespace)
    yield shell, namespace
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


def test_ipythons_own_magics(ipython: tuple[Any, dict[str, Any]]) -> None:
    shell, namespace = ipython
    assert {"%timeit", "%%timeit", "%time"} <= set(matches(namespace, "%ti", shell=shell))
    assert matches(namespace, "%config InteractiveSh", shell=shell) == ["InteractiveShell"]
    assert "InteractiveShell.autocall" in matches(namespace, "%config InteractiveShell.auto", shell=shell)
    assert matches(namespace, "%matplotlib inl", shell=shell) == ["inline"]
    assert "json" in matches(namespace, "%load_ext jso", shell=shell)


def test_symbols_by_their_names(ipython: tuple[Any, dict[str, Any]]) -> None:
    assert after({}, "x = \\alpha") == ["x = \N{GREEK SMALL LETTER ALPHA}"]
    assert after({}, "x_\\alph") == ["x_\\alpha"]
    assert after({}, "\\GREEK SMALL LETTER BETA") == ["\N{GREEK SMALL LETTER BETA}"]
    assert "\\alpha" in matches({}, "\\\N{GREEK SMALL LETTER ALPHA}")
    assert matches({}, "x = \\nothing_like_that") == []


def test_the_order_is_ipythons(names: dict[str, Any]) -> None:
    names.update({"same_b": 1, "same_a": 1, "_same": 1, "__same": 1})
    assert matches(names, "same") == ["same_a", "same_b"]
    found = matches(names, "wrapped(")
    assert found[:2] == ["first=", "last="]
    assert found.index("_same") > found.index("same_a")
    assert found.index("__same") > found.index("_same")


def test_every_match_has_its_type_and_signature(names: dict[str, Any]) -> None:
    def types(code: str) -> dict[str, tuple[str, str]]:
        reply = ask(names, code)
        entries = reply["metadata"]["_jupyter_types_experimental"]
        assert [each["text"] for each in entries] == reply["matches"]
        assert {(each["start"], each["end"]) for each in entries} <= {(reply["cursor_start"], reply["cursor_end"])}
        return {each["text"]: (each["type"], each["signature"]) for each in entries}

    found = types("")
    assert found["wrapped"] == ("function", "(first: 'int', *rest: 'int', last: 'int | None' = None, **more: 'int') -> 'str'")
    assert found["Person"] == ("class", "(name: 'str', age: 'int' = 3)")
    assert (found["os"], found["while"], found["text"]) == (("module", ""), ("keyword", ""), ("instance", ""))
    assert types("p.ti")["title"] == ("property", "")
    assert types("wrapped(la")["last="] == ("param", "")
    assert types("open('/et")["/etc/"] == ("path", "")
    assert types("d['o")["one"] == ("dict key", "")


def test_positions_count_code_points_after_surrogate_pairs(names: dict[str, Any]) -> None:
    code = "'\U0001f600\U0001f600' + p.na"
    reply = complete(names, code, len(code))
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["name"], len(code) - 2, len(code))


@pytest.mark.parametrize("cursor", [-5, 0, 3, 10_000])
def test_a_cursor_outside_the_code(cursor: int) -> None:
    reply = complete({}, "abc", cursor)
    assert 0 <= reply["cursor_start"] <= reply["cursor_end"] <= 3


def test_without_jedi(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the above but what only jedi knows; here a class of the cell's own source."""
    code = "class A:\n    def __init__(self):\n        self.here = 1\n    def f(self):\n        self.he"
    assert matches(names, code) == ["here"]
    jedi_names._interpreter_class.cache_clear()
    monkeypatch.setitem(sys.modules, "jedi", None)
    try:
        assert matches(names, code) == []
        assert matches(names, "people[0].na") == ["name"]
    finally:
        jedi_names._interpreter_class.cache_clear()


def test_jedi_is_given_up_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on by itself; the answer does not wait, nor do questions that follow."""
    import threading

    go_on, begun = threading.Event(), threading.Event()

    def slow(*args: Any) -> list[Any]:
        begun.set()
        go_on.wait(60)
        return []

    monkeypatch.setattr(jedi_names, "_answer", slow)
    monkeypatch.setattr(jedi_names, "_BUSY_S", 0.01)
    assert jedi_names._ask({}, "x.", "complete", 0.01) == []
    assert begun.wait(60)
    assert jedi_names._ask({}, "x.", "complete", 0.01) == []
    go_on.set()
    assert jedi_names._turn.acquire(timeout=60)
    jedi_names._turn.release()
