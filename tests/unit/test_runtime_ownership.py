"""Which names are a session's: those that its cells bound, and that nobody has bound anew."""

from __future__ import annotations

from typing import Any

import pytest

from dh_kernel.runtime.ownership import Ownership, inherited, leave


def run(own: Ownership, names: dict[str, Any], code: str, meanwhile: str = "") -> None:
    """Run a cell, and what another client does while it runs."""
    before = dict(names)
    exec(code, names)
    exec(meanwhile, names)
    own.note(code, {name: value for name, value in names.items() if before.get(name, own) is not value})


def left(names: dict[str, Any]) -> set[str]:
    return {name for name in names if not name.startswith("__")}


@pytest.fixture
def names() -> dict[str, Any]:
    return {"__builtins__": __builtins__, "theirs": 1, "shared": 2}


def test_what_cells_bound_goes_and_the_rest_stays(names: dict[str, Any]) -> None:
    own = Ownership(names)
    run(own, names, "import math\na = b = None\nclass C: pass\ndef f():\n    global g\n    g = 1\nshared = [3]")
    run(own, names, "f()\ndel a")
    run(own, names, "a = 1\nfor i in range(3): pass", meanwhile="others = 5")
    exec("b = 'another'\nf = None", names)
    own.forget()
    assert left(names) == {"theirs", "others", "b", "f"}
    own.forget()
    assert left(names) == {"theirs", "others", "b", "f"}


def test_names_that_do_not_stand_in_the_code(names: dict[str, Any]) -> None:
    own = Ownership(names)
    run(own, names, "from keyword import *")
    run(own, names, "globals().update(by_name=1)")
    own.forget()
    assert left(names) == {"theirs", "shared"}


def test_nothing_is_held_for_it(names: dict[str, Any]) -> None:
    own = Ownership(names)
    gone: list[int] = []
    names["gone"] = gone
    run(own, names, "class Big:\n    def __del__(self): gone.append(1)\nbig = Big()")
    exec("big = 2", names)
    assert gone == [1]


def test_a_kernels_next_session_knows_what_the_former_had_bound(names: dict[str, Any]) -> None:
    run(inherited("kernel", names), names, "a = 1")
    run(inherited("other", names), names, "b = 1")
    inherited("kernel", names).forget()
    assert left(names) == {"theirs", "shared", "b"}
    leave("other")
    inherited("other", names).forget()
    assert left(names) == {"theirs", "shared", "b"}, "it had left"


def test_another_namespace_is_another_matter(names: dict[str, Any]) -> None:
    own = {"a": 1}
    run(inherited("kernel", names), names, "a = 1")
    inherited("kernel", own).forget()
    assert own == {"a": 1}


def test_without_a_name_nothing_is_inherited_and_kernels_are_bounded(names: dict[str, Any]) -> None:
    run(inherited("", names), names, "a = 1")
    inherited("", names).forget()
    assert "a" in names
    first = inherited("first", names)
    for number in range(100):
        inherited(f"kernel {number}", names)
    assert inherited("first", names) is not first
    assert inherited("kernel 99", names) is inherited("kernel 99", names)
