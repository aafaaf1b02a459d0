"""No character of a value can hide, reorder a line, or break an encoding."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dh_kernel.render.characters import cut, display_width, encodable, fit, pad, pieces, visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_every_control_and_format_character_is_written_out() -> None:
    hidden = [
        chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    assert [character for character in hidden if visible(character) == character] == []
    assert [character for character in "aé東😀\u00a0 \ufe0f\u0301" if visible(character) != character] == []


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x00\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
        ("user\u202egpj.exe", r"user\u202egpj.exe"),
        ("ab\u200bc\ufeff", r"ab\u200bc\ufeff"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_visible(raw: str, shown: str) -> None:
    assert visible(raw) == shown


@settings(deadline=None)
@given(ANY_TEXT)
def test_pieces_are_the_visible_text(text: str) -> None:
    assert "".join(piece for piece, _ in pieces(text)) == visible(text)


@settings(deadline=None)
@given(ANY_TEXT)
def test_visible_text_encodes_and_is_one_line(text: str) -> None:
    assert len(visible(text).splitlines()) <= 1
    visible(text).encode()
    encodable(text).encode()


def test_widths() -> None:
    assert display_width("abc") == 3
    assert display_width("東京") == 4
    assert display_width("e\u0301") == 1
    assert display_width("\uff21") == 2
    assert pad("東", 4, right=False) == "東  "
    assert pad("1", 4, right=True) == "   1"


def test_cutting() -> None:
    assert (cut("abcd", 4), cut("abcde", 4)) == ("abcd", "abc…")
    assert (fit("東京都", 6), fit("東京都庁", 6), fit("abc", 1)) == ("東京都", "東京…", "…")
    assert fit("a\u0301" * 3, 3) == "a\u0301" * 3


@settings(deadline=None)
@given(ANY_TEXT, st.integers(1, 30))
def test_fit_never_exceeds_the_width(text: str, width: int) -> None:
    assert display_width(fit(text, width)) <= width
