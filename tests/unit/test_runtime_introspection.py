"""Completion and inspection on live names: right, and without ever running the user's code."""

from __future__ import annotations

import enum
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dh_kernel.runtime.introspection import complete, inspect_at, inspect_name


class Trap:
    """Everything that could run here notes that it did."""

    ran: list[str]
    plain = 1

    def __init__(self) -> None:
        object.__setattr__(self, "ran", [])
        object.__setattr__(self, "own", 2)

    @property
    def asked(self) -> int:
        self.ran.append("property")
        return 3

    def __getattr__(self, name: str) -> Any:
        if name == "ran":
            raise AttributeError
        self.ran.append(f"__getattr__ {name}")
        return 4

    def __dir__(self) -> list[str]:
        self.ran.append("__dir__")
        return ["made_up"]

    def __repr__(self) -> str:
        self.ran.append("__repr__")
        return "trap"

    def method(self, a: int, b: int = 2) -> int:
        """Does a thing."""
        return a + b


class CallableTrap(Trap):
    def __call__(self, a: int) -> int:
        """Calls."""
        self.ran.append("__call__")
        return a


def matches(namespace: dict[str, Any], code: str, cursor: int | None = None) -> list[str]:
    found: list[str] = complete(namespace, code, len(code) if cursor is None else cursor)["matches"]
    return found


def test_names_of_the_namespace_builtins_and_keywords() -> None:
    namespace = {"printable_thing": 1, "other": 2, 3: "not a name"}
    found = matches(namespace, "print")
    assert {"print", "printable_thing"} <= set(found)
    assert "other" not in found
    assert {"while", "with"} <= set(matches({}, "w"))


def test_private_names_come_last() -> None:
    assert matches({"_a": 1, "__a": 2, "a": 3}, "")[:1] != ["_a"]
    found = matches({"zz_b": 1, "zz": 3}, "zz")
    assert found == ["zz", "zz_b"]


def test_attributes() -> None:
    assert matches({"os": os}, "x = os.path.joi") == ["join"]
    assert "append" in matches({"a": [1]}, "a.")
    assert not any(name.startswith("__") for name in matches({"a": [1]}, "a."))
    assert "__len__" in matches({"a": [1]}, "a.__l")


def test_the_reply_is_jupyters() -> None:
    reply = complete({"value_one": 1}, "f(value_o, 2)", 9)
    assert reply["status"] == "ok"
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["value_one"], 2, 9)
    (typed,) = reply["metadata"]["_jupyter_types_experimental"]
    assert (typed["text"], typed["type"], typed["start"], typed["end"]) == ("value_one", "instance", 2, 9)


@pytest.mark.parametrize(
    ("name", "kind"), [("int", "class"), ("len", "function"), ("os", "module"), ("whil", "keyword"), ("number", "instance")]
)
def test_kinds(name: str, kind: str) -> None:
    reply = complete({"os": os, "number": 3}, name, len(name))
    kinds = {entry["text"]: entry["type"] for entry in reply["metadata"]["_jupyter_types_experimental"]}
    assert kinds["while" if name == "whil" else name] == kind


def test_positions_count_code_points() -> None:
    """The front end's offsets; a character outside the basic plane is one."""
    code = "'\U0001f600é' + value_o"
    reply = complete({"value_one": 1}, code, len(code))
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["value_one"], len(code) - 7, len(code))


def test_names_in_any_script() -> None:
    assert matches({"größe": 1}, "grö") == ["größe"]
    assert matches({"été": 1}, "ét") == ["été"]
    assert "größe" in (inspect_name({"größe": len}, "größe", detailed=False) or "")


def test_what_follows_a_call_is_not_a_global_name() -> None:
    assert "print" not in matches({}, "f().pri")
    assert "print" not in matches({}, "a[0].pri")
    assert "print" not in matches({}, "'text'.pri")


def test_unknown_paths_have_no_matches() -> None:
    assert matches({}, "nowhere.at.all") == []
    assert matches({"a": 1}, "a.nothing.x") == []


@settings(deadline=None)
@given(st.text(max_size=30), st.data())
def test_any_text_and_position_gets_a_reply(code: str, data: st.DataObject) -> None:
    cursor = data.draw(st.integers(0, len(code)))
    reply = complete({"a": 1}, code, cursor)
    assert reply["cursor_end"] == cursor
    assert 0 <= reply["cursor_start"] <= cursor
    assert inspect_at({"a": 1}, code, cursor, 1)["status"] == "ok"


@pytest.mark.parametrize("made", [Trap, CallableTrap])
@pytest.mark.parametrize(
    "ask",
    [
        lambda names: complete(names, "trap.", 5),
        lambda names: complete(names, "trap.a", 6),
        lambda names: complete(names, "trap.asked.r", 12),
        lambda names: complete(names, "trap.unknown.r", 14),
        lambda names: complete(names, "tra", 3),
        lambda names: inspect_at(names, "trap", 4, 0),
        lambda names: inspect_at(names, "trap", 4, 1),
        lambda names: inspect_at(names, "trap.asked", 10, 1),
        lambda names: inspect_at(names, "trap.unknown", 12, 1),
        lambda names: inspect_at(names, "trap.method", 11, 1),
        lambda names: inspect_at(names, "trap(", 5, 0),
    ],
)
def test_nothing_of_the_users_runs(made: type[Trap], ask: Any) -> None:
    trap = made()
    reply = ask({"trap": trap})
    assert reply["status"] == "ok"
    assert trap.ran == []


def test_a_container_is_not_asked_for_all_of_its_text() -> None:
    """A list of a hundred million numbers is not turned into text to show a thousand characters of it."""
    asked: list[int] = []

    class Item:
        def __repr__(self) -> str:
            asked.append(1)
            return "item"

    inspect_name({"items": [Item()] * 100_000}, "items", detailed=False)
    assert len(asked) < 10_000


def test_inspection_tells_signature_documentation_and_source() -> None:
    def add(a: int, b: int = 2) -> int:
        """Adds two numbers."""
        return a + b

    text = inspect_name({"add": add}, "add", detailed=True)
    assert text is not None
    for wanted in ("Signature: add(a", "Adds two numbers.", "return a + b", "Type:      builtins.function", __file__):
        assert wanted in text
    assert "return a + b" not in (inspect_name({"add": add}, "add", detailed=False) or "")


def test_inspection_finds_the_call_around_the_cursor() -> None:
    reply = inspect_at({}, "print(1, ", 9, 0)
    assert reply["found"]
    assert "Signature: print" in reply["data"]["text/plain"]
    reply = inspect_at({}, "pri" + "nt(1)", 2, 0)
    assert "Signature: print" in reply["data"]["text/plain"]


def test_inspection_of_nothing() -> None:
    for code, cursor in (("", 0), ("nowhere", 3), ("1 + ", 4), ("((", 2)):
        assert inspect_at({}, code, cursor, 0) == {"status": "ok", "found": False, "data": {}, "metadata": {}}


def test_attributes_of_modules_classes_and_enums_are_found() -> None:
    class Colour(enum.Enum):
        RED = 1

    names = {"os": os, "Colour": Colour, "trap": Trap()}
    assert inspect_at(names, "os.path.join", 12, 0)["found"]
    assert inspect_at(names, "Colour.RED", 10, 0)["found"]
    text = inspect_at(names, "trap.method", 11, 0)["data"]["text/plain"]
    assert "(a: 'int', b: 'int' = 2)" in text
    assert "Does a thing." in text
