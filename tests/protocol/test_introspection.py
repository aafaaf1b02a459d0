"""`complete_request` and `inspect_request` as front ends send them: contents, positions, and answers while a cell runs."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Kernel, Run

ANSWER_S = 20.0


def complete(kernel: Kernel, code: str) -> dict[str, Any]:
    """The content of the reply for the `|`, or for the end."""
    before, _, after = code.partition("|")
    message = kernel.answer(kernel.client.complete(before + after, len(before)), ANSWER_S)
    assert message["msg_type"] == "complete_reply"
    content: dict[str, Any] = message["content"]
    assert content["status"] == "ok"
    return content


def inspected(kernel: Kernel, code: str, detail: int = 0) -> dict[str, Any]:
    """The data of the reply for the `|`."""
    before, _, after = code.partition("|")
    message = kernel.answer(kernel.client.inspect(before + after, len(before), detail), ANSWER_S)
    assert message["msg_type"] == "inspect_reply"
    content = message["content"]
    assert content["status"] == "ok"
    assert content["found"] == bool(content["data"])
    data: dict[str, Any] = content["data"]
    return data


@pytest.fixture
def table(kernel: Kernel) -> str:
    """A table's name."""
    kernel.ok(
        "from deephaven import empty_table\nshown = empty_table(3).update(['Sym = `A`', 'Price = i * 1.5'])", silent=True
    )
    return "shown"


def test_what_completion_puts_in_its_place(kernel: Kernel, table: str) -> None:
    """Each match stands for the text between the two positions."""
    for code, expected in (
        (f"x = {table[:4]}", f"x = {table}"),
        (f"{table}.update('Z = Pri|ce + 1')", f"{table}.update('Z = Price"),
        (f"'\U0001f600', {table}.where('Sy", f"'\U0001f600', {table}.where('Sym"),
        ("import os.pa", "import os.path"),
        ("from deephaven import empty_t", "from deephaven import empty_table"),
        ("empty_table(si", "empty_table(size="),
        ("print(1, se", "print(1, sep="),
        ("open('/et", "open('/etc/"),
        ("made = 'text'\nmade.upp", "made = 'text'\nmade.upper"),
    ):
        before = code.partition("|")[0]
        reply = complete(kernel, code)
        made = [before[: reply["cursor_start"]] + match + before[reply["cursor_end"] :] for match in reply["matches"]]
        assert expected in made, (code, made[:5])


def test_the_metadata_is_as_front_ends_want_it(kernel: Kernel, table: str) -> None:
    reply = complete(kernel, f"{table}.update('Z = ")
    entries = reply["metadata"]["_jupyter_types_experimental"]
    assert [each["text"] for each in entries] == reply["matches"]
    assert all(set(each) == {"start", "end", "text", "type", "signature"} for each in entries)
    kinds = {each["text"]: (each["type"], each["signature"]) for each in entries}
    assert (kinds["Sym"], kinds["Price"]) == (("column", "String"), ("column", "double"))


def test_nothing_to_complete_is_an_empty_reply(kernel: Kernel) -> None:
    for code in ("nowhere.at.all.", "# comment pri", ""):
        reply = complete(kernel, code)
        assert reply["cursor_start"] <= reply["cursor_end"] == len(code)


def test_inspection_of_tables_columns_and_functions(kernel: Kernel, table: str) -> None:
    shown = inspected(kernel, f"{table}|")
    assert "3 rows, 2 columns" in shown["text/plain"]
    assert "<td" in shown["text/html"]
    assert inspected(kernel, f"{table}.where('Pri|ce > 1')")["text/plain"].startswith("Column:     Price\nType:       double")
    assert "Signature: print(" in inspected(kernel, "print(1, |)")["text/plain"]
    assert "Signature: print(" in inspected(kernel, "print(len([1]), '(', |)")["text/plain"]
    assert "def empty_table" in inspected(kernel, "empty_table|", 1)["text/plain"]
    assert "def empty_table" not in inspected(kernel, "empty_table|")["text/plain"]
    assert inspected(kernel, "nowhere_at_all|") == {}


def begin_busy(kernel: Kernel) -> Run:
    """A cell that holds the interpreter's lock as much as Python code can, and has begun."""
    run = kernel.send("print('begun', flush=True)\nwhile True: pass")
    kernel.wait(lambda: "begun" in run.text(), "the cell's first word")
    return run


def test_answers_while_a_loop_runs(kernel: Kernel, table: str) -> None:
    run = begin_busy(kernel)
    try:
        assert "Price" in complete(kernel, f"{table}.update('Z = Pri")["matches"]
        assert table in complete(kernel, table[:4])["matches"]
        assert "where" in complete(kernel, f"{table}.whe")["matches"]
        assert "3 rows" in inspected(kernel, f"{table}|")["text/plain"]
        assert not run.reply
    finally:
        kernel.interrupt()
        kernel.finish(run)
    assert run.error["ename"] == "KeyboardInterrupt"


def test_objects_that_must_not_be_asked(kernel: Kernel) -> None:
    kernel.ok(
        "class Slow:\n"
        "    ran = []\n"
        "    def __getattr__(self, name): Slow.ran.append(name); __import__('time').sleep(3600)\n"
        "    def __dir__(self): Slow.ran.append('dir'); print('loud'); return []\n"
        "    @property\n"
        "    def value(self): Slow.ran.append('value'); __import__('time').sleep(3600)\n"
        "slow = Slow()\nSlow.ran.clear()"
    )
    assert "value" in complete(kernel, "slow.")["matches"]
    assert complete(kernel, "slow.value.")["matches"] == []
    assert inspected(kernel, "slow.value|", 1) == {}
    assert "Slow" in inspected(kernel, "slow|", 1)["text/plain"]
    assert kernel.ok("Slow.ran").result == {"text/plain": "[]"}
