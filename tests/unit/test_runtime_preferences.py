"""How `%dh set`, `show` and `grid` are written: what is taken, and what is said of the rest."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dh_kernel.runtime.dh_line import DhUsageError, Expression, expression_of, words_of
from dh_kernel.runtime.preferences import CHECKS, PreferenceError, Preferences
from dh_kernel.settings import TABLE_SETTINGS, VARIABLES, Settings, load_settings


def test_the_server_and_the_kernel_have_the_same_names_and_defaults() -> None:
    names = tuple(field.name for field in fields(Preferences))
    assert names == TABLE_SETTINGS == tuple(CHECKS)
    assert Preferences() == Preferences(**Settings().for_tables())


EDGES = [
    "-1",
    "0",
    "0.05",
    "0.1",
    "1",
    "20",
    "21",
    "999",
    "1000",
    "1001",
    "3600",
    "3601",
    "10000",
    "10001",
    "604800",
    "604801",
]


@pytest.mark.parametrize("name", [name for name in TABLE_SETTINGS if name not in ("show_tables", "live")])
def test_the_server_and_the_kernel_have_the_same_bounds(name: str) -> None:
    def kernel_takes(text: str) -> bool:
        _, error = load_settings((), {VARIABLES[name]: text}, ())
        return error is None

    def server_takes(text: str) -> bool:
        try:
            Preferences().change(name, text)
        except PreferenceError:
            return False
        return True

    taken = [text for text in EDGES if kernel_takes(text)]
    assert taken == [text for text in EDGES if server_takes(text)]
    assert 0 < len(taken) < len(EDGES)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("live", "off", False),
        ("show_tables", "1", True),
        ("rows", "2_000", 2000),
        ("columns", "1,000", 1000),
        ("live_interval_s", "0.5", 0.5),
        ("live_interval_s", ".25s", 0.25),
        ("live_time_s", "30m", 1800.0),
        ("live_time_s", "2H", 7200.0),
        ("live_outputs", "0", 0),
    ],
)
def test_values_that_are_taken(name: str, text: str, value: object) -> None:
    preferences = Preferences()
    assert preferences.change(name, text) == value
    assert getattr(preferences, name) == value


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("rwos", "3", "Did you mean rows?"),
        ("zzz", "3", "There are: show_tables"),
        ("rows", "0", "between 1 and 10,000"),
        ("rows", "-1", "between 1 and 10,000"),
        ("rows", "1.5", "not a whole number"),
        ("live", "maybe", "neither on nor off"),
        ("live_interval_s", "0.01", "between 0.1 and 3600 seconds"),
        ("live_time_s", "8d", "30m or 2h"),
    ],
)
def test_values_that_are_not(name: str, text: str, wanted: str) -> None:
    preferences = Preferences()
    with pytest.raises(PreferenceError, match=wanted.replace("?", r"\?")):
        preferences.change(name, text)
    assert preferences == Preferences()


def test_the_list_says_values_as_they_are_written() -> None:
    values = {name: value for name, value, _ in Preferences(live=False, live_time_s=90.0).table()}
    assert (values["live"], values["live_time_s"], values["rows"]) == ("off", "90", "10")


@pytest.mark.parametrize(
    ("word", "text", "wanted"),
    [
        ("show", "t", Expression("t")),
        ("show", "t.where('X > 1') --rows 5", Expression("t.where('X > 1')", rows=5)),
        ("show", "t --columns A,B --rows=5 --live", Expression("t", rows=5, columns=("A", "B"), live=True)),
        ("show", 't --columns "A, B" --static', Expression("t", columns=("A", "B"), live=False)),
        ("show", "a - -b", Expression("a - -b")),
        ("show", "x if a --1 else y", Expression("x if a --1 else y")),
        ("grid", "t.head(3) --height 200", Expression("t.head(3)", height=200)),
    ],
)
def test_expressions_and_their_options(word: str, text: str, wanted: Expression) -> None:
    assert words_of(f"{word} {text}") == [word, text]
    assert expression_of(word, text) == wanted


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("show", ""),
        ("show", "--rows 5"),
        ("show", "t --rows"),
        ("show", "t --rows 0"),
        ("show", "t --height 5"),
        ("grid", "t --rows 5"),
        ("show", "t --columns ,"),
        ("show", "t --columns 'A"),
        ("show", "t --rows 5 more"),
    ],
)
def test_options_that_mean_nothing(word: str, text: str) -> None:
    with pytest.raises(DhUsageError, match=f"%dh {word}"):
        expression_of(word, text)
