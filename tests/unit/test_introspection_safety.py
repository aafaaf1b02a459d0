"""Completion and inspection run nothing of the user's, whatever the objects do, and end soon, however large things are."""

from __future__ import annotations

import ast
import functools
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from dh_kernel.runtime import jedi_names, namelookup, source
from dh_kernel.runtime.introspection import complete, inspect_at, warm_up

RAN: list[str] = []


def note(what: str) -> Any:
    """What everything below does when it runs."""
    RAN.append(what)
    raise RuntimeError(what)


class LoudMeta(type):
    """A metaclass whose every hook tells."""

    def __getattr__(cls, name: str) -> Any:
        note(f"meta __getattr__ {name}")

    def __dir__(cls) -> Any:
        note("meta __dir__")

    # Not `__eq__` and `__hash__`: jedi's caches, once filled, compare classes. Known, and to be mended.

    def __instancecheck__(cls, instance: object) -> bool:
        return bool(note("meta __instancecheck__"))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return bool(note("meta __subclasscheck__"))

    @property
    def __signature__(cls) -> Any:
        note("meta __signature__")


class Loud:
    """An instance whose every hook tells."""

    def __getattr__(self, name: str) -> Any:
        note(f"__getattr__ {name}")

    def __dir__(self) -> Any:
        note("__dir__")

    def __repr__(self) -> str:
        return str(note("__repr__"))

    def __eq__(self, other: object) -> bool:
        return bool(note("__eq__"))

    def __hash__(self) -> int:
        return int(note("__hash__"))

    def __bool__(self) -> bool:
        return bool(note("__bool__"))

    def __len__(self) -> int:
        return int(note("__len__"))

    def __iter__(self) -> Iterator[Any]:
        return iter(note("__iter__"))

    def __getitem__(self, key: object) -> Any:
        note("__getitem__")

    def __call__(self, *args: Any) -> Any:
        note("__call__")

    def __add__(self, other: Any) -> Any:
        note("__add__")

    def __enter__(self) -> Any:
        note("__enter__")

    def __exit__(self, *args: object) -> None:
        note("__exit__")

    def _ipython_key_completions_(self) -> Any:
        note("_ipython_key_completions_")

    @property
    def value(self) -> Any:
        note("property")

    @functools.cached_property
    def cached(self) -> Any:
        note("cached_property")

    def method(self, given: Any = None) -> Any:
        note("method")


class Watched:
    """Even its ordinary attributes tell."""

    def __getattribute__(self, name: str) -> Any:
        note(f"__getattribute__ {name}")


class Liar:
    """Says that it is something else."""

    @property
    def __class__(self) -> Any:
        note("__class__")

    @property
    def __dict__(self) -> Any:
        note("__dict__")

    @property
    def __doc__(self) -> Any:
        note("__doc__")

    @property
    def __signature__(self) -> Any:
        note("__signature__")


class LoudDescriptor:
    """A descriptor that tells."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        note("__get__")

    def __set__(self, instance: Any, value: Any) -> None:
        note("__set__")


class Described:
    field = LoudDescriptor()


class LoudClass(metaclass=LoudMeta):
    """A class of the loud metaclass."""

    def method(self) -> None:
        note("method of the loud class")


class LoudDict(dict[Any, Any]):
    """A dictionary with its own ways."""

    def __getitem__(self, key: Any) -> Any:
        note("dict __getitem__")

    def keys(self) -> Any:
        note("dict keys")

    def __iter__(self) -> Any:
        note("dict __iter__")

    def __len__(self) -> int:
        return int(note("dict __len__"))

    def __missing__(self, key: Any) -> Any:
        note("dict __missing__")


class LoudKey:
    """A key that is equal to nothing without saying so."""

    def __hash__(self) -> int:
        return hash("x")

    def __eq__(self, other: object) -> bool:
        return bool(note("key __eq__"))

    def __repr__(self) -> str:
        return str(note("key __repr__"))


def with_loud_default(given: Any = Loud(), hinted: LoudClass | None = None) -> Loud:  # type: ignore[empty-body]  # noqa: B008
    """A function."""


def lazy_module() -> types.ModuleType:
    """A module that loads its names when they are asked for."""
    module = types.ModuleType("lazy")
    module.__dict__.update(__getattr__=lambda name: note(f"module {name}"), __dir__=lambda: note("module dir"), there=1)
    module.__dict__["__all__"] = ["there", "later"]
    return module


def annotated() -> Any:
    """A function with a type hint that would run."""

    def function() -> note("hint"):  # type: ignore[valid-type]
        pass

    return function


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    loud_dict = LoudDict()
    dict.__setitem__(loud_dict, "x", 1)
    namespace: dict[str, Any] = {
        "loud": Loud(),
        "Loud": Loud,
        "watched": Watched(),
        "liar": Liar(),
        "described": Described(),
        "loud_class": LoudClass(),
        "LoudClass": LoudClass,
        "loud_dict": loud_dict,
        "weird": {LoudKey(): 1, "plain": 2, ("a", 1): 3, None: 4},
        "function": with_loud_default,
        "hinted": annotated(),
        "lazy": lazy_module(),
        "items": [Loud(), Watched(), Liar(), LoudClass()],
        "inside": {"loud": Loud(), "liar": Liar()},
        "partial": functools.partial(with_loud_default),
        "namespace": types.SimpleNamespace(loud=Loud(), watched=Watched()),
    }
    RAN.clear()
    yield namespace
    ran = list(RAN)
    RAN.clear()
    assert ran == []


NAMES = [
    *("loud", "Loud", "watched", "liar", "described", "loud_class", "LoudClass", "loud_dict", "weird", "function"),
    *("hinted", "lazy", "items[0]", "items[1]", "items[2]", "items[3]", "inside['loud']", "inside['liar']", "partial"),
    *(
        "namespace.loud",
        "namespace.watched",
        "loud.value",
        "loud.cached",
        "described.field",
        "loud.method",
        "LoudClass.method",
    ),
]
PLACES = [
    *(
        "{}",
        "{}.",
        "{}.a",
        "{}.value.",
        "{}.unknown.x",
        "{}(",
        "{}(1, ",
        "{}()",
        "{}().",
        "{}().a",
        "{}[0].",
        "{}['",
        "{}['x'].",
        "{}[",
    ),
    *("({} + 1).", "(-{}).", "not {}.", "[{}][0].", "{{'a': {}}}['a'].", "x = {}\nx.", "x = {}()\nx.", "for x in {}:\n    x."),
    *(
        "with {} as x:\n    x.",
        "{}.where('",
        "{}.update('X = ",
        "t = {}\nt.where('",
        "[x for x in {} if x.",
        "f'{{{}.",
        "{} if {} else 1",
    ),
    *(
        "f'{{{}}}'",
        "lambda x={}: x.",
        "def f(x={}):\n    x.",
        "def f(x: {}):\n    x.",
        "@{}\ndef f(): f",
        "{}.__class__.",
        "type({}).",
    ),
]


@pytest.fixture(autouse=True, scope="module")
def jedi_is_warm() -> None:
    warm_up()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_runs(names: dict[str, Any], place: str) -> None:
    """Each object, in each place, completed and inspected; the fixture looks whether anything has run."""
    for name in NAMES:
        code = place.replace("{}", name).replace("{{", "{").replace("}}", "}")
        assert complete(names, code, len(code))["status"] == "ok"
        for cursor in (len(code), len(code) // 2):
            assert inspect_at(names, code, cursor, 1)["status"] == "ok"
        assert RAN == [], (code, RAN)


@pytest.mark.parametrize("place", ["{}.", "{}().", "{}.a.b.", "x = {}()\nx.", "({} + 1).", "for x in {}: x.", "{}[0]."])
def test_jedi_runs_nothing_either(names: dict[str, Any], place: str) -> None:
    """It is asked only where nothing else tells; here it is asked for all."""
    for name in NAMES:
        jedi_names.complete(names, place.format(name))
        jedi_names.describe(names, place.format(name))
        assert RAN == [], (place, name, RAN)


def test_jedi_still_sees_what_is_harmless() -> None:
    if jedi_names._interpreter_class() is None:
        pytest.fail("jedi is not installed in this environment, or is one whose internals are not known")
    found = jedi_names.complete({"threading": threading}, "threading.current_thread().getName().spl")
    assert {"split", "splitlines"} <= {each.name for each in found}
    found = jedi_names.complete({}, "class A:\n    def __init__(self):\n        self.here = 1\nA().he")
    assert [each.name for each in found] == ["here"]


def test_jedi_imports_nothing() -> None:
    before = set(sys.modules)
    for code in ("import antigravity\nantigravity.", "from this import ", "import sqlite3\nsqlite3.con"):
        complete({}, code, len(code))
        jedi_names.complete({}, code)
    new = set(sys.modules) - before
    assert not new & {"antigravity", "this", "sqlite3", "_sqlite3"}


def test_what_is_known_is_told_all_the_same(names: dict[str, Any]) -> None:
    def found(code: str) -> set[str]:
        return set(complete(names, code, len(code))["matches"])

    assert {"value", "cached", "method"} <= found("loud.")
    assert {"method"} <= found("LoudClass.")
    assert {"there", "later"} <= found("lazy.")
    assert found("weird['") == {"plain"}
    assert found("loud_dict['") == {"x"}
    assert found("function(giv") == {"given="}
    assert "method" in found("namespace.loud.")
    assert "given: 'Any' = None" in inspect_at(names, "loud.method", 11, 0)["data"]["text/plain"]
    assert "hinted" in inspect_at(names, "function", 8, 0)["data"]["text/plain"]


def test_a_property_tells_its_type_by_its_annotation() -> None:
    class Typed:
        @property
        def text(self) -> str:
            return str(note("typed property"))

    names = {"typed": Typed()}
    assert "upper" in complete(names, "typed.text.", 11)["matches"]
    assert RAN == []


# --- large things


def test_a_large_namespace() -> None:
    names: dict[str, Any] = {f"name_{number}": number for number in range(100_000)}
    reply = complete(names, "name_9999", 9)
    assert set(reply["matches"]) == {"name_9999", *(f"name_9999{digit}" for digit in range(10))}
    everything = complete(names, "", 0)
    assert len(everything["matches"]) == len(everything["metadata"]["_jupyter_types_experimental"]) == 10_000
    described = [each for each in everything["metadata"]["_jupyter_types_experimental"] if each["type"]]
    assert len(described) == 10_000


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = [1, 2, foo(bar)]  # text\n" * 35_000 + "value_o", ["value_one"]),
        ("x = [" + "1, " * 350_000 + "value_o", ["value_one"]),
        ("'''" + "text \n" * 200_000 + "'''\nvalue_o", ["value_one"]),
        ("f'" + "{a} " * 250_000 + "'\nvalue_o", ["value_one"]),
        ("(" * 1_000_000 + "value_o", ["value_one"]),
        ("f(" * 5_000 + "value_o", ["value_one"]),
        ("a." * 500_000, []),
        ("-" * 500_000 + "value_o", ["value_one"]),
        ("\\\n" * 500_000 + "value_o", ["value_one"]),
    ],
    ids=["lines", "list", "text", "fields", "brackets", "calls", "attributes", "operators", "backslashes"],
)
def test_a_megabyte_of_code(code: str, expected: list[str]) -> None:
    assert complete({"value_one": 1}, code, len(code))["matches"] == expected
    assert inspect_at({"value_one": 1}, code, len(code), 0)["status"] == "ok"


def test_code_nested_too_deep_for_the_parser() -> None:
    for code in ("(" * 3_000 + "1" + ")" * 3_000 + ".", "a" + "[a" * 3_000 + "]" * 3_000 + ".x", "a" + ".b()" * 3_000 + ".c"):
        assert complete({"a": 1}, code, len(code))["status"] == "ok"
        assert inspect_at({"a": 1}, code, len(code), 0)["status"] == "ok"


def test_parsers_on_other_threads_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 may end both with a SystemError, which passes."""
    failures = [SystemError("AST constructor recursion depth mismatch (before=138, after=-4689)")] * 2

    def parser(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return compile(*args, **options)

    monkeypatch.setattr(source, "compile", parser, raising=False)
    parsed = source.parse_expression("a.b")
    assert parsed is not None
    assert ast.unparse(parsed) == "a.b"
    assert failures == []


def test_source_that_refers_to_itself() -> None:
    for code in (
        "a = a\na.",
        "a = b\nb = a\na.",
        "a = a.b\nb = a.where('x')\nb.where('",
        "def f() -> f(): pass\nf().",
        "x = [x]\nx[0].",
    ):
        assert complete({}, code, len(code))["status"] == "ok"


def test_steps_do_not_multiply() -> None:
    """Each line uses the one above twice: a thousand times the same question otherwise."""
    code = "a0 = 'x'\n" + "".join(f"a{n + 1} = [a{n}, a{n}][0] + a{n}\n" for n in range(60)) + "a60."
    assert complete({}, code, len(code))["status"] == "ok"


def test_a_namespace_that_changes_while_it_is_walked() -> None:
    names: dict[str, Any] = {f"name_{number}": number for number in range(5_000)}
    names["changing"] = dict(names)
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            for mapping in (names, names["changing"]):
                mapping[f"new_{number % 977}"] = number
                mapping.pop(f"new_{(number * 31) % 977}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(30):
            assert "name_17" in complete(names, "name_17", 7)["matches"]
            assert "name_17" in complete(names, "changing['name_17", 17)["matches"]
    finally:
        over.set()
        thread.join()


def test_a_dictionary_is_copied_again_when_it_changes() -> None:
    class Changing(dict[str, int]):
        pass

    assert namelookup.keys_of(Changing(a=1)) == ["a"]


def test_mistakes_in_half_typed_code_are_not_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    for code in ("1if x.", "x = '\\d'\nx.up", "(1 is 1).", "assert (x, 'y').", "[1](2)."):
        complete({}, code, len(code))
    assert capfd.readouterr().err == ""
