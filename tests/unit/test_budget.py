"""How much output a cell's tables may make: what goes first, what stays, and what is said about it."""

from __future__ import annotations

import json

from dh_kernel.budget import ProgramBudget, TableBudget, size_of

DATA = "application/vnd.dataresource+json"


def bundle(text: int, html: int, data: int) -> dict[str, object]:
    return {"text/plain": "t" * text, "text/html": "h" * html, DATA: {"data": "d" * data}}


def test_what_fits_is_as_it_was() -> None:
    budget = TableBudget(1000)
    made = bundle(10, 100, 100)
    assert [budget.fitted(made) for _ in range(4)] == [made] * 4
    assert budget.last_line() is None


def test_the_data_goes_first_then_the_html_then_the_table() -> None:
    budget = TableBudget(1000)
    assert list(budget.fitted(bundle(100, 400, 600)) or ()) == ["text/plain", "text/html"]
    assert list(budget.fitted(bundle(100, 450, 600)) or ()) == ["text/plain"]
    assert budget.fitted(bundle(450, 1, 1)) is None


def test_after_the_first_that_is_left_out_none_follows() -> None:
    budget = TableBudget(100)
    budget.fitted(bundle(50, 1, 1))
    assert budget.fitted(bundle(90, 90, 90)) is None
    budget.leave_out("a")
    assert budget.is_spent
    assert budget.fitted(bundle(1, 1, 1)) is None
    budget.leave_out(None)
    assert budget.last_line() == (
        "2 more tables are not shown, since this cell's tables have filled 0.0001 MB of output: a, …"
    )


def test_a_first_table_that_is_too_large_shows_as_the_start_of_its_text() -> None:
    budget = TableBudget(100)
    assert budget.fitted(bundle(5000, 5000, 5000)) == {"text/plain": "t" * 100}


def test_a_thousand_tables_stay_below_a_megabyte_and_are_counted() -> None:
    budget, kept = TableBudget(), 0
    for number in range(1000):
        fitted = None if budget.is_spent else budget.fitted(bundle(500, 3000, 1500))
        if fitted is None:
            budget.leave_out(f"t{number}")
        else:
            kept += len(json.dumps(fitted))
    assert 900_000 < kept < 1_100_000
    line = str(budget.last_line())
    assert line.startswith("796 more tables are not shown")
    assert line.endswith("t204, t205, t206, t207, t208, t209, t210, t211, t212, t213, …")


def test_size_counts_what_stands_in_the_file() -> None:
    assert size_of({"text/plain": "abc", DATA: {"a": [1, 2]}}) == 3 + len('{"a": [1, 2]}')


def test_a_program_gets_the_data_and_no_html() -> None:
    budget = ProgramBudget(1000)
    assert budget.fitted(bundle(300, 5000, 300)) == {"text/plain": "t" * 300, DATA: {"data": "d" * 300}}
    assert budget.fitted(bundle(100, 0, 900)) == {"text/plain": "t" * 100, DATA: {"data": []}}
    assert budget.fitted(bundle(900, 0, 0)) is None


def test_a_first_table_that_is_too_large_for_a_program_is_still_told_with_its_columns() -> None:
    large = {**bundle(5000, 0, 5000), DATA: {"schema": "columns", "data": [1] * 5000, "parts": [1]}}
    assert ProgramBudget(100).fitted(large) == {"text/plain": "t" * 100, DATA: {"schema": "columns", "data": []}}
